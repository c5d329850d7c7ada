# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Retries of a call that works once, such as a creation. Pure, but for the clock."""

from __future__ import annotations

from collections.abc import Callable

from ..core.errors import ServingError, TransientError
from ..core.wait import Clock, RetryPolicy, retry


def once(call: Callable[[], object], done: tuple[type[ServingError], ...], policy: RetryPolicy, clock: Clock) -> None:
    """done: how a further attempt fails where an earlier one was carried out, and its answer lost. Then all is well."""
    lost = False

    def attempt() -> None:
        nonlocal lost
        try:
            call()
        except TransientError:
            lost = True
            raise
        except done:
            if not lost:
                raise

    retry(attempt, policy, clock)
