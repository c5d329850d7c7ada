# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Threads that work side by side: as many as the way to the server needs."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

from ...core.errors import ServingError

T = TypeVar("T")
R = TypeVar("R")
# Threads to begin with: enough for a server that is near. More start while the processor is not busy: then it is the way that takes time.
FIRST = 8
STEP = 8
TICK = 0.02
BUSY = 0.7


class Crew(Generic[T]):
    """Threads that take jobs from one queue. The first error stops what has not begun."""

    def __init__(self, work: Callable[[T], None], jobs: Iterable[T], most: int) -> None:
        self._work, self._jobs, self._most = work, deque(jobs), most
        self._errors: list[BaseException] = []
        self._threads: list[threading.Thread] = []

    def run(self, tick: Callable[[], None] = lambda: None) -> None:
        """Works until all is done, and raises the first error. tick: called in this thread now and then, and at the end."""
        try:
            self._start(min(FIRST, self._most, len(self._jobs)))
            used, then = time.process_time(), time.monotonic()
            while any(thread.is_alive() for thread in self._threads):
                self._threads[-1].join(TICK)
                tick()
                used, then, idle = self._idle(used, then)
                if idle and len(self._threads) < self._most and self._jobs:
                    self._start(min(STEP, self._most - len(self._threads), len(self._jobs)))
                self._threads = [thread for thread in self._threads if thread.is_alive()]
        finally:
            # An error in tick, or the user's interrupt, ends the threads too.
            self._jobs.clear()
            for thread in self._threads:
                thread.join()
        tick()
        if self._errors:
            raise self._errors[0]

    def _idle(self, used: float, then: float) -> tuple[float, float, bool]:
        cpu, now = time.process_time(), time.monotonic()
        return cpu, now, cpu - used < BUSY * (now - then)

    def _start(self, count: int) -> None:
        for _each in range(count):
            thread = threading.Thread(target=self._loop, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _loop(self) -> None:
        while True:
            try:
                job = self._jobs.popleft()
            except IndexError:
                return
            try:
                self._work(job)
            except ServingError:
                self._end()
                return
            finally:
                # Also what nobody foresaw: a job that is silently not done would be worse than anything.
                if sys.exc_info()[1] is not None:
                    self._end()

    def _end(self) -> None:
        error = sys.exc_info()[1]
        if error is not None and error not in self._errors:
            self._errors.append(error)
        self._jobs.clear()


def gather(call: Callable[[T], R], items: Sequence[T], most: int) -> list[R]:
    """The call's result for each item, in their order."""
    if len(items) < 2:
        return [call(item) for item in items]
    results: dict[int, R] = {}

    def work(number: int) -> None:
        results[number] = call(items[number])

    Crew(work, range(len(items)), most).run()
    return [results[number] for number in range(len(items))]
