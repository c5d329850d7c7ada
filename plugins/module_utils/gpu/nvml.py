# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the loaded driver says of its GPUs: through NVML, else through nvidia-smi."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .tree import Runner

# nvidia-smi before 510 does not know the last.
_QUERY = ("pci.bus_id", "name", "uuid", "memory.total", "mig.mode.current", "mig.mode.pending", "compute_cap")
_MIG_LINE = re.compile(r"\s+MIG (\S+)\s+Device\s+\d+: \(UUID: (MIG-[^)]+)\)")
_GPU_LINE = re.compile(r"GPU \d+: .*\(UUID: (GPU-[^)]+)\)")


@dataclass
class Told:
    """source: nvml, nvidia-smi or none. gpus: PCI address → what is known beyond files. cuda: the driver's newest CUDA."""

    source: str = "none"
    problem: str = ""
    cuda: str = ""
    gpus: dict[str, dict[str, Any]] = field(default_factory=dict)


def ask(run: Runner) -> Told:
    """Asks NVML; nvidia-smi where Python has no binding to it."""
    try:
        import pynvml
    except ImportError:
        told = _smi(run)
        told.problem = "" if told.gpus else "Python has no pynvml (nvidia-ml-py), and nvidia-smi answered nothing"
        return told
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return Told(problem=str(error))
    try:
        return _nvml(pynvml)
    except pynvml.NVMLError as error:
        return Told(problem=str(error))
    finally:
        pynvml.nvmlShutdown()


def address_of(bus_id: str) -> str:
    """00000000:17:00.0, as the driver has it, → 0000:17:00.0, as sysfs has it."""
    domain, _mark, rest = bus_id.strip().lower().partition(":")
    return f"{int(domain, 16):04x}:{rest}"


def _nvml(nvml: Any) -> Told:
    told = Told("nvml")
    version = nvml.nvmlSystemGetCudaDriverVersion_v2()
    told.cuda = f"{version // 1000}.{version % 1000 // 10}"
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            told.gpus[address_of(_text(nvml.nvmlDeviceGetPciInfo(handle).busId))] = _gpu(nvml, handle)
        except nvml.NVMLError as error:
            # One GPU that fell off the bus must not hide the others.
            told.problem = f"GPU {index}: {error}"
    return told


def _gpu(nvml: Any, handle: Any) -> dict[str, Any]:
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    found = {
        "name": _text(nvml.nvmlDeviceGetName(handle)),
        "uuid": _text(nvml.nvmlDeviceGetUUID(handle)),
        "compute_capability": f"{major}.{minor}",
        "memory_mib": _memory(nvml, handle),
    }
    try:
        current, pending = nvml.nvmlDeviceGetMigMode(handle)
    except (nvml.NVMLError_NotSupported, nvml.NVMLError_FunctionNotFound):
        return found
    devices = list(_mig_devices(nvml, handle)) if current else []
    return {**found, "mig": {"capable": True, "enabled": bool(current), "pending": bool(pending), "devices": devices}}


def _memory(nvml: Any, handle: Any) -> int | None:
    try:
        return int(nvml.nvmlDeviceGetMemoryInfo(handle).total) // 2**20
    except nvml.NVMLError_NotSupported:
        # GPUs that share the CPU's memory have none of their own.
        return None


def _mig_devices(nvml: Any, handle: Any) -> Iterator[dict[str, Any]]:
    for index in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            device = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
        except nvml.NVMLError_NotFound:
            continue
        name = _text(nvml.nvmlDeviceGetName(device))
        yield {
            "uuid": _text(nvml.nvmlDeviceGetUUID(device)),
            "profile": name.rsplit(" MIG ", 1)[-1],
            "memory_mib": _memory(nvml, device),
            "gpu_instance": nvml.nvmlDeviceGetGpuInstanceId(device),
            "compute_instance": nvml.nvmlDeviceGetComputeInstanceId(device),
        }


def _text(value: Any) -> str:
    # Bindings before 11.515 answer bytes.
    return value.decode() if isinstance(value, bytes) else str(value)


def _smi(run: Runner) -> Told:
    asked = (run(["nvidia-smi", f"--query-gpu={','.join(keys)}", "--format=csv,noheader,nounits"]) for keys in (_QUERY, _QUERY[:-1]))
    gpus = dict(_rows(next(filter(None, asked), "")))
    if not gpus:
        return Told()
    # The full query takes seconds per GPU, and is asked where nvidia-smi is too old to tell its versions alone.
    told = run(["nvidia-smi", "--version"]) or run(["nvidia-smi", "--query"])
    cuda = re.search(r"CUDA Version\s*:\s*(\d+\.\d+)", told)
    if any(each["mig"]["enabled"] for each in gpus.values()):
        _add_mig(gpus, run(["nvidia-smi", "--list-gpus"]))
    return Told("nvidia-smi", cuda=cuda[1] if cuda else "", gpus=gpus)


def _rows(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for row in csv.reader(text.splitlines(), skipinitialspace=True):
        if len(row) not in (len(_QUERY), len(_QUERY) - 1) or ":" not in row[0]:
            continue
        address, name, uuid, memory, current, pending, *capability = row
        known = current in ("Enabled", "Disabled")
        yield (
            address_of(address),
            {
                "name": name,
                "uuid": uuid,
                **({"compute_capability": capability[0]} if capability else {}),
                "memory_mib": int(memory) if memory.isdigit() else None,
                "mig": {
                    "capable": known,
                    "enabled": current == "Enabled" if known else None,
                    "pending": pending == "Enabled" if known else None,
                    "devices": [],
                },
            },
        )


def _add_mig(gpus: dict[str, dict[str, Any]], listing: str) -> None:
    """What the list of nvidia-smi tells of MIG devices: no memory and no instances."""
    devices: list[dict[str, Any]] = []
    for line in listing.splitlines():
        gpu, mig = _GPU_LINE.match(line), _MIG_LINE.match(line)
        if gpu:
            devices = next((each["mig"]["devices"] for each in gpus.values() if each["uuid"] == gpu[1]), [])
        elif mig:
            devices.append({"uuid": mig[2], "profile": mig[1], "memory_mib": None, "gpu_instance": None, "compute_instance": None})
