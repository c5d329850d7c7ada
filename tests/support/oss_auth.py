# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Checks the signatures of requests to the OSS stand-in, V1 and V4, as OSS's reference describes them."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from urllib.parse import quote

ALLOWED_SKEW_SECONDS = 15 * 60
# The parameters that name a resource of V1's CanonicalizedResource.
_SUBRESOURCES = frozenset(
    [
        *("acl", "append", "bucketInfo", "continuation-token", "delete", "encryption", "location", "objectMeta", "partNumber", "position"),
        *("publicAccessBlock", "security-token", "stat", "tagging", "uploadId", "uploads", "versionId", "versioning", "versions"),
    ]
)


class DeniedError(Exception):
    """code, message: as OSS's XML has them."""

    def __init__(self, code: str, message: str = "", status: int = 403) -> None:
        super().__init__(code)
        self.code, self.message, self.status = code, message, status


@dataclass(frozen=True)
class Signed:
    """What is signed of a request. query: decoded. headers: by lower-case names. bucket, key: "" where the request has none."""

    method: str
    bucket: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Account:
    """token: of temporary credentials, "" for lasting ones."""

    secret: str
    token: str = ""


def check(request: Signed, accounts: Mapping[str, Account], region: str, now: datetime) -> None:
    """Raises DeniedError unless a known account signed exactly this, now, for this region."""
    authorization = request.headers.get("authorization", "")
    if authorization.startswith("OSS4-HMAC-SHA256 "):
        identity = _check_v4(request, authorization, accounts, region, now)
    elif authorization.startswith("OSS "):
        identity = _check_v1(request, authorization, accounts, now)
    else:
        raise DeniedError("AccessDenied", "Anonymous access is forbidden for this operation.")
    token = request.headers.get("x-oss-security-token") or request.headers.get("security-token") or ""
    if token != accounts[identity].token:
        raise DeniedError("InvalidSecurityToken" if accounts[identity].token else "InvalidAccessKeyId")


def _account(identity: str, accounts: Mapping[str, Account]) -> Account:
    if identity not in accounts:
        raise DeniedError("InvalidAccessKeyId", "The OSS Access Key Id you provided does not exist in our records.")
    return accounts[identity]


def _check_time(signed: datetime, now: datetime) -> None:
    if abs((now - signed).total_seconds()) > ALLOWED_SKEW_SECONDS:
        raise DeniedError("RequestTimeTooSkewed", "The difference between the request time and the current time is too large.")


def _compare(mine: str, theirs: str) -> None:
    if not hmac.compare_digest(mine, theirs):
        raise DeniedError("SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided.")


def _check_v4(request: Signed, authorization: str, accounts: Mapping[str, Account], region: str, now: datetime) -> str:
    fields = dict(part.strip().split("=", 1) for part in authorization.split(" ", 1)[1].split(","))
    identity, day, scope_region, product, last = fields["Credential"].split("/")
    secret = _account(identity, accounts).secret
    stamp = request.headers.get("x-oss-date", "")
    _check_time(datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc), now)
    if (product, last) != ("oss", "aliyun_v4_request") or not stamp.startswith(day):
        raise DeniedError("InvalidArgument", "Invalid credential scope.", 400)
    if scope_region != region:
        raise DeniedError("InvalidArgument", "Invalid signing region in Authorization header.", 400)
    additional = [name for name in fields.get("AdditionalHeaders", "").split(";") if name]
    canonical = "\n".join(
        (
            request.method,
            quote(_resource(request), safe="/~"),
            "&".join(sorted(_pair(name, value) for name, value in request.query.items())),
            _v4_headers(request.headers, additional),
            ";".join(sorted(additional)),
            request.headers.get("x-oss-content-sha256", ""),
        )
    )
    text = "\n".join(("OSS4-HMAC-SHA256", stamp, f"{day}/{region}/{product}/{last}", hashlib.sha256(canonical.encode()).hexdigest()))
    key = f"aliyun_v4{secret}".encode()
    for part in (day, region, product, last):
        key = _hmac(key, part)
    _compare(_hmac(key, text).hex(), fields["Signature"])
    return identity


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def _pair(name: str, value: str) -> str:
    return f"{quote(name, safe='~')}={quote(value, safe='~')}" if value else quote(name, safe="~")


def _v4_headers(headers: Mapping[str, str], additional: list[str]) -> str:
    chosen = {"content-type", "content-md5", *additional}
    return "".join(f"{name}:{headers[name].strip()}\n" for name in sorted(headers) if name in chosen or name.startswith("x-oss-"))


def _resource(request: Signed) -> str:
    return f"/{request.bucket}/{request.key}" if request.bucket else "/"


def _check_v1(request: Signed, authorization: str, accounts: Mapping[str, Account], now: datetime) -> str:
    identity, signature = authorization[4:].split(":", 1)
    secret = _account(identity, accounts).secret
    date = request.headers.get("x-oss-date") or request.headers.get("date", "")
    _check_time(parsedate_to_datetime(date), now)
    own = "".join(f"{name}:{request.headers[name].strip()}\n" for name in sorted(request.headers) if name.startswith("x-oss-"))
    parameters = [f"{name}={value}" if value else name for name, value in sorted(request.query.items()) if name in _SUBRESOURCES]
    resource = _resource(request) + ("?" + "&".join(parameters) if parameters else "")
    text = "\n".join(
        (request.method, request.headers.get("content-md5", ""), request.headers.get("content-type", ""), date, own + resource)
    )
    mine = base64.b64encode(hmac.new(secret.encode(), text.encode(), hashlib.sha1).digest()).decode()
    _compare(mine, signature)
    return identity
