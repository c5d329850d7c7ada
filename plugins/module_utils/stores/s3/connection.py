# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""HTTP/1.1 over kept connections, as much of it as S3 needs.

The standard library's client takes 59 µs of the processor for a small PUT, most of it in the parser of mail headers; this takes 13.
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Union

from ...core.errors import InputError
from .place import Endpoint
from .proxy import Proxy

_BLOCK = 256 << 10
_MAX_HEAD = 64 << 10
# What an answer may hold that is not streamed: a listing has at most 1 MiB, a manifest of 100,000 files 20 MiB.
_MAX_BODY = 256 << 20


class BrokenAnswerError(OSError):
    """The connection ended in the middle of an answer, or what came is no HTTP."""


@dataclass(frozen=True)
class FileRange:
    """Bytes of an open file that are sent as they are. path: for people."""

    handle: int
    offset: int
    size: int
    path: str = ""


Body = Union[bytes, FileRange]


@dataclass(frozen=True)
class Answer:
    """headers: with lower-case names. body: empty where it was streamed."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


# Called with a good answer's head and each block of its body, instead of keeping it.
Sink = Callable[[Answer, memoryview], None]
# The same within this file: the head is known then.
_Take = Callable[[memoryview], None]


def changed(path: str) -> InputError:
    return InputError("the file changed while it was published", where=path, remedy="Run this again when nobody writes the source.")


class Connection:
    """One connection; used by one thread at a time. served: whether it answered before. answering: whether an answer has begun."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._rest = b""
        self.served = False
        self.answering = False
        self.reusable = True

    @property
    def tls_session(self) -> ssl.SSLSession | None:
        return self._socket.session if isinstance(self._socket, ssl.SSLSocket) else None

    def close(self) -> None:
        self._socket.close()

    def exchange(self, head: bytes, body: Body, *, has_body: bool = True, sink: Sink | None = None) -> Answer:
        """Sends a request and reads its answer. has_body: False for HEAD. Raises OSError."""
        self.answering = False
        try:
            self._send(head, body)
        except (BrokenPipeError, ConnectionResetError):
            # A server that refuses a large body answers and closes before it has read all: what it said tells more.
            answer = self._early()
            if answer is None:
                raise
            return answer
        answer = self._receive(has_body, sink)
        self.served = True
        return answer

    def _early(self) -> Answer | None:
        self.reusable = False
        try:
            return self._receive(True, None)
        except OSError:
            return None

    def _send(self, head: bytes, body: Body) -> None:
        if isinstance(body, bytes):
            self._socket.sendall(head + body)
            return
        self._socket.sendall(head)
        # A file object of its own: sendfile of the standard library moves its position.
        if not isinstance(self._socket, ssl.SSLSocket):
            with open(os.dup(body.handle), "rb", buffering=0) as file:
                sent = self._socket.sendfile(file, body.offset, body.size) if body.size else 0
            if sent != body.size:
                raise changed(body.path)
            return
        end = body.offset + body.size
        position = body.offset
        while position < end:
            block = os.pread(body.handle, min(_BLOCK, end - position), position)
            if not block:
                raise changed(body.path)
            self._socket.sendall(block)
            position += len(block)

    def _receive(self, has_body: bool, sink: Sink | None) -> Answer:
        status, headers = self._head()
        while status // 100 == 1:
            status, headers = self._head()
        if headers.get("connection", "").lower() == "close":
            self.reusable = False
        if not has_body or status in (204, 304):
            return Answer(status, headers)
        good = partial(sink, Answer(status, headers)) if sink is not None and status in (200, 206) else None
        if "chunked" in headers.get("transfer-encoding", "").lower():
            return Answer(status, headers, self._chunks(good))
        if "content-length" not in headers:
            self.reusable = False
            return Answer(status, headers, self._until_end(good))
        length = headers["content-length"]
        if not length.isdecimal():
            raise BrokenAnswerError("the answer has no valid length")
        return Answer(status, headers, self._sized(int(length), good))

    def _head(self) -> tuple[int, dict[str, str]]:
        data = self._rest
        while (end := data.find(b"\r\n\r\n")) < 0:
            if len(data) > _MAX_HEAD:
                raise BrokenAnswerError("the answer's headers do not end")
            more = self._socket.recv(_BLOCK)
            if not more:
                raise BrokenAnswerError("the connection was closed" + (" within an answer" if data else ""))
            data += more
            self.answering = True
        self._rest = data[end + 4 :]
        first, *lines = data[:end].decode("latin-1").split("\r\n")
        if not (first.startswith("HTTP/1.") and first[9:12].isdecimal()):
            raise BrokenAnswerError("the answer is not HTTP")
        if first.startswith("HTTP/1.0"):
            self.reusable = False
        pairs = (line.partition(":") for line in lines)
        return int(first[9:12]), {name.lower(): value.strip() for name, _colon, value in pairs}

    def _sized(self, length: int, sink: _Take | None) -> bytes:
        first, self._rest = self._rest[:length], self._rest[length:]
        if len(first) == length and sink is None:
            return first
        if sink is None and length > _MAX_BODY:
            raise BrokenAnswerError("the answer is too long")
        parts, left = [first], length - len(first)
        if sink is not None:
            sink(memoryview(first))
        while left:
            block = self._socket.recv(min(_BLOCK, left))
            if not block:
                raise BrokenAnswerError(f"the answer ended {left} bytes early")
            left -= len(block)
            if sink is None:
                parts.append(block)
            else:
                sink(memoryview(block))
        return b"".join(parts) if sink is None else b""

    def _chunks(self, sink: _Take | None) -> bytes:
        parts: list[bytes] = []
        while size := int(self._line().partition(b";")[0], 16):
            parts.append(self._sized(size, sink))
            self._line()
        while self._line():
            pass
        return b"".join(parts)

    def _line(self) -> bytes:
        while b"\r\n" not in self._rest:
            more = self._socket.recv(_BLOCK)
            if not more or len(self._rest) > _MAX_HEAD:
                raise BrokenAnswerError("the answer ended early")
            self._rest += more
        line, _end, self._rest = self._rest.partition(b"\r\n")
        return line

    def _until_end(self, sink: _Take | None) -> bytes:
        parts, block = [], self._rest or self._socket.recv(_BLOCK)
        while block:
            parts.append(block) if sink is None else sink(memoryview(block))
            block = self._socket.recv(_BLOCK)
        return b"".join(parts)


@dataclass(frozen=True)
class Links:
    """How connections are made. timeout: seconds for connecting and for each wait."""

    timeout: float
    validate_certs: bool = True
    ca_path: str | None = None


class Pool:
    """Idle connections to one server. Safe to share among threads."""

    def __init__(self, endpoint: Endpoint, links: Links) -> None:
        self._endpoint, self._links = endpoint, links
        self._proxy = Proxy.of(endpoint)
        self._context = _context(links) if endpoint.secure else None
        self._idle: deque[Connection] = deque()
        self._session: ssl.SSLSession | None = None
        self._mutex = threading.Lock()

    def get(self) -> Connection:
        """A connection. Raises OSError when a new one cannot be made."""
        try:
            return self._idle.pop()
        except IndexError:
            return Connection(self._open())

    def put(self, connection: Connection) -> None:
        if not connection.reusable:
            connection.close()
            return
        if self._session is None and self._context is not None:
            # With TLS 1.3 it comes after the handshake; the next connections take a third of the time with it.
            self._session = connection.tls_session
        self._idle.append(connection)

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _open(self) -> socket.socket:
        where = self._proxy or self._endpoint
        sock = socket.create_connection((where.host.strip("[]"), where.port), self._links.timeout)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._proxy is not None and self._endpoint.secure:
                self._tunnel(sock, self._proxy)
            if self._context is not None:
                return self._context.wrap_socket(sock, server_hostname=self._endpoint.host.strip("[]"), session=self._session)
        except OSError:
            sock.close()
            raise
        return sock

    def _tunnel(self, sock: socket.socket, proxy: Proxy) -> None:
        target = f"{self._endpoint.host}:{self._endpoint.port}"
        head = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{proxy.header}\r\n"
        answer = Connection(sock).exchange(head.encode("latin-1"), b"", has_body=False)
        if answer.status != 200:
            raise BrokenAnswerError(f"the proxy {proxy.host}:{proxy.port} answered {answer.status}")

    @property
    def target_prefix(self) -> str:
        """What stands before the path in a request: a proxy of plain http wants the whole URL."""
        return f"http://{self._endpoint.authority}" if self._proxy is not None and not self._endpoint.secure else ""

    @property
    def proxy_header(self) -> str:
        return self._proxy.header if self._proxy is not None and not self._endpoint.secure else ""


def _context(links: Links) -> ssl.SSLContext:
    place = links.ca_path or os.environ.get("AWS_CA_BUNDLE") or None
    folder = bool(place) and os.path.isdir(place or "")
    context = ssl.create_default_context(cafile=None if folder else place, capath=place if folder else None)
    if not links.validate_certs:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
