# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A proxy in front of an object store that breaks a share of the requests, as networks and busy stores do.

The plan is drawn from a seed, fault by fault; which request meets which fault depends on the publisher's threads.
"""

from __future__ import annotations

import collections
import http.client
import random
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

# Passed on neither way: they are about one connection.
_HOP = {"connection", "keep-alive", "transfer-encoding", "expect"}
LIMIT = 64 * 1024
# Uploads are completed too seldom for chance: the first so many get an error.
CERTAIN = 2


class ResetError(Exception):
    """The connection is to end without another word: reset, or closed."""


@dataclass
class Exchange:
    """One request on its way. body: what came of it, all of it where the fault lets it come."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes = b""

    def header(self, name: str) -> str:
        return next((value for each, value in self.headers if each.lower() == name), "")

    @property
    def completes(self) -> bool:
        return self.method == "POST" and "uploadId=" in self.target


@dataclass
class Answer:
    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes
    head: bool = False

    def start(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} {self.reason}", *(f"{name}: {value}" for name, value in self.headers)]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def s3_error(status: int, code: str) -> Answer:
    """What S3 answers."""
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>injected</Message><RequestId>1</RequestId></Error>'
    headers = [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))]
    return Answer(status, code, headers, body.encode())


@dataclass
class FaultPlan:
    """share: of the requests that meet a fault. burst: requests that are throttled in a row once one is. kinds: names of faults."""

    seed: int
    share: float = 0.3
    burst: int = 4
    slow_seconds: float = 0.3
    kinds: Sequence[str] = ()
    injected: collections.Counter[str] = field(default_factory=collections.Counter)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._mutex = threading.Lock()
        self._throttled = 0
        self.passed = 0
        self.kinds = self.kinds or tuple(FAULTS)

    def draw(self, exchange: Exchange) -> str:
        """The fault that a request meets, "" for none."""
        with self._mutex:
            if exchange.completes and "error_in_200" in self.kinds and self.injected["error_in_200"] < CERTAIN:
                self.injected["error_in_200"] += 1
                return "error_in_200"
            if self._throttled:
                self._throttled -= 1
                self.injected["throttled"] += 1
                return "slow_down"
            if self._random.random() >= self.share:
                self.passed += 1
                return ""
            kind = self._random.choice([kind for kind in self.kinds if kind != "error_in_200"])
            if kind == "slow_down" and self._random.random() < 0.3:
                self._throttled = self.burst
            self.injected[kind] += 1
            return kind

    @property
    def total(self) -> int:
        return sum(self.injected.values())


class _Handler(socketserver.BaseRequestHandler):
    """One client's connection."""

    server: _Server

    def handle(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self.request.makefile("rb")
        with suppress(ResetError, OSError, http.client.HTTPException):
            while self._one():
                pass
        with suppress(OSError):
            self._file.close()

    def _one(self) -> bool:
        line = self._file.readline(LIMIT)
        if not line.strip():
            return False
        method, target, _version = line.decode("latin-1").split()
        headers = list(http.client.parse_headers(self._file).items())
        exchange = Exchange(method, target, headers)
        fault = self.server.plan.draw(exchange) if self.server.plan else ""
        FAULTS.get(fault, _pass_on)(self, exchange)
        return True

    # what faults are made of

    def reset(self) -> None:
        """Ends the connection with a RST: what was on its way is lost."""
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._file.close()
        self.request.close()
        raise ResetError

    def read_body(self, exchange: Exchange, share: float = 1.0) -> None:
        if exchange.header("expect").lower() == "100-continue":
            self.request.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if exchange.header("transfer-encoding").lower() == "chunked":
            exchange.body = b"".join(self._chunks())
        elif length := int(exchange.header("content-length") or 0):
            exchange.body = self._file.read(int(length * share))

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self._file.readline(LIMIT).split(b";")[0], 16):
            yield self._file.read(size)
            self._file.readline(LIMIT)
        while self._file.readline(LIMIT).strip():
            pass

    def ask(self, exchange: Exchange) -> Answer:
        """The server's answer."""
        connection = http.client.HTTPConnection(self.server.upstream, timeout=60)
        try:
            connection.putrequest(exchange.method, exchange.target, skip_host=True, skip_accept_encoding=True)
            for name, value in exchange.headers:
                if name.lower() not in _HOP:
                    connection.putheader(name, value)
            if exchange.header("transfer-encoding"):
                connection.putheader("Content-Length", str(len(exchange.body)))
            connection.endheaders(exchange.body or None)
            got = connection.getresponse()
            body = got.read()
            headers = [(name, value) for name, value in got.getheaders() if name.lower() not in _HOP]
            if not any(name.lower() == "content-length" for name, _value in headers):
                headers.append(("Content-Length", str(len(body))))
            return Answer(got.status, got.reason, headers, body, exchange.method == "HEAD")
        finally:
            connection.close()

    def give(self, answer: Answer) -> None:
        self.request.sendall(answer.start() + (b"" if answer.head else answer.body))


def _pass_on(handler: _Handler, exchange: Exchange) -> None:
    handler.read_body(exchange)
    handler.give(handler.ask(exchange))


def _refuse(status: int, code: str) -> Callable[[_Handler, Exchange], None]:
    def fault(handler: _Handler, exchange: Exchange) -> None:
        handler.read_body(exchange)
        answer = s3_error(status, code)
        answer.head = exchange.method == "HEAD"
        handler.give(answer)

    return fault


def _reset_before(handler: _Handler, exchange: Exchange) -> None:
    handler.reset()


def _reset_in_body(handler: _Handler, exchange: Exchange) -> None:
    handler.read_body(exchange, 0.5)
    handler.reset()


def _reset_after(handler: _Handler, exchange: Exchange) -> None:
    """The server did what was asked; nobody hears of it."""
    handler.read_body(exchange)
    handler.ask(exchange)
    handler.reset()


def _reset_in_answer(handler: _Handler, exchange: Exchange) -> None:
    handler.read_body(exchange)
    answer = handler.ask(exchange)
    handler.request.sendall((answer.start() + answer.body)[: len(answer.start()) // 2])
    handler.reset()


def _truncate(handler: _Handler, exchange: Exchange) -> None:
    """Half of the answer's body under its full Content-Length, and an orderly end."""
    handler.read_body(exchange)
    answer = handler.ask(exchange)
    handler.request.sendall(answer.start() + (b"" if answer.head else answer.body[: len(answer.body) // 2]))
    handler.request.shutdown(socket.SHUT_RDWR)
    raise ResetError


def _slow(handler: _Handler, exchange: Exchange) -> None:
    handler.read_body(exchange)
    answer = handler.ask(exchange)
    data = answer.start() + (b"" if answer.head else answer.body)
    for part in (data[:50], data[50:200], data[200:]):
        time.sleep(handler.server.plan.slow_seconds / 3 if handler.server.plan else 0)
        handler.request.sendall(part)


def _error_in_200(handler: _Handler, exchange: Exchange) -> None:
    """Real S3 does so when it fails after it began to answer."""
    handler.read_body(exchange)
    handler.give(s3_error(200, "InternalError"))


FAULTS: dict[str, Callable[[_Handler, Exchange], None]] = {
    "slow_down": _refuse(503, "SlowDown"),
    "internal": _refuse(500, "InternalError"),
    "reset_before": _reset_before,
    "reset_in_body": _reset_in_body,
    "reset_after": _reset_after,
    "reset_in_answer": _reset_in_answer,
    "truncated": _truncate,
    "slow": _slow,
    "error_in_200": _error_in_200,
}


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256
    upstream = ""
    plan: FaultPlan | None = None

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no error of ours."""


@contextmanager
def fault_proxy(upstream: str, plan: FaultPlan | None) -> Iterator[str]:
    """Yields the URL of a proxy to the http server `upstream`. plan: None lets everything pass."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.upstream, server.plan = urlsplit(upstream).netloc, plan
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join(5)
