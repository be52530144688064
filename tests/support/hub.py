"""A hub on this machine: the few routes that huggingface_hub calls to push and pull a model."""

import hashlib
import json
import threading
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit


@dataclass
class Repo:
    """A repository: its files by name, and their commit."""

    private: bool
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def sha(self) -> str:
        return hashlib.sha1(repr(sorted(self.files.items())).encode()).hexdigest()

    def listed(self, name: str) -> dict[str, Any]:
        """A file as the hub lists it: of large ones, also the SHA-256."""
        data = self.files[name]
        large = {"lfs": {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "pointerSize": 100}}
        own = {"rfilename": name, "size": len(data), "blobId": hashlib.sha1(data).hexdigest()}
        return own | (large if name.endswith(".safetensors") else {})


@dataclass
class Hub:
    """All repositories, the owners of tokens, and the requests so far."""

    url: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=lambda: {"hf_mine": "me", "hf_yours": "you"})
    large: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    served: dict[str, bytes] = field(default_factory=dict)  # other contents than those listed, by name
    fails: dict[str, int] = field(default_factory=dict)  # a status for requests that begin so


class Refused(Exception):
    """A request with another answer than 200."""

    def __init__(self, status: int, code: str = "") -> None:
        self.status, self.code = status, code


class Handler(BaseHTTPRequestHandler):
    """Answers one request; `hub` is set by `serving_hub`."""

    hub: Hub

    def log_message(self, *_: object) -> None: ...

    def answer(self) -> None:
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = f"{self.command} /{'/'.join(parts)}"
        self.hub.requests.append(request)
        try:
            failing = [status for begin, status in self.hub.fails.items() if request.startswith(begin)]
            if failing:
                raise Refused(failing[0])
            answer, headers = self._route(parts, body)
        except Refused as refused:
            self.send_response(refused.status)
            self.send_header("X-Error-Code", refused.code)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(200)
        for name, value in ({"Content-Type": "application/json", "Content-Length": str(len(data))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    @property
    def owner(self) -> str | None:
        """The owner of the token, if there is one."""
        return self.hub.owners.get(self.headers.get("Authorization", "").removeprefix("Bearer "))

    def _route(self, parts: list[str], body: bytes) -> tuple[Any, dict[str, str]]:
        match parts:
            case ["api", "validate-yaml"]:
                return {}, {}
            case ["api", "repos", "create"]:
                return self._create(json.loads(body)), {}
            case ["api", "models", owner, name, *rest]:
                return self._model(f"{owner}/{name}", rest, body), {}
            case [owner, name, "info", "lfs", "objects", "batch"]:
                self._repo(f"{owner}/{name.removesuffix('.git')}", writes=True)
                objects = [
                    {**each, "actions": {"upload": {"href": f"{self.hub.url}/large/{each['oid']}"}}}
                    for each in json.loads(body)["objects"]
                ]
                return {"transfer": "basic", "objects": objects}, {}
            case ["large", oid]:
                assert hashlib.sha256(body).hexdigest() == oid
                self.hub.large[oid] = body
                return b"", {}
            case [owner, name, "resolve", revision, file]:
                repo = self._repo(f"{owner}/{name}")
                self._check_revision(repo, revision)
                if file not in repo.files:
                    raise Refused(404, "EntryNotFound")
                data = self.hub.served.get(file, repo.files[file])
                return data, {"X-Repo-Commit": repo.sha, "ETag": f'"{hashlib.sha1(data).hexdigest()}"'}
        raise Refused(404)

    def _repo(self, name: str, *, writes: bool = False) -> Repo:
        repo, is_mine = self.hub.repos.get(name), self.owner == name.split("/")[0]
        if repo is None or (repo.private and not is_mine):
            raise Refused(404 if self.owner else 401, "RepoNotFound")
        if writes and not is_mine:
            raise Refused(403)
        return repo

    def _check_revision(self, repo: Repo, revision: str) -> None:
        if revision not in ("main", repo.sha):
            raise Refused(404, "RevisionNotFound")

    def _create(self, wanted: dict[str, Any]) -> dict[str, Any]:
        if self.owner != wanted["organization"]:
            raise Refused(403 if self.owner else 401)
        name = f"{wanted['organization']}/{wanted['name']}"
        private = wanted.get("private", wanted.get("visibility") == "private")
        self.hub.repos.setdefault(name, Repo(private))
        return {"url": f"{self.hub.url}/{name}", "name": name}

    def _model(self, name: str, rest: list[str], body: bytes) -> dict[str, Any]:
        repo = self._repo(name, writes=rest[:1] in (["preupload"], ["commit"]))
        match rest:
            case ["preupload", _]:
                files = [each["path"] for each in json.loads(body)["files"]]
                modes = {each: "lfs" if each.endswith(".safetensors") else "regular" for each in files}
                return {"files": [{"path": each, "uploadMode": modes[each], "shouldIgnore": False} for each in files]}
            case ["commit", _]:
                for line in map(json.loads, body.splitlines()):
                    value = line["value"]
                    if line["key"] == "file":
                        repo.files[value["path"]] = b64decode(value["content"])
                    elif line["key"] == "lfsFile":
                        repo.files[value["path"]] = self.hub.large[value["oid"]]
                return {"commitUrl": f"{self.hub.url}/{name}/commit/{repo.sha}", "commitOid": repo.sha}
            case ["revision", revision]:
                self._check_revision(repo, revision)
        listed = [repo.listed(each) for each in repo.files]
        return {"id": name, "modelId": name, "sha": repo.sha, "private": repo.private, "siblings": listed, "tags": []}


@contextmanager
def serving_hub() -> Iterator[Hub]:
    """Serve an empty hub inside this context."""
    hub = Hub()
    methods = {f"do_{method}": Handler.answer for method in ("GET", "HEAD", "POST", "PUT")}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub, **methods}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
