# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Everything that the module gpu_info returns. Reads only."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..core.errors import InputError
from . import boot, cdi, dkms, packages, pci, processes
from .chips import in_order
from .driver import Seen, driver
from .kernels import kernels
from .nvml import Told, ask
from .runtimes import DEFAULT_CDI_DIRS, runtimes
from .tree import Runner, Tree
from .versions import natural

# nvidia-smi takes seconds per GPU while the persistence daemon is off, and hangs with a GPU that is broken.
_SECONDS = 60
_TOOLKITS = "/usr/local"
_FABRIC_MANAGER = "nv-fabricmanager"


def run(command: Sequence[str]) -> str:
    """The runner of the module: see tree.Runner."""
    environment = {**os.environ, "LC_ALL": "C", "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/bin:/bin"}
    try:
        done = subprocess.run(  # noqa: S603 - argv of our own making
            list(command), capture_output=True, text=True, timeout=_SECONDS, check=False, stdin=subprocess.DEVNULL, env=environment
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


@dataclass(frozen=True)
class Request:
    """The options of the module."""

    root: str = "/"
    kernel: str = ""
    nvml: bool = True


def inspect(request: Request, runner: Runner = run) -> dict[str, Any]:
    """All of it. Raises InputError for a root that is no folder."""
    if not os.path.isdir(request.root):
        raise InputError("there is no such folder", where=request.root, remedy="Give the folder of an image or a chroot as root.")
    tree = Tree(os.path.normpath(request.root))
    release = request.kernel or tree.word("/proc/sys/kernel/osrelease")
    found = pci.gpus(tree)
    kind, installed = packages.installed(tree, runner)
    told = _told(tree, request, found, runner)
    for each in found:
        each.update(told.gpus.get(each["address"], {}))
    there = kernels(tree, release, runner)
    built = dkms.state(tree, runner)
    nouveau = boot.nouveau(tree)
    fabric = pci.fabric(tree, found)
    return {
        "present": bool(found),
        "gpus": found,
        "generations": in_order(each["generation"] for each in found),
        "fabric": {
            **fabric,
            "manager_version": packages.fabric_manager(installed),
            "manager_running": processes.runs(tree, _FABRIC_MANAGER) if fabric["manager_needed"] else None,
        },
        "driver": driver(tree, installed, Seen(found, there, built, nouveau, release)),
        "kernel": release,
        "kernels": there,
        "dkms": built,
        "secure_boot": boot.secure_boot(tree, there),
        "nouveau": nouveau,
        "cuda": {"driver": told.cuda, "compat": packages.compatibility(installed), "toolkits": _toolkits(tree)},
        "containers": {
            "toolkit": packages.toolkit(installed),
            "legacy": packages.legacy(installed),
            "runtimes": (engines := runtimes(tree)),
        },
        "cdi": cdi.specs(tree, dict.fromkeys([*DEFAULT_CDI_DIRS, *(folder for each in engines for folder in each["cdi_dirs"])])),
        "nvml": {"source": told.source, "problem": told.problem},
        "packages": kind,
        "problems": tree.problems,
    }


def _told(tree: Tree, request: Request, found: Sequence[Any], runner: Runner) -> Told:
    if not request.nvml:
        return Told(problem="it was not to be asked")
    if not tree.live:
        return Told(problem="the root is not this machine's")
    if not found and not tree.exists("/proc/driver/nvidia/version"):
        return Told(problem="there is no GPU")
    if not tree.exists("/proc/driver/nvidia/version") and not tree.exists("/dev/nvidiactl"):
        return Told(problem="no driver is loaded")
    return ask(runner)


def _toolkits(tree: Tree) -> list[str]:
    found = [re.fullmatch(r"cuda-(\d+\.\d+)", name) for name in tree.names(_TOOLKITS)]
    return sorted((match[1] for match in found if match), key=natural)
