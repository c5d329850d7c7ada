# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The driver: what is loaded, what is installed, and what has to happen until they are the same."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .chips import OPEN, PROPRIETARY
from .kernels import UNKNOWN
from .packages import Package, brings_module, module_kind, of_driver, user_space
from .tree import Tree
from .versions import branch_of, driver_in

_VERSION = "/proc/driver/nvidia/version"
_MODULE = "/sys/module/nvidia"
_LIBRARIES = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib")
_LIBRARY = re.compile(r"libnvidia-ml\.so\.(\d{3,4}\.[\d.]+)$")
REBOOT, LOAD, BUILD = "reboot", "load", "build"


@dataclass(frozen=True)
class Seen:
    """What else was looked at. gpus, kernels, dkms and nouveau: as the module returns them. release: of the running kernel."""

    gpus: Sequence[Mapping[str, Any]]
    kernels: Sequence[Mapping[str, Any]]
    dkms: Mapping[str, Any]
    nouveau: Mapping[str, Any]
    release: str

    @property
    def running(self) -> Mapping[str, Any]:
        """The running kernel's entry; empty in a container, which has no modules of it."""
        return next((each for each in self.kernels if each["running"]), {})


def driver(tree: Tree, packages: Sequence[Package], seen: Seen) -> dict[str, Any]:
    """Everything about the driver, as the module returns it."""
    loaded, loaded_kind = loaded_module(tree)
    runfile = tree.exists("/usr/bin/nvidia-uninstall") or tree.exists("/usr/bin/nvidia-installer")
    installed = user_space(packages) or _by_library(tree)
    kind = _installed_kind(packages, seen)
    pending, reason = pending_of(loaded, loaded_kind, installed, seen)
    if not pending and not loaded and not seen.running.get("module") and brings_module(packages) and seen.gpus:
        pending, reason = BUILD, _why_no_module(seen)
    return {
        "loaded": loaded,
        "loaded_kind": loaded_kind,
        "installed": installed,
        "installed_kind": kind,
        "branch": branch_of(installed) or branch_of(loaded) or None,
        "pending": pending,
        "reason": reason,
        "packages": [
            {"name": each.name, "version": each.version, "driver": each.driver, "architecture": each.architecture, "held": each.held}
            for each in of_driver(packages)
        ],
        "runfile": runfile,
        "device_nodes": tree.names("/dev", "nvidia*"),
        "persistence": tree.exists("/run/nvidia-persistenced/socket") or tree.exists("/var/run/nvidia-persistenced/socket"),
    }


def loaded_module(tree: Tree) -> tuple[str, str]:
    """Version and kind of the loaded module; two empty texts when none is."""
    text = tree.text(_VERSION)
    version = driver_in(next((line for line in text.splitlines() if line.startswith("NVRM")), ""))
    version = version or tree.word(f"{_MODULE}/version")
    if not version:
        return "", ""
    return version, OPEN if "Open Kernel Module" in text else PROPRIETARY


def _by_library(tree: Tree) -> str:
    """The version in the name of the NVML library, where no package tells: after a runfile, in a container."""
    found = (_LIBRARY.match(name) for folder in _LIBRARIES for name in tree.names(folder, "libnvidia-ml.so.*"))
    return next((match[1] for match in found if match), "")


def _installed_kind(packages: Sequence[Package], seen: Seen) -> str:
    with_module = [each for each in seen.kernels if each["module_kind"]]
    best = seen.running if seen.running.get("module_kind") else (with_module[-1] if with_module else {})
    return str(best.get("module_kind") or module_kind(packages))


def pending_of(loaded: str, loaded_kind: str, installed: str, seen: Seen) -> tuple[str, str]:
    """What is pending, and why. Two empty texts when nothing is."""
    module = seen.running.get("module", "")
    module = "" if module == UNKNOWN else module
    kind = seen.running.get("module_kind", "")
    wanted = installed or module
    if loaded and wanted and loaded != wanted:
        return REBOOT, f"the loaded module is {loaded}, the installed driver is {wanted}"
    if loaded and module == loaded and kind and kind != loaded_kind:
        return REBOOT, f"the loaded module is the {loaded_kind} one, the installed one is {kind}"
    if loaded or not wanted or not seen.gpus:
        return "", ""
    if seen.nouveau["loaded"] and any(each["bound"] in ("nouveau", "NovaCore") for each in seen.gpus):
        return REBOOT, "nouveau holds the GPU"
    if seen.running.get("module"):
        return LOAD, f"the module for {seen.release} is installed and not loaded"
    return BUILD, _why_no_module(seen)


def _why_no_module(seen: Seen) -> str:
    """Why the running kernel has no module."""
    if not seen.running:
        return f"nothing is installed for the running kernel {seen.release}"
    if not seen.running.get("headers") and seen.dkms["modules"]:
        return f"the headers of the running kernel {seen.release} are missing"
    if seen.dkms["failed"]:
        return f"the build for {seen.release} failed, see {seen.dkms['failed'][0]}"
    return f"the running kernel {seen.release} has no nvidia module"
