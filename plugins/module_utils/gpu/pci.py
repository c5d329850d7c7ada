# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""NVIDIA's PCI devices, from sysfs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .chips import SWITCHED_BY_INFINIBAND, Chip, chip_of
from .tree import Tree

DEVICES = "/sys/bus/pci/devices"
INFINIBAND = "/sys/class/infiniband"
_VENDOR = "0x10de"
# Class and subclass: VGA controller, 3D controller, other bridge.
_DISPLAY = ("0x0300", "0x0302")
_BRIDGE = "0x0680"
# The bridges of nForce boards have lower ids than the first NVSwitch.
_FIRST_SWITCH = 0x1AC0
_PCI_IDS = ("/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids")
# What the firmware of the ConnectX that manages NVLink switches writes into its product data.
_MANAGER = b"SMDL=SW_MNG"


def _ours(tree: Tree) -> Iterator[tuple[str, int, str]]:
    """Address, device id and class of every device of NVIDIA."""
    for address in tree.names(DEVICES):
        folder = f"{DEVICES}/{address}"
        if tree.word(f"{folder}/vendor") == _VENDOR:
            yield address, int(tree.word(f"{folder}/device") or "0", 16), tree.word(f"{folder}/class")


def gpus(tree: Tree) -> list[dict[str, Any]]:
    """The GPUs as the module returns them, as far as files tell."""
    found = [(address, device) for address, device, kind in _ours(tree) if kind.startswith(_DISPLAY)]
    names = names_of(tree, [device for _address, device in found])
    return [_gpu(tree, address, device, names) for address, device in found]


def _gpu(tree: Tree, address: str, device: int, names: Mapping[int, str]) -> dict[str, Any]:
    chip: Chip = chip_of(device)
    node = tree.word(f"{DEVICES}/{address}/numa_node")
    told = _information(tree, address)
    return {
        "address": address,
        "device_id": f"{device:04x}",
        "name": told.get("Model") or names.get(device) or f"{chip.name or 'NVIDIA GPU'} [10de:{device:04x}]",
        "chip": chip.name,
        "generation": chip.generation,
        "datacenter": chip.datacenter,
        "compute_capability": chip.capability,
        "memory_mib": None,
        "uuid": told.get("GPU UUID", "") if "?" not in told.get("GPU UUID", "?") else "",
        "bound": tree.link(f"{DEVICES}/{address}/driver"),
        "numa_node": int(node) if re.fullmatch(r"-?\d+", node) else -1,
        "modules": list(chip.kinds),
        "last_branch": chip.last_branch,
        "mig": {"capable": chip.mig, "enabled": None, "pending": None, "devices": []},
    }


def _information(tree: Tree, address: str) -> dict[str, str]:
    """What the loaded driver writes about a GPU: Model, GPU UUID (with question marks until it was used) and more."""
    lines = tree.text(f"/proc/driver/nvidia/gpus/{address}/information").splitlines()
    return {key.strip(): value.strip() for key, mark, value in (line.partition(":") for line in lines) if mark}


def names_of(tree: Tree, devices: Sequence[int]) -> dict[int, str]:
    """Names from the host's pci.ids, such as NVIDIA A100 SXM4 40GB."""
    path = next((path for path in _PCI_IDS if tree.exists(path)), "")
    if not path or not devices:
        return {}
    wanted = {f"{device:04x}" for device in devices}
    found: dict[int, str] = {}
    ours = False
    for line in tree.text(path).splitlines():
        if line[:1] not in ("\t", "#", ""):
            if ours:
                break
            ours = line.startswith("10de ")
        elif ours and line[1:5] in wanted and line[:1] == "\t":
            found[int(line[1:5], 16)] = _marketing(line[5:].strip())
    return found


def _marketing(name: str) -> str:
    inner = re.search(r"\[(.+)\]", name)
    return f"NVIDIA {inner[1] if inner else name}"


def fabric(tree: Tree, devices: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What connects the GPUs, but for the manager's version."""
    switches = [address for address, device, kind in _ours(tree) if kind.startswith(_BRIDGE) and device >= _FIRST_SWITCH]
    candidates = any(each["chip"] in SWITCHED_BY_INFINIBAND for each in devices)
    # The kernel shows product data to root alone, and takes a while for each device, so only where it can matter.
    managers = [name for name in tree.names(INFINIBAND) if _MANAGER in tree.raw(f"{INFINIBAND}/{name}/device/vpd")] if candidates else []
    return {"nvswitches": switches, "nvlink_managers": managers, "manager_needed": bool(switches or managers)}
