# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter chart_sizing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..module_utils.kubernetes import sizing

DOCUMENTATION = r"""
name: chart_sizing
short_description: What a model repository wants of the chart
version_added: 0.1.0
author: serving.triton contributors (@serving-triton)
description:
  - Makes the values of this collection's chart that follow from a repository and from free GPUs, and tells what the chart computes of them.
positional: _input
options:
  _input:
    description:
      - What the models want, as the return value RV(serving.triton.model_repository_info#module:memory) says.
    type: dict
    required: true
  replicas:
    description: Number of replicas.
    type: int
    default: 1
  gpus:
    description: GPUs of one replica.
    type: int
    default: 0
  spare:
    description: GPUs that are free, see P(serving.triton.spare_gpus#filter).
    type: int
    default: 0
  startup:
    description: The chart's C(probes.startup). Of it C(budgetSeconds), C(baseSeconds) and C(bytesPerSecond) count.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Look at the models
  serving.triton.model_repository_info:
    path: models
  register: models

- name: Tell how long a start may take
  ansible.builtin.debug:
    msg: "{{ (models.memory | serving.triton.chart_sizing(gpus=1)).startup_seconds }}"
"""

RETURN = r"""
_value:
  description:
    - "C(values): for the chart. C(startup_seconds): what a start may take. C(rollout_seconds): what all replicas may take."
    - "C(shm_mebibytes): size of C(/dev/shm). C(rollout): maxSurge and maxUnavailable."
  type: dict
  sample:
    values: {modelRepository: {bytes: 8000000000}, sharedMemory: {pythonInstances: 4}, rollout: {spareGpus: 1}}
    startup_seconds: 460
    rollout_seconds: 1060
    shm_mebibytes: 320
    rollout: {maxSurge: 1, maxUnavailable: 0}
"""


def chart_sizing(
    memory: Mapping[str, Any], replicas: int = 1, gpus: int = 0, spare: int = 0, startup: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The filter."""
    size, instances = int(memory.get("bytes", 0)), int(memory.get("python_instances", 0))
    seconds = _startup(size, startup or {})
    rollout = sizing.rollout(int(replicas), int(gpus), int(spare))
    surge = rollout["maxSurge"] if isinstance(rollout["maxSurge"], int) else 1
    return {
        "values": {
            "modelRepository": {"bytes": size},
            "sharedMemory": {"pythonInstances": instances},
            "rollout": {"spareGpus": int(spare)},
        },
        "startup_seconds": seconds,
        "rollout_seconds": sizing.rollout_seconds(seconds, int(replicas), surge),
        "shm_mebibytes": sizing.shared_memory_mebibytes(instances),
        "rollout": rollout,
    }


def _startup(size: int, probe: Mapping[str, Any]) -> int:
    base, rate = int(probe.get("baseSeconds", sizing.BASE_SECONDS)), int(probe.get("bytesPerSecond", sizing.BYTES_PER_SECOND))
    return int(probe.get("budgetSeconds") or 0) or sizing.startup_seconds(size, base, rate)


class FilterModule:
    """Ansible's entry."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"chart_sizing": chart_sizing}
