# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Partitions GPUs by NVIDIA's mig-parted where it is there, else by nvidia-smi."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..core.errors import ServingError, UnavailableError
from ..core.plan import Plan
from . import mig

_SECONDS = 120
_PARTED = "nvidia-mig-parted"
Execute = Callable[[Sequence[str]], str]


def execute(command: Sequence[str]) -> str:
    """Runs a command of the driver's. Raises UnavailableError with what it said."""
    try:
        done = subprocess.run(  # noqa: S603 - argv of our own making
            list(command), capture_output=True, text=True, timeout=_SECONDS, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(str(error), where=" ".join(command), remedy="See that the driver is loaded, by `nvidia-smi`.") from error
    if done.returncode:
        raise UnavailableError(
            " ".join((done.stdout + done.stderr).split()) or f"it ended with {done.returncode}",
            where=" ".join(command),
            remedy="Stop what uses the GPU (`nvidia-smi` shows it; the persistence daemon does no harm), or reboot, then run this again.",
        )
    return done.stdout


class MigService:
    """observe, plan and apply for run_plan. look: answers the GPUs as gpu_info does. tool: auto, mig-parted or nvidia-smi."""

    def __init__(
        self,
        layout: Sequence[Mapping[str, Any]],
        look: Callable[[], Sequence[Mapping[str, Any]]],
        tool: str = "auto",
        run: Execute = execute,
    ) -> None:
        self._layout = layout
        self._look = look
        self._tool = tool
        self._run = run

    def observe(self) -> list[mig.Partition]:
        found = mig.observed(self._look())
        if not found:
            raise UnavailableError(
                "no GPU that MIG can partition is visible",
                where="nvidia-smi",
                remedy="Load the driver first; MIG needs data-centre GPUs from Ampere on.",
            )
        return found

    def plan(self, actual: list[mig.Partition]) -> Plan:
        return mig.plan(actual, mig.desired(self._layout, actual))

    def apply(self, plan: Plan) -> None:
        before = self.observe()
        wanted = mig.desired(self._layout, before)
        if self._tool == "mig-parted" or (self._tool == "auto" and shutil.which(_PARTED)):
            self._apply_parted(mig.parted_config(wanted, before))
        else:
            for action in plan:
                for command in action.data["commands"]:
                    self._run(command["argv"])
        left = mig.plan(self.observe(), wanted)
        if left:
            raise ServingError(
                f"still to do: {'; '.join(left.describe())}",
                where="MIG",
                remedy="Where the mode of a GPU is pending it takes effect with a reset of the GPU: reboot, then run this again.",
            )

    def _apply_parted(self, config: Mapping[str, Any]) -> None:
        handle, path = tempfile.mkstemp(prefix="mig-", suffix=".yaml")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(config, file)  # JSON is YAML.
            self._run([_PARTED, "apply", "-f", path, "-c", "serving-triton"])
        finally:
            os.unlink(path)

    def result(self, actual: list[mig.Partition], plan: Plan, applied: bool) -> dict[str, Any]:
        del plan, applied
        wanted = mig.desired(self._layout, actual)
        return {"boot_commands": mig.boot_commands(wanted), "gpus": [partition.describe() for partition in wanted]}
