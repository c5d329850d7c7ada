# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Start-up of each module's payload, as a target runs it, until it exits over wrong options, against ansible.builtin.stat's."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from support.rules import places

from .common import BenchmarkError, Line, run_tasks, workspace

ROUNDS = 15
GOAL = 1.3
STAT = "ansible.builtin.stat"


def measure() -> Iterator[Line]:
    ours = [path.stem for path in places.modules() if "def main" in path.read_text(encoding="utf-8")]
    with tempfile.TemporaryDirectory() as folder:
        payloads = _payloads(Path(folder), [STAT, *(f"serving.triton.{name}" for name in ours)])
        # Round by round, so that a busy moment of the machine hits all alike; the fastest round of each counts.
        rounds = [{name: _start(payload) for name, payload in payloads.items()} for _round in range(ROUNDS)]
    fastest = {name: min(times[name] for times in rounds) for name in payloads}
    for name in ours:
        yield Line("ratio", f"startup_{name}", STAT, fastest[name] / fastest["stat"], at_most=GOAL)


def _payloads(folder: Path, modules: list[str]) -> dict[str, Path]:
    """What Ansible sends to targets, kept by its own setting: name → self-contained script."""
    env = {"ANSIBLE_KEEP_REMOTE_FILES": "true", "ANSIBLE_REMOTE_TMP": str(folder / "remote")}
    tasks = [{"name": module, module: {"surplus": True}, "ignore_errors": True} for module in modules]
    run_tasks(dataclasses.replace(workspace(folder / "work"), env=env), tasks)
    found = {path.stem.removeprefix("AnsiballZ_"): path for path in (folder / "remote").rglob("AnsiballZ_*.py")}
    if len(found) != len(modules):
        raise BenchmarkError(f"payloads of {sorted(found)} alone were kept for {modules}")
    return found


def _start(payload: Path) -> float:
    began = time.perf_counter()
    done = subprocess.run([sys.executable, str(payload)], capture_output=True, text=True, check=False, timeout=60)
    took = time.perf_counter() - began
    if '"failed": true' not in done.stdout:
        raise BenchmarkError(f"{payload.name} did not refuse its options: {done.stdout[-500:]}{done.stderr[-500:]}")
    return took
