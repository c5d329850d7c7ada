# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How far long work is, for people who wait."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Transfer:
    """How far a transfer is: files and bytes, done and in all."""

    files: int = 0
    all_files: int = 0
    bytes: int = 0
    all_bytes: int = 0


@dataclass(frozen=True)
class Stage:
    """How far something is that cannot be counted, in words."""

    text: str


Progress = Callable[[Transfer], None]


class Meter:
    """Counts from several threads and tells `progress` of each step, one call at a time."""

    def __init__(self, files: int, size: int, progress: Progress) -> None:
        self._state = Transfer(0, files, 0, size)
        self._progress = progress
        self._mutex = threading.Lock()

    def moved(self, files: int, size: int) -> None:
        with self._mutex:
            now = self._state
            self._state = Transfer(now.files + files, now.all_files, now.bytes + size, now.all_bytes)
            self._progress(self._state)
