# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A stand-in for Google Cloud Storage that speaks its JSON API over a socket, and checks what the real one checks.

The emulator on PyPI (gcp-storage-emulator) ignores generation conditions, offsets and page sizes of lists, and credentials; what is tested
here are those. Checked: the RS256 signature of a service account's grant and the token it gets, generation conditions, CRC32C and MD5 that
a client announces, offsets and totals of resumable uploads, and that blocks in between are multiples of 256 KiB.
"""

from __future__ import annotations

import base64
import email.utils
import hashlib
import itertools
import json
import os
import re
import tempfile
import threading
import time
import urllib.parse
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import google_crc32c
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from google.cloud import storage

ACCOUNT = "publisher@example.iam.gserviceaccount.com"
GRANULE = 256 << 10


class AnswerError(Exception):
    """An error answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


@dataclass
class Blob:
    data: bytes
    generation: int
    written: float
    properties: dict[str, Any] = field(default_factory=dict)


@dataclass
class Session:
    bucket: str
    query: dict[str, str]
    properties: dict[str, Any]
    size: int
    data: bytearray = field(default_factory=bytearray)
    made: dict[str, Any] | None = None


@dataclass
class Fault:
    """The next `times` requests whose "METHOD path" matches get a status, are broken off ("drop": before an answer, "cut": amid the
    body that comes or goes), or are served ("none", so that those after them are not)."""

    pattern: str
    action: int | str
    times: int = 1


class GcsServer:
    """anonymous: whether requests without a token are served. log: "METHOD path?query" of each request. keep: bytes of a block that stay
    of each request to a session, None for all of them."""

    def __init__(self, *, anonymous: bool = False) -> None:
        self.anonymous = anonymous
        self.buckets: dict[str, dict[str, Blob]] = {}
        self.sessions: dict[str, Session] = {}
        self.tokens: set[str] = set()
        self.faults: list[Fault] = []
        self.log: list[str] = []
        self.keep: int | None = None
        self.mutex = threading.RLock()
        self._count = itertools.count(1_700_000_000_000_000)
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> GcsServer:
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_unused: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def write_credentials(self, path: Path, *, forged: bool = False) -> Path:
        """A service account's key file. forged: with a key that is not the account's."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048) if forged else self._key
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        account = {"type": "service_account", "project_id": "example", "private_key_id": "1", "client_email": ACCOUNT, "client_id": "1"}
        path.write_text(json.dumps({**account, "private_key": pem.decode(), "token_uri": f"{self.url}/token"}))
        return path

    def grant(self, assertion: str) -> dict[str, Any]:
        signed, _dot, signature = assertion.rpartition(".")
        try:
            self._key.public_key().verify(_unpadded(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature as error:
            raise AnswerError(400, "Invalid JWT Signature.") from error
        claims = json.loads(_unpadded(signed.split(".")[1]))
        if not claims["iat"] - 300 < time.time() < claims["exp"] or claims["iss"] != ACCOUNT:
            raise AnswerError(400, "Invalid JWT: Token must be a short-lived token and in a reasonable timeframe.")
        token = f"token-{next(self._count)}"
        self.tokens.add(token)
        return {"access_token": token, "expires_in": 3600, "token_type": "Bearer"}

    # --- objects

    def bucket(self, name: str) -> dict[str, Blob]:
        if name not in self.buckets:
            raise AnswerError(404, "The specified bucket does not exist.")
        return self.buckets[name]

    def blob(self, bucket: str, name: str) -> Blob:
        blobs = self.bucket(bucket)
        if name not in blobs:
            raise AnswerError(404, f"No such object: {bucket}/{name}")
        return blobs[name]

    def check_condition(self, bucket: str, name: str, query: dict[str, str]) -> None:
        wanted = query.get("ifGenerationMatch")
        there = self.bucket(bucket).get(name)
        if wanted is not None and int(wanted) != (there.generation if there else 0):
            raise AnswerError(412, "At least one of the pre-conditions you specified did not hold.")

    def write(self, bucket: str, query: dict[str, str], properties: dict[str, Any], data: bytes) -> dict[str, Any]:
        name = query.get("name") or properties["name"]
        with self.mutex:
            self.check_condition(bucket, name, query)
            for kind, right in checksums(data).items():
                if properties.get(kind, right) != right:
                    raise AnswerError(400, f'Provided {kind} "{properties[kind]}" doesn\'t match calculated {kind} "{right}".')
            self.bucket(bucket)[name] = Blob(data, next(self._count), time.time(), properties)
            return self.describe(bucket, name)

    def describe(self, bucket: str, name: str) -> dict[str, Any]:
        blob = self.blob(bucket, name)
        moment = time.strftime(f"%Y-%m-%dT%H:%M:%S.{int(blob.written % 1 * 1000):03d}Z", time.gmtime(blob.written))
        size, generation = str(len(blob.data)), str(blob.generation)
        named = {"name": name, "bucket": bucket, "size": size, "generation": generation, "metageneration": "1", "updated": moment}
        return {"kind": "storage#object", "storageClass": "STANDARD", **blob.properties, **named, **checksums(blob.data)}

    def list(self, bucket: str, query: dict[str, str]) -> dict[str, Any]:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        start, end = query.get("startOffset", ""), query.get("endOffset", "")
        names = [name for name in sorted(self.bucket(bucket)) if name.startswith(prefix) and name >= start and (not end or name < end)]
        rows: dict[str, bool] = {}
        for name in names:
            rest = name[len(prefix) :]
            folder = prefix + rest[: rest.index(delimiter) + 1] if delimiter and delimiter in rest else ""
            rows[folder or name] = bool(folder)
        after = base64.urlsafe_b64decode(query.get("pageToken", "")).decode()
        left = [row for row in rows if row > after]
        page = left[: min(1000, int(query.get("maxResults", 1000)))]
        answer: dict[str, Any] = {"kind": "storage#objects"}
        if items := [self.describe(bucket, row) for row in page if not rows[row]]:
            answer["items"] = items
        if prefixes := [row for row in page if rows[row]]:
            answer["prefixes"] = prefixes
        if len(left) > len(page):
            answer["nextPageToken"] = base64.urlsafe_b64encode(page[-1].encode()).decode()
        return answer

    # --- resumable uploads

    def begin(self, bucket: str, query: dict[str, str], properties: dict[str, Any], size: str | None) -> str:
        name = query.get("name") or properties["name"]
        self.check_condition(bucket, name, query)
        number = f"session-{next(self._count)}"
        self.sessions[number] = Session(bucket, query, properties, int(size or -1))
        return f"{self.url}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&upload_id={number}"

    def add(self, number: str, content_range: str, hashes_told: str, data: bytes) -> dict[str, Any] | int:
        """The object once it is complete, else how many bytes are there."""
        with self.mutex:
            session = self.sessions.get(number)
            if session is None:
                raise AnswerError(410, "Gone")
            if session.made:
                return session.made
            match = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+)", content_range)
            if not match:
                raise AnswerError(400, f"Invalid Content-Range: {content_range}")
            if match.group(1):
                self._append(session, int(match.group(1)), int(match.group(2)), int(match.group(3)), data)
            if len(session.data) < int(match.group(3)):
                return len(session.data)
            told = dict(re.findall(r"(crc32c|md5)=([^,]+)", hashes_told))
            named = {"crc32c": told.get("crc32c"), "md5Hash": told.get("md5")}
            properties = {**session.properties, **{kind: value for kind, value in named.items() if value}}
            session.made = self.write(session.bucket, session.query, properties, bytes(session.data))
            return session.made

    def _append(self, session: Session, first: int, last: int, total: int, data: bytes) -> None:
        if len(data) != last - first + 1 or session.size not in (-1, total) or last >= total:
            raise AnswerError(400, "The Content-Range does not fit the content.")
        if last + 1 < total and len(data) % GRANULE:
            raise AnswerError(400, "A block that is not the last one must be a multiple of 256 KiB.")
        if first > len(session.data):
            raise AnswerError(503, "The block begins behind what is there.")
        kept = data if self.keep is None else data[: self.keep]
        session.data[first:] = kept

    def fault(self, request: str) -> int | str | None:
        with self.mutex:
            for each in self.faults:
                if each.times and re.search(each.pattern, request):
                    each.times -= 1
                    return each.action
        return None


def checksums(data: bytes) -> dict[str, str]:
    crc = google_crc32c.Checksum(data).digest()
    md5 = hashlib.md5(data, usedforsecurity=False).digest()
    return {"crc32c": base64.b64encode(crc).decode(), "md5Hash": base64.b64encode(md5).decode()}


def _unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _handler(server: GcsServer) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        gcs = server

    return Handler


class _Handler(BaseHTTPRequestHandler):
    gcs: GcsServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_unused: object) -> None:
        """Quiet."""

    def _serve(self) -> None:
        self.gcs.log.append(f"{self.command} {self.path}")
        fault = self.gcs.fault(f"{self.command} {self.path}")
        size = int(self.headers.get("Content-Length") or 0)
        if fault == "cut" and size:
            self.rfile.read(size // 2)
        if fault == "drop" or (fault == "cut" and size):
            self.close_connection = True
            self.connection.close()
            return
        body = self.rfile.read(size)
        try:
            if isinstance(fault, int):
                raise AnswerError(fault, "an injected failure")
            self._route(body, cut=fault == "cut")
        except AnswerError as error:
            told = {"error": error.message} if self.path == "/token" else {"error": {"code": error.status, "message": error.message}}
            self._answer(error.status, json.dumps({**told, "error_description": error.message}).encode())

    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 - http.server's names

    def _route(self, body: bytes, *, cut: bool) -> None:
        parts = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
        if parts.path == "/token":
            self._json(self.gcs.grant(dict(urllib.parse.parse_qsl(body.decode()))["assertion"]))
            return
        self._authorise()
        if (whole := re.fullmatch(r"/storage/v1/b/([^/]+)", parts.path)) and self.command == "GET":
            self.gcs.bucket(whole.group(1))
            self._json({"kind": "storage#bucket", "name": whole.group(1), "id": whole.group(1)})
            return
        # The XML API's way to an object, by which Google's client for C++, and so Triton, reads them.
        if self.command == "GET" and (direct := re.fullmatch(r"/([^/]+)/(.+)", parts.path)) and direct.group(1) in self.gcs.buckets:
            self._download(direct.group(1), urllib.parse.unquote(direct.group(2)), query, cut=cut)
            return
        route = re.fullmatch(r"(/upload|/download)?/storage/v1/b/([^/]+)/o(?:/(.+))?", parts.path)
        if not route:
            raise AnswerError(404, "Not Found")
        kind, bucket, name = route.group(1) or "", route.group(2), urllib.parse.unquote(route.group(3) or "")
        handle: Callable[[], None] = {
            ("/upload", "POST"): lambda: self._begin(bucket, query, body),
            ("/upload", "PUT"): lambda: self._continue(query, body),
            ("/download", "GET"): lambda: self._download(bucket, name, query, cut=cut),
            ("", "DELETE"): lambda: self._delete(bucket, name, query),
            ("", "GET"): lambda: self._json(self.gcs.describe(bucket, name) if name else self.gcs.list(bucket, query)),
        }[kind, self.command]
        handle()

    def _authorise(self) -> None:
        scheme, _space, token = self.headers.get("Authorization", "").partition(" ")
        if token and (scheme != "Bearer" or token not in self.gcs.tokens):
            raise AnswerError(401, "Invalid Credentials")
        if not token and not self.gcs.anonymous:
            raise AnswerError(401, "Anonymous caller does not have storage.objects.list access to the Google Cloud Storage bucket.")

    def _begin(self, bucket: str, query: dict[str, str], body: bytes) -> None:
        if query["uploadType"] == "resumable":
            size = self.headers.get("X-Upload-Content-Length")
            self._answer(200, b"", {"Location": self.gcs.begin(bucket, query, json.loads(body or b"{}"), size)})
            return
        properties, data = _related(self.headers["Content-Type"], body)
        self._json(self.gcs.write(bucket, query, properties, data))

    def _continue(self, query: dict[str, str], body: bytes) -> None:
        made = self.gcs.add(query["upload_id"], self.headers.get("Content-Range", ""), self.headers.get("X-Goog-Hash", ""), body)
        if isinstance(made, dict):
            self._json(made)
        else:
            self._answer(308, b"", {"Range": f"bytes=0-{made - 1}"} if made else {})

    def _download(self, bucket: str, name: str, query: dict[str, str], *, cut: bool) -> None:
        blob = self.gcs.blob(bucket, name)
        self.gcs.check_condition(bucket, name, query)
        told = checksums(blob.data)
        headers = {
            "X-Goog-Generation": str(blob.generation),
            "X-Goog-Hash": f"crc32c={told['crc32c']},md5={told['md5Hash']}",
            "Last-Modified": email.utils.formatdate(blob.written, usegmt=True),
        }
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        data = blob.data
        if wanted:
            data = data[int(wanted.group(1)) : int(wanted.group(2) or len(data) - 1) + 1]
            headers["Content-Range"] = f"bytes {wanted.group(1)}-{int(wanted.group(1)) + len(data) - 1}/{len(blob.data)}"
        self._answer(206 if wanted else 200, data, headers, cut=cut)

    def _delete(self, bucket: str, name: str, query: dict[str, str]) -> None:
        with self.gcs.mutex:
            self.gcs.blob(bucket, name)
            self.gcs.check_condition(bucket, name, query)
            del self.gcs.bucket(bucket)[name]
        self._answer(204, b"")

    def _json(self, answer: dict[str, Any]) -> None:
        self._answer(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None, *, cut: bool = False) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self.close_connection = True
            self.wfile.flush()
            self.connection.close()


def _related(content_type: str, body: bytes) -> tuple[dict[str, Any], bytes]:
    """The description and the content of a multipart/related body."""
    match = re.search(r'boundary="?([^";]+)"?', content_type)
    if not match:
        raise AnswerError(400, "There is no boundary.")
    mark = b"--" + match.group(1).encode()
    first, second = body.split(mark)[1:3]
    properties = json.loads(first.split(b"\r\n\r\n", 1)[1])
    return properties, second.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")


@contextmanager
def serve(*buckets: str, anonymous: bool = False) -> Iterator[GcsServer]:
    with GcsServer(anonymous=anonymous) as server:
        server.buckets.update({name: {} for name in buckets})
        yield server


# --- the contract suite


class GcsUnderTest:
    """See `store_contract.StoreUnderTest`. bucket: the SDK's."""

    conditional = True

    def __init__(self, bucket: Any, place: str, options: Mapping[str, Any], environment: Mapping[str, str], secrets: Sequence[str]) -> None:
        self._bucket, self._place = bucket, place
        self.url = f"gs://{bucket.name}/{place}"
        self.module_options, self.environment, self.secrets = options, environment, secrets

    def at(self, place: str) -> GcsUnderTest:
        base = self._place.rpartition("/")[0]
        return GcsUnderTest(self._bucket, f"{base}/{place}".lstrip("/"), self.module_options, self.environment, self.secrets)

    def _blob(self, key: str) -> Any:
        return self._bucket.blob(f"{self._place}/{key}")

    def put(self, key: str, data: bytes) -> None:
        self._blob(key).upload_from_string(data)

    def get(self, key: str) -> bytes | None:
        blob = self._blob(key)
        return bytes(blob.download_as_bytes()) if blob.exists() else None

    def keys(self) -> set[str]:
        return {blob.name.removeprefix(f"{self._place}/") for blob in self._bucket.list_blobs(prefix=f"{self._place}/")}

    def delete(self, key: str) -> None:
        if self._blob(key).exists():
            self._blob(key).delete()


@contextmanager
def open_store_under_test() -> Iterator[GcsUnderTest]:
    """The stand-in, or the bucket that SERVING_TRITON_GCS_URL names (gs://bucket/prefix), with the default credentials."""
    if real := os.environ.get("SERVING_TRITON_GCS_URL"):
        name, _slash, prefix = real.removeprefix("gs://").strip("/").partition("/")
        place = f"{prefix}/contract-{uuid.uuid4().hex[:8]}".lstrip("/")
        bucket = storage.Client().bucket(name)
        try:
            yield GcsUnderTest(bucket, f"{place}/models", {}, dict(os.environ), ())
        finally:
            bucket.delete_blobs(list(bucket.list_blobs(prefix=f"{place}/")))
        return
    with serve("models") as server, tempfile.TemporaryDirectory() as folder:
        file = server.write_credentials(Path(folder) / "account.json")
        client = storage.Client.from_service_account_json(str(file), client_options={"api_endpoint": server.url})
        key = json.loads(file.read_text())["private_key"].splitlines()[1]
        options = {"gcs": {"endpoint": server.url, "credentials_file": str(file)}}
        # Sessions of uploads are kept there.
        environment = {"XDG_CACHE_HOME": folder}
        yield GcsUnderTest(client.bucket("models"), "models", options, environment, (key,))
