# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An S3 server that is never the limit: one loop, objects in memory, nothing checked. For measurements only; the tests have another one.

python -m benchmarks.publishing.server [--delay SECONDS] [--certificate FILE --key FILE]; prints its port. GET /_counts tells the requests
since the last one. What is large is counted and dropped: 1 GiB need not be kept to be timed.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import ssl
import time
from base64 import b64decode
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from email.utils import formatdate
from urllib.parse import parse_qsl, quote, unquote

BUFFER = 1 << 20
KEPT = 32 << 20
_XML = '<?xml version="1.0" encoding="UTF-8"?>\n'


class Objects:
    """All buckets are one; keys as they stand in the URL, decoded, with the bucket."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.bodies: dict[str, tuple[bytes, int, str, float]] = {}
        self.lines: dict[str, str] = {}
        self.uploads: dict[str, dict[int, int]] = {}
        self.counts: Counter[str] = Counter()

    def put(self, key: str, body: bytes, size: int, stamp: str) -> None:
        if key not in self.bodies:
            insort(self.keys, key)
        now = time.time()
        self.bodies[key] = (body, size, stamp, now)
        name = quote(key.partition("/")[2])
        # Whole seconds, rounded up: what compares times would upload again what is newer by a fraction.
        written = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(now + 1))
        self.lines[key] = (
            f"<Contents><Key>{name}</Key><LastModified>{written}</LastModified><ETag>&quot;{stamp}&quot;</ETag>"
            f"<Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        )

    def drop(self, key: str) -> None:
        if self.bodies.pop(key, None):
            del self.keys[bisect_left(self.keys, key)]

    def list(self, bucket: str, query: dict[str, str]) -> str:
        prefix = f"{bucket}/{query.get('prefix', '')}"
        after = query.get("continuation-token") or query.get("start-after") or query.get("marker") or ""
        begin = max(bisect_left(self.keys, prefix), bisect_right(self.keys, f"{bucket}/{after}") if after else 0)
        end = bisect_left(self.keys, prefix + "\U0010ffff")
        page = self.keys[begin : min(end, begin + int(query.get("max-keys", "1000")))]
        truncated = begin + len(page) < end
        last = quote(page[-1].partition("/")[2]) if page else ""
        token = f"<NextContinuationToken>{last}</NextContinuationToken><NextMarker>{last}</NextMarker>" if truncated else ""
        return (
            f'{_XML}<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>{bucket}</Name><EncodingType>url</EncodingType>'
            f"<KeyCount>{len(page)}</KeyCount><IsTruncated>{str(truncated).lower()}</IsTruncated>{token}"
            f"{''.join([self.lines[key] for key in page])}</ListBucketResult>"
        )


class Connection(asyncio.BufferedProtocol):
    def __init__(self, objects: Objects, delay: float) -> None:
        self._objects, self._delay = objects, delay
        self._block = memoryview(bytearray(BUFFER))
        self._head = b""
        self._left = self._size = 0
        self._body: bytearray | None = None
        self._chunked = False
        self._request: tuple[str, str, dict[str, str]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def get_buffer(self, _sizehint: int) -> memoryview:
        return self._block

    def buffer_updated(self, nbytes: int) -> None:
        data = self._block[:nbytes]
        while True:
            if self._request is None:
                rest = self._begin(bytes(data))
                if rest is None:
                    return
                data = memoryview(rest)
            data = self._take(data)
            if self._left:
                return
            self._answer()
            if not data:
                return

    def _begin(self, data: bytes) -> bytes | None:
        """Reads a head; returns what follows it, None while it is not whole."""
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            return None
        first, *lines = self._head[:end].decode("latin-1").split("\r\n")
        rest, self._head = self._head[end + 4 :], b""
        headers = {name.lower(): value.strip() for name, _colon, value in (line.partition(":") for line in lines)}
        method, target, _version = first.split(" ")
        self._request = (method, target, headers)
        self._chunked = "chunked" in headers.get("transfer-encoding", "")
        self._left = self._size = 1 if self._chunked else int(headers.get("content-length", 0))
        # Parts and what is as large as them are dropped, all else is kept.
        large = "partNumber=" in target or self._size > KEPT
        self._body = None if large and not self._chunked else bytearray()
        if "100-continue" in headers.get("expect", "").lower():
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return rest

    def _take(self, data: memoryview) -> memoryview:
        if self._chunked:
            assert self._body is not None
            self._body += data
            self._left = 0 if self._body.endswith(b"\r\n0\r\n\r\n") or self._body == b"0\r\n\r\n" else 1
            return data[:0]
        taken = data[: self._left]
        if self._body is not None:
            self._body += taken
        self._left -= len(taken)
        return data[len(taken) :]

    def _answer(self) -> None:
        assert self._request is not None
        method, target, headers = self._request
        status, extra, body = self._handle(method, target, headers, bytes(self._body or b""))
        self._request, self._body = None, None
        length = extra.pop("content-length", str(len(body)))
        lines = "".join(f"{name}: {value}\r\n" for name, value in extra.items())
        answer = f"HTTP/1.1 {status} X\r\nDate: {_date()}\r\nContent-Length: {length}\r\n{lines}\r\n".encode() + (
            b"" if method == "HEAD" else body
        )
        if self._delay:
            asyncio.get_running_loop().call_later(self._delay, self._transport.write, answer)
        else:
            self._transport.write(answer)

    def _handle(self, method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        objects = self._objects
        path, _mark, tail = target.partition("?")
        query = dict(parse_qsl(tail, keep_blank_values=True)) if tail else {}
        name = unquote(path).lstrip("/")
        if name == "_counts":
            counts = json.dumps(objects.counts).encode()
            objects.counts.clear()
            return 200, {}, counts
        bucket, _slash, key = name.partition("/")
        objects.counts[f"{method} {'object' if key else 'bucket'}"] += 1
        if method == "PUT":
            return self._put(name if key else "", query, headers, body)
        if method == "POST":
            return self._post(name, bucket, query, body)
        if method == "DELETE":
            objects.uploads.pop(query.get("uploadId", ""), None) if "uploadId" in query else objects.drop(name)
            return 204, {}, b""
        return self._get(name, key, bucket, query)

    def _get(self, name: str, key: str, bucket: str, query: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        if not key:
            if "uploads" in query:
                return 200, {}, b"<R><IsTruncated>false</IsTruncated></R>"
            if "location" in query:
                return 200, {}, f'{_XML}<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/"/>'.encode()
            return 200, {"Content-Type": "application/xml"}, self._objects.list(bucket, query).encode()
        if name not in self._objects.bodies:
            return 404, {}, b"<Error><Code>NoSuchKey</Code></Error>"
        body, size, stamp, written = self._objects.bodies[name]
        return 200, {"ETag": f'"{stamp}"', "Last-Modified": formatdate(written, usegmt=True), "content-length": str(size)}, body

    def _put(self, name: str, query: dict[str, str], headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        objects = self._objects
        if not name:
            return 200, {}, b""
        size = int(headers.get("x-amz-decoded-content-length") or self._size)
        if "partNumber" in query:
            objects.uploads.setdefault(query["uploadId"], {})[int(query["partNumber"])] = size
            return 200, {"ETag": f'"{size:032x}"'}, b""
        there = objects.bodies.get(name)
        wanted = headers.get("if-match", "").strip('"')
        if ("if-none-match" in headers and there) or (wanted and (there is None or there[2] != wanted)):
            return 412, {}, b"<Error><Code>PreconditionFailed</Code></Error>"
        if self._size > KEPT and not body:
            stamp = b64decode(headers.get("content-md5", "")).hex() or f"{size:032x}"
        else:
            stamp = hashlib.md5(_plain(body, size), usedforsecurity=False).hexdigest()
        objects.put(name, body, size, stamp)
        return 200, {"ETag": f'"{stamp}"'}, b""

    def _post(self, name: str, bucket: str, query: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        objects = self._objects
        if "delete" in query:
            for part in body.decode().split("<Key>")[1:]:
                objects.drop(f"{bucket}/{part.partition('</Key>')[0]}")
            return 200, {}, b"<DeleteResult/>"
        if "uploads" in query:
            upload = f"u{len(objects.uploads)}-{sum(objects.counts.values())}"
            objects.uploads[upload] = {}
            return 200, {}, f"{_XML}<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>".encode()
        parts = objects.uploads.pop(query["uploadId"])
        stamp = f"{abs(hash(name)):032x}-{len(parts)}"
        objects.put(name, b"", sum(parts.values()), stamp)
        return 200, {}, f"{_XML}<CompleteMultipartUploadResult><ETag>&quot;{stamp}&quot;</ETag></CompleteMultipartUploadResult>".encode()


def _plain(body: bytes, size: int) -> bytes:
    """The content of a body in signed or unsigned chunks."""
    if len(body) == size:
        return body
    found = b""
    while body:
        line, _end, body = body.partition(b"\r\n")
        length = int(line.partition(b";")[0] or b"0", 16)
        if not length:
            break
        found, body = found + body[:length], body[length + 2 :]
    return found if len(found) == size else _plain(found, size) if len(found) > size else found


_now = [0.0, ""]


def _date() -> str:
    now = time.monotonic()
    if now - float(_now[0]) > 0.5 or not _now[1]:
        _now[:] = [now, formatdate(usegmt=True)]
    return str(_now[1])


async def serve(arguments: argparse.Namespace) -> None:
    context = None
    if arguments.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(arguments.certificate, arguments.key)
    objects = Objects()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(objects, arguments.delay), "127.0.0.1", 0, ssl=context, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
