# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where the driver's packages come from: repositories, their keys, and the preferences that keep apt with one branch or version."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..core.errors import InputError
from .driver_packages import Platform, Wanted

APT_SOURCES = "/etc/apt/sources.list.d/serving-triton-nvidia.sources"
APT_PREFERENCES = "/etc/apt/preferences.d/serving-triton-nvidia"
APT_KEY = "/etc/apt/keyrings/serving-triton-nvidia.asc"
RPM_KEY = "/etc/pki/rpm-gpg/RPM-GPG-KEY-serving-triton-nvidia"
RPM_REPOSITORY = "serving-triton-nvidia"
RPM_DKMS_REPOSITORY = "serving-triton-nvidia-dkms"

_CUDA = "https://developer.download.nvidia.com/compute/cuda/repos"
# NVIDIA's keys: the file in the repository's folder, and the fingerprint.
_KEYS: Mapping[str, tuple[str, str]] = {
    "apt": ("3bf863cc.pub", "EB693B3035CD5710E231E123A4B469963BF863CC"),
    # SHA-1 is refused from Debian 13 on, so NVIDIA signs with another key there.
    "debian13": ("8793F200.pub", "02182E60104FCDC26EAE1B8597A5D4CB8793F200"),
    "dnf": ("D42D0685.pub", "610C7B14E068A878070DA4E99CD0A493D42D0685"),
}
# DKMS for RHEL is in EPEL alone, of which nothing else is wanted.
_EPEL = "https://dl.fedoraproject.org/pub/epel"
_EPEL_FINGERPRINTS = {"9": "FF8AD1344597106ECE813B918A3872BF3228467C"}
# Components of the distribution that the driver needs.
_COMPONENTS: Mapping[str, tuple[str, ...]] = {
    "debian": ("contrib", "non-free", "non-free-firmware"),
    "ubuntu": ("restricted", "multiverse"),
}
_PINNED = "*nvidia* libcuda1 libcudadebugger1 libnvcuvid1 libnvoptix1 libxnvctrl* cuda-drivers*"


@dataclass(frozen=True)
class Target:
    """One index that apt reads, as `apt-get indextargets` tells it."""

    entry: str
    uri: str
    release: str
    component: str
    signed_by: str


def parse_targets(lines: Iterable[str]) -> list[Target]:
    """Lines of `apt-get indextargets --format '$(SOURCESENTRY)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(SIGNED_BY)'`."""
    # What apt does not know of an index it leaves as it was asked for.
    parts = (["" if part.startswith("$(") else part for part in line.strip().split("|")] for line in lines)
    return [Target(*part) for part in parts if len(part) == 5]


def cuda_url(platform: Platform, architecture: str, given: str) -> str:
    """The folder of NVIDIA's repository for a platform: below the mirror that was given, or NVIDIA's own."""
    machine = {"aarch64": "sbsa"}.get(architecture, architecture)
    return (given or f"{_CUDA}/{platform.name}/{machine}").rstrip("/") + "/"


def key_of(platform: Platform, url: str, given: str, fingerprints: Sequence[str]) -> dict[str, object]:
    """The key of NVIDIA's repository: from where (a URL, or a file on the controller), to where, and the fingerprints that it may have."""
    name, fingerprint = _KEYS.get(platform.name, _KEYS[platform.manager])
    return {
        "from": given or f"{url}{name}",
        "to": APT_KEY if platform.manager == "apt" else RPM_KEY,
        "fingerprints": [text.replace(" ", "").upper() for text in fingerprints] or [fingerprint],
    }


def refuse_unsigned(url: str, signed: bool) -> None:
    """Raises InputError for a repository over the network whose key is not checked."""
    if not signed and not url.startswith("file:"):
        raise InputError(
            "only a repository in a folder of the host may go without a key",
            where=url,
            remedy="Leave gpu_driver_repository_signed true, and name the mirror's key by gpu_driver_repository_key.",
        )


def apt_cuda(url: str, signed: bool) -> str:
    """The sources of NVIDIA's repository. signed: whether its key is checked."""
    trust = f"Signed-By: {APT_KEY}" if signed else "Trusted: yes"
    return "\n".join(["# Written by serving.triton.gpu_driver.", "Types: deb", f"URIs: {url}", "Suites: /", trust, ""])


def apt_distribution(platform: Platform, targets: Iterable[Target]) -> str:
    """The missing components of the distribution, from wherever its main one comes, so that a mirror stays one. Empty for none."""
    others = [target for target in targets if not target.entry.startswith(APT_SOURCES)]
    there = {(target.uri, target.release, target.component) for target in others}
    mains = {
        (target.uri, target.release): target.signed_by
        for target in others
        if target.component == "main" and target.release.split("-")[0] == platform.release
    }
    stanzas = []
    for (uri, release), signed_by in mains.items():
        missing = [name for name in _COMPONENTS[platform.system] if (uri, release, name) not in there]
        if missing:
            lines = ["Types: deb", f"URIs: {uri}", f"Suites: {release}", f"Components: {' '.join(missing)}"]
            stanzas.append("\n".join([*lines, *([f"Signed-By: {signed_by}"] if signed_by else []), ""]))
    if not mains:
        raise InputError(
            "apt knows no repository of the distribution itself",
            where=f"{platform.release}/main",
            remedy="Configure apt's sources first, or set gpu_driver_source to cuda or folder.",
        )
    return "\n".join(["# Written by serving.triton.gpu_driver.", *stanzas]) if stanzas else ""


def preferences(platform: Platform, wanted: Wanted, version: str) -> str:
    """apt's preferences: the branch or the version that every package of the driver keeps to. Empty where the names say it all."""
    source, branch = wanted.source, wanted.branch
    if version:
        pin = f"version {version}*"
    elif source == "distribution" and platform.open_from and wanted.kind == "open":
        # Security updates have the proprietary module alone, and all must be of one version.
        pin = f"release n={platform.open_from}"
    elif source == "distribution" or not branch:
        return ""
    elif platform.system == "ubuntu" and branch < 590:
        # Ubuntu has packages of the same names; a driver of both does not work.
        pin = "release l=NVIDIA CUDA"
    else:
        pin = f"version {branch}.*"
    return "\n".join(["# Written by serving.triton.gpu_driver.", f"Package: {_PINNED}", f"Pin: {pin}", "Pin-Priority: 1001", ""])


@dataclass(frozen=True)
class Dkms:
    """A repository that has DKMS. url: empty for EPEL, none for what is configured already.

    key: a URL, empty for EPEL's name for it in the folder of the repository. fingerprints: empty for EPEL's.
    """

    url: str = ""
    key: str = ""
    fingerprints: Sequence[str] = ()


def rpm_repositories(platform: Platform, url: str, fingerprints: Sequence[str], dkms: Dkms | None) -> list[dict[str, object]]:
    """Options of ansible.builtin.yum_repository, and the fingerprints of their keys.

    fingerprints: of NVIDIA's, none for an unsigned one. dkms: None where no module is built.
    """
    signed = bool(fingerprints)
    found: list[dict[str, object]] = [
        {
            "name": RPM_REPOSITORY,
            "description": "NVIDIA driver (serving.triton)",
            "baseurl": url,
            "gpgcheck": signed,
            "gpgkey": f"file://{RPM_KEY}" if signed else "",
            "includepkgs": "",
            "fingerprints": list(fingerprints),
        }
    ]
    if dkms and dkms.url != "none":
        found.append(_rpm_dkms(platform, dkms))
    return found


def _rpm_dkms(platform: Platform, dkms: Dkms) -> dict[str, object]:
    # Only one in a folder of the host may go without a key.
    signed = bool(dkms.key) or not dkms.url.startswith("file:")
    key = dkms.key or f"{(dkms.url or _EPEL).rstrip('/')}/RPM-GPG-KEY-EPEL-{platform.release}"
    fingerprints = [text.replace(" ", "").upper() for text in dkms.fingerprints] or [_EPEL_FINGERPRINTS[platform.release]]
    return {
        "name": RPM_DKMS_REPOSITORY,
        "description": "DKMS (serving.triton)",
        "baseurl": dkms.url or f"{_EPEL}/{platform.release}/Everything/$basearch/",
        "gpgcheck": signed,
        "gpgkey": key if signed else "",
        "includepkgs": "dkms",
        "fingerprints": fingerprints if signed else [],
    }
