# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Configurations of NVIDIA's device plugin: checked, as the plugin reads them, and what a node shows by them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..core.errors import InputError
from .sizing import quantity

Object = Mapping[str, Any]
GPU = "nvidia.com/gpu"
PREFIX = "nvidia.com/"
NONE, TIME_SLICING, MPS = "none", "time_slicing", "mps"
_SHARINGS = (NONE, TIME_SLICING, MPS)
_STRATEGIES = ("none", "single", "mixed")
_SHARED = ".shared"
# A GPU from Volta on takes as many clients of one MPS server.
_MPS_CLIENTS = 48
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_MIG_COUNT = re.compile(r"(nvidia\.com/mig-[0-9a-z.+-]+)\.count")
_KEYS = ("sharing", "replicas", "resources", "mig_strategy", "rename", "fail_requests_greater_than_one")


@dataclass(frozen=True)
class Config:
    """sharing: none, time_slicing or mps. resources: name of one that is shared → replicas of each of its devices.

    mig_strategy: none, single or mixed. rename: whether shared resources are called `….shared`.
    fail_requests_greater_than_one: whether a pod that asks for two shares, which may be of one GPU, is refused.
    """

    sharing: str = NONE
    resources: Mapping[str, int] = field(default_factory=dict)
    mig_strategy: str = "none"
    rename: bool = False
    fail_requests_greater_than_one: bool = True

    def document(self) -> dict[str, Any]:
        """The plugin's configuration file."""
        found: dict[str, Any] = {"version": "v1", "flags": {"migStrategy": self.mig_strategy}}
        if self.sharing != NONE:
            shared = {
                "renameByDefault": self.rename,
                "failRequestsGreaterThanOne": self.fail_requests_greater_than_one,
                "resources": [{"name": name, "replicas": count} for name, count in sorted(self.resources.items())],
            }
            found["sharing"] = {"mps" if self.sharing == MPS else "timeSlicing": shared}
        return found

    def replicas(self, resource: str) -> int:
        return self.resources.get(resource, 1)

    def shown(self, resource: str) -> str:
        """What nodes call a resource."""
        return resource + _SHARED if self.rename and resource in self.resources else resource


# --- what was given


def parse(name: str, given: Mapping[str, Any]) -> Config:
    """A configuration of the user's. Raises InputError for what the plugin would refuse or ignore."""
    where = f"device plugin configuration {name}"
    if not _NAME.fullmatch(name):
        raise InputError("its name is no value of a node's label", where=where, remedy="Take 63 letters, digits, -, _ and . at most.")
    unknown = sorted(set(given) - set(_KEYS))
    if unknown:
        raise InputError(f"has no option {', '.join(unknown)}", where=where, remedy=f"There are {', '.join(_KEYS)}.")
    sharing, strategy = str(given.get("sharing") or NONE), str(given.get("mig_strategy") or "none")
    for option, value, choices in (("sharing", sharing, _SHARINGS), ("mig_strategy", strategy, _STRATEGIES)):
        if value not in choices:
            raise InputError(f"{option} is {value}", where=where, remedy=f"It is one of {', '.join(choices)}.")
    resources = _resources(where, given)
    found = Config(sharing, resources, strategy, bool(given.get("rename", False)), bool(given.get("fail_requests_greater_than_one", True)))
    for what, remedy in _problems(found):
        raise InputError(what, where=where, remedy=remedy)
    return found


def _resources(where: str, given: Mapping[str, Any]) -> dict[str, int]:
    """`replicas` is short for those of the whole GPU."""
    told = dict(given.get("resources") or {})
    if given.get("replicas"):
        told.setdefault(GPU, given["replicas"])
    try:
        return {str(name): int(count) for name, count in told.items()}
    except (TypeError, ValueError):
        raise InputError(
            "replicas are no whole number", where=where, remedy="Give each resource a number, such as nvidia.com/gpu: 4."
        ) from None


def _problems(config: Config) -> Iterator[tuple[str, str]]:
    """What is wrong, and what to do."""
    if config.sharing == NONE:
        if config.resources:
            yield "has replicas, but shares nothing", "Set sharing to time_slicing or mps, or leave replicas and resources out."
        return
    if not config.resources:
        yield f"shares by {config.sharing}, but says not how often", "Set replicas to 2 or more, or name resources with theirs."
    if config.sharing == MPS and config.mig_strategy != "none":
        yield "MPS does not share MIG devices", "Take sharing time_slicing with MIG, or mig_strategy none with MPS."
    for resource, count in sorted(config.resources.items()):
        yield from _of_resource(config, resource, count)


def _of_resource(config: Config, resource: str, count: int) -> Iterator[tuple[str, str]]:
    if not resource.startswith(PREFIX):
        yield f"{resource} is none of NVIDIA's resources", "Name nvidia.com/gpu, or nvidia.com/mig-… with mig_strategy mixed."
    if count < 2:
        yield f"{resource} has {count} replicas", "Give it 2 or more, or set sharing to none."
    if config.sharing == MPS and count > _MPS_CLIENTS:
        yield f"{resource} has {count} replicas", f"MPS serves {_MPS_CLIENTS} clients a GPU at most."
    if resource.startswith(f"{PREFIX}mig-") and config.mig_strategy != "mixed":
        what = f"{resource} is shared, which nodes show with mig_strategy mixed alone"
        yield what, "Set mig_strategy to mixed, or share nvidia.com/gpu, which MIG devices are called with single."


def parse_all(given: Mapping[str, Mapping[str, Any]], default: str) -> dict[str, Config]:
    """Every configuration. default: name of the one for nodes that have none of their own."""
    found = {name: parse(name, each or {}) for name, each in given.items()}
    if default not in found:
        remedy = f"Name one of {', '.join(sorted(found))}." if found else "Describe it."
        raise InputError("is the default, and is not described", where=f"device plugin configuration {default}", remedy=remedy)
    return found


def same_everywhere(configs: Mapping[str, Config]) -> bool:
    """Whether one command-line option says it all, so that the plugin needs no configuration file, and fewer rights."""
    return len(configs) == 1 and all(each.sharing == NONE for each in configs.values())


# --- what a node shows


@dataclass(frozen=True)
class Need:
    """A resource that a node is to show. total: how many, 0 where that is not known: as many times `replicas` as it has devices then."""

    resource: str
    total: int
    replicas: int = 1

    def lack(self, status: Object) -> str:
        """What a node's status lacks of it; nothing when all is there."""
        allocatable = quantity((status.get("allocatable") or {}).get(self.resource, 0))
        capacity = quantity((status.get("capacity") or {}).get(self.resource, 0))
        wanted = str(self.total) if self.total else f"{self.replicas} or more"
        if self.total and allocatable == self.total:
            return ""
        if not self.total and allocatable and allocatable % self.replicas == 0:
            return ""
        ill = f", {capacity - allocatable} of {capacity} are unhealthy" if 0 < allocatable < capacity else ""
        return f"{self.resource}: {allocatable} allocatable instead of {wanted}{ill}"


def needs(config: Config, labels: Mapping[str, str]) -> list[Need]:
    """What a node shows by its configuration. labels: its own, which tell devices where GPU feature discovery has counted them."""
    if config.mig_strategy == "mixed":
        counts = {found[1]: quantity(value) for found, value in _counted(labels) if quantity(value)}
        if counts:
            # How many of the GPUs are not split nobody tells.
            shown = [(config.shown(name), count, config.replicas(name)) for name, count in sorted(counts.items())]
            return [Need(name, count * replicas, replicas) for name, count, replicas in shown]
    replicas = config.replicas(GPU)
    return [Need(config.shown(GPU), quantity(labels.get(f"{GPU}.count", 0)) * replicas, replicas)]


def _counted(labels: Mapping[str, str]) -> Iterator[tuple[re.Match[str], str]]:
    for key, value in labels.items():
        found = _MIG_COUNT.fullmatch(key)
        if found:
            yield found, value


def stale(config: Config, labels: Mapping[str, str]) -> str:
    """What GPU feature discovery still says of a former configuration; nothing when its labels agree, or it says nothing."""
    if f"{GPU}.count" not in labels:
        return ""
    strategy = labels.get(f"{PREFIX}mig.strategy", "none")
    if strategy != config.mig_strategy:
        return f"its labels are still those of MIG strategy {strategy}"
    told = labels.get(f"{GPU}.replicas")
    # Under mixed, GPUs that are split count without their replicas.
    if told is not None and config.mig_strategy != "mixed" and told != str(config.replicas(GPU)):
        return f"its labels are still those of {told} replicas"
    return ""


# --- what the plugin's log says

_DRIVER = (
    "The plugin finds no driver: install it with the role gpu_driver, and with the role container_toolkit make NVIDIA's runtime the "
    "default of containers; where it is not, name its RuntimeClass"
)
_HINTS: tuple[tuple[str, str], ...] = (
    (
        r"driver/library version mismatch",
        "The driver was upgraded and not loaded again: reboot the node, or run the role gpu_driver for it",
    ),
    (r"maximum allowed replicas exceeded", "These GPUs take fewer clients of MPS: lower the replicas"),
    (
        r"(?i)mps control daemon",
        "The MPS control daemon does not run there: look at its pod, which wants the label nvidia.com/mps.capable=true",
    ),
    (
        r"same migEnabled value|more than one MIG device type|invalid MIG configuration|has no MIG devices configured",
        "The GPUs are not split as the strategy wants, single alike on all of them: lay them out with gpu_driver_mig, or take mixed",
    ),
    (r"failed to initialize NVML|Failed to initialize NVML|libnvidia-ml|NVML not detected|no NVML|Incompatible strategy detected", _DRIVER),
    (r"No devices found", _DRIVER),
    (r"unknown version: |unmarshal error", "The plugin does not understand its configuration: look at the values given to its chart"),
)


def hint(log: str) -> str:
    """What to do about what a log says; nothing where it says nothing known."""
    return next((told for pattern, told in _HINTS if re.search(pattern, log)), "")
