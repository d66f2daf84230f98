"""A Hub on this machine, as far as the clients of this project ask one: repos with commits, branches and tags, files small and large.

It shows what the client sends and how it takes failures, never what the real Hub does. One request can be made to fail.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

LARGE = (".safetensors", ".parquet", ".bin")
KINDS = ("models", "datasets", "spaces")


class Answer(Exception):
    """Ends a request with a status."""

    def __init__(self, status: int, content: Any = None, code: str = ""):
        self.status, self.content, self.code = status, content, code


@dataclass
class Commit:
    """A state of a repo: path → (content, whether it is a large file)."""

    oid: str
    message: str
    files: dict[str, tuple[bytes, bool]]


@dataclass
class Repo:
    """Commits, oldest first, and what names them."""

    facts: dict[str, Any]
    commits: list[Commit] = field(default_factory=list)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def add(self, branch: str, message: str, files: dict[str, tuple[bytes, bool]]) -> Commit:
        oid = hashlib.sha1(f"{len(self.commits)} {branch} {message} {sorted(files)}".encode()).hexdigest()
        self.commits.append(Commit(oid, message, files))
        self.branches[branch] = oid
        return self.commits[-1]

    def at(self, revision: str) -> Commit:
        oid = self.branches.get(revision) or self.tags.get(revision) or revision
        found = next((commit for commit in self.commits if commit.oid == oid), None)
        if found is None:
            raise Answer(404, {"error": f"Invalid rev id: {revision}"}, "RevisionNotFound")
        return found


class Hub(ThreadingHTTPServer):
    """The server. ``fail(n, how)`` lets the n-th request from now fail once; ``log`` has every request since."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.repos: dict[tuple[str, str], Repo] = {}
        self.stored: dict[str, bytes] = {}
        self.lock = threading.RLock()
        self.fail(0, "")

    def fail(self, number: int, how: str) -> None:
        """``how``: a status such as ``500``; ``reset`` before anything is done; ``lost``: it is done, but the answer does not arrive.

        ``always 403`` and the like fails that request and all after it.
        """
        self.failing, self.how, self.log = number, how, []

    def fails(self, request: str) -> str:
        with self.lock:
            self.log.append(request)
            if self.how.startswith("always ") and 0 < self.failing <= len(self.log):
                return self.how.removeprefix("always ")
            return self.how if len(self.log) == self.failing else ""

    def files(self, name: str, revision: str = "main", kind: str = "models") -> dict[str, bytes]:
        return {path: content for path, (content, _) in self.repos[kind, name].at(revision).files.items()}

    @property
    def environment(self) -> dict[str, str]:
        """Of a process that is to know no other Hub."""
        return {"HF_ENDPOINT": self.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": "hf_test"}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that broke off is no error."""


def oid_of(content: bytes, is_large: bool) -> str:
    if is_large:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Hub
    protocol_version = "HTTP/1.1"

    def do(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        self.query, path = parse_qs(parts.query), unquote(parts.path)
        how = self.server.fails(f"{self.command} {path}")
        if how == "reset":
            return self.break_off()
        try:
            if how.isdigit():
                raise Answer(int(how), {"error": "made to fail"})
            with self.server.lock:
                status, content, headers = self.route(path)
        except Answer as answer:
            status, content = answer.status, answer.content
            headers = {"X-Error-Code": answer.code} if answer.code else {}
        if how == "lost":
            return self.break_off()
        self.answer(status, content, headers)

    do_GET = do_POST = do_PUT = do_HEAD = do

    def break_off(self) -> None:
        """Closes the connection so that the client sees it reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def answer(self, status: int, content: Any, headers: dict[str, str]) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        kind = "application/octet-stream" if isinstance(content, bytes) else "application/json"
        for key, value in {"Content-Type": kind, "Content-Length": str(len(data)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        """Says nothing."""

    # ---------------------------------------------------------------- routes

    def route(self, path: str) -> tuple[int, Any, dict[str, str]]:
        for pattern, method in ROUTES:
            if found := re.fullmatch(pattern, f"{self.command} {path}"):
                content, *headers = getattr(self, method)(**found.groupdict())
                return 200, content, headers[0] if headers else {}
        raise Answer(404, {"error": f"no such route: {self.command} {path}"}, "RepoNotFound")

    def repo(self, kind: str | None, name: str) -> Repo:
        if ((kind or "models"), name) not in self.server.repos:
            raise Answer(404, {"error": "Repository not found"}, "RepoNotFound")
        return self.server.repos[kind or "models", name]

    def sent(self) -> dict[str, Any]:
        return json.loads(self.body or b"{}")

    def whoami(self) -> tuple:
        return ({"name": "user", "type": "user", "orgs": []},)

    def create(self) -> tuple:
        sent = self.sent()
        kind, name = f"{sent.get('type', 'model')}s", f"{sent.get('organization') or 'user'}/{sent['name']}"
        url = {"url": f"{self.server.url}/{'' if kind == 'models' else kind + '/'}{name}", "name": name}
        if (kind, name) in self.server.repos:
            raise Answer(409, url)
        told = {"visibility": "private"} if sent.get("private") else {}  # as older clients say it
        self.server.repos[kind, name] = Repo(sent | told)
        self.server.repos[kind, name].add("main", "initial commit", {".gitattributes": (b"", False)})
        return (url,)

    def validate(self) -> tuple:
        header = re.match(r"---\n(.*?)\n---", self.sent()["content"], re.DOTALL)
        try:
            yaml.safe_load(header[1] if header else "")
        except yaml.YAMLError as error:
            raise Answer(400, {"errors": [{"message": str(error)}], "warnings": []}) from None
        return ({"errors": [], "warnings": []},)

    def preupload(self, kind: str, name: str, revision: str) -> tuple:
        there = self.repo(kind, name).at(revision).files
        return (
            {
                "files": [
                    {"path": f["path"], "uploadMode": "lfs" if f["path"].endswith(LARGE) else "regular"}
                    | {"shouldIgnore": False, "oid": oid_of(*there[f["path"]]) if f["path"] in there else None}
                    for f in self.sent()["files"]
                ]
            },
        )

    def batch(self, kind: str | None, name: str) -> tuple:
        self.repo(kind, name)
        objects = []
        for item in self.sent()["objects"]:
            hrefs = {step: {"href": f"{self.server.url}/lfs/{item['oid']}/{step}"} for step in ("upload", "verify")}
            objects.append({**item, **({} if item["oid"] in self.server.stored else {"actions": hrefs})})
        return ({"objects": objects, "transfer": "basic"},)

    def store(self, oid: str) -> tuple:
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise Answer(422, {"error": "not the file that was announced"})
        self.server.stored[oid] = self.body
        return (b"",)

    def verify(self, oid: str) -> tuple:
        if oid not in self.server.stored:
            raise Answer(404, {"error": "not uploaded"})
        return ({},)

    def commit(self, kind: str, name: str, revision: str) -> tuple:
        repo = self.repo(kind, name)
        files, message = dict(repo.at(revision).files), ""
        for line in self.body.splitlines():
            key, value = (step := json.loads(line))["key"], step["value"]
            if key == "header":
                message = value["summary"]
            elif key == "file":
                files[value["path"]] = base64.b64decode(value["content"]), False
            elif key == "lfsFile" and value["oid"] in self.server.stored:
                files[value["path"]] = self.server.stored[value["oid"]], True
            elif key == "deletedFile" and value["path"] in files:
                del files[value["path"]]
            else:
                raise Answer(400, {"error": f"can't do {step}"})
        made = repo.add(revision, message, files)
        url = f"{self.server.url}/{name}/commit/{made.oid}"
        return ({"success": True, "commitOid": made.oid, "commitUrl": url, "pullRequestUrl": None},)

    def info(self, kind: str, name: str, revision: str | None = None) -> tuple:
        commit = self.repo(kind, name).at(revision or "main")
        siblings = [{"rfilename": path} for path in sorted(commit.files)]
        private = self.repo(kind, name).facts.get("visibility") == "private"
        return ({"id": name, "sha": commit.oid, "siblings": siblings, "private": private, "tags": [], "downloads": 0},)

    def tree(self, kind: str, name: str, revision: str, folder: str | None = None) -> tuple:
        files = self.repo(kind, name).at(revision).files
        inside = {path: file for path, file in files.items() if not folder or path.startswith(f"{folder}/")}
        if folder and not inside:
            raise Answer(404, {"error": f"{folder} does not exist"}, "EntryNotFound")
        return (self.entries(inside) + self.folders(inside),)

    def paths(self, kind: str, name: str, revision: str) -> tuple:
        files, asked = self.repo(kind, name).at(revision).files, self.sent()["paths"]
        entries = self.entries({path: file for path, file in files.items() if path in asked})
        return (entries + [entry for entry in self.folders(files) if entry["path"] in asked],)

    @staticmethod
    def entries(files: dict[str, tuple[bytes, bool]]) -> list[dict[str, Any]]:
        return [
            {"type": "file", "path": path, "size": len(content), "oid": oid_of(content, False)}
            | ({"lfs": {"oid": oid_of(content, True), "size": len(content), "pointerSize": 1}} if is_large else {})
            for path, (content, is_large) in sorted(files.items())
        ]

    @staticmethod
    def folders(files: dict[str, tuple[bytes, bool]]) -> list[dict[str, Any]]:
        names = {path.rpartition("/")[0] for path in files} - {""}
        return [{"type": "directory", "path": name, "oid": "0" * 40, "size": 0} for name in sorted(names)]

    def refs(self, kind: str, name: str) -> tuple:
        repo = self.repo(kind, name)
        told = {"branches": ("heads", repo.branches), "tags": ("tags", repo.tags)}
        return (
            {
                key: [{"name": n, "ref": f"refs/{place}/{n}", "targetCommit": oid} for n, oid in names.items()]
                for key, (place, names) in told.items()
            }
            | {"converts": []},
        )

    def tag(self, kind: str, name: str, revision: str) -> tuple:
        repo, tag = self.repo(kind, name), self.sent()["tag"]
        if tag in repo.tags:
            raise Answer(409, {"error": "Tag exists"})
        repo.tags[tag] = repo.at(revision).oid
        return ({},)

    def branch(self, kind: str, name: str, branch: str) -> tuple:
        repo = self.repo(kind, name)
        if branch in repo.branches:
            raise Answer(409, {"error": "Branch exists"})
        repo.branches[branch] = repo.at(self.sent().get("startingPoint") or "main").oid
        return ({},)

    def variables(self, name: str) -> tuple:
        sent = self.sent()
        self.repo("spaces", name).facts.setdefault("variables", {})[sent["key"]] = sent["value"]
        return ({sent["key"]: {"key": sent["key"], "value": sent["value"]}},)

    def resolve(self, kind: str | None, name: str, revision: str, file: str) -> tuple:
        commit = self.repo(kind, name).at(revision)
        if file not in commit.files:
            raise Answer(404, {"error": "Entry not found"}, "EntryNotFound")
        content, is_large = commit.files[file]
        headers = {"X-Repo-Commit": commit.oid, "ETag": f'"{oid_of(content, is_large)}"'}
        if is_large:
            headers |= {"X-Linked-Etag": headers["ETag"], "X-Linked-Size": str(len(content))}
        return content, headers


API = r"/api/(?P<kind>models|datasets|spaces)/(?P<name>[\w.-]+/[\w.-]+)"
FILES = r"/(?:(?P<kind>datasets|spaces)/)?(?P<name>[\w.-]+/[\w.-]+)"
ROUTES = [
    (r"GET /api/whoami-v2", "whoami"),
    (r"POST /api/repos/create", "create"),
    (r"POST /api/validate-yaml", "validate"),
    (rf"POST {API}/preupload/(?P<revision>.+)", "preupload"),
    (rf"POST {FILES}\.git/info/lfs/objects/batch", "batch"),
    (r"PUT /lfs/(?P<oid>\w+)/upload", "store"),
    (r"POST /lfs/(?P<oid>\w+)/verify", "verify"),
    (rf"POST {API}/commit/(?P<revision>.+)", "commit"),
    (rf"GET {API}(?:/revision/(?P<revision>.+))?", "info"),
    (rf"GET {API}/tree/(?P<revision>[^/]+)(?:/(?P<folder>.+))?", "tree"),
    (rf"POST {API}/paths-info/(?P<revision>.+)", "paths"),
    (rf"GET {API}/refs", "refs"),
    (rf"POST {API}/tag/(?P<revision>.+)", "tag"),
    (rf"POST {API}/branch/(?P<branch>.+)", "branch"),
    (r"POST /api/spaces/(?P<name>[\w.-]+/[\w.-]+)/variables", "variables"),
    (rf"(?:GET|HEAD) {FILES}/resolve/(?P<revision>[^/]+)/(?P<file>.+)", "resolve"),
]


@contextlib.contextmanager
def running() -> Iterator[Hub]:
    """A Hub that answers until the block ends."""
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()
