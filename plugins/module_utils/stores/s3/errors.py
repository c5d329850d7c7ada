# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What S3 servers say when they refuse, and what the user does then. No text here holds a secret."""

from __future__ import annotations

import errno
import socket
import ssl

from ...core.errors import ServingError, TransientError, UnavailableError
from ..bucket import PreconditionError
from .connection import Answer
from .xml import read_error

_CREDENTIALS = "Check access_key and secret_key, the profile, or the role that this machine has."
# Code → what, remedy.
_EXPLAINED = {
    "NoSuchBucket": ("the bucket does not exist", "Create it, or correct its name."),
    "AccessDenied": (
        "access is denied",
        "The credentials need s3:ListBucket on the bucket; below the prefix s3:GetObject, s3:PutObject and s3:DeleteObject.",
    ),
    "AllAccessDisabled": ("the bucket is disabled", "Look at it in the provider's console."),
    "InvalidAccessKeyId": ("the server does not know the access key", _CREDENTIALS),
    "SignatureDoesNotMatch": ("the server computes another signature: the secret key is wrong, or a proxy changes requests", _CREDENTIALS),
    "InvalidToken": ("the session token is not valid", "Give the token that belongs to the keys, or none."),
    "ExpiredToken": ("the session token has expired", "Get new credentials."),
    "PermanentRedirect": ("the bucket lies in another region", "Set s3.region to the bucket's region."),
    "AuthorizationHeaderMalformed": ("the bucket lies in another region", "Set s3.region to the bucket's region."),
    "RequestTimeTooSkewed": ("this machine's clock is wrong by more than 15 minutes", "Set it, for example with chrony."),
    "NoSuchKey": ("the object does not exist", "Run this again: somebody removed it."),
    "QuotaExceeded": ("the quota is used up", "Free space or raise the quota."),
    "EntityTooLarge": ("the server does not take an object of this size", "Look at its limits."),
    "InvalidStorageClass": ("the server does not know the storage class", "Correct s3.storage_class."),
    "InvalidTag": ("the server refuses the tags", "Correct s3.tags: at most 10, keys up to 128 characters, values up to 256."),
    "InvalidObjectState": ("the object is archived", "Restore it, or use a storage class that can be read at once."),
    "BadDigest": ("the server got other bytes than were sent", "Look at the network and at proxies in between."),
    "XAmzContentSHA256Mismatch": ("the server got other bytes than were sent", "Look at the network and at proxies in between."),
    "XMinioStorageFull": ("the server's disks are full", "Free space there."),
}
_KMS = "Correct s3.kms_key_id, and let the credentials use the key (kms:GenerateDataKey, kms:Decrypt)."
# The server asks to slow down.
BUSY_CODES = frozenset(
    {
        "SlowDown",
        "SlowDownRead",
        "SlowDownWrite",
        "Throttling",
        "ThrottlingException",
        "RequestLimitExceeded",
        "TooManyRequests",
        "ServiceUnavailable",
    }
)
_PASSING_CODES = frozenset(
    {
        "RequestTimeout",
        "InternalError",
        "OperationAborted",
        "BadDigest",
        "XAmzContentSHA256Mismatch",
        "IncompleteBody",
        "InternalServerError",
    }
)
PASSING = (408, 429, 500, 502, 503, 504, 509)


def may_pass(code: str) -> bool:
    """Whether what failed with this code may succeed when it is asked for again."""
    return code in BUSY_CODES or code in _PASSING_CODES


_LOST: tuple[tuple[type[OSError], str, str], ...] = (
    (socket.gaierror, "the host name is not known", "Correct the endpoint or the region, or look at the name server."),
    (ConnectionRefusedError, "nothing listens there", "Start the server, or correct the endpoint's host and port."),
    (TimeoutError, "no answer in time", "Look at the server's load and the network, or raise timeout."),
    # Another class before Python 3.10.
    (socket.timeout, "no answer in time", "Look at the server's load and the network, or raise timeout."),
)


class ThrottledError(TransientError):
    """The server asks to slow down. after: seconds that it names, 0 for none."""

    def __init__(self, what: str, *, where: str = "", remedy: str = "", after: float = 0) -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.after = after


class LostError(TransientError):
    """No answer came: whether the server did what was asked is not known."""


class RefusedError(UnavailableError):
    """The server says no. status, code: what it says."""

    def __init__(self, what: str, *, where: str = "", remedy: str = "", status: int = 0, code: str = "") -> None:
        super().__init__(what, where=where, remedy=remedy, status=status, code=code)
        self.status, self.code = status, code


def failure(answer: Answer, where: str) -> ServingError | None:
    """The error that an answer means, None for success."""
    status = answer.status
    if status < 300:
        return None
    code, message, _region = read_error(answer.body)
    said = " ".join(part for part in (str(status), code, message) if part)[:300]
    if status in (429, 503, 509) or code in BUSY_CODES:
        remedy = "Try again later, or set concurrency lower."
        return ThrottledError(f"the server asks to slow down ({said})", where=where, remedy=remedy, after=_seconds(answer))
    if code in _PASSING_CODES or (status in PASSING and code != "NotImplemented"):
        return TransientError(f"the server failed ({said})", where=where, remedy="Look at the server's state; then run this again.")
    if status == 412 or code in ("PreconditionFailed", "ConditionalRequestConflict"):
        return PreconditionError("the object is not as expected any more", where=where, remedy="Run this again.")
    what, remedy = _explain(status, code)
    return RefusedError(f"{what} ({said})", where=where, remedy=remedy, status=status, code=code)


def _explain(status: int, code: str) -> tuple[str, str]:
    if code in _EXPLAINED:
        return _EXPLAINED[code]
    if code.upper().startswith("KMS"):
        return "the encryption key cannot be used", _KMS
    if status in (401, 403):
        return _EXPLAINED["AccessDenied"]
    if 300 <= status < 400:
        return _EXPLAINED["PermanentRedirect"]
    if status == 501:
        return (
            "the server does not know this function",
            "Leave out the option that it does not know (checksum, tags, storage_class, encryption).",
        )
    return "the server refuses the request", "Correct it as the server says; check that the endpoint is an S3 server's."


def _seconds(answer: Answer) -> float:
    text = answer.headers.get("retry-after", "")
    return min(float(text), 60.0) if text.isdecimal() else 0.0


def lost(error: OSError, where: str) -> ServingError:
    """The error for a connection that failed."""
    if isinstance(error, ssl.SSLError) and not isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return _tls(error, where)
    for kind, what, remedy in _LOST:
        if isinstance(error, kind):
            return LostError(what, where=where, remedy=remedy)
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return UnavailableError("too many open files", where=where, remedy="Set concurrency lower, or raise ulimit -n.")
    return LostError(f"the connection broke ({error.strerror or error})", where=where, remedy="Look at the server and the network.")


def _tls(error: ssl.SSLError, where: str) -> ServingError:
    if isinstance(error, ssl.SSLCertVerificationError):
        what = f"the server's certificate is not trusted ({error.verify_message})"
        return UnavailableError(what, where=where, remedy="Give ca_path, or correct the host name in the URL.")
    remedy = "Check that the endpoint speaks TLS: with plain http write s3://http://host:port/bucket."
    return LostError(f"TLS failed ({error.reason or 'closed'})", where=where, remedy=remedy)
