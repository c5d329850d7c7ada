# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the benchmarks share: the line that they print, and task times out of real playbook runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.rolecheck import PlaybookRun, Workspace

Task = Mapping[str, Any]


class BenchmarkError(Exception):
    """A benchmark could not be run."""


@dataclass(frozen=True)
class Line:
    """kind: ratio (against a peer, in the same run) or figure. at_least, at_most: the goal, where there is one."""

    kind: str
    name: str
    peer: str
    value: float
    at_least: float | None = None
    at_most: float | None = None

    @property
    def met(self) -> bool:
        return (self.at_least is None or self.value >= self.at_least) and (self.at_most is None or self.value <= self.at_most)

    def __str__(self) -> str:
        value = f"{self.value:.2f}" if self.value < 100 else f"{self.value:.0f}"
        return f"{self.kind} {self.name} {self.peer} {value}" + ("" if self.met else "  # misses its goal")


def faster(name: str, peer: str, ours: float, theirs: float, at_least: float | None = None) -> Line:
    """How many times faster ours is than the peer. Seconds."""
    return Line("ratio", name, peer, theirs / ours, at_least=at_least)


def figure(name: str, unit: str, value: float, at_most: float | None = None) -> Line:
    """A plain measurement."""
    return Line("figure", name, unit, value, at_most=at_most)


def run_tasks(workspace: Workspace, tasks: Sequence[Task], *flags: str) -> PlaybookRun:
    """Runs tasks on localhost; any that fails ends the benchmark."""
    run = workspace.run([{"hosts": "localhost", "gather_facts": False, "tasks": list(tasks)}], *flags)
    if run.rc:
        raise BenchmarkError(run.tail(25))
    return run


def seconds(run: PlaybookRun, name: str) -> float:
    """How long the task of this name took."""
    return next(task.seconds for task in run.tasks if task.task == name)


def workspace(folder: str | Path, timeout: float = 1800) -> Workspace:
    return Workspace(Path(folder), timeout=timeout)
