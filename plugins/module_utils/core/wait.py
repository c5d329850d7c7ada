# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Retries and waits with an injected clock, so that tests never sleep."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from .errors import DeadlineError, TransientError

T = TypeVar("T")


class Clock:
    """Real time in seconds. Tests pass a subclass whose `sleep` advances `now`."""

    def now(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


@dataclass(frozen=True)
class RetryPolicy:
    """attempts: calls in all. base, cap: seconds of the first and of the longest pause (full jitter below them)."""

    attempts: int = 5
    base: float = 0.2
    cap: float = 10.0

    def pause(self, attempt: int, jitter: Callable[[], float] = random.random) -> float:
        """Seconds to wait after failed attempt number `attempt` (from 1)."""
        ceiling: float = min(self.cap, self.base * 2 ** (attempt - 1))
        return ceiling * (0.5 + 0.5 * jitter())


# Longer than this, in seconds, the other side's own wish for a pause is not followed.
_LONGEST_WISH = 30.0


def retry(call: Callable[[], T], policy: RetryPolicy, clock: Clock) -> T:
    """Calls until it succeeds. TransientError is tried again, any other error passes through, and so does the last one.

    An error's detail `retry_after`, in seconds, makes the pause longer.
    """
    for attempt in range(1, policy.attempts):
        try:
            return call()
        except TransientError as error:
            wish = float(error.details.get("retry_after") or 0)
            clock.sleep(max(policy.pause(attempt), min(wish, _LONGEST_WISH)))
    return call()


@dataclass(frozen=True)
class Probe(Generic[T]):
    """One look at a condition: whether it holds, the state seen, and why it does not hold yet."""

    done: bool
    state: T
    reason: str = ""


def wait_until(look: Callable[[], Probe[T]], *, what: str, timeout: float, interval: float, clock: Clock) -> T:
    """Looks until the condition holds and returns the state then seen.

    Looks at least once, also with a timeout of 0. Raises DeadlineError, naming the last reason, after `timeout` seconds.
    """
    end = clock.now() + timeout
    while True:
        probe = look()
        if probe.done:
            return probe.state
        left = end - clock.now()
        if left <= 0:
            raise DeadlineError(f"{what} did not come true within {timeout:g} s", remedy=probe.reason, last_state=probe.state)
        clock.sleep(min(interval, left))
