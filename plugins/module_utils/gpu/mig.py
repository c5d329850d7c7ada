# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How GPUs are partitioned by MIG: what is wanted of each, and the commands that take it there. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core.errors import InputError
from ..core.plan import Action, Plan

_PROFILE = re.compile(r"[1-7]g\.\d+gb(\+[a-z0-9.]+)*(-[a-z]+)*")
_SMI = "/usr/bin/nvidia-smi"


@dataclass(frozen=True)
class Partition:
    """One GPU: its PCI address, whether MIG is on, and its MIG devices as profile → count."""

    address: str
    enabled: bool
    profiles: Mapping[str, int] = field(default_factory=dict)

    def describe(self) -> str:
        devices = ", ".join(f"{count} x {name}" for name, count in sorted(self.profiles.items()))
        return f"{self.address}: {('MIG, ' + (devices or 'no devices')) if self.enabled else 'no MIG'}"


def observed(gpus: Iterable[Mapping[str, Any]]) -> list[Partition]:
    """The GPUs that can be partitioned, as gpu_info tells them."""
    return [
        Partition(gpu["address"], bool(gpu["mig"]["enabled"]), dict(Counter(device["profile"] for device in gpu["mig"]["devices"])))
        for gpu in gpus
        if gpu["mig"]["capable"]
    ]


def desired(layout: Sequence[Mapping[str, Any]], actual: Sequence[Partition]) -> list[Partition]:
    """What the layout says of each GPU that it names; an index counts the GPUs that can be partitioned, by PCI address.

    Raises InputError for an index that is not there, a GPU that is named twice, and a profile that is none.
    """
    found: dict[str, Partition] = {}
    for entry in layout:
        for profile, count in entry["profiles"].items():
            if not _PROFILE.fullmatch(profile) or count < 1:
                raise InputError("is no number of a MIG profile", where=f"{profile}: {count}", remedy="Give profiles such as 1g.10gb: 7.")
        if entry["profiles"] and not entry["enabled"]:
            raise InputError("there are profiles where MIG is off", where=f"devices {entry['devices']}", remedy="Set enabled to true.")
        for index in _indices(entry["devices"], actual):
            address = actual[index].address
            if address in found:
                raise InputError("it is in two entries", where=f"GPU {index} ({address})", remedy="Name each GPU once.")
            found[address] = Partition(address, entry["enabled"], {name: int(count) for name, count in entry["profiles"].items()})
    return list(found.values())


def _indices(devices: Sequence[str], actual: Sequence[Partition]) -> list[int]:
    if list(devices) == ["all"]:
        return list(range(len(actual)))
    for device in devices:
        if not str(device).isdigit() or int(device) >= len(actual):
            raise InputError(
                "there is no such GPU that MIG can partition",
                where=f"devices {device}",
                remedy=f"Give all, or indices below {len(actual)}, in the order of PCI addresses.",
            )
    return [int(device) for device in devices]


def plan(actual: Sequence[Partition], wanted: Sequence[Partition]) -> Plan:
    """One action a GPU that differs. Its data hold the commands: argv, and whether it may fail."""
    now = {partition.address: partition for partition in actual}
    actions = tuple(
        Action("partition", target.describe(), {"address": target.address, "commands": commands(now[target.address], target)})
        for target in wanted
        if now[target.address] != target
    )
    return Plan(actions, _lines(actual), _lines({**now, **{target.address: target for target in wanted}}.values()))


def commands(current: Partition, target: Partition) -> list[dict[str, Any]]:
    """From one state to the other. A GPU in use is told by nvidia-smi."""
    steps: list[list[str]] = []
    kept = current.enabled and target.enabled
    if current.profiles and (current.profiles != target.profiles or not target.enabled):
        steps += [[_SMI, "mig", "-i", target.address, "-dci"], [_SMI, "mig", "-i", target.address, "-dgi"]]
    if not kept:
        steps.append([_SMI, "-i", target.address, "-mig", "1" if target.enabled else "0"])
    if target.profiles and current.profiles != target.profiles:
        steps.append(_create(target))
    return [{"argv": argv, "optional": False} for argv in steps]


def boot_commands(wanted: Sequence[Partition]) -> list[dict[str, Any]]:
    """What makes the layout on a machine that has just booted, whatever was left. Those that are optional fail where nothing is left."""
    found: list[dict[str, Any]] = []
    for target in wanted:
        found.append({"argv": [_SMI, "-i", target.address, "-mig", "1" if target.enabled else "0"], "optional": False})
        if target.enabled:
            found += [{"argv": [_SMI, "mig", "-i", target.address, flag], "optional": True} for flag in ("-dci", "-dgi")]
        if target.profiles:
            found.append({"argv": _create(target), "optional": False})
    return found


def _create(target: Partition) -> list[str]:
    # The larger ones first: they fit in fewer places.
    names = sorted(target.profiles, key=lambda name: (-int(name[0]), name))
    profiles = [name for name in names for _each in range(target.profiles[name])]
    return [_SMI, "mig", "-i", target.address, "-cgi", ",".join(profiles), "-C"]


def parted_config(wanted: Sequence[Partition], actual: Sequence[Partition]) -> dict[str, Any]:
    """The layout for nvidia-mig-parted; GPUs that were not named stay as they are."""
    target = {partition.address: partition for partition in [*actual, *wanted]}
    entries = [
        {"devices": [index], "mig-enabled": target[each.address].enabled, "mig-devices": dict(target[each.address].profiles)}
        for index, each in enumerate(actual)
    ]
    return {"version": "v1", "mig-configs": {"serving-triton": entries}}


def _lines(partitions: Iterable[Partition]) -> str:
    return "".join(f"{partition.describe()}\n" for partition in sorted(partitions, key=lambda each: each.address))
