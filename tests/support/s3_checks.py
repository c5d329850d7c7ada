# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a real S3 checks of a request and moto does not: signature, clock, session token, digests of the body. From AWS's documents.

Written apart from what the collection signs and sums with, so that both cannot be wrong in the same way unnoticed.
"""

from __future__ import annotations

import base64
import binascii
import calendar
import hashlib
import hmac
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, unquote_to_bytes

SKEW_SECONDS = 15 * 60
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
UNSIGNED = "UNSIGNED-PAYLOAD"
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/,]+)/(\d{8})/([^/,]+)/s3/aws4_request, ?SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})\Z"
)


class RefusedError(Exception):
    """The answer to a bad request: an HTTP status, S3's error code and its text."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.status, self.code, self.text = status, code, text


@dataclass(frozen=True)
class Identity:
    """An access key's secret, and the session token that belongs to it (temporary credentials)."""

    secret: str
    token: str = ""


@dataclass
class Request:
    """A request as it came. path, query: raw. headers: lower case. body: as it was sent (chunks with it)."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    https: bool = False
    trailers: dict[str, str] = field(default_factory=dict)
    payload: bytes = b""


def check(request: Request, identities: Mapping[str, Identity], now: float) -> str:
    """The access key that signed the request. Raises RefusedError."""
    match = _AUTHORIZATION.match(request.headers.get("authorization", ""))
    if not match:
        raise RefusedError(403, "AccessDenied", "the request is not signed with AWS4-HMAC-SHA256 in its header")
    key, day, region, names, signature = match.groups()
    if key not in identities:
        raise RefusedError(403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.")
    identity = identities[key]
    if request.headers.get("x-amz-security-token", "") != identity.token:
        raise RefusedError(400, "InvalidToken", "The provided token is malformed or otherwise invalid.")
    stamp = request.headers.get("x-amz-date", "")
    _check_clock(stamp, day, now)
    signed = names.split(";")
    unsigned = [name for name in request.headers if name.startswith("x-amz-") and name not in signed]
    if unsigned or "host" not in signed or signed != sorted(signed):
        raise RefusedError(403, "AccessDenied", f"There were headers present in the request which were not signed: {unsigned}")
    scope = f"{day}/{region}/s3/aws4_request"
    canonical = hashlib.sha256(_canonical(request, signed).encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{canonical}"
    secret = f"AWS4{identity.secret}".encode()
    for part in (day, region, "s3", "aws4_request", text):
        secret = hmac.new(secret, part.encode(), hashlib.sha256).digest()
    if not hmac.compare_digest(secret.hex(), signature):
        raise RefusedError(403, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided.")
    _check_body(request)
    return key


def _check_clock(stamp: str, day: str, now: float) -> None:
    try:
        then = calendar.timegm(time.strptime(stamp, "%Y%m%dT%H%M%SZ"))
    except ValueError:
        raise RefusedError(403, "AccessDenied", "AWS authentication requires a valid Date or x-amz-date header") from None
    if abs(now - then) > SKEW_SECONDS:
        raise RefusedError(403, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large.")
    if not stamp.startswith(day):
        raise RefusedError(403, "SignatureDoesNotMatch", "the credential's scope is of another day than the request")


def _canonical(request: Request, signed: list[str]) -> str:
    path = quote(unquote_to_bytes(request.path), safe="/-_.~")
    pairs = [part.partition("=") for part in request.query.split("&") if part]
    query = sorted((quote(unquote_to_bytes(name), safe="-_.~"), quote(unquote_to_bytes(value), safe="-_.~")) for name, _eq, value in pairs)
    headers = [f"{name}:{' '.join(request.headers.get(name, '').split())}\n" for name in signed]
    return "\n".join(
        [
            request.method,
            path,
            "&".join(f"{name}={value}" for name, value in query),
            "".join(headers),
            ";".join(signed),
            request.headers.get("x-amz-content-sha256", ""),
        ]
    )


def _check_body(request: Request) -> None:
    headers = request.headers
    declared = headers.get("x-amz-content-sha256", "")
    length = headers.get("content-length")
    if length is not None and len(request.body) != int(length):
        raise RefusedError(400, "IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header.")
    request.payload = request.body
    if declared in (UNSIGNED, UNSIGNED_TRAILER):
        if not request.https:
            raise RefusedError(400, "InvalidRequest", "an unsigned payload is for https only")
        if declared == UNSIGNED_TRAILER:
            request.payload = _unchunk(request)
    elif declared.startswith("STREAMING-"):
        raise RefusedError(501, "NotImplemented", f"{declared} is not implemented here")
    elif declared != hashlib.sha256(request.body).hexdigest():
        raise RefusedError(400, "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed.")
    md5 = headers.get("content-md5")
    if md5 is not None and md5 != _encode(hashlib.md5(request.payload).digest()):
        raise RefusedError(400, "BadDigest", "The Content-MD5 you specified did not match what we received.")
    _check_sums(request)


def _check_sums(request: Request) -> None:
    # Of CompleteMultipartUpload, the header is about the whole object.
    if request.method == "POST" and "uploadId=" in request.query:
        return
    sent = {**request.headers, **request.trailers}
    for name, compute in SUMS.items():
        value = sent.get(f"x-amz-checksum-{name}")
        if value is not None and value != compute(request.payload):
            raise RefusedError(400, "BadDigest", f"The {name} you specified did not match the calculated checksum.")
    trailer = request.headers.get("x-amz-trailer")
    if trailer and trailer not in request.trailers:
        raise RefusedError(400, "MalformedTrailerError", "the trailer that was announced did not come")


def _unchunk(request: Request) -> bytes:
    """The content of an aws-chunked body; its trailers go to the request."""
    rest, content = request.body, bytearray()
    while True:
        line, crlf, rest = rest.partition(b"\r\n")
        try:
            size = int(line.split(b";")[0], 16)
        except ValueError:
            raise RefusedError(400, "IncompleteBody", "the chunks end early") from None
        if not crlf or len(rest) < size:
            raise RefusedError(400, "IncompleteBody", "the chunks end early")
        if size == 0:
            break
        content += rest[:size]
        rest = rest[size + 2 :]
    for line in rest.split(b"\r\n"):
        name, colon, value = line.decode("latin-1").partition(":")
        if colon:
            request.trailers[name.strip().lower()] = value.strip()
    if str(len(content)) != request.headers.get("x-amz-decoded-content-length"):
        raise RefusedError(400, "IncompleteBody", "x-amz-decoded-content-length is not what came")
    return bytes(content)


def _encode(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def _table() -> list[int]:
    entries = []
    for number in range(256):
        value = number
        for _unused in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        entries.append(value)
    return entries


def crc32c(data: bytes) -> int:
    """Castagnoli's, slowly."""
    table, value = _TABLE, 0xFFFFFFFF
    for byte in data:
        value = table[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFFFFFF


_TABLE = _table()
# Names of x-amz-checksum-* headers → what they should say.
SUMS: dict[str, Callable[[bytes], str]] = {
    "crc32": lambda data: _encode(binascii.crc32(data).to_bytes(4, "big")),
    "crc32c": lambda data: _encode(crc32c(data).to_bytes(4, "big")),
    "sha1": lambda data: _encode(hashlib.sha1(data).digest()),
    "sha256": lambda data: _encode(hashlib.sha256(data).digest()),
}
