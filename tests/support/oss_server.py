# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A stand-in for Alibaba Cloud OSS: its protocol over a socket, in memory, with faults on demand and a log of requests.

It checks V1 and V4 signatures, Content-MD5, clock and region, answers CRC64 and ETags as OSS does, and knows what the collection uses:
objects, lists, multipart uploads, versions, and the settings of buckets. What OSS refuses it refuses with the same status and code.

The tests that use `open_store_under_test` run against OSS itself when these are set: SERVING_TRITON_OSS_URL (oss://bucket/prefix; the
tests write below it), and OSS_ACCESS_KEY_ID, OSS_ACCESS_KEY_SECRET, OSS_SESSION_TOKEN and OSS_REGION as the store reads them.
"""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit
from xml.sax.saxutils import escape

import alibabacloud_oss_v2

from ansible_collections.serving.triton.plugins.module_utils.stores.oss.client import credentials
from ansible_collections.serving.triton.plugins.module_utils.stores.oss.place import locate

from .oss_auth import Account, DeniedError, Signed, check
from .oss_state import Answer, Bucket, Buckets

ACCESS_KEY, SECRET = "test-key", "test-secret-of-oss"
TEMPORARY_KEY, TEMPORARY_SECRET, TOKEN = "temporary-key", "temporary-secret-of-oss", "temporary-token-of-oss"
REGION = "cn-test"


@dataclass
class Fault:
    """Happens to the next `times` requests of this method whose "bucket/key?query" holds `part`.

    kind: "answer" refuses with status and code; "reset" closes the connection; "lost" does what was asked and closes it; "truncate" sends
    half of the body; "damage" changes a byte of what was sent before it is looked at.
    """

    kind: str = "answer"
    method: str = ""
    part: str = ""
    status: int = 503
    code: str = "ServiceUnavailable"
    times: int = 1
    headers: Mapping[str, str] = field(default_factory=dict)

    def hits(self, method: str, target: str) -> bool:
        return self.times > 0 and self.method in ("", method) and self.part in target


@dataclass(frozen=True)
class Logged:
    """One request that was answered. size: bytes of its body."""

    method: str
    bucket: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    status: int
    size: int


class OssServer:
    """Listens on a port of loopback from the start on; `close` ends it.

    skew: seconds that its clock is ahead. elsewhere: bucket → the endpoint of the region that it belongs to. page: the most keys of a list.
    """

    def __init__(self, page: int = 1000) -> None:
        self.accounts = {ACCESS_KEY: Account(SECRET), TEMPORARY_KEY: Account(TEMPORARY_SECRET, TOKEN)}
        self.region = REGION
        self.skew = 0.0
        self.elsewhere: dict[str, str] = {}
        self.faults: list[Fault] = []
        self.log: list[Logged] = []
        self.buckets = Buckets(self.now, page, REGION)
        self.mutex = threading.RLock()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def now(self) -> datetime:
        return datetime.now(timezone.utc) + timedelta(seconds=self.skew)

    def options(self, **more: Any) -> dict[str, Any]:
        """The option `oss` of a module that is to use this server."""
        keys = {"access_key_id": ACCESS_KEY, "access_key_secret": SECRET}
        return {"endpoint": self.endpoint, "region": self.region, **keys, **more}

    def make(self, name: str, **settings: Any) -> Bucket:
        """A bucket, as it is when somebody has made it."""
        with self.mutex:
            return self.buckets.all.setdefault(name, Bucket(**settings))

    def requests(self, method: str = "") -> list[Logged]:
        with self.mutex:
            return [each for each in self.log if method in ("", each.method)]

    def fault(self, method: str, target: str) -> Fault | None:
        with self.mutex:
            found = next((each for each in self.faults if each.hits(method, target)), None)
            if found:
                found.times -= 1
            return found

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def __enter__(self) -> OssServer:
        return self

    def __exit__(self, *_unused: object) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, owner: OssServer) -> None:
        self.owner = owner
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Small answers must not wait for the client's acknowledgement.
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """`OssServer.log` is the log."""

    def _serve(self) -> None:
        owner = self.server.owner
        request = self._parse()
        body = self._body()
        fault = owner.fault(request.method, f"{request.bucket}/{request.key}?{urlencode(request.query)}")
        kind = fault.kind if fault else ""
        if kind == "reset":
            return self._cut()
        if kind == "damage" and body:
            body = bytes([body[0] ^ 1]) + body[1:]
        if fault and kind == "answer":
            answer = _refusal(DeniedError(fault.code, "By order of the test.", fault.status), dict(fault.headers))
        else:
            answer = self._answer(request, body)
        with owner.mutex:
            owner.log.append(Logged(request.method, request.bucket, request.key, request.query, request.headers, answer.status, len(body)))
        return self._cut() if kind == "lost" else self._send(request, answer, truncate=kind == "truncate")

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve  # noqa: N815 - the base class's names

    def _parse(self) -> Signed:
        url = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        host = headers.get("host", "").rpartition(":")[0] or headers.get("host", "")
        path = unquote(url.path)[1:]
        if host.replace(".", "").isdigit() or host == "localhost":
            bucket, _slash, key = path.partition("/")
        else:
            bucket, key = host.partition(".")[0], path
        return Signed(self.command, bucket, key, dict(parse_qsl(url.query, keep_blank_values=True)), headers)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, request: Signed, body: bytes) -> Answer:
        owner = self.server.owner
        try:
            check(request, owner.accounts, owner.region, owner.now())
            if request.bucket in owner.elsewhere:
                raise DeniedError("AccessDenied", "The bucket you are attempting to access must be addressed using the specified endpoint.")
            wanted = request.headers.get("content-md5")
            if wanted and base64.b64encode(hashlib.md5(body).digest()).decode() != wanted:
                raise DeniedError("InvalidDigest", "The Content-MD5 you specified was invalid.", 400)
            with owner.mutex:
                return owner.buckets.handle(request, body)
        except DeniedError as error:
            return _refusal(error, {}, owner.elsewhere.get(request.bucket, ""))

    def _send(self, request: Signed, answer: Answer, *, truncate: bool) -> None:
        self.send_response_only(answer.status)
        self.send_header("Server", "AliyunOSS")
        self.send_header("Date", format_datetime(self.server.owner.now(), usegmt=True))
        self.send_header("x-oss-request-id", "5C3D8D2A0ACA54D87B43C048")
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if request.method == "HEAD" and answer.status >= 400:
            self.send_header("x-oss-err", base64.b64encode(answer.body).decode())
        if "Content-Length" not in answer.headers and answer.status != 204:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if request.method != "HEAD":
            self.wfile.write(answer.body[: len(answer.body) // 2] if truncate else answer.body)
        if truncate:
            self._cut()

    def _cut(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)


def _refusal(error: DeniedError, headers: dict[str, str], endpoint: str = "") -> Answer:
    extra = f"<Endpoint>{escape(endpoint)}</Endpoint>" if endpoint else ""
    text = f"<Code>{error.code}</Code><Message>{escape(error.message)}</Message><RequestId>5C3D8D2A0ACA54D87B43C048</RequestId>{extra}"
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{text}</Error>'
    return Answer(error.status, {"Content-Type": "application/xml", **headers}, body.encode())


class OssUnderTest:
    """See `store_contract.StoreUnderTest`. Seen past our code by the SDK itself. server: the stand-in, None for the real one."""

    conditional = True
    server: OssServer | None = None

    def __init__(self, root: str, module_options: Mapping[str, Any], environment: Mapping[str, str], name: str = "models") -> None:
        self.url, self._root = f"{root}/{name}", root
        self.module_options, self.environment = module_options, environment
        self.secrets = [environment[name] for name in ("OSS_ACCESS_KEY_SECRET", "OSS_SESSION_TOKEN") if environment.get(name)]
        place = locate(self.url.removeprefix("oss://"), module_options["oss"], environment)
        self._bucket, self._prefix = place.bucket, place.prefix
        config = alibabacloud_oss_v2.config.load_default()
        config.region, config.endpoint = place.region, place.endpoint
        config.credentials_provider = credentials(module_options["oss"], alibabacloud_oss_v2, environment)
        self._client = alibabacloud_oss_v2.Client(config)

    def at(self, place: str) -> OssUnderTest:
        return OssUnderTest(self._root, self.module_options, self.environment, place)

    def put(self, key: str, data: bytes) -> None:
        self._client.put_object(alibabacloud_oss_v2.PutObjectRequest(self._bucket, self._prefix + key, body=data))

    def get(self, key: str) -> bytes | None:
        try:
            answer = self._client.get_object(alibabacloud_oss_v2.GetObjectRequest(self._bucket, self._prefix + key))
        except alibabacloud_oss_v2.exceptions.OperationError as error:
            if getattr(error.unwrap(), "code", "") == "NoSuchKey":
                return None
            raise
        with answer.body as body:
            data: bytes = body.read()
            return data

    def keys(self) -> set[str]:
        pages = self._client.list_objects_v2_paginator().iter_page(
            alibabacloud_oss_v2.ListObjectsV2Request(self._bucket, prefix=self._prefix)
        )
        return {each.key[len(self._prefix) :] for page in pages for each in page.contents or []}

    def delete(self, key: str) -> None:
        self._client.delete_object(alibabacloud_oss_v2.DeleteObjectRequest(self._bucket, self._prefix + key))


@contextmanager
def open_store_under_test() -> Iterator[OssUnderTest]:
    """OSS where the environment names a repository in it, else the stand-in."""
    if real := os.environ.get("SERVING_TRITON_OSS_URL"):
        environment = {name: value for name, value in os.environ.items() if name.startswith(("OSS_", "ALIBABA_CLOUD_"))}
        yield OssUnderTest(real.rstrip("/"), {"oss": {}}, environment)
        return
    with running() as server:
        server.make("models")
        keys = {"OSS_ACCESS_KEY_ID": ACCESS_KEY, "OSS_ACCESS_KEY_SECRET": SECRET}
        store = OssUnderTest("oss://models/triton", {"oss": {"endpoint": server.endpoint, "region": server.region}}, keys)
        store.server = server
        yield store


@contextmanager
def running(page: int = 1000) -> Iterator[OssServer]:
    """A server while the block runs."""
    with OssServer(page) as server:
        yield server
