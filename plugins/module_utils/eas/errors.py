# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What goes wrong with EAS, said plainly, whichever backend was told so. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..core.errors import ConflictError, InputError, ServingError, TransientError, UnavailableError

NOT_FOUND = "InvalidService.NotFound"
# Our own code for a certificate that is not trusted.
TLS = "CertificateVerifyFailed"
# Codes that pass by themselves. A nonce is used up where the network sent a request twice.
_PASSING = re.compile(
    r"ServiceUnavailable|Throttling(\..*)?|Rejected\.Throttling|InternalError|SystemError|SignatureNonceUsed|RequestTimeout"
)
_KEYS = "Check the AccessKey: its id, its secret, and with temporary ones the security token."


class AbsentError(UnavailableError):
    """The service does not exist."""


@dataclass(frozen=True)
class Failure:
    """status: of HTTP, 0 where it is not known. code, message: EAS's own; the message must hold no secret. after: seconds to wait."""

    status: int = 0
    code: str = ""
    message: str = ""
    after: float = 0.0


# The beginning of a code → the error, what it says, and what to do.
_KNOWN: Mapping[str, tuple[type[ServingError], str, str]] = {
    NOT_FOUND: (AbsentError, "the service does not exist", "Correct its name or the region."),
    "Forbidden.PrivilegeCheckFailed": (
        UnavailableError,
        "the service belongs to another user of the account",
        "Use its owner's credentials, have the account allow yours, or choose another name.",
    ),
    "Forbidden.SafetyLock": (ConflictError, "the service's safety lock does not allow it", "Set lift_lock, or safety_lock: none."),
    "NoPermission": (UnavailableError, "RAM does not allow these credentials to do it", "Have the action allowed: AliyunPAIEASFullAccess."),
    "InvalidAccessKeyId": (UnavailableError, "EAS does not know the AccessKey ID, or it is disabled", _KEYS),
    "SignatureDoesNotMatch": (UnavailableError, "the signature does not match: the secret is not that of the AccessKey ID", _KEYS),
    "IncompleteSignature": (UnavailableError, "the signature is not complete", _KEYS),
    "MissingSecurityToken": (UnavailableError, "temporary keys came without their security token", _KEYS),
    "InvalidSecurityToken.Expired": (UnavailableError, "the security token has expired", "Get new temporary credentials."),
    "InvalidSecurityToken": (UnavailableError, "the security token is not the one of this AccessKey", _KEYS),
    "InvalidTimeStamp.Expired": (UnavailableError, "this machine's clock is more than 15 minutes off", "Set it by NTP."),
    "InvalidRegionId": (InputError, "the region is not one of this endpoint", "Correct region or endpoint."),
    "Conflict.ServiceExists": (ConflictError, "a service of this name exists already", "Run this again, or choose another name."),
    "Conflict.ServiceDeleting": (ConflictError, "the service is being deleted", "Run this again once it is gone."),
    "InvalidServiceStatus": (ConflictError, "the service's state does not allow it now", "Run this again once it has settled."),
    "InvalidInstance.NotFound": (ConflictError, "an instance of the service is not there any more", "Run this again."),
    TLS: (UnavailableError, "the endpoint's certificate is not trusted", "Give ca_path with the authority that signed it."),
    "InvalidParameter": (InputError, "EAS refuses the configuration", "Correct it as the message says."),
}


def explained(failure: Failure, where: str) -> ServingError:
    """The error to raise. where: the service, or what was asked for."""
    details = {"code": failure.code, "status_code": failure.status}
    said = f": {failure.message}" if failure.message else ""
    if is_passing(failure):
        what = f"EAS is busy or does not answer properly ({failure.code or f'HTTP {failure.status}'}){said}"
        return TransientError(what, where=where, remedy="Run this again later.", retry_after=failure.after, **details)
    for code, (kind, what, remedy) in _KNOWN.items():
        if failure.code.startswith(code):
            return kind(f"{what}{said}", where=where, remedy=remedy, **details)
    if failure.status == 409:
        return ConflictError(
            f"EAS refuses it, since something else is there or under way{said}", where=where, remedy="Run this again.", **details
        )
    what = f"EAS refuses it ({failure.code or f'HTTP {failure.status}'}){said}"
    return UnavailableError(what, where=where, remedy="Look the code up in EAS's reference.", **details)


def is_passing(failure: Failure) -> bool:
    """Whether the same call may go well next time."""
    return failure.status in (408, 429) or (failure.status >= 500 and failure.status != 501) or bool(_PASSING.fullmatch(failure.code))


_CODE = re.compile(r"\b([A-Z][A-Za-z]+(?:\.[A-Z][A-Za-z]+)*): ")
_STATUS = re.compile(r"\bHTTP[ /]*(?:\d\.\d )?(\d{3})\b|\b(?:status|code)\D{0,3}(\d{3})\b")
_LOST = re.compile(r"timed? ?out|connection (?:reset|refused|aborted)|closed connection|broken pipe|\bEOF\b|no such host", re.IGNORECASE)


def read_text(text: str) -> Failure:
    """What a text of the command line client, whose words are not documented, tells of a failure."""
    plain = re.sub(r"\[RequestId\]: \S+\s*|\[(?:ERROR|FAIL(?:ED)?)\]\s*", "", text).strip()
    for found in _CODE.finditer(plain):
        if "." in found[1] or found[1] in _KNOWN or _PASSING.fullmatch(found[1]):
            return Failure(0, found[1], plain[found.end() :])
    status = _STATUS.search(plain)
    if status:
        return Failure(int(status[1] or status[2]), "", plain)
    # A request that never got an answer: nothing was said, and the next one may be answered.
    return Failure(503 if _LOST.search(plain) else 0, "", plain)
