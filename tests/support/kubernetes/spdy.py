# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""As much of SPDY/3.1 as port-forward needs: streams of one connection, two for each forwarded connection (error and data).

Flow control is left out, as in the library of Kubernetes itself.
"""

from __future__ import annotations

import functools
import socket
import struct
import threading
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from . import tools

_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _PING, _GOAWAY = 1, 2, 3, 6, 7
_FIN = 1
# Headers are compressed with a dictionary of the specification, which begins so and has this length and Adler-32 sum. It is read out of
# kubectl, which holds it as well.
_DICTIONARY_START, _DICTIONARY_SIZE, _DICTIONARY_SUM = b"\0\0\0\x07options\0\0\0\x04head", 1423, 0xE3C6A7C2


@functools.lru_cache(maxsize=1)
def _dictionary() -> bytes:
    program = (tools.folder("helm3") / "kubectl").read_bytes()
    start = program.find(_DICTIONARY_START)
    found = program[start : start + _DICTIONARY_SIZE]
    assert zlib.adler32(found) == _DICTIONARY_SUM, "kubectl does not hold SPDY's dictionary any more"
    return found


@dataclass
class Stream:
    """One direction pair. request: joins the error and the data stream of a connection."""

    number: int
    kind: str
    request: str
    backend: socket.socket | None = None


class Session:
    """pipe: see `streams.Pipe`. connect: port → a connection to it, raises OSError."""

    def __init__(self, pipe: Any, connect: Callable[[int], socket.socket]) -> None:
        self._pipe, self._connect = pipe, connect
        self._inflate = zlib.decompressobj(zdict=_dictionary())
        self._deflate = zlib.compressobj(zdict=_dictionary())
        self._lock = threading.Lock()
        self._streams: dict[int, Stream] = {}
        self._buffer = b""

    def serve(self) -> None:
        """Until the client goes."""
        handlers = {_SYN_STREAM: self._open, _RST_STREAM: self._reset, _PING: self._ping}
        while (head := self._take(8)) is not None:
            word, sizes = struct.unpack(">II", head)
            flags, size = sizes >> 24, sizes & 0xFFFFFF
            body = self._take(size)
            if body is None:
                break
            if not word >> 31:
                self._data(word, flags, body)
            elif word & 0xFFFF == _GOAWAY:
                break
            elif word & 0xFFFF in handlers:
                handlers[word & 0xFFFF](flags, body)
        for each in self._streams.values():
            if each.backend:
                each.backend.close()

    def _take(self, size: int) -> bytes | None:
        while len(self._buffer) < size:
            data = self._pipe.read()
            if not data:
                return None
            self._buffer += data
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    # --- frames that come

    def _open(self, _flags: int, body: bytes) -> None:
        number = struct.unpack(">I", body[:4])[0] & 0x7FFFFFFF
        headers = self._headers(body[10:])
        stream = Stream(number, headers.get("streamtype", ""), headers.get("requestid", ""))
        self._streams[number] = stream
        with self._lock:
            block = self._deflate.compress(struct.pack(">I", 0)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
            self._pipe.write(_control(_SYN_REPLY, struct.pack(">I", number) + block))
        if stream.kind == "data":
            self._forward(stream, int(headers["port"]))

    def _headers(self, block: bytes) -> dict[str, str]:
        plain = self._inflate.decompress(block)
        count, place, words = struct.unpack(">I", plain[:4])[0], 4, []
        for _word in range(2 * count):
            size = struct.unpack(">I", plain[place : place + 4])[0]
            words.append(plain[place + 4 : place + 4 + size].decode())
            place += 4 + size
        return {name.lower(): value for name, value in zip(words[::2], words[1::2])}

    def _data(self, number: int, flags: int, body: bytes) -> None:
        backend = self._streams[number].backend if number in self._streams else None
        if backend is None:
            return
        with suppress(OSError):
            if body:
                backend.sendall(body)
            if flags & _FIN:
                backend.shutdown(socket.SHUT_WR)

    def _reset(self, _flags: int, body: bytes) -> None:
        stream = self._streams.pop(struct.unpack(">I", body[:4])[0], None)
        if stream and stream.backend:
            stream.backend.close()

    def _ping(self, _flags: int, body: bytes) -> None:
        self._pipe.write(_control(_PING, body))

    # --- what goes

    def _forward(self, stream: Stream, port: int) -> None:
        errors = next(each for each in self._streams.values() if each.kind == "error" and each.request == stream.request)
        try:
            stream.backend = self._connect(port)
        except OSError as error:
            self._send(errors.number, f"error forwarding port {port} to pod: {error}".encode(), _FIN)
            self._send(stream.number, b"", _FIN)
            return
        threading.Thread(target=self._pump, args=(stream.backend, stream, errors), daemon=True).start()

    def _pump(self, backend: socket.socket, stream: Stream, errors: Stream) -> None:
        with suppress(OSError):
            while data := backend.recv(65536):
                self._send(stream.number, data, 0)
        self._send(stream.number, b"", _FIN)
        self._send(errors.number, b"", _FIN)

    def _send(self, number: int, data: bytes, flags: int) -> None:
        self._pipe.write(struct.pack(">II", number, flags << 24 | len(data)) + data)


def _control(kind: int, body: bytes) -> bytes:
    return struct.pack(">II", 0x80030000 | kind, len(body)) + body
