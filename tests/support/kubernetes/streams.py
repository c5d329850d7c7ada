# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""exec and port-forward: connections that are upgraded, to WebSockets by the newer clients and to SPDY by kubectl's port-forward.

kubectl speaks SPDY for port-forward in any case, inside of a WebSocket where it can.
"""

from __future__ import annotations

import json
import select
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Ping, TextMessage

from .errors import bad_request
from .routes import Asked
from .spdy import Session

_TUNNEL = "SPDY/3.1+portforward.k8s.io"
_CHANNELS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_STDOUT, _STDERR, _ERROR = 1, 2, 3


class Pipe(Protocol):
    """read: the next bytes, b"" at the end. write: from any thread."""

    def read(self) -> bytes: ...

    def write(self, data: bytes) -> None: ...


class Raw:
    """A connection as it is. One lock for both ways: TLS is not to be read and written at once."""

    def __init__(self, handler: Any) -> None:
        self._connection, self._server = handler.connection, handler.server
        self._lock = threading.Lock()

    def read(self) -> bytes:
        with suppress(OSError):
            while not self._server.closing:
                if self._connection.pending() or select.select([self._connection], [], [], 0.2)[0]:
                    with self._lock:
                        data: bytes = self._connection.recv(65536)
                        return data
        return b""

    def write(self, data: bytes) -> None:
        with self._lock, suppress(OSError):
            self._connection.sendall(data)


class WebSocket:
    """The server's end of one. Messages come and go as bytes; where a message ends is kept."""

    def __init__(self, handler: Any, asked: Asked, protocol: str) -> None:
        self._pipe = Raw(handler)
        self._lock = threading.Lock()
        self._frames = WSConnection(ConnectionType.SERVER)
        headers = [(name.encode(), value.encode()) for name, value in asked.headers.items()]
        self._frames.initiate_upgrade_connection(headers, asked.path)
        next(self._frames.events())
        self._pipe.write(self._frames.send(AcceptConnection(subprotocol=protocol)))
        self._messages: list[bytes] = []
        self._part = b""

    def read(self) -> bytes:
        while not self._messages:
            data = self._pipe.read()
            if not data:
                return b""
            with self._lock:
                self._frames.receive_data(data)
                ended = any(self._closes(event) for event in self._frames.events())
            if ended and not self._messages:
                return b""
        return self._messages.pop(0)

    def _closes(self, event: Any) -> bool:
        if isinstance(event, (BytesMessage, TextMessage)):
            self._part += event.data.encode() if isinstance(event.data, str) else bytes(event.data)
            if event.message_finished:
                # An empty message says nothing; b"" is the end.
                self._messages += [self._part] if self._part else []
                self._part = b""
        if isinstance(event, Ping):
            self._pipe.write(self._frames.send(event.response()))
        return isinstance(event, CloseConnection)

    def write(self, data: bytes) -> None:
        with self._lock:
            self._pipe.write(self._frames.send(BytesMessage(data)))

    def close(self) -> None:
        with self._lock:
            self._pipe.write(self._frames.send(CloseConnection(code=1000)))


def _offered(asked: Asked) -> list[str]:
    return [each.strip() for each in asked.headers.get("sec-websocket-protocol", "").split(",")]


def serve_port_forward(handler: Any, asked: Asked, pod: dict[str, Any]) -> None:
    """Raises ApiError for what is no upgrade."""

    def connect(port: int) -> socket.socket:
        return handler.server.kubelet.connect(pod, port)  # type: ignore[no-any-return]

    if _TUNNEL in _offered(asked):
        return Session(WebSocket(handler, asked, _TUNNEL), connect).serve()
    protocol = next((each for each in _CHANNELS if each in _offered(asked)), "")
    if protocol:
        ports = [int(each) for each in parse_qs(urlsplit(handler.path).query).get("ports", ["0"])[0].split(",")]
        return _forward_channels(WebSocket(handler, asked, protocol), connect, ports)
    if asked.headers.get("upgrade", "").upper() == "SPDY/3.1":
        handler.send_response_only(101)
        for name, value in (("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1"), ("X-Stream-Protocol-Version", "portforward.k8s.io")):
            handler.send_header(name, value)
        handler.end_headers()
        return Session(Raw(handler), connect).serve()
    raise bad_request("Upgrade request required")


def _forward_channels(pipe: WebSocket, connect: Callable[[int], socket.socket], ports: Sequence[int]) -> None:
    """As the python client does it: two channels a port, data and error, each of which begins with the port's number."""
    backends: dict[int, socket.socket] = {}
    for place, port in enumerate(ports):
        number = port.to_bytes(2, "little")
        pipe.write(bytes([2 * place]) + number)
        pipe.write(bytes([2 * place + 1]) + number)
        try:
            backends[2 * place] = connect(port)
        except OSError as error:
            pipe.write(bytes([2 * place + 1]) + str(error).encode())
            continue
        threading.Thread(target=_to_channel, args=(backends[2 * place], pipe, 2 * place), daemon=True).start()
    while data := pipe.read():
        if data[0] in backends:
            with suppress(OSError):
                backends[data[0]].sendall(data[1:])
    for each in backends.values():
        each.close()


def _to_channel(source: socket.socket, pipe: WebSocket, channel: int) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            pipe.write(bytes([channel]) + data)
    pipe.close()


def serve_exec(handler: Any, asked: Asked, pod: dict[str, Any]) -> None:
    """Runs a command as the pod's behaviour says. Raises ApiError for what is no WebSocket."""
    protocol = next((each for each in _CHANNELS if each in _offered(asked)), "")
    if not protocol:
        raise bad_request("the stand-in serves exec over WebSockets alone")
    query = parse_qs(urlsplit(handler.path).query)
    kubelet = handler.server.kubelet
    name = query.get("container", [pod["spec"]["containers"][0]["name"]])[0]
    container = next((each for each in pod["spec"]["containers"] if each["name"] == name), None)
    if container is None:
        raise bad_request(f"container {name} is not valid for pod {pod['metadata']['name']}")
    code, output, errors = kubelet.execute(pod, container, query.get("command", []))
    pipe = WebSocket(handler, asked, protocol)
    for channel, text in ((_STDOUT, output), (_STDERR, errors)):
        if text:
            pipe.write(bytes([channel]) + text.encode())
    status: dict[str, Any] = {"metadata": {}, "status": "Success"}
    if code:
        causes = [{"reason": "ExitCode", "message": str(code)}]
        told = f"command terminated with non-zero exit code: exit status {code}"
        status = {"metadata": {}, "status": "Failure", "message": told, "reason": "NonZeroExitCode", "details": {"causes": causes}}
    pipe.write(bytes([_ERROR]) + json.dumps(status).encode())
    pipe.close()
