"""A folder that one run writes in is held against others."""

from __future__ import annotations

from pathlib import Path

from filelock import AcquireReturnProxy, FileLock, Timeout


class FolderInUse(ValueError):
    """Another run holds the folder. The message says what to do."""


def hold_folder(folder: Path, instead: str) -> AcquireReturnProxy:
    """Holds a folder, which is made, to the end of the ``with`` that it stands in, or of the process, however that ends.

    Args:
        folder: its file ``lock`` is what is locked. The file stays.
        instead: what to do other than wait, such as "choose another --output".

    Raises:
        FolderInUse: when another run holds it.
        OSError: when the folder can't be made or written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return FileLock(folder / "lock").acquire(timeout=1)  # a run that was killed may take a moment to be gone
    except Timeout:
        raise FolderInUse(f"{folder}: another run is at it; wait for its end, or {instead}") from None
