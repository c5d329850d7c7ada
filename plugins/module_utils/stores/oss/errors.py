# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What goes wrong with OSS, said plainly, and what is worth another attempt."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from ...core.errors import ConflictError, InputError, ServingError, TransientError, UnavailableError
from ...core.wait import RetryPolicy
from ..bucket import PreconditionError
from ..transfers import connection_error

# Answers that the same request may not get again: a body that the network damaged, a limit on requests.
_PASSING = frozenset({"RequestTimeout", "InvalidDigest", "QpsLimitExceeded", "OperationAborted"})
# Longer than this, the service's own wish for a pause is not followed.
_LONGEST_PAUSE = 30.0
_BUSY = (429, 503)
# OSS's code → what, remedy.
_PLAIN: Mapping[str, tuple[type[ServingError], str, str]] = {
    "NoSuchBucket": (
        InputError,
        "the bucket does not exist",
        "Correct its name or the region, or create it with serving.triton.oss_bucket.",
    ),
    "NoSuchKey": (UnavailableError, "the object does not exist", "Run this again: somebody removed it."),
    "InvalidBucketName": (InputError, "this is no name of a bucket", "Use 3 to 63 lower case letters, digits and hyphens."),
    "SignatureDoesNotMatch": (
        UnavailableError,
        "the signature does not match: the secret is not the one of this AccessKey ID",
        "Check the AccessKey secret, the region, and signature_version.",
    ),
    "InvalidAccessKeyId": (
        UnavailableError,
        "the AccessKey ID is not known to OSS, or is disabled",
        "Check access_key_id; temporary keys need their security_token too.",
    ),
    "SecurityTokenExpired": (UnavailableError, "the security token has expired", "Get new temporary credentials."),
    "InvalidSecurityToken": (UnavailableError, "the security token is not valid", "Give the token that came with these keys."),
    "FileAlreadyExists": (PreconditionError, "the object is there already", "Run this again."),
    "PreconditionFailed": (PreconditionError, "the object has changed", "Run this again."),
    "BucketAlreadyExists": (ConflictError, "the bucket's name is taken, by another account or region", "Choose another name."),
    "BucketNotEmpty": (ConflictError, "the bucket is not empty", "Empty it first, or set force."),
    "TooManyBuckets": (UnavailableError, "the account has as many buckets as it may have", "Remove one, or ask for a higher quota."),
    "InvalidObjectState": (UnavailableError, "the object is archived", "Restore it first."),
    "UserDisable": (UnavailableError, "the account is disabled, often for an unpaid bill", "Look at the account's console."),
}


class Retries:
    """What the SDK asks before it tries again. tried: failures that were tried again, so that a caller knows of lost answers.

    slow: called when OSS asks to slow down.
    """

    def __init__(self, policy: RetryPolicy, slow: Callable[[], None] = lambda: None) -> None:
        self._policy, self._slow = policy, slow
        self.tried = 0

    def max_attempts(self) -> int:
        return self._policy.attempts

    def is_error_retryable(self, error: Exception) -> bool:
        passing = is_passing(error)
        self.tried += passing
        if getattr(error, "status_code", 0) in _BUSY:
            self._slow()
        return passing

    def retry_delay(self, attempt: int, error: Exception) -> float:
        wish = str(_headers(error).get("Retry-After", ""))
        pause = float(wish) if wish.isdecimal() else 0.0
        return max(min(pause, _LONGEST_PAUSE), self._policy.pause(attempt))


def is_passing(error: Exception) -> bool:
    """Whether the same request may go well next time."""
    from alibabacloud_oss_v2 import exceptions

    if isinstance(error, exceptions.ServiceError):
        return error.status_code in (408, 429) or (error.status_code >= 500 and error.status_code != 501) or error.code in _PASSING
    if isinstance(error, (exceptions.RequestError, exceptions.ResponseError)):
        return not _is_final(error.unwrap())
    return isinstance(error, exceptions.InconsistentError)


def _is_final(cause: Exception | None) -> bool:
    """Failures to connect that a second attempt meets again: a certificate, an address that is none."""
    import requests

    return isinstance(cause, (requests.exceptions.SSLError, requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema))


def _headers(error: Exception) -> Mapping[str, str]:
    return getattr(error, "headers", None) or {}


def unwrapped(error: Exception) -> Exception:
    """The cause inside of what the SDK wraps every failure in."""
    from alibabacloud_oss_v2 import exceptions

    while isinstance(error, exceptions.OperationError) and error.unwrap() is not None:
        error = error.unwrap()
    return error


def is_absent(error: Exception) -> bool:
    """Whether the answer is that the object (not its bucket) does not exist. A HEAD answers without a code."""
    cause = unwrapped(error)
    return getattr(cause, "status_code", 0) == 404 and getattr(cause, "code", "") in (
        "NoSuchKey",
        "BadErrorResponse",
        "SymlinkTargetNotExist",
    )


def explained(error: Exception, where: str, endpoint: str) -> ServingError:
    """The error to raise instead of the SDK's."""
    from alibabacloud_oss_v2 import exceptions

    cause = unwrapped(error)
    if isinstance(cause, ServingError):
        # Raised by a body of ours while it was sent.
        return cause
    if isinstance(cause, exceptions.ServiceError):
        return _service_error(cause, where)
    if isinstance(cause, exceptions.CredentialsBaseError):
        # The chain's own text names each place that it looked at; none of them holds a secret.
        remedy = "Give access_key_id and access_key_secret, set OSS_ACCESS_KEY_ID and OSS_ACCESS_KEY_SECRET, or give the machine a role."
        return UnavailableError("no credentials for OSS were found", where=where, remedy=remedy, looked_at=str(cause))
    if isinstance(cause, (exceptions.RequestError, exceptions.ResponseError)):
        return connection_error(cause.unwrap() or cause, where, endpoint)
    return UnavailableError(f"OSS's SDK refused: {_short(cause)}", where=where, remedy="Check the bucket, the region and the endpoint.")


def _service_error(error: Any, where: str) -> ServingError:
    code, details = str(error.code), {"code": str(error.code), "request_id": str(error.request_id or ""), "status": error.status_code}
    right_endpoint = (error.error_fileds or {}).get("Endpoint")
    if code in ("AccessDenied", "TemporaryRedirect", "PermanentRedirect") and right_endpoint:
        what = "the bucket belongs to another region than this endpoint"
        return InputError(what, where=where, remedy=f"Set the endpoint to {right_endpoint} and the region to its own.", **details)
    if code == "RequestTimeTooSkewed":
        return UnavailableError(
            f"this machine's clock is wrong{_skew(error)}", where=where, remedy="Set the clock, with NTP or chrony.", **details
        )
    if code in _PLAIN:
        kind, what, remedy = _PLAIN[code]
        return kind(what, where=where, remedy=remedy, **details)
    message = str(error.message or "").rstrip(". ")
    if error.status_code in (401, 403):
        what = f"access is denied: {message}"
        return UnavailableError(
            what, where=where, remedy="Grant the action by a RAM or bucket policy, or use other credentials.", **details
        )
    if is_passing(error):
        return TransientError(f"OSS kept answering {error.status_code} {code}", where=where, remedy="Run this again later.", **details)
    what = f"OSS refused with {error.status_code} {code}: {message}"
    return UnavailableError(what, where=where, remedy="See the code in OSS's reference.", **details)


def _skew(error: Any) -> str:
    try:
        seconds = time.time() - parsedate_to_datetime(str(_headers(error).get("Date", ""))).timestamp()
    except (TypeError, ValueError):
        return ""
    return f": {abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} OSS's"


def _short(cause: object) -> str:
    return " ".join(str(cause).split())[:300]
