# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How far long work is, as one line for people. Reads what module_utils/stores/progress_file.py writes."""

from __future__ import annotations

import json
from dataclasses import dataclass

# Seconds until the same words are told again.
_SAME_WORDS = 60.0
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


@dataclass(frozen=True)
class Look:
    """A state of a transfer. elapsed: seconds since its start, by the clock of the machine that transfers."""

    files: int
    all_files: int
    bytes: int
    all_bytes: int
    elapsed: float

    @property
    def is_over(self) -> bool:
        return self.bytes >= self.all_bytes

    def is_news(self, before: Look | Words | None) -> bool:
        return before is None or self.elapsed > before.elapsed

    def line(self, subject: str, before: Look | Words | None = None) -> str:
        return line(subject, self, before if isinstance(before, Look) else None)


@dataclass(frozen=True)
class Words:
    """A state of what cannot be counted. elapsed: as of a look."""

    text: str
    elapsed: float

    is_over = False

    def is_news(self, before: Look | Words | None) -> bool:
        """The same words are told once a minute."""
        return not isinstance(before, Words) or self.text != before.text or self.elapsed >= before.elapsed + _SAME_WORDS

    def line(self, subject: str, _before: Look | Words | None = None) -> str:
        """web1: waiting, 45 s: Creating, 0 of 1 instances running"""
        return f"{subject}, {duration(self.elapsed)}: {self.text}"


def parse(text: str) -> Look | Words | None:
    """The state that a progress file tells; None where it is none."""
    try:
        state = json.loads(text)
        if "text" in state:
            return Words(str(state["text"]), float(state["elapsed"]))
        counts = [int(state[key]) for key in ("files", "all_files", "bytes", "all_bytes")]
        return Look(*counts, float(state["elapsed"]))
    except (ValueError, KeyError, TypeError):
        return None


def line(subject: str, look: Look, before: Look | None = None) -> str:
    """web1: publishing 1,203 of 4,000 files, 1.2 of 5.0 GiB, 85 MiB/s, 45 s left. before: an earlier look, for the rate since then."""
    parts = [f"{look.files:,} of {look.all_files:,} files", _share(look.bytes, look.all_bytes)]
    speed = rate(look, before)
    if speed > 0:
        parts.append(f"{size(speed)}/s")
        if left := look.all_bytes - look.bytes:
            parts.append(f"{duration(left / speed)} left")
    return f"{subject} {', '.join(parts)}"


def rate(look: Look, before: Look | None = None) -> float:
    """Bytes a second since an earlier look, or since the start where there is none."""
    if before is None or before.elapsed >= look.elapsed:
        return look.bytes / look.elapsed if look.elapsed > 0 else 0.0
    return (look.bytes - before.bytes) / (look.elapsed - before.elapsed)


def size(count: float) -> str:
    unit = _unit(count)
    return f"{_number(count, unit)} {_UNITS[unit]}"


def duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _share(done: int, whole: int) -> str:
    unit = _unit(whole)
    return f"{_number(done, unit)} of {_number(whole, unit)} {_UNITS[unit]}"


def _unit(count: float) -> int:
    """The largest unit of which there is at least one."""
    return next((unit for unit in range(len(_UNITS) - 1, 0, -1) if count >= 1024**unit), 0)


def _number(count: float, unit: int) -> str:
    value = count / 1024**unit
    return f"{value:.1f}" if unit and value < 10 else f"{value:,.0f}"
