"""A Hugging Face of one's own, on loopback: repositories, resumable downloads, and faults to order."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_" + "a" * 34


@dataclass
class FakeHub:
    """Filled before and during a test; `requests` are `METHOD path range`."""

    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    cut_after: list[int] = field(default_factory=list)
    """Bytes after which the next bodies break off, one for each of them."""
    statuses: list[int] = field(default_factory=list)
    """What the next downloads answer instead of a file."""
    takes_ranges: bool = True
    claims: int | None = None
    """The size that listings and downloads claim."""
    corrupts: bool = False
    is_down: bool = False
    stalls_after: int | None = None
    """Bytes after which bodies stand still, until `go_on`."""
    go_on: threading.Event = field(default_factory=threading.Event)
    commits: dict[str, str] = field(default_factory=dict)
    oids: dict[str, str] = field(default_factory=dict)
    """What it says instead of the truth, by repository and by file."""
    requests: list[str] = field(default_factory=list)
    url: str = ""

    def commit(self, repo: str) -> str:
        return self.commits.get(repo) or hashlib.sha1(repr(sorted(self.repos[repo].items())).encode()).hexdigest()

    def downloads(self) -> list[str]:
        """What was asked of files, without HEAD."""
        return [request for request in self.requests if request.startswith("GET") and "/resolve/" in request]


def oid(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: FakeHub

    def log_message(self, format: str, *args: object) -> None:
        pass

    def handle(self) -> None:
        with suppress(ConnectionError):  # a client that was refused something leaves
            super().handle()

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub = self.hub
        path = unquote(urlsplit(self.path).path)
        hub.requests.append(f"{self.command} {path} {self.headers.get('Range', '')}".strip())
        if hub.is_down:
            return self.answer(503, {"error": "down"})
        match path.strip("/").split("/"):
            case ["api", "models", user, name, *rest]:
                self.listing(f"{user}/{name}", rest)
            case [user, name, "resolve", _, *rest]:
                self.file(f"{user}/{name}", "/".join(rest))
            case ["files", *rest]:
                self.send(hub.repos["files"].get("/".join(rest)))
            case _:
                self.answer(404, {"error": "no such page"})

    def listing(self, repo: str, rest: list[str]) -> None:
        if not self.may_see(repo):
            return
        hub = self.hub
        match rest:
            case []:
                self.answer(200, {"id": repo, "modelId": repo, "sha": hub.commit(repo), "tags": [], "siblings": []})
            case ["refs"]:
                branch = {"name": "main", "ref": "refs/heads/main", "targetCommit": hub.commit(repo)}
                self.answer(200, {"branches": [branch], "tags": []})
            case ["tree", _]:
                self.answer(200, [self.entry(path, data) for path, data in hub.repos[repo].items()])

    def entry(self, path: str, data: bytes) -> dict[str, object]:
        size = self.hub.claims if self.hub.claims is not None else len(data)
        entry = {"type": "file", "path": path, "size": size, "oid": hashlib.sha1(data).hexdigest()}
        if path.endswith(".gguf"):
            entry["lfs"] = {"oid": self.hub.oids.get(path) or oid(data), "size": size, "pointerSize": 100}
        return entry

    def may_see(self, repo: str) -> bool:
        hub = self.hub
        if repo not in hub.repos:
            self.answer(401, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        elif repo in hub.gated and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.answer(401, {"error": "Access is restricted"}, {"X-Error-Code": "GatedRepo"})
        else:
            return True
        return False

    def file(self, repo: str, path: str) -> None:
        if self.may_see(repo):
            self.send(self.hub.repos[repo].get(path), {"X-Repo-Commit": self.hub.commit(repo)})

    def send(self, data: bytes | None, headers: dict[str, str] | None = None) -> None:
        hub = self.hub
        if data is None:
            return self.answer(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"})
        if hub.statuses:
            return self.answer(hub.statuses.pop(0), {"error": "a fault to order"})
        headers = {"ETag": f'"{oid(data)}"', "Accept-Ranges": "bytes", **(headers or {})}
        start, status = 0, 200
        wanted = self.headers.get("Range")
        fits = self.headers.get("If-Range", headers["ETag"]) == headers["ETag"]
        if wanted and hub.takes_ranges and fits:
            start, status = int(wanted.removeprefix("bytes=").rstrip("-")), 206
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        length = hub.claims if hub.claims is not None else len(data) - start
        self.start(status, headers | {"Content-Length": str(length)})
        if self.command == "HEAD":
            return
        body = data[start:]
        if hub.corrupts:
            body = bytes(len(body))
        if hub.cut_after:
            body = body[: hub.cut_after.pop(0)]
            self.close_connection = True
        if hub.stalls_after is not None:
            self.wfile.write(body[: hub.stalls_after])
            hub.go_on.wait(60)
            body = body[hub.stalls_after :]
        self.wfile.write(body)

    def answer(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        self.start(status, {"Content-Type": "application/json", "Content-Length": str(len(data)), **(headers or {})})
        if self.command != "HEAD":
            self.wfile.write(data)

    def start(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


@contextmanager
def serving(hub: FakeHub) -> Iterator[FakeHub]:
    handler = type("HubHandler", (Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        hub.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
