"""A staged folder becomes one commit of a Hub repo, or nothing does.

Every step may be tried again: an attempt that in truth had arrived leaves nothing to do for the next one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import TypeVar

from huggingface_hub import CommitInfo, CommitOperation, CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

from finener.publishing.staging import Staged

HTTP_ERROR = HfHubHTTPError.__bases__[0]  # of httpx, or of its successor in newer hubs: failed connections, too
PASSING = (408, 409, 412, 429, 500, 502, 503, 504)  # status codes that may be others the next time
REFUSED = (401, 403, 404)
WAITS = (2.0, 8.0)  # seconds between attempts; the hub's client has tried each upload several times by then
# Of an earlier release: what would change how this one loads, or should never have been there.
STALE = {
    "model": ("*.py", "*.safetensors", "*.safetensors.index.json", "training_args.bin", "ontology.json"),
    "dataset": ("data/*", "ontology.json"),
    "space": ("*.py",),
}
T = TypeVar("T")


class UploadError(OSError):
    """The Hub did not take a release. What people see is what was there before, or the whole of the new commit."""


@dataclass(frozen=True)
class Published:
    """Where a release is.

    Args:
        repo: ``user/name``.
        url: of the commit.
        commit: its hash.
        tag: that names it, or None.
    """

    repo: str
    url: str
    commit: str
    tag: str | None


def create_repo(
    repo: str, kind: str = "model", *, private: bool | None = None, token: str | None = None, sdk: str | None = None
) -> str:
    """Makes a repo where there is none, and returns its whole name, ``user/name``.

    Args:
        repo: ``user/name`` or, for the user whose token it is, ``name``.
        kind: ``model``, ``dataset`` or ``space``.
        private: of a new repo; None leaves it to the user's settings.
        token: by default the one of ``hf auth login``.
        sdk: of a Space.

    Raises:
        UploadError: when the Hub does not allow it, or can't be reached.
    """
    told = {"repo_type": kind, "private": private, "exist_ok": True, "space_sdk": sdk}
    return _patiently(f"{repo} could not be made", lambda: HfApi(token=token).create_repo(repo, **told).repo_id)


def is_private(repo: str, kind: str = "model", *, token: str | None = None) -> bool:
    """Whether a repo is seen by its owner alone."""
    ask = HfApi(token=token).repo_info
    return bool(_patiently(f"{repo} could not be looked at", lambda: ask(repo, repo_type=kind)).private)


def set_variable(repo: str, name: str, value: str, *, token: str | None = None) -> None:
    """Gives a Space a variable of its environment, in place of an earlier value."""
    api = HfApi(token=token)
    _patiently(f"the variable {name} of {repo} could not be set", lambda: api.add_space_variable(repo, name, value))


def publish(
    staged: Staged,
    repo: str,
    *,
    tag: str | None = None,
    is_new_tag: bool = False,
    revision: str | None = None,
    message: str = "Released with finener",
    token: str | None = None,
) -> Published:
    """Uploads a staged folder as one commit, then gives it its tag. A repo that has all of it gets no commit.

    Args:
        staged: of :mod:`finener.publishing.kinds`.
        repo: ``user/name``, which exists.
        tag: for the commit; one that is there stays where it is, so it should be made of the content.
        is_new_tag: a person chose it, so it must not be there yet.
        revision: a branch; by default ``main``.
        message: of the commit.
        token: by default the one of ``hf auth login``.

    Raises:
        UploadError: when the Hub does not take it.
    """
    api, kind = HfApi(token=token), staged.kind
    if is_new_tag:
        refs = _patiently(f"the tags of {repo} could not be read", lambda: api.list_repo_refs(repo, repo_type=kind))
        if tag in (known.name for known in refs.tags):
            raise UploadError(
                f"{repo} has a tag {tag} already, which stays what it is: choose another, such as --tag v2"
            )
    if revision is not None:
        branch = {"repo_type": kind, "branch": revision, "exist_ok": True}
        _patiently(f"branch {revision} of {repo} could not be made", lambda: api.create_branch(repo, **branch))

    def commit() -> CommitInfo:
        there = api.list_repo_files(repo, repo_type=kind, revision=revision)
        return api.create_commit(
            repo, operations(staged, there), commit_message=message, repo_type=kind, revision=revision
        )

    done = _patiently(f"{repo} could not be released", commit)
    if tag is not None:
        told = {"tag": tag, "revision": done.oid, "repo_type": kind, "exist_ok": True}
        _patiently(f"{repo} is released, but its tag {tag} could not be set", lambda: api.create_tag(repo, **told))
    return Published(repo, done.commit_url, done.oid, tag)


def operations(staged: Staged, there: list[str]) -> list[CommitOperation]:
    """What one commit does: every file, the card last, and what an earlier release has left.

    Args:
        staged: the folder.
        there: the repo's files.
    """
    files = sorted(staged.files, key=lambda name: (name == "README.md", name))
    stale = [n for n in there if n not in files and any(fnmatch(n, pattern) for pattern in STALE[staged.kind])]
    added = [CommitOperationAdd(name, str((staged.folder / name).resolve())) for name in files]
    return [*(CommitOperationDelete(name) for name in stale), *added]


def _patiently(what: str, call: Callable[[], T]) -> T:
    """The result of a call to the Hub, which is made again when a failure may pass.

    Raises:
        UploadError: ``what``, and why, in one line.
    """
    for wait in (*WAITS, None):
        try:
            return call()
        except (HTTP_ERROR, OSError, RuntimeError, ValueError) as error:
            if wait is None or not is_passing(error):
                raise UploadError(f"{what}: {_reason(error)}") from error
            time.sleep(wait)
    raise AssertionError("the last attempt returns or raises")


def _cause(error: BaseException) -> BaseException:
    """What lies below a failed upload of a file, which the hub's client wraps."""
    while isinstance(error, RuntimeError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def is_passing(error: BaseException) -> bool:
    """Whether another attempt may succeed: the server was busy or broke off, or answered with something else than JSON."""
    error = _cause(error)
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in PASSING
    return isinstance(error, (HTTP_ERROR, json.JSONDecodeError))


def _reason(error: BaseException) -> str:
    error = _cause(error)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    is_refused = isinstance(error, HfHubHTTPError) and error.response.status_code in REFUSED
    if is_refused or isinstance(error, LocalTokenNotFoundError):
        return f"{lines[0]}; log in with 'hf auth login', with a token that may write there"
    return lines[0] if isinstance(error, HTTP_ERROR) else lines[-1]
