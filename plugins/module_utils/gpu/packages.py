# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Installed packages that matter to GPUs, from the database of dpkg or rpm."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from .chips import OPEN, PROPRIETARY
from .tree import Runner, Tree
from .versions import driver_in

DPKG, RPM, NONE = "dpkg", "rpm", "none"
_STATUS = "/var/lib/dpkg/status"
# Where distributions keep the database: until and since Fedora 36, and that of SUSE and of image-based systems.
_RPM_FOLDERS = ("/var/lib/rpm", "/usr/lib/sysimage/rpm", "/usr/share/rpm")
_RPM_FORMAT = "%{NAME}\t%|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}\t%{ARCH}\n"
_RPM_LOCKS = ("/etc/dnf/plugins/versionlock.list", "/etc/yum/pluginconf.d/versionlock.list")

_DRIVER = re.compile(
    r"(lib)?nvidia-|nvidia$|kmod-nvidia|akmod-nvidia|linux-(modules|objects|signatures)-nvidia-|cuda-drivers|libcuda1|libnv|"
    r"xserver-xorg-video-nvidia|xorg-x11-drv-nvidia|nvlsm"
)
_CONTAINER = re.compile(r"(lib)?nvidia-container-|nvidia-docker")
_PRECOMPILED = re.compile(r"linux-(modules|objects|signatures)-nvidia-")
# The packages whose version is that of the user space, the one that says so best first.
_USER_SPACE = tuple(
    re.compile(text)
    for text in (
        r"libnvidia-compute(-|$)|libcuda1$|nvidia-driver-cuda-libs$|libnvidia-ml1?$",
        r"nvidia-(tesla-[\d-]*)?smi$|nvidia-utils-|nvidia-driver-cuda$|nvidia-compute-utils-|xorg-x11-drv-nvidia-cuda(-libs)?$",
        r"nvidia-driver(-|$)|nvidia-headless-|nvidia-(tesla-[\d-]*)?driver",
    )
)
_MODULE = re.compile(r"dkms|kmod-nvidia|kernel|linux-modules-nvidia-|linux-objects-nvidia-")
_NO_MODULE = re.compile(r"kernel-(common|support)|firmware|source")
_FABRIC_MANAGER = re.compile(r"(cuda-drivers-|nvidia-)fabric-?manager(-\d+)?$")
_COMPAT = re.compile(r"cuda-compat-(\d+)-(\d+)$")


@dataclass(frozen=True)
class Package:
    """An installed package. version: with its epoch and release. driver: NVIDIA's version within it, empty for none."""

    name: str
    version: str
    architecture: str
    held: bool = False

    @property
    def driver(self) -> str:
        # Those with modules for one kernel are numbered like the kernel.
        return "" if _PRECOMPILED.match(self.name) else driver_in(self.version)


def dpkg(text: str) -> Iterator[Package]:
    """The installed packages of a status file of dpkg."""
    for paragraph in text.split("\n\n"):
        # The file has a million lines, and only these matter.
        if "nvidia" not in paragraph and "cuda" not in paragraph and "nvlsm" not in paragraph and "Package: libnv" not in paragraph:
            continue
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if re.match(r"(Package|Status|Version|Architecture): ", line))
        words = fields.get("Status", "").split()
        if fields.get("Package") and words and words[-1] != "not-installed" and words[-1] != "config-files":
            yield Package(fields["Package"], fields.get("Version", ""), fields.get("Architecture", ""), held=words[0] == "hold")


def rpm(text: str, locks: Iterable[str] = ()) -> Iterator[Package]:
    """The packages that rpm told in our format. locks: patterns of versionlock's lists."""
    patterns = [line.strip() for line in locks if line.strip() and line.strip()[0] not in "#!"]
    for line in text.splitlines():
        parts = line.split("\t")
        if len(parts) == 3:
            name, version, architecture = parts
            yield Package(name, version, architecture, held=any(_locks(pattern, name, version) for pattern in patterns))


def _locks(pattern: str, name: str, version: str) -> bool:
    # versionlock writes name-epoch:version-release.*, people also write a bare name.
    bare = version.rsplit(":", maxsplit=1)[-1]
    return any(fnmatch.fnmatch(text, pattern) for text in (name, f"{name}-{bare}", f"{name}-{version}.", f"{name}-0:{bare}."))


def installed(tree: Tree, run: Runner) -> tuple[str, list[Package]]:
    """The kind of the database, and the packages of the driver, of CUDA's compatibility and of the container toolkit in it."""
    if tree.exists(_STATUS):
        return DPKG, [each for each in dpkg(tree.text(_STATUS)) if _matters(each.name)]
    folder = next((folder for folder in _RPM_FOLDERS if tree.names(folder, "rpmdb.sqlite") or tree.names(folder, "Packages*")), "")
    if not folder:
        return NONE, []
    where = [] if tree.live else ["--root", os.path.abspath(tree.root), "--dbpath", folder]
    told = run(["rpm", *where, "-qa", "--queryformat", _RPM_FORMAT])
    if not told:
        tree.problems.append(f"{folder} was not read: rpm is not there or does not know this database")
    locks = [line for path in _RPM_LOCKS for line in tree.text(path).splitlines()]
    return RPM, sorted((each for each in rpm(told, locks) if _matters(each.name)), key=lambda each: each.name)


def _matters(name: str) -> bool:
    return bool(_DRIVER.match(name) or _CONTAINER.match(name) or _COMPAT.match(name))


def of_driver(packages: Sequence[Package]) -> list[Package]:
    """Those that belong to the driver: they carry its version, or modules for one kernel."""
    return [
        each
        for each in packages
        if _DRIVER.match(each.name) and not _CONTAINER.match(each.name) and (each.driver or _PRECOMPILED.match(each.name))
    ]


def user_space(packages: Sequence[Package]) -> str:
    """The version of the user space; empty when no package tells."""
    for pattern in _USER_SPACE:
        for each in packages:
            if pattern.match(each.name) and each.driver:
                return each.driver
    return ""


def module_kind(packages: Sequence[Package]) -> str:
    """The kind of kernel module that packages bring; empty when none does, or both kinds are there."""
    names = [each.name for each in of_driver(packages) if _MODULE.search(each.name) and not _NO_MODULE.search(each.name)]
    kinds = {OPEN if re.search(r"\bopen\b", name) else PROPRIETARY for name in names}
    return kinds.pop() if len(kinds) == 1 else ""


def brings_module(packages: Sequence[Package]) -> bool:
    """Whether a package of a kernel module is there."""
    return any(_MODULE.search(each.name) and not _NO_MODULE.search(each.name) for each in of_driver(packages))


def fabric_manager(packages: Sequence[Package]) -> str:
    """The installed fabric manager's version."""
    return next((each.driver for each in packages if _FABRIC_MANAGER.match(each.name) and each.driver), "")


def compatibility(packages: Sequence[Package]) -> list[dict[str, str]]:
    """Packages of CUDA's forward compatibility."""
    found = ((each, _COMPAT.match(each.name)) for each in packages)
    return [{"name": each.name, "cuda": f"{match[1]}.{match[2]}", "driver": each.driver} for each, match in found if match]


def toolkit(packages: Sequence[Package]) -> str:
    """Version of the NVIDIA container toolkit."""
    wanted = ("nvidia-container-toolkit", "nvidia-container-toolkit-base")
    found = next((each.version for name in wanted for each in packages if each.name == name), "")
    return re.sub(r"^\d+:|-[^-]+$", "", found)


def legacy(packages: Sequence[Package]) -> list[str]:
    """Packages of the toolkit's predecessors."""
    return sorted({each.name for each in packages if each.name in ("nvidia-docker2", "nvidia-container-runtime")})
