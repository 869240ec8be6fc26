"""A small stand-in for the Hugging Face hub on this machine: what its library asks for when a model
is created, committed to and fetched, over HTTP."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

TOKEN = "hf_test"


class Hub(ThreadingHTTPServer):
    """repos: files by path, of each model by its name; private: names that ask for the token."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repos: dict[str, dict[str, bytes]] = {}
        self.private: set[str] = set()
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *arguments: object) -> None:
        """Nothing on the terminal."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = self.path.partition("?")[0].strip("/").split("/")
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(401, {"error": "Invalid username or password."})
        if parts == ["api", "repos", "create"]:
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else ""
            new = name not in self.server.repos
            self.server.repos.setdefault(name, {})
            if new and (asked.get("private") or asked.get("visibility") == "private"):
                self.server.private.add(name)
            return self.answer(200, {"url": f"{self.server.url}/{name}"})
        if parts[1] == "validate-yaml":
            return self.answer(200, {"errors": [], "warnings": []})
        name = "/".join(parts[2:4])
        if parts[4] == "preupload":
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                for f in json.loads(body)["files"]
            ]
            return self.answer(200, {"files": files})
        assert parts[4] == "commit", self.path
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                content = base64.b64decode(line["value"]["content"])
                self.server.repos[name][line["value"]["path"]] = content
        held = {"commitUrl": f"{self.server.url}/{name}/commit/{COMMIT}", "commitOid": COMMIT}
        return self.answer(200, {**held, "success": True})

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        parts = unquote(self.path.partition("?")[0]).strip("/").split("/")
        if parts[0] == "api":
            name = "/".join(parts[2:4])
            if name not in self.server.repos:
                return self.answer(401, {}, {"X-Error-Code": "RepoNotFound"})
            about = {"id": name, "sha": COMMIT, "siblings": []}
            return self.answer(200, about | {"private": name in self.server.private})
        name, file = "/".join(parts[:2]), "/".join(parts[4:])
        allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if name not in self.server.repos or (name in self.server.private and not allowed):
            return self.answer(401, {}, {"X-Error-Code": "RepoNotFound"})
        if file not in self.server.repos[name]:
            return self.answer(404, {}, {"X-Error-Code": "EntryNotFound"})
        content = self.server.repos[name][file]
        tag = hashlib.sha256(content).hexdigest()
        self.answer(200, content, {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT})

    do_HEAD = do_GET

    def answer(self, code: int, content: object, headers: dict[str, str] | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        kind = "application/octet-stream" if isinstance(content, bytes) else "application/json"
        given = {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}
        for key, value in given.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


COMMIT = "0" * 39 + "1"


@contextmanager
def hub() -> Iterator[Hub]:
    """A hub that answers until the end of the block."""
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()
