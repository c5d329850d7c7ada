# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which packages make NVIDIA's driver on a distribution: their names, by source, branch, kind of kernel module and profile.

Sources: the archives' own package lists (Debian, Ubuntu), and NVIDIA's Driver Installation Guide for what its repositories hold.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..core.errors import InputError
from .chips import ONLY_OPEN

# From this branch on NVIDIA's repository for Ubuntu names packages without the branch.
_UNNUMBERED_UBUNTU = 590
# From this branch on NVIDIA's repositories name the fabric manager and NSCQ without the branch.
_UNNUMBERED_FABRIC = 580


@dataclass(frozen=True)
class Platform:
    """name: as NVIDIA's repository calls it. manager: apt or dnf. system: debian, ubuntu or rhel. release: codename, or major version.

    branches: the driver branches of the distribution itself, with the infix of their package names; the first is the default.
    open_from: where the open kernel module gets no security updates, the suite in which all is of one version; else empty.
    ended: branches that were given up, and where their packages lead now. Such a distribution may get branches not known here.
    """

    name: str
    manager: str
    system: str
    release: str
    branches: Mapping[int, str]
    open_from: str = ""
    ended: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Wanted:
    """What the driver shall be.

    source: distribution, cuda or folder. branch: such as 580, 0 for the source's own choice. kind: open or proprietary.
    profile: compute or full.
    precompiled: whether to take signed modules that were built already, where the source has them. flavours: of the installed kernels.
    kernels: those that headers are wanted for beside those of the flavours.
    fabric, nvlink5: whether NVSwitches need the fabric manager, and the subnet manager of fifth-generation NVLink.
    """

    source: str
    branch: int = 0
    kind: str = "open"
    profile: str = "compute"
    precompiled: bool = True
    architecture: str = "x86_64"
    flavours: Sequence[str] = ()
    kernels: Sequence[str] = ()
    fabric: bool = False
    nvlink5: bool = False


@dataclass(frozen=True)
class Packages:
    """driver, fabric: names. headers: names that must be there; exact: headers of certain kernels, which archives drop after a while.

    stream: of dnf's module nvidia-driver, empty for none. dkms: whether the module is built on the host.
    signed: whether by a key that Secure Boot trusts.
    branch: the branch that the names stand for, 0 where the newest of the source is meant.
    """

    driver: tuple[str, ...]
    headers: tuple[str, ...] = ()
    exact: tuple[str, ...] = ()
    fabric: tuple[str, ...] = ()
    stream: str = ""
    dkms: bool = True
    signed: bool = False
    branch: int = 0


# Ubuntu's packages of a branch that ended are empty and depend on the next one.
_UBUNTU_ENDED = {535: 580, 550: 580, 570: 580, 575: 580, 590: 595}
PLATFORMS: Mapping[str, Platform] = {
    platform.name: platform
    for platform in (
        Platform("debian12", "apt", "debian", "bookworm", {535: "", 470: "tesla-470"}, open_from="bookworm"),
        Platform("debian13", "apt", "debian", "trixie", {550: "", 535: "tesla-535"}),
        Platform("ubuntu2204", "apt", "ubuntu", "jammy", {580: "", 595: "", 615: ""}, ended=_UBUNTU_ENDED),
        Platform("ubuntu2404", "apt", "ubuntu", "noble", {580: "", 595: "", 615: ""}, ended=_UBUNTU_ENDED),
        Platform("rhel9", "dnf", "rhel", "9", {}),
    )
}
_RHEL = ("RedHat", "Rocky", "AlmaLinux", "OracleLinux", "CentOS")
_DEBIAN_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def platform_of(distribution: str, version: str) -> Platform:
    """The platform of a distribution as Ansible's facts name it and its version. Raises InputError for what is not supported."""
    major = version.split(".", maxsplit=1)[0]
    name: str = {"Debian": f"debian{major}", "Ubuntu": f"ubuntu{version.replace('.', '')}"}.get(distribution, "")
    if distribution in _RHEL:
        name = f"rhel{major}"
    if name == "rhel8":
        raise InputError(
            "ansible-core cannot install packages there: dnf's bindings are for Python 3.6 alone, and its modules need 3.8 or newer",
            where=f"{distribution} {version}",
            remedy="Take release 9.",
        )
    if name not in PLATFORMS:
        raise InputError(
            "the driver's packages of this distribution are not known",
            where=f"{distribution} {version}",
            remedy=f"Set gpu_driver_platform to the one it derives from, of {', '.join(PLATFORMS)}, or leave the machine out.",
        )
    return PLATFORMS[name]


def kernel_flavours(installed: Iterable[str]) -> list[str]:
    """The flavours of Debian's and Ubuntu's kernels, by their metapackages: linux-image-generic, linux-image-cloud-amd64 …"""
    matches = (re.fullmatch(r"linux-image-((?!unsigned|extra)[a-z][a-z0-9.-]*)", name) for name in installed)
    return sorted({match[1] for match in matches if match and not match[1].endswith(("-dbg", "-dbgsym"))})


def select(platform: Platform, wanted: Wanted) -> Packages:
    """The packages. Raises InputError for what the source does not have."""
    if wanted.branch >= ONLY_OPEN and wanted.kind == "proprietary":
        raise InputError(
            f"branch {wanted.branch} has open kernel modules alone",
            where="gpu_driver_kernel_module",
            remedy=f"These GPUs need proprietary ones: take a branch below {ONLY_OPEN}, such as 580.",
        )
    makers: Mapping[tuple[str, str], Callable[[Platform, Wanted], Packages]] = {
        ("debian", "distribution"): _debian,
        ("ubuntu", "distribution"): _ubuntu,
        ("debian", "cuda"): _cuda_debian,
        ("ubuntu", "cuda"): _cuda_ubuntu,
        ("rhel", "cuda"): _cuda_rhel,
    }
    # A folder holds what was taken from NVIDIA's repository.
    source = "cuda" if wanted.source == "folder" else wanted.source
    maker = makers.get((platform.system, source))
    if maker is None:
        raise InputError(
            "the distribution has no NVIDIA driver of its own",
            where=f"{platform.name}, gpu_driver_source {wanted.source}",
            remedy="Set gpu_driver_source to cuda (NVIDIA's repository, or a mirror of it), or to folder.",
        )
    return _with_headers(platform, wanted, maker(platform, wanted))


def _with_headers(platform: Platform, wanted: Wanted, found: Packages) -> Packages:
    # Modules that were built already need no headers.
    if not found.dkms:
        return found
    if platform.manager == "dnf":
        return replace(found, headers=("kernel-devel-matched", "kernel-headers"), exact=tuple(map(_devel, wanted.kernels)))
    fallback = "generic" if platform.system == "ubuntu" else _DEBIAN_ARCHITECTURES.get(wanted.architecture, wanted.architecture)
    flavours = wanted.flavours or (fallback,)
    exact = tuple(f"linux-headers-{release}" for release in wanted.kernels)
    return replace(found, headers=tuple(f"linux-headers-{flavour}" for flavour in flavours), exact=exact)


def _devel(release: str) -> str:
    """The package with the headers of one of RHEL's kernels.

    Oracle's own kernel says uek in its release, others end with their flavour: 5.14.0-503.11.1.el9_5.aarch64+64k.
    """
    base, _plus, flavour = release.partition("+")
    if "uek" in base:
        return f"kernel-uek-devel-{base}"
    return f"kernel-{flavour}-devel-{base}" if flavour else f"kernel-devel-{base}"


def _distribution_branch(platform: Platform, wanted: Wanted) -> int:
    branch = wanted.branch or next(iter(platform.branches))
    if branch in platform.ended:
        raise InputError(
            f"branch {branch} has ended, its packages install {platform.ended[branch]}",
            where=f"{platform.name}, gpu_driver_branch",
            remedy=f"Take {platform.ended[branch]}, or set gpu_driver_source to cuda.",
        )
    if branch not in platform.branches and not platform.ended:
        raise InputError(
            f"the distribution has no branch {branch}, only {', '.join(str(known) for known in platform.branches)}",
            where=f"{platform.name}, gpu_driver_branch",
            remedy="Take one of these, or set gpu_driver_source to cuda.",
        )
    return branch


def _debian(platform: Platform, wanted: Wanted) -> Packages:
    branch = _distribution_branch(platform, wanted)
    infix = platform.branches[branch]
    if wanted.fabric:
        raise InputError(
            "Debian has no fabric manager, without which GPUs behind NVSwitches do not work",
            where=f"{platform.name}, gpu_driver_source distribution",
            remedy="Set gpu_driver_source to cuda.",
        )
    if infix and wanted.kind == "open":
        default = next(known for known, name in platform.branches.items() if not name)
        raise InputError(
            f"Debian has branch {branch} with proprietary kernel modules alone",
            where=f"{platform.name}, gpu_driver_branch",
            remedy=f"Take branch {default}, gpu_driver_kernel_module proprietary where the GPUs allow it, or gpu_driver_source cuda.",
        )
    part = f"{infix}-" if infix else ""
    kernel = "nvidia-open-kernel-dkms" if wanted.kind == "open" else f"nvidia-{part}kernel-dkms"
    libraries = (f"libnvidia-{infix}-cuda1", f"libnvidia-{infix}-ml1") if infix else ("libcuda1", "libnvidia-ml1")
    desktop = (f"nvidia-{part}driver",) if wanted.profile == "full" else ()
    return Packages((kernel, *libraries, f"nvidia-{part}smi", "nvidia-persistenced", *desktop), branch=branch)


def _ubuntu(platform: Platform, wanted: Wanted) -> Packages:
    branch = _distribution_branch(platform, wanted)
    name = f"{branch}-server" + ("-open" if wanted.kind == "open" else "")
    fabric = (f"nvidia-fabricmanager-{branch}", f"libnvidia-nscq-{branch}") if wanted.fabric else ()
    if wanted.nvlink5:
        raise InputError(
            "Ubuntu has no subnet manager (nvlsm), without which NVSwitches of the fifth generation do not work",
            where=f"{platform.name}, gpu_driver_source distribution",
            remedy="Set gpu_driver_source to cuda.",
        )
    tools = f"nvidia-utils-{branch}-server"
    if wanted.profile == "full":
        driver: tuple[str, ...] = (f"nvidia-driver-{name}", tools)
    elif wanted.precompiled:
        driver = (f"nvidia-headless-no-dkms-{name}", tools)
    else:
        driver = (f"nvidia-headless-{name}", tools)
    # nvidia-driver-* would be content with DKMS; the modules that were built already come in beside it and take precedence.
    # The flavour `virtual` is the generic kernel with fewer modules beside it, and has no packages of NVIDIA's.
    flavours = dict.fromkeys(re.sub(r"^virtual\b", "generic", flavour) for flavour in wanted.flavours or ("generic",))
    modules = tuple(f"linux-modules-nvidia-{name}-{flavour}" for flavour in flavours) if wanted.precompiled else ()
    return Packages((*driver, *modules), fabric=fabric, dkms=not wanted.precompiled, signed=wanted.precompiled, branch=branch)


def _fabric(wanted: Wanted, manager: str) -> tuple[str, ...]:
    """The fabric manager, under the name it has there, with NSCQ, and what NVLink's fifth generation needs beside it."""
    if not wanted.fabric:
        return ()
    suffix = f"-{wanted.branch}" if wanted.branch and wanted.branch < _UNNUMBERED_FABRIC else ""
    more = ("nvlsm", f"libnvsdm{suffix}") if wanted.nvlink5 else ()
    return (manager, f"libnvidia-nscq{suffix}", *more)


def _deb_fabric(wanted: Wanted) -> tuple[str, ...]:
    numbered = wanted.branch and wanted.branch < _UNNUMBERED_FABRIC
    return _fabric(wanted, f"nvidia-fabricmanager-{wanted.branch}" if numbered else "nvidia-fabricmanager")


def _rpm_fabric(wanted: Wanted) -> tuple[str, ...]:
    older = wanted.branch and wanted.branch < _UNNUMBERED_FABRIC
    return _fabric(wanted, "nvidia-fabric-manager" if older else "nvidia-fabricmanager")


def _cuda_debian(_platform: Platform, wanted: Wanted) -> Packages:
    kernel = "nvidia-kernel-open-dkms" if wanted.kind == "open" else "nvidia-kernel-dkms"
    desktop = ("nvidia-driver",) if wanted.profile == "full" else ()
    return Packages((kernel, "nvidia-driver-cuda", "nvidia-persistenced", *desktop), fabric=_deb_fabric(wanted), branch=wanted.branch)


def _cuda_ubuntu(_platform: Platform, wanted: Wanted) -> Packages:
    open_suffix = "-open" if wanted.kind == "open" else ""
    if wanted.branch and wanted.branch < _UNNUMBERED_UBUNTU:
        top = "driver" if wanted.profile == "full" else "headless"
        driver: tuple[str, ...] = (f"nvidia-{top}-{wanted.branch}{open_suffix}", f"nvidia-utils-{wanted.branch}")
    elif wanted.profile == "full":
        driver = ("nvidia-open",) if wanted.kind == "open" else ("cuda-drivers",)
    else:
        driver = (f"nvidia-dkms{open_suffix}", "libnvidia-compute", "nvidia-persistenced")
    return Packages(driver, fabric=_deb_fabric(wanted), branch=wanted.branch)


def _cuda_rhel(_platform: Platform, wanted: Wanted) -> Packages:
    if wanted.branch:
        stream = f"{wanted.branch}-open" if wanted.kind == "open" else f"{wanted.branch}-dkms"
    else:
        stream = "open-dkms" if wanted.kind == "open" else "latest-dkms"
    kernel = "kmod-nvidia-open-dkms" if wanted.kind == "open" else "kmod-nvidia-latest-dkms"
    desktop = ("nvidia-driver",) if wanted.profile == "full" else ()
    return Packages(
        (kernel, "nvidia-driver-cuda", "nvidia-persistenced", *desktop),
        fabric=_rpm_fabric(wanted),
        stream=stream,
        branch=wanted.branch,
    )
