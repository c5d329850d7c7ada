# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A repository's models as plain values for playbooks, and how much memory they want. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from .backends import ENSEMBLE
from .rules import ERROR, Finding
from .subject import Subject, Tensor

# What one instance of the python backend wants of /dev/shm. Containers give 64 MiB in all unless told otherwise.
SHM_PER_INSTANCE = 64 << 20
# Findings named in one message; the details carry all of them.
SHOWN = 30
# Triton starts two instances on the CPU for these, one for others.
_TWO_INSTANCES = frozenset({"onnxruntime", "tensorflow"})


def describe(subject: Subject, python_backends: Collection[str] = ("python",)) -> dict[str, Any]:
    """One model. python_backends: backends that run as Python processes on the target."""
    return {
        "name": subject.name,
        "versions": sorted(subject.model.versions),
        "served_versions": list(subject.served),
        "backend": "" if subject.is_ensemble else subject.backend.name,
        "platform": subject.backend.platform,
        "max_batch_size": subject.max_batch_size,
        "inputs": [_tensor(tensor) for tensor in subject.inputs],
        "outputs": [_tensor(tensor) for tensor in subject.outputs],
        "steps": steps(subject),
        "files": len(subject.model.all_files),
        "bytes": subject.model.size,
        "memory": memory(subject, python_backends),
    }


def _tensor(tensor: Tensor) -> dict[str, Any]:
    # The names of the V2 protocol, which requests and golden cases use.
    datatype = {"TYPE_STRING": "BYTES", "TYPE_INVALID": ""}.get(tensor.data_type, tensor.data_type.replace("TYPE_", "", 1))
    return {"name": tensor.name, "datatype": datatype, "dims": list(tensor.dims), "optional": tensor.optional}


def steps(subject: Subject) -> list[str]:
    """The models of an ensemble's steps, in order, each once."""
    blocks = subject.config.get("ensemble_scheduling", {}).get("step", ())
    return list(dict.fromkeys(block["model_name"] for block in blocks if block.get("model_name")))


def memory(subject: Subject, python_backends: Collection[str]) -> dict[str, int]:
    """bytes: of the served versions' files; python_instances: processes on one CPU host; shm_bytes: what they want of /dev/shm."""
    size = sum(file.size for number in subject.served for file in subject.model.versions[number])
    instances = 0
    if subject.backend.name in python_backends and subject.backend.platform != ENSEMBLE:
        instances = _instances(subject) * len(subject.served)
    return {"bytes": size, "python_instances": instances, "shm_bytes": instances * SHM_PER_INSTANCE}


def _instances(subject: Subject) -> int:
    groups = subject.config.get("instance_group") or [{}]
    default = 2 if subject.backend.name in _TWO_INSTANCES else 1
    return sum(
        (group.get("count", 0) if group.get("count", 0) > 0 else 1 if group.get("kind") == "KIND_GPU" else default)
        * max(1, len(group.get("gpus", ())))
        for group in groups
    )


def total(models: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """The memory of several described models together."""
    wanted = [model["memory"] for model in models]
    return {key: sum(each[key] for each in wanted) for key in ("bytes", "python_instances", "shm_bytes")}


def verdict(findings: Collection[Finding], severities: Collection[str] = (ERROR,)) -> str:
    """Why a repository with findings of these severities is refused: a line for each, the gravest first."""
    chosen = [finding for finding in findings if finding.severity in severities]
    counts = Counter(finding.severity for finding in chosen)
    numbers = " and ".join(f"{counts[each]} {each}{'s' * (counts[each] > 1)}" for each in severities if counts[each])
    lines = [f"  {finding}" for finding in chosen[:SHOWN]]
    if len(chosen) > SHOWN:
        lines.append(f"  and {len(chosen) - SHOWN} more")
    return "\n".join([f"the model repository has {numbers}", *lines, "Correct them, or leave rules out with the option ignore_rules."])
