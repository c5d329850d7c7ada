# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""As much of Grafana's API as the modules of community.grafana ask: datasources, folders and dashboards, for one token."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

VERSION = "11.6.0"


@dataclass
class Grafana:
    """folders, dashboards (by uid) and datasources (by name), as they were posted."""

    token: str
    url: str = ""
    folders: list[dict[str, Any]] = field(default_factory=list)
    dashboards: dict[str, dict[str, Any]] = field(default_factory=dict)
    datasources: dict[str, dict[str, Any]] = field(default_factory=dict)

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        known = {
            ("GET", "/api/health"): {"version": VERSION},
            ("GET", "/api/frontend/settings"): {"buildInfo": {"version": VERSION}},
            ("GET", "/api/folders"): self.folders,
        }
        if (method, path) in known:
            return 200, known[method, path]
        if (method, path) == ("POST", "/api/folders"):
            self.folders.append({"id": len(self.folders) + 1, "uid": f"f{len(self.folders)}", "title": body["title"]})
            return 200, self.folders[-1]
        if (method, path) == ("POST", "/api/dashboards/db"):
            return 200, self._keep(body)
        kept, _slash, name = path.removeprefix("/api/").rpartition("/")
        return self._one({"dashboards/uid": self.dashboards, "datasources/name": self.datasources}.get(kept, {}), method, name)

    def _keep(self, body: Any) -> dict[str, Any]:
        uid = body["dashboard"]["uid"]
        folder = next(each for each in self.folders if each["id"] == body["folderId"])
        self.dashboards[uid] = {"dashboard": body["dashboard"], "meta": {"folderId": folder["id"], "slug": "triton"}}
        return {"uid": uid, "status": "success"}

    @staticmethod
    def _one(values: dict[str, dict[str, Any]], method: str, name: str) -> tuple[int, Any]:
        if name not in values:
            return 404, {"message": "not found"}
        return 200, values.pop(name) if method == "DELETE" else values[name]


class _Handler(BaseHTTPRequestHandler):
    state: Grafana

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        allowed = self.headers.get("Authorization") == f"Bearer {self.state.token}"
        status, value = (
            self.state.answer(self.command, self.path.partition("?")[0], body) if allowed else (401, {"message": "Unauthorized"})
        )
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_DELETE = _serve  # noqa: N815 - the base class's names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Quiet."""


@contextmanager
def running(token: str) -> Iterator[Grafana]:
    state = Grafana(token)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"state": state}))
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
