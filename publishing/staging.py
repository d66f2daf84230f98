"""What of a folder goes to the Hub: its files as they go up, in a folder of their own, without a trace of the machine.

Files that stay as they are are links, so that weights are not copied. What is checked is then what is uploaded.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from finener.json_finener import read_json

PICKLE = "a pickle: it runs code when it is loaded, and may hold paths"
CHECKPOINT = "state of training"
# Parts of a path that stay at home, and why.
LEFT_OUT = {
    **dict.fromkeys(("checkpoint-*", "checkpoints", "trainer_state.json", "events.out.tfevents*", "runs"), CHECKPOINT),
    **dict.fromkeys(("*.bin", "*.pt", "*.pth", "*.pkl", "*.pickle", "*.ckpt"), PICKLE),
    **dict.fromkeys(("__pycache__", "*.pyc", "*.tmp", "*.lock", ".?*"), "not part of a release"),
}
# What transformers writes of the place that something was loaded from.
PRIVATE_KEYS = {
    "_name_or_path",
    "name_or_path",
    "is_local",
    "local_files_only",
    "tokenizer_file",
    "special_tokens_map_file",
}
CONFIGS = ("config.json", "tokenizer_config.json", "generation_config.json", "preprocessor_config.json")
# Where people keep things, at the beginning of a path.
PLACES = re.compile(
    r"(?:(?<![\w./~-])/(?:home|Users|root|mnt|media|scratch|tmp|workspace|data|srv|Volumes)/|(?<!\w)[A-Za-z]:\\{1,2}(?!n\b)\w)"
    r"[^\s\"'`,)\]}]+"
)
TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{20,}")
READ = (
    ".md",
    ".json",
    ".yaml",
    ".yml",
    ".txt",
    ".toml",
    ".cfg",
    ".ini",
    ".py",
    ".html",
    ".css",
    ".js",
    ".sh",
    ".ipynb",
    ".log",
)
WITHOUT_PATHS = (".md", ".json", ".yaml", ".yml", ".txt", ".toml", ".cfg", ".ini", ".log")  # code may speak of paths
# Words and types of any text, which are no paths.
VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "added_tokens.json")


class ReleaseError(ValueError):
    """A folder can't be released as it is; the message says what is wrong and what to do."""


@dataclass(frozen=True)
class Staged:
    """A folder as it goes up.

    Args:
        kind: ``model``, ``dataset`` or ``space``.
        source: the folder that it was made of.
        folder: where its files lie; gone once the release is over.
        left_out: path in ``source`` → why it stays at home.
    """

    kind: str
    source: Path
    folder: Path
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def files(self) -> list[str]:
        """Paths in the repo, in order of their names."""
        return sorted(path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file())

    def size(self, name: str) -> int:
        """Bytes of a file."""
        return (self.folder / name).stat().st_size

    def write(self, name: str, text: str) -> None:
        """Puts a text in the place of a file; never through a link into the source."""
        path = self.folder / name
        path.unlink(missing_ok=True)
        path.write_text(text, encoding="utf-8")

    def rewrite(self, name: str, change: Callable[[Any], Any]) -> None:
        """Changes the content of a JSON file, where there is that file and something to change."""
        path = self.folder / name
        if path.is_file():
            content = read_json(path)
            if (changed := change(content)) != content:
                self.write(name, json.dumps(changed, indent=2, ensure_ascii=False) + "\n")

    def digest(self) -> str:
        """A name for the content: the same files give the same one, whatever the card says."""
        told = hashlib.sha256()
        for name in self.files:
            if name != "README.md":
                with (self.folder / name).open("rb") as file:
                    told.update(f"{name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
        return told.hexdigest()[:10]


def stage(source: str | Path, target: Path, kind: str) -> Staged:
    """Links every file of a folder that goes up into ``target``.

    Args:
        source: the folder.
        target: an empty folder.
        kind: ``model``, ``dataset`` or ``space``.

    Raises:
        ReleaseError: when ``source`` is no folder.
    """
    source = Path(source)
    if not source.is_dir():
        raise ReleaseError(f"{source} is no folder; expected the {kind}'s, e.g. --{kind} outputs/my-{kind}")
    staged = Staged(kind, source, target)
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source)
        why = next((why for part in name.parts for pattern, why in LEFT_OUT.items() if fnmatch(part, pattern)), None)
        if path.is_file() and why:
            staged.left_out[name.as_posix()] = why
        elif path.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).symlink_to(path.resolve())
    return staged


def without_private_keys(content: Any) -> Any:
    """A config without what tells where something was loaded from."""
    if isinstance(content, dict):
        return {key: without_private_keys(value) for key, value in content.items() if key not in PRIVATE_KEYS}
    return [without_private_keys(value) for value in content] if isinstance(content, list) else content


def check_places(staged: Staged) -> None:
    """Raises ReleaseError when a text file holds a Hub token or names a place on this machine; records and vocabularies are not read."""
    own = {str(path) for path in (Path.home(), Path.cwd(), staged.source.resolve()) if len(path.parts) > 2}
    for name in staged.files:
        path = staged.folder / name
        if path.suffix in READ and path.name not in VOCABULARIES:
            text = path.read_text(encoding="utf-8", errors="replace")
            if secret := TOKEN.search(text):
                line = text.count("\n", 0, secret.start()) + 1
                raise ReleaseError(
                    f"{staged.source / name}, line {line}, holds a token of the Hub: take it out and revoke it"
                )
            found = next((place for place in sorted(own, key=len, reverse=True) if place in text), None)
            told = PLACES.search(text) if found is None and path.suffix in WITHOUT_PATHS else None
            if found or told:
                start = told.start() if told else text.index(found)
                raise ReleaseError(
                    f"{staged.source / name}, line {text.count(chr(10), 0, start) + 1}, names a place on this machine: "
                    f"{told[0] if told else found}; take it out, then release again"
                )


def need(staged: Staged, names: Sequence[str], how: str) -> None:
    """Raises ReleaseError when a file is not there; ``how`` says how people get it."""
    lacking = [name for name in names if not (staged.folder / name).is_file()]
    if lacking:
        raise ReleaseError(f"{staged.source} has no {', '.join(lacking)}: {how}")
