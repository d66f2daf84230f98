"""A trained model's folder → one commit on the Hub, checked: what training does when it is told to push."""

from __future__ import annotations

import tempfile
from pathlib import Path

from finener.publishing.kinds import check, stage_model
from finener.publishing.upload import Published, publish


def release_model(
    folder: str | Path,
    repo: str,
    *,
    message: str = "End of training",
    revision: str | None = None,
    token: str | None = None,
) -> Published:
    """Releases a model with the card of its results, under a tag made of its content.

    Args:
        folder: where it was saved.
        repo: ``user/name``, which exists.
        message: of the commit.
        revision: a branch; by default ``main``.
        token: by default the one of ``hf auth login``.

    Raises:
        ReleaseError: when it would not load for others.
        UploadError: when the Hub does not take it.
    """
    with tempfile.TemporaryDirectory(prefix="finener-release-") as target:
        staged, tag = stage_model(folder, Path(target), repo)
        check(staged)
        return publish(staged, repo, tag=tag, revision=revision, message=message, token=token)
