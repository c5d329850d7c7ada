# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import pytest

from ansible_collections.serving.triton.plugins.module_utils.core.errors import DeadlineError, InputError, TransientError
from ansible_collections.serving.triton.plugins.module_utils.core.wait import Clock, Probe, RetryPolicy, retry, wait_until


class FakeClock(Clock):
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.time = 0.0
        self.sleeps: list[float] = []

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.time += seconds


def failing(*outcomes):
    """A call that raises or returns each outcome in turn."""
    queue = list(outcomes)

    def call():
        outcome = queue.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return call


def test_retry_returns_the_first_success():
    clock = FakeClock()
    assert retry(failing(TransientError("reset"), "answer"), RetryPolicy(), clock) == "answer"
    assert len(clock.sleeps) == 1


def test_retry_gives_up_after_all_attempts():
    clock = FakeClock()
    with pytest.raises(TransientError, match="third"):
        retry(failing(TransientError("first"), TransientError("second"), TransientError("third")), RetryPolicy(attempts=3), clock)
    assert len(clock.sleeps) == 2


def test_retry_passes_other_errors_through_at_once():
    clock = FakeClock()
    with pytest.raises(InputError):
        retry(failing(InputError("bad"), "never"), RetryPolicy(), clock)
    assert clock.sleeps == []


@pytest.mark.parametrize(("attempt", "ceiling"), [(1, 0.2), (2, 0.4), (4, 1.6), (20, 10.0)])
def test_pauses_double_up_to_the_cap(attempt, ceiling):
    policy = RetryPolicy(base=0.2, cap=10.0)
    assert policy.pause(attempt, jitter=lambda: 1.0) == pytest.approx(ceiling)
    assert policy.pause(attempt, jitter=lambda: 0.0) == pytest.approx(ceiling / 2)


def test_wait_returns_the_state_that_satisfied():
    states = iter([Probe(False, "LOADING"), Probe(True, "READY")])
    assert wait_until(lambda: next(states), what="m", timeout=5, interval=1, clock=FakeClock()) == "READY"


def test_wait_looks_once_without_a_timeout():
    looks = []

    def look():
        looks.append(1)
        return Probe(False, "LOADING", "still loading")

    with pytest.raises(DeadlineError) as failure:
        wait_until(look, what="model m ready", timeout=0, interval=1, clock=FakeClock())
    assert len(looks) == 1
    assert failure.value.details["last_state"] == "LOADING"
    assert "still loading" in str(failure.value)


def test_wait_never_sleeps_past_its_deadline():
    clock = FakeClock()
    with pytest.raises(DeadlineError):
        wait_until(lambda: Probe(False, None), what="m", timeout=2.5, interval=1, clock=clock)
    assert clock.time == pytest.approx(2.5)
