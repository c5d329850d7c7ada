# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How many requests are under way: halved when the server asks to slow down, grown again slowly."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Gate:
    """Lets so many through. Additive growth, multiplicative decrease, one halving a second at most."""

    def __init__(self, most: int, now: Callable[[], float] = time.monotonic) -> None:
        self._most, self._now = most, now
        self._limit, self._inside, self._halved = float(most), 0, 0.0
        self._change = threading.Condition()

    @property
    def limit(self) -> int:
        return int(self._limit)

    def enter(self) -> None:
        with self._change:
            while self._inside >= max(1, int(self._limit)):
                self._change.wait()
            self._inside += 1

    def leave(self, throttled: bool = False) -> None:
        with self._change:
            self._inside -= 1
            if throttled:
                self._halve()
            else:
                self._limit = min(self._most, self._limit + 1 / self._limit)
            self._change.notify()

    def slow(self) -> None:
        """The server asks to slow down one that is still inside."""
        with self._change:
            self._halve()

    def _halve(self) -> None:
        if self._now() - self._halved > 1:
            # All that was under way then is told the same: that is one halving.
            self._halved = self._now()
            self._limit = max(1.0, self._limit / 2)
