# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The plan of the role gpu_driver: what a machine needs for the driver that is wanted, computed from what is known of the machine.

Everything that can be wrong about a wish is told here, before anything is changed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..core.errors import ConflictError, InputError
from . import driver_packages as packages
from . import driver_sources as sources
from .chips import DEFAULT_OPEN, OPEN, PROPRIETARY, kinds_in
from .compatibility import gpus_of, preferred
from .driver_packages import Platform, Wanted

KINDS = (OPEN, PROPRIETARY)
_VERSION = re.compile(r"\d{3,}(\.\d+)+")
# Packages of the driver that have versions of their own.
_OWN_VERSIONS = ("linux-modules-nvidia-", "nvlsm", "libnvsdm")
# They bring the modules of each new kernel, so that a hold would leave that one without.
_WITH_THE_KERNEL = "linux-modules-nvidia-"
# In Debian's archive the daemon is a source package of its own.
_DEBIAN_OWN_VERSIONS = ("nvidia-persistenced",)
# Where dkms keeps the certificate that it signs modules with.
_CERTIFICATES = {"ubuntu": "/var/lib/shim-signed/mok/MOK.der"}
_CERTIFICATE = "/var/lib/dkms/mok.pub"


def driver_plan(machine: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """What to do, as plain values.

    machine: distribution, version, architecture, installed (names of packages), targets (see driver_sources.parse_targets),
    gpu (gpu_info's answer).
    options: the role's variables without their prefix.
    Raises InputError or ConflictError for what cannot work.
    """
    platform = _platform(machine, options)
    _refuse_runfile(machine["gpu"])
    version = "" if options["version"] == "latest" else options["version"]
    wanted = _wanted(platform, machine, options, version)
    chosen = packages.select(platform, wanted)
    where = _sources(platform, machine, options, wanted, chosen.dkms)
    folder = wanted.source == "folder"
    names = [] if folder else _versioned(platform, wanted.source, chosen.driver, version)
    return {
        "platform": platform.name,
        "manager": platform.manager,
        "source": wanted.source,
        "branch": chosen.branch,
        "version": version,
        "kind": wanted.kind,
        "packages": names,
        "names": [] if folder else list(chosen.driver),
        "headers": list(chosen.headers),
        "exact_headers": list(chosen.exact),
        "fabric": [] if folder else list(chosen.fabric),
        "held": [] if folder else [name for name in (*chosen.driver, *chosen.fabric) if not name.startswith(_WITH_THE_KERNEL)],
        "stream": "" if folder else chosen.stream,
        "dkms": chosen.dkms,
        "signed": chosen.signed,
        "certificate": _CERTIFICATES.get(platform.system, _CERTIFICATE),
        # Ubuntu's own packages start the daemon without persistence, which is what it is for.
        "persistence_off": platform.system == "ubuntu" and wanted.source == "distribution",
        **where,
    }


def _platform(machine: Mapping[str, Any], options: Mapping[str, Any]) -> Platform:
    if not options["platform"]:
        return packages.platform_of(machine["distribution"], machine["version"])
    if options["platform"] not in packages.PLATFORMS:
        raise InputError(
            f"is none of {', '.join(packages.PLATFORMS)}", where=f"gpu_driver_platform {options['platform']}", remedy="Take one of these."
        )
    return packages.PLATFORMS[options["platform"]]


def _refuse_runfile(gpu: Mapping[str, Any]) -> None:
    if gpu["driver"]["runfile"]:
        raise ConflictError(
            "NVIDIA's runfile installed a driver here, which packages must not be installed over",
            where="/usr/bin/nvidia-uninstall",
            remedy="Run `nvidia-uninstall --silent` on the machine, then this role again.",
        )


def _wanted(platform: Platform, machine: Mapping[str, Any], options: Mapping[str, Any], version: str) -> Wanted:
    gpu = machine["gpu"]
    if version and not _VERSION.match(version):
        raise InputError(
            "is no version of a driver",
            where=f"gpu_driver_version {version}",
            remedy="Give it as NVIDIA numbers it, such as 580.95.05, or latest, or leave it empty.",
        )
    branch = int(options["branch"] or 0) or (int(version.partition(".")[0]) if version else 0)
    if version and not version.startswith(f"{branch}."):
        raise InputError(
            f"is not of branch {branch}",
            where=f"gpu_driver_version {version}",
            remedy="Leave gpu_driver_branch empty, or make the two agree.",
        )
    fabric = gpu["fabric"]
    needed = bool(fabric["manager_needed"]) if options["fabric_manager"] == "auto" else options["fabric_manager"] == "always"
    nvlink5 = needed and bool(fabric["nvlink_managers"])
    source = options["source"]
    if source == "auto":
        # The distribution's packages come signed or with its own support.
        source = "cuda" if _lacking(platform, gpu["gpus"], needed, nvlink5) else "distribution"
    if source == "cuda" and not branch:
        # The newest would be one that drives none of the older GPUs.
        branch = min((each["last_branch"] for each in gpu["gpus"] if each["last_branch"]), default=0)
    return Wanted(
        source=source,
        branch=branch,
        kind=_kind(branch or (next(iter(platform.branches), 0) if source == "distribution" else 0), gpu["gpus"], options["kernel_module"]),
        profile=options["profile"],
        precompiled=bool(options["precompiled"]),
        architecture=machine["architecture"],
        flavours=tuple(packages.kernel_flavours(machine["installed"])) if platform.manager == "apt" else (),
        kernels=tuple(kernel["release"] for kernel in _booting(gpu["kernels"]) if not kernel["headers"]),
        fabric=needed,
        nvlink5=nvlink5,
    )


def _lacking(platform: Platform, gpus: Sequence[Mapping[str, Any]], fabric: bool, nvlink5: bool) -> bool:
    """Whether a distribution has no driver, none that is new enough, or not what NVSwitches need: fabric manager or subnet manager."""
    if not platform.branches or (fabric and platform.system == "debian") or nvlink5:
        return True
    return any(max(platform.branches) < each.first_branch for each in gpus_of(gpus))


def _booting(kernels: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The running kernel and the newest, which boots next. dkms builds for no others on its own."""
    images = [kernel for kernel in kernels if kernel["image"]]
    return [kernel for kernel in images if kernel["running"] or kernel is images[-1]]


def _kind(branch: int, gpus: Sequence[Mapping[str, Any]], asked: str) -> str:
    """open or proprietary: what every GPU can be driven by, the open one first where it is NVIDIA's default.

    Before it was, it refused GPUs that are not for data centres.
    """
    known = [gpu for gpu in gpus if gpu["modules"]]
    offered = kinds_in(branch, KINDS) if branch else KINDS
    able = [kind for kind in offered if all(kind in gpu["modules"] for gpu in known)]
    if not able:
        names = ", ".join(sorted({gpu["name"] for gpu in known}))
        raise InputError(
            f"no kernel module{f' of branch {branch}' if branch else ''} drives all of these GPUs",
            where=names,
            remedy="GPUs before Turing need the proprietary one, Blackwell the open one: choose another branch, or part them.",
        )
    _refuse_ended(branch, known)
    if asked != "auto":
        if asked not in offered:
            raise InputError(
                f"branch {branch} has {offered[0]} kernel modules alone",
                where=f"gpu_driver_kernel_module {asked}",
                remedy=f"Set it to auto or {offered[0]}, or take another branch.",
            )
        if asked not in able:
            others = {gpu["name"] for gpu in known if asked not in gpu["modules"]}
            raise InputError(
                f"the {asked} kernel module does not drive {', '.join(sorted(others))}",
                where=f"gpu_driver_kernel_module {asked}",
                remedy=f"Set it to auto or {able[0]}.",
            )
        return asked
    # 0 stands for the source's newest.
    return preferred(able, branch or DEFAULT_OPEN)


def _refuse_ended(branch: int, gpus: Sequence[Mapping[str, Any]]) -> None:
    for gpu in gpus:
        if gpu["last_branch"] and branch > gpu["last_branch"]:
            raise InputError(
                f"driver branch {branch} no longer supports it, {gpu['last_branch']} was the last that does",
                where=gpu["name"],
                remedy=f"Set gpu_driver_branch to {gpu['last_branch']} or below.",
            )


def _sources(platform: Platform, machine: Mapping[str, Any], options: Mapping[str, Any], wanted: Wanted, dkms: bool) -> dict[str, Any]:
    """Repositories, key and preferences. Empty where the source needs none."""
    found: dict[str, Any] = {"repository": "", "key": {}, "preferences": "", "rpm_repositories": []}
    version = "" if options["version"] == "latest" else options["version"]
    if platform.manager == "apt" and wanted.source != "folder":
        found["preferences"] = sources.preferences(platform, wanted, version)
    if wanted.source == "distribution":
        return {**found, "repository": sources.apt_distribution(platform, sources.parse_targets(machine["targets"]))}
    url = sources.cuda_url(platform, machine["architecture"], options["repository_url"])
    signed = bool(options["repository_signed"])
    if wanted.source == "cuda":
        sources.refuse_unsigned(url, signed)
    if wanted.source == "cuda" and signed:
        found["key"] = sources.key_of(platform, url, options["repository_key"], options["repository_key_fingerprints"])
    if platform.manager == "apt":
        return {**found, "repository": sources.apt_cuda(url, signed) if wanted.source == "cuda" else ""}
    fingerprints = found["key"].get("fingerprints", ())
    given = (options[f"dkms_repository_{name}"] for name in ("url", "key", "key_fingerprints"))
    repositories = sources.rpm_repositories(platform, url, fingerprints, sources.Dkms(*given) if dkms else None)
    if wanted.source == "folder":
        repositories = [repository for repository in repositories if repository["name"] != sources.RPM_REPOSITORY]
    return {**found, "rpm_repositories": repositories}


def _versioned(platform: Platform, source: str, names: Sequence[str], version: str) -> list[str]:
    own = (*_OWN_VERSIONS, *(_DEBIAN_OWN_VERSIONS if platform.system == "debian" and source == "distribution" else ()))
    if not version:
        return list(names)
    glue = "=" if platform.manager == "apt" else "-"
    return [name if name.startswith(own) else f"{name}{glue}{version}{'*' if platform.manager == 'apt' else ''}" for name in names]
