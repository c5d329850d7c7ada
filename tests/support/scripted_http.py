# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A local HTTP server that answers as a script says: late, broken, in HTML, or not at all."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

# What a step gets: the connection and the raw request. It returns whether the connection stays open.
Step = Callable[[socket.socket, bytes], bool]


def reply(status: int = 200, body: bytes | str = b"", *, kind: str = "application/json", close: bool = False, headers: str = "") -> Step:
    """An ordinary answer."""
    data = body.encode() if isinstance(body, str) else body

    def step(connection: socket.socket, request: bytes) -> bool:
        head = f"HTTP/1.1 {status} Scripted\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n{headers}"
        connection.sendall(f"{head}{'Connection: close' + chr(13) + chr(10) if close else ''}\r\n".encode() + data)
        return not close

    return step


def raw(data: bytes) -> Step:
    """Bytes as they are, then the end."""

    def step(connection: socket.socket, request: bytes) -> bool:
        connection.sendall(data)
        return False

    return step


def reset(connection: socket.socket, request: bytes) -> bool:
    """A connection reset instead of an answer."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def hang(connection: socket.socket, request: bytes) -> bool:
    """No answer until the client gives up."""
    with suppress(OSError):
        connection.recv(1)
    return False


def then_close(step: Step) -> Step:
    """The answer promises to keep the connection, and the server closes it all the same."""

    def closing(connection: socket.socket, request: bytes) -> bool:
        step(connection, request)
        return False

    return closing


@dataclass
class Scripted:
    """url: where it listens. requests: what came, raw. connections: how many were opened."""

    url: str
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0

    @property
    def lines(self) -> list[str]:
        """The first line of each request without the protocol's version."""
        return [request.split(b"\r\n", 1)[0].decode().rsplit(" ", 1)[0] for request in self.requests]


@contextmanager
def scripted(*steps: Step) -> Iterator[Scripted]:
    """Answers one request with each step; the last one answers all that follow."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = Scripted(f"http://127.0.0.1:{listener.getsockname()[1]}")
    threads: list[threading.Thread] = []

    def accept() -> None:
        while True:
            try:
                connection, _unused = listener.accept()
            except OSError:
                return
            server.connections += 1
            thread = threading.Thread(target=_serve, args=(connection, server, steps), daemon=True)
            thread.start()
            threads.append(thread)

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield server
    finally:
        # Closing alone does not wake a thread in accept().
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join(5)


def _serve(connection: socket.socket, server: Scripted, steps: Sequence[Step]) -> None:
    with connection, suppress(OSError):
        while True:
            request = _read(connection)
            if not request:
                return
            server.requests.append(request)
            if not steps[min(len(server.requests), len(steps)) - 1](connection, request):
                return


def _read(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return b""
        data += more
    head, _unused, body = data.partition(b"\r\n\r\n")
    length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body
