# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the doctor makes of a machine with GPUs, from a result of module gpu_info. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from .finding import FAIL, OK, WARN, Finding, first_line

Info = Mapping[str, Any]

_INSTALL = "Run the role serving.triton.gpu_driver."
_TOOLKIT = "Run the role serving.triton.container_toolkit."
_START_FABRIC_MANAGER = "Start it: systemctl enable --now nvidia-fabricmanager.service; its journal tells why it ended."
_PENDING = {
    "reboot": "Reboot the machine.",
    "load": "Load it with modprobe nvidia, or reboot; where that fails, dmesg says why.",
    "build": "Install the headers of that kernel and run dkms autoinstall, or reboot into a kernel that has the module.",
}
_SIGN = "Install the distribution's signed modules, or enroll DKMS' key: mokutil --import /var/lib/dkms/mok.pub, then reboot."


def judge_machine(answer: Info) -> list[Finding]:
    """Findings about GPUs, driver, kernels, boot, containers and CDI. A machine without GPU has one, and it is fine."""
    if answer.get("failed"):
        return [Finding("gpu", FAIL, first_line(answer), "Follow the message.")]
    unread = [Finding("gpu facts", WARN, each, "Run the doctor as root.") for each in answer["problems"]]
    if not answer["gpus"]:
        return [Finding("gpu", OK, "there is no NVIDIA GPU"), *unread]
    checks: tuple[Callable[[Info], Iterator[Finding]], ...] = (
        _gpus,
        _driver,
        _module,
        _nouveau,
        _secure_boot,
        _kernels,
        _dkms,
        _fabric,
        _containers,
        _cdi,
    )
    return [*(finding for check in checks for finding in check(answer)), *unread]


def judge_gate(problems: Sequence[Mapping[str, str]], image: str) -> list[Finding]:
    """What stands against an image that is to use the GPUs here, from the filter triton_gpu_problems."""
    found = [Finding(f"gpu {each['kind']}", FAIL, f"{each['where']}: {each['what']}", each["remedy"]) for each in problems]
    return found or [Finding("gpu image", OK, f"Triton {image} can use the GPUs")]


def _gpus(info: Info) -> Iterator[Finding]:
    by_name = {each["name"]: each for each in info["gpus"]}
    for name, count in Counter(each["name"] for each in info["gpus"]).items():
        one = by_name[name]
        kind = ", ".join(filter(None, [one["generation"] or "unknown generation", f"{one['memory_mib']} MiB" if one["memory_mib"] else ""]))
        yield Finding("gpu", OK, f"{count} x {name} ({kind})")
    for each in info["gpus"]:
        mig = each["mig"]
        if mig["enabled"] is not None and mig["enabled"] != mig["pending"]:
            state = "on" if mig["pending"] else "off"
            yield Finding(
                f"mig {each['address']}", WARN, f"MIG mode will be {state} after a reset", "Reset the GPU, or reboot the machine."
            )
        elif mig["enabled"] and not mig["devices"]:
            yield Finding(f"mig {each['address']}", WARN, "MIG mode is on and there is no MIG device", "Make some with nvidia-mig-parted.")


def _driver(info: Info) -> Iterator[Finding]:
    driver = info["driver"]
    if driver["pending"]:
        yield Finding("driver", FAIL, driver["reason"], _PENDING[driver["pending"]])
    elif driver["loaded"]:
        cuda = f", CUDA {info['cuda']['driver']}" if info["cuda"]["driver"] else ""
        yield Finding("driver", OK, f"{driver['loaded']} is loaded ({driver['loaded_kind']} module{cuda})")
    elif driver["installed"]:
        yield Finding("driver", FAIL, f"{driver['installed']} is installed and not loaded", _PENDING["load"])
    else:
        yield Finding("driver", FAIL, "no driver is installed", _INSTALL)
    if driver["runfile"] and driver["packages"]:
        remedy = "Run nvidia-uninstall, then the role serving.triton.gpu_driver."
        yield Finding("driver", WARN, "it was installed by NVIDIA's runfile and by packages, which overwrite each other", remedy)
    if driver["loaded"] and info["nvml"]["source"] == "none" and info["nvml"]["problem"]:
        yield Finding("nvml", WARN, info["nvml"]["problem"], "Install nvidia-smi, or nvidia-ml-py for the Python that Ansible uses.")
    if driver["loaded"] and not driver["persistence"]:
        what = "the persistence daemon does not run, so the driver starts anew for every first use"
        yield Finding("persistence", WARN, what, "Enable nvidia-persistenced.service.")


def _module(info: Info) -> Iterator[Finding]:
    driver = info["driver"]
    kind = driver["loaded_kind"] or driver["installed_kind"]
    for each in {each["name"]: each for each in info["gpus"]}.values():
        if kind and each["modules"] and kind not in each["modules"]:
            yield Finding(
                "module", FAIL, f"the {kind} module does not drive {each['name']}", f"Install the {each['modules'][0]} one. {_INSTALL}"
            )
        if driver["branch"] and each["last_branch"] and driver["branch"] > each["last_branch"]:
            what = f"driver branch {driver['branch']} does not know {each['name']}, {each['last_branch']} was the last that did"
            yield Finding("module", FAIL, what, f"Install branch {each['last_branch']}. {_INSTALL}")


def _nouveau(info: Info) -> Iterator[Finding]:
    nouveau = info["nouveau"]
    held = [each["address"] for each in info["gpus"] if each["bound"].lower() in ("nouveau", "novacore")]
    if held:
        yield Finding(
            "nouveau", FAIL, f"it holds {', '.join(held)}", "Blacklist it, renew the initramfs and reboot. The role gpu_driver does so."
        )
    elif not nouveau["blacklisted"] and info["driver"]["installed"]:
        yield Finding("nouveau", WARN, "nothing keeps it from taking the GPU at the next boot", _INSTALL)
    else:
        yield Finding("nouveau", OK, "it is not in the way")


def _secure_boot(info: Info) -> Iterator[Finding]:
    boot, loaded = info["secure_boot"], info["driver"]["loaded"]
    unsigned = [release for release in boot["unsigned"] if not (loaded and release == info["kernel"])]
    if boot["state"] == "unknown":
        yield Finding("secure boot", WARN, "its state could not be read", "Run the doctor as root.")
    elif boot["state"] == "enabled" and unsigned:
        status = FAIL if info["kernel"] in unsigned else WARN
        yield Finding("secure boot", status, f"it is on, and the nvidia module of {', '.join(unsigned)} carries no signature", _SIGN)
    elif boot["state"] == "enabled" and info["driver"]["pending"] == "load":
        yield Finding("secure boot", WARN, "it is on, and the kernel may not trust the key of the nvidia module", _SIGN)
    else:
        yield Finding(
            "secure boot", OK, {"enabled": "it is on, and the module is signed or loaded"}.get(boot["state"], f"it is {boot['state']}")
        )


def _kernels(info: Info) -> Iterator[Finding]:
    """The running kernel is the driver's business; here is what the next boot may start."""
    driver = info["driver"]
    bootable = [each for each in info["kernels"] if each["image"]]
    if not driver["installed"] or not bootable or bootable[-1]["running"]:
        return
    newest = bootable[-1]
    if newest["module"]:
        yield Finding("kernels", OK, f"the newest kernel, {newest['release']}, has the nvidia module {newest['module']}")
        return
    missing = " and no headers" if info["dkms"]["modules"] and not newest["headers"] else ""
    remedy = f"Install its headers and run dkms autoinstall --kernelver {newest['release']}." if missing else _INSTALL
    yield Finding(
        "kernels", WARN, f"the newest kernel, {newest['release']}, has no nvidia module{missing}: its boot will be without GPU", remedy
    )


def _dkms(info: Info) -> Iterator[Finding]:
    for path in info["dkms"]["failed"]:
        yield Finding("dkms", FAIL, f"a build did not end, {path} says why", "Mend what the log names, then run dkms autoinstall.")
    states = {"added": "was not built for any kernel", "built": "is built and not installed", "broken": "has lost its source"}
    for each in info["dkms"]["modules"]:
        if each["state"] in states:
            status = WARN if info["driver"]["loaded"] else FAIL
            kernel = f" for {each['kernel']}" if each["kernel"] else ""
            remedy = "Install the kernel's headers and run dkms autoinstall; reinstall the driver where its source is gone."
            yield Finding("dkms", status, f"{each['name']} {each['version']} {states[each['state']]}{kernel}", remedy)
    if any(each["state"] == "installed" for each in info["dkms"]["modules"]):
        built = ", ".join(f"{each['version']} for {each['kernel']}" for each in info["dkms"]["modules"] if each["state"] == "installed")
        yield Finding("dkms", OK, f"has installed {built}")


def _fabric(info: Info) -> Iterator[Finding]:
    fabric, driver = info["fabric"], info["driver"]
    if not fabric["manager_needed"]:
        return
    version, wanted = fabric["manager_version"], driver["loaded"] or driver["installed"]
    if version != wanted:
        there = f"the installed one is {version}" if version else "none is installed"
        yield Finding("fabric manager", FAIL, f"NVSwitches need that of version {wanted}, and {there}", _INSTALL)
    elif driver["loaded"] and fabric["manager_running"] is False:
        yield Finding("fabric manager", FAIL, f"{version} is installed and does not run, so CUDA finds no GPU", _START_FABRIC_MANAGER)
    else:
        yield Finding("fabric manager", OK, f"{version} {'runs' if fabric['manager_running'] else 'is installed'}, as the driver is")


def _containers(info: Info) -> Iterator[Finding]:
    containers = info["containers"]
    runtimes = containers["runtimes"]
    if not runtimes:
        yield Finding("containers", OK, "there is no container runtime")
        return
    if not containers["toolkit"]:
        yield Finding("containers", WARN, "the NVIDIA container toolkit is not installed, so containers get no GPU", _TOOLKIT)
    if containers["legacy"]:
        yield Finding("containers", WARN, f"{', '.join(containers['legacy'])} is outdated", _TOOLKIT)
    for each in runtimes:
        name = f"containers {each['name']}"
        if each["problem"]:
            yield Finding(name, WARN, f"its configuration could not be read: {each['problem']}", "Mend the file.")
        elif each["nvidia"] or (each["cdi"] and info["cdi"]):
            way = "NVIDIA's runtime" if each["nvidia"] else "CDI"
            yield Finding(name, OK, f"reaches GPUs through {way}")
        elif containers["toolkit"]:
            yield Finding(name, WARN, "knows neither NVIDIA's runtime nor a CDI specification", _TOOLKIT)


def _cdi(info: Info) -> Iterator[Finding]:
    loaded = info["driver"]["loaded"]
    for each in info["cdi"]:
        name = f"cdi {each['path']}"
        remedy = f"Renew it: nvidia-ctk cdi generate --output={each['path']}."
        if each["problem"]:
            yield Finding(name, WARN, each["problem"], remedy)
        elif each["driver"] and loaded and each["driver"] != loaded:
            yield Finding(name, FAIL, f"it is for driver {each['driver']}, and {loaded} is loaded", remedy)
        else:
            yield Finding(name, OK, f"names {len(each['devices'])} devices of {each['kind']}")
