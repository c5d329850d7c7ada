# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""ACS3-HMAC-SHA256, the signature of Alibaba Cloud's APIs: checked for the EAS stand-in, made for the eascmd stand-in.

Standard library alone: the eascmd stand-in starts once a command.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote

ALGORITHM = "ACS3-HMAC-SHA256"
API_VERSION = "2021-07-01"
ALLOWED_SKEW_SECONDS = 15 * 60
_AUTHORIZATION = re.compile(ALGORITHM + r" Credential=([^,\s]+),\s*SignedHeaders=([^,\s]+),\s*Signature=([0-9a-f]{64})")


class RefusedError(Exception):
    """A request that is answered with this HTTP status, code and message. detail: more keys of the answer."""

    def __init__(self, status: int, code: str, message: str, **detail: Any) -> None:
        super().__init__(f"{code}: {message}")
        self.status, self.code, self.message, self.detail = status, code, message, detail


@dataclass
class Account:
    """token: of temporary credentials, "" for lasting ones. uid: the user's. denied: actions that RAM does not allow."""

    secret: str
    uid: str
    token: str = ""
    expired: bool = False
    denied: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Signed:
    """What is signed of a request. path: encoded, as it was sent. query: decoded. headers: by lower-case names."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""


def stamp(now: datetime) -> str:
    """The form of the header x-acs-date."""
    return now.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def signature(request: Signed, names: list[str], secret: str) -> str:
    """names: of the headers that are signed, sorted."""
    canonical = "\n".join(
        (
            request.method,
            request.path or "/",
            "&".join(f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in sorted(request.query.items())),
            "".join(f"{name}:{request.headers[name].strip()}\n" for name in names),
            ";".join(names),
            request.headers.get("x-acs-content-sha256", ""),
        )
    )
    text = f"{ALGORITHM}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def authorization(request: Signed, identity: str, secret: str) -> str:
    """The header that signs a request with all the headers that must be signed."""
    names = sorted(name for name in request.headers if _must_be_signed(name))
    return f"{ALGORITHM} Credential={identity},SignedHeaders={';'.join(names)},Signature={signature(request, names, secret)}"


def _must_be_signed(name: str) -> bool:
    return name in ("host", "content-type") or name.startswith("x-acs-")


class Gate:
    """Lets requests through that a known account signed, now, and once. nonces: those that were seen."""

    def __init__(self, accounts: Mapping[str, Account]) -> None:
        self.accounts = accounts
        self.nonces: set[tuple[str, str]] = set()

    def check(self, request: Signed, action: str, now: datetime) -> Account:
        """action: what the path and method ask for. Raises RefusedError with the codes of Alibaba Cloud's gateway."""
        headers = request.headers
        for name in ("authorization", "x-acs-action", "x-acs-version", "x-acs-date", "x-acs-signature-nonce", "x-acs-content-sha256"):
            if not headers.get(name):
                raise RefusedError(400, "IncompleteSignature", f"The request does not have the header {name}.")
        if headers["x-acs-version"] != API_VERSION:
            raise RefusedError(400, "InvalidVersion", f"Specified parameter Version is not valid: {headers['x-acs-version']}.")
        if headers["x-acs-action"] != action:
            raise RefusedError(404, "InvalidAction.NotFound", f"{headers['x-acs-action']} is not what this path does, which is {action}.")
        identity, account = self._identify(request)
        self._check_time(headers["x-acs-date"], now)
        nonce = (identity, headers["x-acs-signature-nonce"])
        if nonce in self.nonces:
            raise RefusedError(400, "SignatureNonceUsed", "Specified signature nonce was used already.")
        self.nonces.add(nonce)
        _check_token(headers.get("x-acs-security-token", ""), account)
        if action in account.denied:
            detail = {"AuthAction": f"eas:{action}", "AuthPrincipalOwnerId": account.uid, "PolicyType": "AccountLevelIdentityBasedPolicy"}
            raise RefusedError(403, "NoPermission", "You are not authorized to do this operation.", AccessDeniedDetail=detail)
        return account

    def _identify(self, request: Signed) -> tuple[str, Account]:
        match = _AUTHORIZATION.fullmatch(request.headers["authorization"])
        if not match:
            raise RefusedError(400, "IncompleteSignature", "The request signature does not conform to Aliyun standards.")
        identity, names = match[1], match[2].split(";")
        if identity not in self.accounts:
            raise RefusedError(404, "InvalidAccessKeyId.NotFound", "Specified access key is not found.")
        account = self.accounts[identity]
        unsigned = [name for name in request.headers if _must_be_signed(name) and name not in names]
        missing = [name for name in names if name not in request.headers]
        if unsigned or missing or names != sorted(set(names)):
            raise RefusedError(400, "IncompleteSignature", f"SignedHeaders are not right: {[*unsigned, *missing] or 'unsorted'}.")
        body_is_signed = hashlib.sha256(request.body).hexdigest() == request.headers["x-acs-content-sha256"]
        if not body_is_signed or not hmac.compare_digest(signature(request, names, account.secret), match[3]):
            raise RefusedError(400, "SignatureDoesNotMatch", "Specified signature is not matched with our calculation.")
        return identity, account

    def _check_time(self, date: str, now: datetime) -> None:
        try:
            signed = datetime.strptime(date, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
        except ValueError:
            raise RefusedError(400, "InvalidTimeStamp.Format", "Specified time stamp or date value is not well formatted.") from None
        if abs((now - signed).total_seconds()) > ALLOWED_SKEW_SECONDS:
            raise RefusedError(400, "InvalidTimeStamp.Expired", "Specified time stamp or date value is expired.")


def _check_token(token: str, account: Account) -> None:
    if account.token and not token:
        raise RefusedError(400, "MissingSecurityToken", "SecurityToken is mandatory for this action.")
    if token != account.token:
        raise RefusedError(400, "InvalidSecurityToken.MismatchWithAccessKey", "Specified SecurityToken mismatch with the AccessKey.")
    if account.expired:
        raise RefusedError(400, "InvalidSecurityToken.Expired", "Specified SecurityToken is expired.")
