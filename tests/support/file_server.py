# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A local HTTP server of files that knows ranges, and breaks off, refuses and redirects as it is told."""

from __future__ import annotations

import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class FileServer:
    """files: path → content. ranges: whether it knows them. breaks: bytes after which each of the next answers breaks off.

    statuses: what the next answers refuse with. redirects: path → URL. requests: (path, Range header, Authorization header) of each.
    credentials: `name:password` that every request must bring; none where it is empty.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    breaks: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    redirects: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    credentials: str = ""


class _Handler(BaseHTTPRequestHandler):
    state: FileServer

    def do_GET(self) -> None:
        state, path = self.state, self.path.split("?", 1)[0]
        asked = self.headers.get("Range", "")
        state.requests.append((path, asked, self.headers.get("Authorization", "")))
        if state.statuses:
            self._refuse(state.statuses.pop(0))
        elif state.credentials and self.headers.get("Authorization", "") != f"Basic {b64encode(state.credentials.encode()).decode()}":
            self._refuse(401)
        elif path in state.redirects:
            self._refuse(302, state.redirects[path])
        elif path not in state.files:
            self._refuse(404)
        else:
            self._send(state.files[path], int(asked[6:-1]) if asked and state.ranges else 0)

    def _refuse(self, status: int, location: str = "") -> None:
        self.send_response(status)
        if location:
            self.send_header("Location", location)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, content: bytes, start: int) -> None:
        if start >= len(content) > 0:
            self._refuse(416)
            return
        body = content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.state.breaks:
            body = body[: self.state.breaks.pop(0)]
            self.close_connection = True
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Quiet."""


@contextmanager
def running() -> Iterator[FileServer]:
    state = FileServer()
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
