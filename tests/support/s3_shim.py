# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A moto server behind checks, as a process of its own. Reads its settings (JSON in one line), prints its port, ends with its stdin.

GET /-/state tells what was asked; PUT /-/settings changes `Settings` and forgets what was asked.
"""

from __future__ import annotations

import collections
import dataclasses
import io
import json
import os
import re
import sys
import threading
import time
import wsgiref.handlers
import xml.sax.saxutils
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from moto.core import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import MotoRequestHandler, create_backend_app
from moto.s3.models import s3_backends
from werkzeug.serving import make_server

from support.s3_checks import Identity, RefusedError, Request, check

CONDITIONS = ("HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH")
# What a query names beside the key → the operation, by method.
_OPERATIONS = {
    ("POST", "uploads"): "CreateMultipartUpload",
    ("PUT", "uploadId"): "UploadPart",
    ("POST", "uploadId"): "CompleteMultipartUpload",
    ("DELETE", "uploadId"): "AbortMultipartUpload",
    ("GET", "uploadId"): "ListParts",
    ("GET", "uploads"): "ListMultipartUploads",
    ("POST", "delete"): "DeleteObjects",
    ("GET", "list-type"): "ListObjectsV2",
    ("GET", "location"): "GetBucketLocation",
    ("GET", "tagging"): "GetObjectTagging",
    ("GET", "attributes"): "GetObjectAttributes",
}
_PLAIN = {"PUT": "PutObject", "GET": "GetObject", "HEAD": "HeadObject", "DELETE": "DeleteObject"}
_BUCKET = {"PUT": "CreateBucket", "GET": "ListObjects", "HEAD": "HeadBucket", "DELETE": "DeleteBucket"}


@dataclasses.dataclass
class Settings:
    """identities: access key → [secret, session token]. observers: access keys whose requests are neither counted nor held to the prefix.

    prefix: "bucket/some/prefix/" that the others must stay in, "" for anywhere. ignore_conditions: If-Match and If-None-Match on writes
    are passed over without a word. unquoted_if_match: only an ETag without quotes matches, as with Ceph RGW. clock_offset: seconds that
    the server's clock is ahead. certificate, key: paths, to speak https.
    """

    identities: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    observers: list[str] = dataclasses.field(default_factory=list)
    prefix: str = ""
    ignore_conditions: bool = False
    unquoted_if_match: bool = False
    clock_offset: float = 0.0
    certificate: str = ""
    key: str = ""


def operation(method: str, key: str, query: Mapping[str, Any]) -> str:
    for name in query:
        if (method, name) in _OPERATIONS:
            return _OPERATIONS[method, name]
    return (_PLAIN if key else _BUCKET).get(method, method)


class Shim:
    """The WSGI application."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._moto = create_backend_app("s3")
        # moto checks conditions and writes in two steps: one request at a time, so that of two conditional writes one wins.
        self._mutex = threading.Lock()
        self._counts: collections.Counter[str] = collections.Counter()
        self._refused: list[str] = []
        self._touched: set[str] = set()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        # A connection that breaks in the middle of the body gives less than was announced; see s3_checks.
        length = None if environ.get("wsgi.input_terminated") else int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length)
        path, _question, query = environ["RAW_URI"].partition("?")
        if path.startswith("/-/"):
            return self._control(environ["REQUEST_METHOD"], path, body, start_response)
        headers = {name[5:].replace("_", "-").lower(): value for name, value in environ.items() if name.startswith("HTTP_")}
        headers |= {
            name: environ[each]
            for name, each in (("content-length", "CONTENT_LENGTH"), ("content-type", "CONTENT_TYPE"))
            if environ.get(each)
        }
        request = Request(environ["REQUEST_METHOD"], path, query, headers, body, bool(self.settings.certificate))
        try:
            self._admit(request)
        except RefusedError as error:
            self._refused.append(f"{request.method} {request.path}?{request.query} {error}")
            return self._refuse(error, start_response)
        self._conditions(environ)
        return self._answer(environ, body, start_response)

    def _answer(self, environ: dict[str, Any], body: bytes, start_response: Any) -> Iterable[bytes]:
        environ["wsgi.input"] = io.BytesIO(body)
        held: list[Any] = []
        with self._mutex:
            answer = b"".join(self._moto(environ, lambda *given: held.extend(given[:2])))
        status, headers = held
        headers = [(name, value) for name, value in headers if name.lower() != "date"]
        start_response(status, [*headers, self._date()])
        return [answer]

    def _admit(self, request: Request) -> None:
        identities = {key: Identity(*each) for key, each in self.settings.identities.items()}
        signer = check(request, identities, time.time() + self.settings.clock_offset)
        if signer in self.settings.observers:
            return
        bucket, _slash, key = unquote(request.path).lstrip("/").partition("/")
        query = parse_qs(request.query, keep_blank_values=True)
        kind = operation(request.method, key, query)
        self._counts[kind] += 1
        for each in self._named(kind, key, query, request.body):
            self._touched.add(f"{bucket}/{each}")
            if not f"{bucket}/{each}".startswith(self.settings.prefix):
                raise RefusedError(403, "AccessDenied", f"{kind} of {bucket}/{each}, which is outside of {self.settings.prefix}")

    @staticmethod
    def _named(kind: str, key: str, query: Mapping[str, list[str]], body: bytes) -> list[str]:
        """The keys and prefixes that a request is about."""
        if kind in ("ListObjectsV2", "ListObjects", "ListMultipartUploads"):
            return [query.get("prefix", [""])[0]]
        if kind == "DeleteObjects":
            return [xml.sax.saxutils.unescape(each) for each in re.findall(r"<Key>([^<]*)</Key>", body.decode())]
        return [key] if key else []

    def _conditions(self, environ: dict[str, Any]) -> None:
        if environ["REQUEST_METHOD"] not in ("PUT", "POST"):
            return
        if self.settings.ignore_conditions:
            for name in CONDITIONS:
                environ.pop(name, None)
        elif self.settings.unquoted_if_match and '"' in environ.get("HTTP_IF_MATCH", ""):
            environ["HTTP_IF_MATCH"] = "never"

    def _control(self, method: str, path: str, body: bytes, start_response: Any) -> Iterable[bytes]:
        if method == "PUT" and path == "/-/settings":
            self.settings = dataclasses.replace(self.settings, **json.loads(body))
            self._counts.clear()
            self._refused.clear()
            self._touched.clear()
        uploads = [
            f"{bucket.name}/{upload.key_name}"
            for bucket in s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets.values()
            for upload in bucket.multiparts.values()
            if upload.parts
        ]
        state = {"counts": self._counts, "refused": self._refused, "touched": sorted(self._touched), "uploads": uploads}
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(state).encode()]

    def _refuse(self, error: RefusedError, start_response: Any) -> Iterable[bytes]:
        text = xml.sax.saxutils.escape(error.text)
        body = f'<?xml version="1.0"?>\n<Error><Code>{error.code}</Code><Message>{text}</Message></Error>'.encode()
        headers = [("Content-Type", "application/xml"), ("Content-Length", str(len(body))), self._date()]
        start_response(f"{error.status} {error.code}", headers)
        return [body]

    def _date(self) -> tuple[str, str]:
        return "Date", wsgiref.handlers.format_date_time(time.time() + self.settings.clock_offset)


class Handler(MotoRequestHandler):
    """Quiet, and connections stay open as with the real one."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log(self, *_unused: object) -> None:
        """Nothing."""


def main() -> None:
    settings = Settings(**json.loads(sys.stdin.readline()))
    pair = (settings.certificate, settings.key) if settings.certificate else None
    server = make_server("127.0.0.1", 0, Shim(settings), threaded=True, request_handler=Handler, ssl_context=pair)  # type: ignore[arg-type]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.port, flush=True)
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
