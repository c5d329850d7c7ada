# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The gate: what stands against running an image of Triton with GPUs on a machine. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .compatibility import Table, against_driver, against_gpus, driver_of, gpus_of, kinds_of, newest_image, release_of
from .driver import BUILD, LOAD, REBOOT

_CDI_KIND = "nvidia.com/gpu"
_PENDING = {
    REBOOT: "Reboot the machine.",
    LOAD: "Load it with modprobe nvidia, or reboot the machine.",
    BUILD: "Install the headers of the running kernel and run dkms autoinstall, or reboot into a kernel that has the module.",
}
INSTALL = "Install it with the role serving.triton.gpu_driver."
_START_FABRIC_MANAGER = "Start it: systemctl enable --now nvidia-fabricmanager.service; its journal tells why it ended."


@dataclass(frozen=True)
class Problem:
    """kind: gpu, driver, image or cdi. The rest as in core.errors."""

    kind: str
    where: str
    what: str
    remedy: str

    def as_dict(self) -> dict[str, str]:
        return {**vars(self), "message": f"{self.where}: {self.what}. {self.remedy}"}


def problems(table: Table, image: str, info: Mapping[str, Any], engine: str = "", devices: Sequence[str] = ()) -> list[Problem]:
    """All of them, the ones that come first first."""
    if not info.get("gpus"):
        remedy = 'Ask for no GPUs (server_host_container_gpus: ""), or take a machine that has one.'
        return [Problem("gpu", image, "GPUs are asked for, and this machine has none of NVIDIA", remedy)]
    found = [*_driver(image, info), *_image(table, image, info)]
    return [*found, *(_cdi(image, info, engine, devices) if engine else ())]


def _driver(image: str, info: Mapping[str, Any]) -> Iterator[Problem]:
    driver, fabric = info["driver"], info.get("fabric") or {}
    if driver["pending"] == REBOOT:
        yield Problem("driver", image, driver["reason"], _PENDING[REBOOT])
    elif not driver["loaded"] and driver["installed"]:
        reason = driver["reason"] or f"driver {driver['installed']} is installed and not loaded"
        yield Problem("driver", image, reason, _PENDING.get(driver["pending"], _PENDING[LOAD]))
    elif not driver["loaded"]:
        yield Problem("driver", image, "there is no driver for the GPU", INSTALL)
    if fabric.get("manager_needed") and driver["loaded"]:
        yield from _fabric(image, driver["loaded"], fabric)


def _fabric(image: str, loaded: str, fabric: Mapping[str, Any]) -> Iterator[Problem]:
    version = fabric.get("manager_version", "")
    what = f"the NVSwitches need the fabric manager {loaded}, and"
    if version != loaded:
        there = f"the installed one is {version}" if version else "none is installed"
        yield Problem("driver", image, f"{what} {there}", f"Install the fabric manager of version {loaded}.")
    elif fabric.get("manager_running") is False:
        yield Problem("driver", image, f"{what} it does not run", _START_FABRIC_MANAGER)


def _image(table: Table, image: str, info: Mapping[str, Any]) -> Iterator[Problem]:
    release, gpus, driver = release_of(table, image), gpus_of(info), driver_of(info)
    if release is None:
        return
    for what in against_gpus(release, gpus):
        yield Problem("image", image, what, _other_image(table, info))
    what = against_driver(release, gpus, driver)
    if driver and what:
        newer = [each.branch for each in table.branches if each.production and kinds_of(gpus, each.branch)]
        install = f"Install driver branch {newer[-1]}, or t" if newer and newer[-1] > int(driver.split(".", maxsplit=1)[0]) else "T"
        yield Problem("driver", image, what, f"{install}{_other_image(table, info)[1:]}")


def _other_image(table: Table, info: Mapping[str, Any]) -> str:
    newest = newest_image(table, info)
    return (
        f"Take the image {newest}, the newest that is known to run here."
        if newest
        else "Take another machine: no image is known to run here."
    )


def _cdi(image: str, info: Mapping[str, Any], engine: str, devices: Sequence[str]) -> Iterator[Problem]:
    refresh = "Run nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml, or the role serving.triton.container_toolkit."
    runtime: Mapping[str, Any] = next((each for each in info["containers"]["runtimes"] if each["name"] == engine), {})
    if runtime.get("cdi") is False:
        yield Problem(
            "cdi",
            image,
            f"{engine} is configured not to resolve CDI devices",
            "Let the role serving.triton.container_toolkit configure it.",
        )
    specs = [each for each in info["cdi"] if each["kind"] == _CDI_KIND]
    names = {name for each in specs for name in each["devices"]}
    if not specs:
        yield Problem("cdi", image, f"no CDI specification names the kind {_CDI_KIND}, so {engine} finds no GPU", refresh)
        return
    for name in devices:
        if name not in names:
            yield Problem(
                "cdi", image, f"no CDI specification names the device {_CDI_KIND}={name}, only {', '.join(sorted(names))}", refresh
            )
    loaded = info["driver"]["loaded"]
    for each in specs:
        if each["driver"] and loaded and each["driver"] != loaded:
            yield Problem("cdi", each["path"], f"it is for driver {each['driver']}, and {loaded} is loaded", refresh)
