"""As much of the Hub's HTTP interface as `huggingface_hub` uses to make a repository, commit to it and fetch it."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit


class Hub:
    """Repositories in memory. failures: (method, part of the path, status) that the next such request gets."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, Any]] = {}
        self.objects: dict[str, bytes] = {}
        self.failures: list[tuple[str, str, int]] = []
        self.asked: list[tuple[str, str]] = []

    def __enter__(self) -> Hub:
        handler = type("Handler", (_Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.shutdown()
        self.server.server_close()

    def put(self, name: str, files: dict[str, bytes]) -> None:
        self.repositories[name] = {"private": False, "files": dict(files)}

    def files(self, name: str) -> dict[str, bytes]:
        return self.repositories[name]["files"]

    def commit(self, name: str) -> str:
        text = "".join(f"{key}{hashlib.sha1(value).hexdigest()}" for key, value in sorted(self.files(name).items()))
        return hashlib.sha1(text.encode()).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        """Tests print nothing."""

    def do_GET(self) -> None:
        self._answer("GET")

    def do_HEAD(self) -> None:
        self._answer("HEAD")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_PUT(self) -> None:
        self._answer("PUT")

    def _send(self, status: int, content: Any = b"", **headers: str) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _answer(self, method: str) -> None:
        path = urlsplit(self.path).path
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub.asked.append((method, path))
        for failure in self.hub.failures:
            if failure[0] == method and failure[1] in path:
                self.hub.failures.remove(failure)
                return self._send(failure[2], {"error": "as the test wants"})
        return self._route(method, path, body)

    def _route(self, method: str, path: str, body: bytes) -> None:
        hub = self.hub
        parts = path.strip("/").split("/")
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = "/".join(filter(None, (asked.get("organization"), asked["name"])))
            name = name if "/" in name else f"me/{name}"
            private = asked.get("private", False) or asked.get("visibility") == "private"
            hub.repositories[name] = {"private": private, "files": {}}
            return self._send(200, {"url": f"{hub.address}/{name}", "id": name})
        if path == "/api/whoami-v2":
            return self._send(200, {"name": "me", "type": "user", "auth": {"accessToken": {"role": "write"}}})
        if path == "/api/validate-yaml":
            return self._send(200, {"errors": [], "warnings": []})
        if parts[0] == "objects":
            hub.objects[parts[1]] = body
            return self._send(200)
        name = "/".join(parts[2:4]) if parts[0] == "api" else "/".join(parts[:2]).removesuffix(".git")
        if name not in hub.repositories:
            return self._send(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        if parts[0] == "api":
            return self._api(name, parts[4:], body)
        if path.endswith("/info/lfs/objects/batch"):
            wanted = json.loads(body)["objects"]
            actions = [
                {**entry, "actions": {"upload": {"href": f"{hub.address}/objects/{entry['oid']}"}}} for entry in wanted
            ]
            return self._send(200, {"transfer": "basic", "objects": actions})
        return self._file(name, "/".join(parts[4:]))

    def _api(self, name: str, rest: list[str], body: bytes) -> None:
        files = self.hub.files(name)
        if rest and rest[0] == "preupload":
            asked = json.loads(body)["files"]
            modes = [
                {
                    "path": entry["path"],
                    "uploadMode": "lfs" if entry["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for entry in asked
            ]
            return self._send(200, {"files": modes})
        if rest and rest[0] == "commit":
            for line in map(json.loads, body.decode().splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    files[value["path"]] = self.hub.objects[value["oid"]]
            commit = self.hub.commit(name)
            return self._send(
                200, {"success": True, "commitOid": commit, "commitUrl": f"{self.hub.address}/{name}/commit/{commit}"}
            )
        if rest and rest[0] == "tree":
            return self._send(
                200, [{"type": "file", "path": key, "size": len(value), "oid": "0"} for key, value in files.items()]
            )
        siblings = [{"rfilename": key} for key in files]
        return self._send(
            200, {"id": name, "sha": self.hub.commit(name), "siblings": siblings, "private": False, "tags": []}
        )

    def _file(self, name: str, file: str) -> None:
        content = self.hub.files(name).get(file)
        if content is None:
            return self._send(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound")
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        return self._send(200, content, ETag=etag, X_Repo_Commit=self.hub.commit(name), X_Linked_Size=str(len(content)))
