# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A stand-in for the gateway in front of EAS's services: it lets requests with the service's token through to a real tritonserver.

A service is at /api/predict/<name>; its base path is taken off. What is not a running service of the EAS stand-in is not served.
"""

from __future__ import annotations

import http.client
import json
import socket
import struct
import sys
import threading
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from .eas_server import EasServer
from .eas_state import RUNNING, Service

BASE = "/api/predict/"
TIMEOUT_SECONDS = 60
# Passed on neither way: they are about one connection. The token is the gateway's own.
_OWN = {"connection", "keep-alive", "transfer-encoding", "expect", "host", "authorization", "content-length"}
# Triton's header that says where JSON ends and tensors begin.
_BINARY = "inference-header-content-length"
_REASONS = {401: "Unauthorized", 404: "Not Found", 408: "Request Timeout", 429: "Too Many Requests", 450: "Request Queue Full"}


@dataclass
class GatewayFault:
    """Happens to the next `times` requests whose path holds `part`. status: 408, 429, 450, 502, 503, 504…; 0 resets the connection."""

    status: int = 503
    times: int = 1
    part: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Passed:
    """One request that was answered. path: without the base path."""

    service: str
    method: str
    path: str
    status: int


@dataclass(frozen=True)
class _Answer:
    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    close: bool = False


class EasGateway:
    """Listens on a port of loopback from the start on, and is the gateway that the EAS stand-in tells of; `close` ends it.

    Its address is 127.0.0.1 for the internet and localhost for the intranet.

    upstream: the URL of tritonserver's HTTP port. metrics: that of its metrics, then served at <base path>/metrics.
    warm_up: requests that get `warm_up_status` after each deployment of a service. binary: whether binary tensors pass; older gateways
    lose the header that marks them. limit: the most requests at a time; more get 450.
    """

    def __init__(self, eas: EasServer, upstream: str, metrics: str = "") -> None:
        self.eas, self.upstream, self.metrics = eas, upstream, metrics
        self.faults: list[GatewayFault] = []
        self.log: list[Passed] = []
        self.warm_up, self.warm_up_status = 0, 503
        self.binary = True
        self.limit = 0
        self.mutex = threading.Lock()
        self._warmed: dict[tuple[str, int, int], int] = {}
        self._active = 0
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        eas.services.gateway, eas.services.intranet = self.url, self.url.replace("127.0.0.1", "localhost")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def __enter__(self) -> EasGateway:
        return self

    def __exit__(self, *_unused: object) -> None:
        self.close()

    def serving(self, name: str) -> str:
        """The URL of what serves a service, empty where nothing does."""
        with self.eas.mutex:
            service = self.eas.services.all.get(name)
            serves = service is not None and service.status == RUNNING and service.running > 0
        return self.upstream if serves else ""

    # --- one request

    def answer(self, method: str, target: str, headers: Message, body: bytes) -> _Answer:
        name, slash, rest = target.removeprefix(BASE).partition("/")
        path = f"/{rest}" if slash else "/"
        with self.mutex:
            self._active += 1
        try:
            found = self._refusal(name, target, path, headers) or self._pass_on(self.serving(name), method, path, headers, body)
        finally:
            with self.mutex:
                self._active -= 1
        with self.mutex:
            self.log.append(Passed(name, method, path, found.status))
        return found

    def _refusal(self, name: str, target: str, path: str, headers: Message) -> _Answer | None:
        with self.eas.mutex:
            service = self.eas.services.all.get(name)
        if service is None or not target.startswith(BASE):
            return _refused(404, f"service {name} is not found")
        if headers.get("Authorization", "") != service.token:
            return _refused(401, "Authorization Failed")
        if not self.serving(name):
            return _refused(503, f"service {name} has no instance that serves")
        with self.mutex:
            if self.limit and self._active > self.limit:
                return _refused(450, "the queue of the service is full")
            fault = next((each for each in self.faults if each.times > 0 and each.part in path), None)
            if fault:
                fault.times -= 1
                # EAS closes the connection of a request that took too long.
                return _refused(fault.status, "By order of the test.", fault.headers, close=fault.status == 408)
            return self._cold(service)

    def _cold(self, service: Service) -> _Answer | None:
        key = (service.identity, service.current, service.restarts)
        self._warmed[key] = self._warmed.get(key, 0) + 1
        return _refused(self.warm_up_status, "no healthy upstream") if self._warmed[key] <= self.warm_up else None

    def _pass_on(self, upstream: str, method: str, path: str, headers: Message, body: bytes) -> _Answer:
        measured = bool(self.metrics) and path == "/metrics"
        url = urlsplit(self.metrics if measured else upstream)
        connection = http.client.HTTPConnection(url.netloc, timeout=TIMEOUT_SECONDS)
        try:
            connection.putrequest(method, url.path if measured else path, skip_accept_encoding=True)
            for key, value in headers.items():
                if self._passes(key):
                    connection.putheader(key, value)
            if body or method in ("POST", "PUT"):
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body or None)
            got = connection.getresponse()
            kept = tuple((key, value) for key, value in got.getheaders() if self._passes(key))
            return _Answer(got.status, got.read(), kept)
        except (OSError, http.client.HTTPException) as error:
            return _refused(502, f"upstream: {error}")
        finally:
            connection.close()

    def _passes(self, header: str) -> bool:
        return header.lower() not in _OWN and (self.binary or header.lower() != _BINARY)


def _refused(status: int, message: str, headers: Mapping[str, str] | None = None, *, close: bool = False) -> _Answer:
    body = json.dumps({"code": status, "message": message}).encode()
    return _Answer(status, body, (("Content-Type", "application/json"), *(headers or {}).items()), close)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, owner: EasGateway) -> None:
        self.owner = owner
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are part of the tests, all else is a mistake of ours."""
        if not isinstance(sys.exc_info()[1], OSError):
            self.owner.eas.crashes.append(traceback.format_exc())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    # One write an answer: a client that sees its head can read its body.
    wbufsize = -1
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """`EasGateway.log` is the log."""

    def _serve(self) -> None:
        answer = self.server.owner.answer(self.command, self.path, self.headers, self._body())
        if answer.status == 0:
            return self._reset()
        self.send_response_only(answer.status, _REASONS.get(answer.status))
        for name, value in answer.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        if answer.close:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)
        return None

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _serve  # noqa: N815 - the base class's names

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            """Trailers are nobody's."""
        return b"".join(parts)

    def _reset(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
