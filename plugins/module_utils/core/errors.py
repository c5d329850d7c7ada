# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The errors a user may read. Each says what went wrong, where, and what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# Conflicts named in one message; the details carry all of them.
SHOWN = 10


class ServingError(Exception):
    """A failure that is explained to the user rather than shown as a traceback.

    what: one sentence, without a full stop at its end.
    where: the file, URL, model or option concerned.
    remedy: what the user does next, as an imperative sentence.
    details: values that a playbook may want to read from the failed result; they must hold no secret.
    """

    def __init__(self, what: str, *, where: str = "", remedy: str = "", **details: Any) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.remedy = remedy
        self.details = details

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}. {self.remedy}" if self.remedy else text


class InputError(ServingError):
    """The user's input cannot work. Raised before anything is changed."""


class ConflictError(ServingError):
    """The target holds something that must not be overwritten without consent, or somebody else works on it."""


class TransientError(ServingError):
    """A failure that the same call may not meet again: a reset, a timeout, throttling."""


class UnavailableError(ServingError):
    """The other side refuses or cannot serve the call, and a retry would not help."""


class DeadlineError(ServingError):
    """A condition did not come true in time. The details carry the last state seen."""


def conflict(found: Sequence[tuple[str, str]], remedy: str, *, where: str = "", between: str = ": ") -> ConflictError:
    """The error that names what stands in the way. found: path and why it does, in the details as `conflicts`. between: the two."""
    shown = "; ".join(f"{path}{between}{reason}" for path, reason in found[:SHOWN])
    more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return ConflictError(shown + more, where=where, remedy=remedy, conflicts=[{"path": path, "reason": reason} for path, reason in found])
