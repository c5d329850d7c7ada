# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A small file that says how far long work is, for whoever waits on another machine."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict

from ..core.progress import Stage, Transfer

# Seconds between two writes: nobody looks more often.
INTERVAL = 0.5


class ProgressFile:
    """Called with each state of the work. No failure of it is one of the work.

    The work begins with the first call. path: where to write; the folder is made where it is missing, for its owner alone.
    now, wall: clocks, in seconds.
    """

    def __init__(self, path: str, *, now: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self._path, self._draft = path, f"{path}.new"
        self._now, self._wall = now, wall
        self._began: float | None = None
        self._started = 0.0
        self._written = float("-inf")

    def __call__(self, state: Transfer | Stage) -> None:
        now = self._now()
        if self._began is None:
            self._began, self._started = now, self._wall()
        if now - self._written < INTERVAL:
            return
        self._written = now
        # elapsed: clocks of two machines differ, so a reader cannot tell it from the start.
        text = json.dumps({**asdict(state), "started": self._started, "elapsed": now - self._began})
        with suppress(OSError):
            os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
            with os.fdopen(os.open(self._draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w") as file:
                file.write(text)
            os.replace(self._draft, self._path)

    def remove(self) -> None:
        """Nobody waits any more."""
        for path in (self._draft, self._path):
            with suppress(OSError):
                os.unlink(path)


@contextmanager
def progress_in(path: str | None) -> Iterator[Callable[[Transfer | Stage], None]]:
    """What a store, or a wait, reports to so that the file, if any, tells it; the file goes at the end."""
    if path is None:
        yield lambda _state: None
        return
    file = ProgressFile(path)
    try:
        yield file
    finally:
        file.remove()
