# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The plan of gpu_driver for every distribution, held against package databases that were recorded from the archives."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.serving.triton.plugins.module_utils.core.errors import ConflictError, InputError
from ansible_collections.serving.triton.plugins.module_utils.gpu.driver_plan import driver_plan

DATABASES = Path(__file__).resolve().parents[2] / "support" / "gpu_packages"
DISTRIBUTIONS = {
    "debian12": ("Debian", "12.12", "bookworm"),
    "debian13": ("Debian", "13.1", "trixie"),
    "ubuntu2204": ("Ubuntu", "22.04", "jammy"),
    "ubuntu2404": ("Ubuntu", "24.04", "noble"),
    "rhel9": ("Rocky", "9.6", ""),
}
OPTIONS: dict[str, Any] = {
    "source": "auto",
    "branch": 0,
    "version": "",
    "platform": "",
    "kernel_module": "auto",
    "profile": "compute",
    "precompiled": True,
    "fabric_manager": "auto",
    "repository_url": "",
    "repository_key": "",
    "repository_key_fingerprints": [],
    "repository_signed": True,
    "dkms_repository_url": "",
    "dkms_repository_key": "",
    "dkms_repository_key_fingerprints": [],
}
PASCAL = {"name": "Tesla P100", "modules": ["proprietary"], "last_branch": 580}
HOPPER = {"name": "H100", "generation": "hopper", "modules": ["open", "proprietary"], "last_branch": None}
GRACE = {"name": "GH200", "generation": "hopper", "modules": ["open"], "last_branch": None}
BLACKWELL = {"name": "B200", "generation": "blackwell", "modules": ["open"], "last_branch": None}
RUNNING = {"release": "6.1.0-28-amd64", "running": True, "image": True, "headers": False}


def machine(platform: str, *gpus: Mapping[str, Any], fabric: bool = False, nvlink5: bool = False, **more: Any) -> dict[str, Any]:
    distribution, version, codename = DISTRIBUTIONS[platform]
    gpu = {
        "gpus": list(gpus),
        "fabric": {"manager_needed": fabric, "nvlink_managers": ["mlx5_0"] if nvlink5 else []},
        "driver": {"runfile": False},
        "kernels": [],
    }
    lines = [f"/etc/apt/sources.list.d/base.sources:1|http://mirror.example/base/|{codename}|main|/usr/share/keyrings/archive.gpg"]
    known = {"distribution": distribution, "version": version, "architecture": "x86_64", "installed": [], "targets": lines, "gpu": gpu}
    return {**known, **more}


def plan(target: Mapping[str, Any], **options: Any) -> dict[str, Any]:
    return driver_plan(target, {**OPTIONS, **options})


def database(*names: str) -> dict[str, tuple[str, str]]:
    """Package → version, and what an empty package leads to."""
    found = {}
    for name in names:
        for line in (DATABASES / f"{name}.txt").read_text(encoding="utf-8").splitlines():
            if not line.startswith("#"):
                left, _arrow, leads = line.partition(" > ")
                package, version = left.split()
                found[package] = (version, leads)
    return found


def assert_known(found: Mapping[str, Any], *databases: str) -> None:
    known = database(*databases)
    wanted = [*found["names"], *found["headers"], *found["fabric"]]
    assert found["names"]
    assert not [name for name in wanted if name not in known], f"not in {databases}"
    assert not [f"{name} > {known[name][1]}" for name in wanted if known[name][1]], "empty packages"


@pytest.mark.parametrize("profile", ["compute", "full"])
@pytest.mark.parametrize("kind", ["open", "proprietary"])
@pytest.mark.parametrize(
    ("platform", "branch"),
    [("debian12", 0), ("debian12", 535), ("debian13", 0), ("debian13", 550)]
    + [(name, branch) for name in ("ubuntu2204", "ubuntu2404") for branch in (0, 580, 595)],
)
def test_every_package_of_a_distribution_exists(platform: str, branch: int, kind: str, profile: str) -> None:
    found = plan(machine(platform, HOPPER), source="distribution", branch=branch, kernel_module=kind, profile=profile)
    assert (found["kind"], found["source"]) == (kind, "distribution")
    assert_known(found, f"{platform}-distribution")
    assert found["branch"] == branch or branch == 0


@pytest.mark.parametrize(("platform", "branch"), [("debian12", 470), ("debian13", 535)])
def test_further_branches_of_debian_are_proprietary(platform: str, branch: int) -> None:
    found = plan(machine(platform, HOPPER), branch=branch)
    assert found["kind"] == "proprietary"
    assert f"nvidia-tesla-{branch}-kernel-dkms" in found["names"]
    assert_known(found, f"{platform}-distribution")
    with pytest.raises(InputError, match="proprietary kernel modules alone"):
        plan(machine(platform, HOPPER), branch=branch, kernel_module="open")


@pytest.mark.parametrize("kind", ["open", "proprietary"])
@pytest.mark.parametrize("profile", ["compute", "full"])
@pytest.mark.parametrize(
    ("platform", "branch", "databases"),
    [
        ("rhel9", 570, ("rhel-cuda-570", "rhel-distribution")),
        ("rhel9", 580, ("rhel-cuda-580", "rhel-distribution")),
        ("rhel9", 595, ("rhel-cuda-595", "rhel-distribution")),
        ("debian12", 570, ("debian-cuda-570", "debian12-distribution")),
        ("debian13", 580, ("debian-cuda-580", "debian13-distribution")),
        ("ubuntu2204", 580, ("ubuntu-cuda-580", "ubuntu2204-distribution")),
        ("ubuntu2404", 595, ("ubuntu-cuda-595", "ubuntu2404-distribution")),
    ],
)
def test_every_package_of_nvidias_repository_exists(platform: str, branch: int, databases: Sequence[str], profile: str, kind: str) -> None:
    given = machine(platform, HOPPER, fabric=True, nvlink5=True)
    found = plan(given, source="cuda", branch=branch, kernel_module=kind, profile=profile)
    assert found["fabric"]
    assert found["dkms"]
    assert_known(found, *databases)


@pytest.mark.parametrize("flavour", ["generic", "aws", "azure", "gcp"])
def test_ubuntu_takes_signed_modules_of_the_kernels_flavour(flavour: str) -> None:
    installed = [
        f"linux-image-{flavour}",
        "linux-image-6.8.0-31-generic",
        "linux-image-unsigned-6.8.0-31-generic",
        "linux-image-generic-dbg",
    ]
    found = plan(machine("ubuntu2404", HOPPER, installed=installed))
    assert f"linux-modules-nvidia-580-server-open-{flavour}" in found["names"]
    assert len([name for name in found["names"] if name.startswith("linux-modules")]) == 1
    assert (found["dkms"], found["signed"], found["headers"]) == (False, True, [])
    # Held, they would leave the next kernel without a module.
    assert found["held"] == [name for name in found["names"] if not name.startswith("linux-modules")]
    assert_known(found, "ubuntu2404-distribution")
    built = plan(machine("ubuntu2404", HOPPER, installed=installed), precompiled=False)
    assert (built["dkms"], built["signed"], built["headers"]) == (True, False, [f"linux-headers-{flavour}"])
    assert_known(built, "ubuntu2404-distribution")


def test_ubuntus_virtual_kernel_is_the_generic_one() -> None:
    installed = ["linux-image-virtual", "linux-image-generic", "linux-image-virtual-hwe-24.04"]
    target = machine("ubuntu2404", HOPPER, installed=installed)
    found = plan(target)
    modules = [name.partition("-open-")[2] for name in found["names"] if name.startswith("linux-modules")]
    assert modules == ["generic", "generic-hwe-24.04"]
    assert_known(found, "ubuntu2404-distribution")
    headers = ["linux-headers-generic", "linux-headers-virtual", "linux-headers-virtual-hwe-24.04"]
    assert plan(target, precompiled=False)["headers"] == headers


@pytest.mark.parametrize("branch", [535, 550, 570, 575, 590])
def test_a_branch_that_ended_is_refused(branch: int) -> None:
    with pytest.raises(InputError, match=f"branch {branch} has ended"):
        plan(machine("ubuntu2404", HOPPER), branch=branch)


def test_ended_branches_are_those_that_ubuntu_emptied() -> None:
    leads = {
        name: leads
        for name, (_version, leads) in database("ubuntu2404-distribution").items()
        if re.match(r"nvidia-utils-\d+-server$", name)
    }
    for name, target in leads.items():
        branch = int(name.split("-")[2])
        if target:
            with pytest.raises(InputError, match=target.split("-")[2]):
                plan(machine("ubuntu2404", HOPPER), branch=branch)
        else:
            assert plan(machine("ubuntu2404", HOPPER), branch=branch)["branch"] == branch


@pytest.mark.parametrize(
    ("platform", "gpus", "kind"),
    [
        # The open one is NVIDIA's default from branch 560 on alone, and refused GeForce before.
        ("debian13", [HOPPER], "proprietary"),
        ("debian13", [PASCAL], "proprietary"),
        ("debian13", [PASCAL, HOPPER], "proprietary"),
        ("debian13", [], "proprietary"),
        ("ubuntu2404", [HOPPER], "open"),
        ("ubuntu2404", [], "open"),
        ("rhel9", [HOPPER], "open"),
        ("rhel9", [BLACKWELL], "open"),
        ("debian12", [HOPPER], "proprietary"),
        ("debian13", [GRACE], "open"),
    ],
)
def test_the_kernel_module_follows_the_gpus(platform: str, gpus: Sequence[Mapping[str, Any]], kind: str) -> None:
    assert plan(machine(platform, *gpus))["kind"] == kind


@pytest.mark.parametrize(("branch", "kind"), [(550, "proprietary"), (570, "open")])
def test_the_kernel_module_is_the_branchs_default(branch: int, kind: str) -> None:
    assert plan(machine("rhel9", HOPPER), branch=branch)["kind"] == kind


def test_an_open_module_of_debian_12_comes_from_one_suite() -> None:
    found = plan(machine("debian12", HOPPER), kernel_module="open")
    assert "Pin: release n=bookworm\n" in found["preferences"]
    assert not plan(machine("debian13", HOPPER), kernel_module="open")["preferences"]


@pytest.mark.parametrize(
    ("target", "options", "complaint"),
    [
        (machine("debian13", PASCAL, BLACKWELL), {}, "no kernel module of branch 580 drives all"),
        (machine("ubuntu2404", PASCAL), {"branch": 595}, "no longer supports it"),
        (machine("ubuntu2404", PASCAL), {"kernel_module": "open"}, "does not drive Tesla P100"),
        (machine("rhel9", HOPPER), {"branch": 620, "kernel_module": "proprietary"}, "proprietary"),
        (machine("debian12", HOPPER), {"branch": 580}, "the distribution has no branch 580"),
        (machine("debian12", HOPPER, fabric=True), {"source": "distribution"}, "no fabric manager"),
        (machine("ubuntu2404", BLACKWELL, fabric=True, nvlink5=True), {"source": "distribution"}, "no subnet manager"),
        (machine("rhel9", HOPPER), {"source": "distribution"}, "no NVIDIA driver of its own"),
        (machine("rhel9", HOPPER), {"version": "newest"}, "is no version"),
        (machine("rhel9", HOPPER), {"version": "580.95.05", "branch": 570}, "is not of branch 570"),
        (machine("debian12", HOPPER), {"platform": "debian11"}, "is none of"),
        (machine("debian12", HOPPER, distribution="Gentoo"), {}, "are not known"),
        (machine("debian12", HOPPER, version="11.8"), {}, "are not known"),
        (machine("rhel9", HOPPER, version="8.10"), {}, "dnf's bindings are for Python 3.6"),
        (machine("debian12", HOPPER, targets=[]), {}, "apt knows no repository"),
        (machine("debian12", HOPPER), {"source": "cuda", "repository_url": "http://mirror/", "repository_signed": False}, "without a key"),
        (machine("rhel9", HOPPER), {"repository_url": "http://mirror/", "repository_signed": False}, "without a key"),
    ],
)
def test_what_cannot_work_is_told_before_anything_is_changed(target: Mapping[str, Any], options: Mapping[str, Any], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint) as told:
        plan(target, **options)
    assert told.value.remedy
    assert told.value.where


def test_a_runfile_is_not_installed_over() -> None:
    target = machine("debian12", HOPPER)
    target["gpu"]["driver"] = {"runfile": True}
    with pytest.raises(ConflictError, match="nvidia-uninstall"):
        plan(target)


@pytest.mark.parametrize(("platform", "source"), [("debian12", "distribution"), ("ubuntu2404", "distribution"), ("rhel9", "cuda")])
def test_auto_takes_the_distribution_where_it_can(platform: str, source: str) -> None:
    assert plan(machine(platform, HOPPER))["source"] == source


@pytest.mark.parametrize("platform", ["debian12", "debian13"])
def test_gpus_that_are_too_new_for_the_distribution_lead_to_nvidia(platform: str) -> None:
    found = plan(machine(platform, BLACKWELL))
    assert (found["source"], found["branch"], found["kind"]) == ("cuda", 0, "open")
    assert plan(machine(platform, HOPPER, BLACKWELL), branch=580)["branch"] == 580
    assert plan(machine("ubuntu2404", BLACKWELL))["source"] == "distribution"


def test_the_fifth_generation_of_nvlink_leads_away_from_ubuntus_own_packages() -> None:
    found = plan(machine("ubuntu2404", BLACKWELL, fabric=True, nvlink5=True), branch=580)
    assert (found["source"], found["fabric"]) == ("cuda", ["nvidia-fabricmanager", "libnvidia-nscq", "nvlsm", "libnvsdm"])
    alone = plan(machine("ubuntu2404", BLACKWELL, fabric=True, nvlink5=True), fabric_manager="never")
    assert (alone["source"], alone["fabric"]) == ("distribution", [])


def test_nvswitches_lead_away_from_debians_own_packages() -> None:
    found = plan(machine("debian13", HOPPER, fabric=True), branch=580)
    assert found["source"] == "cuda"
    assert found["fabric"] == ["nvidia-fabricmanager", "libnvidia-nscq"]
    assert found["held"] == [*found["names"], *found["fabric"]]
    assert plan(machine("ubuntu2404", HOPPER, fabric=True))["fabric"] == ["nvidia-fabricmanager-580", "libnvidia-nscq-580"]
    assert plan(machine("rhel9", HOPPER, fabric=True), fabric_manager="never")["fabric"] == []


def test_derivatives_name_what_they_derive_from() -> None:
    found = plan(machine("ubuntu2404", HOPPER, distribution="Pop!_OS"), platform="ubuntu2404", source="cuda", branch=580)
    assert found["platform"] == "ubuntu2404"
    for name in ("RedHat", "OracleLinux", "CentOS"):
        assert plan(machine("rhel9", HOPPER, distribution=name))["platform"] == "rhel9"


def test_a_version_is_pinned_for_all_packages_that_have_it() -> None:
    found = plan(machine("debian13", HOPPER), version="550.163.01")
    assert "nvidia-smi=550.163.01*" in found["packages"]
    assert "nvidia-persistenced" in found["packages"]
    assert "Pin: version 550.163.01*\n" in found["preferences"]
    assert found["branch"] == 550
    ubuntu = plan(machine("ubuntu2404", HOPPER), version="580.178.04")["packages"]
    assert "linux-modules-nvidia-580-server-open-generic" in ubuntu
    assert "nvidia-utils-580-server=580.178.04*" in ubuntu
    assert "kmod-nvidia-open-dkms-580.95.05" in plan(machine("rhel9", HOPPER), version="580.95.05")["packages"]
    assert plan(machine("rhel9", HOPPER), version="latest")["packages"] == plan(machine("rhel9", HOPPER))["packages"]


def test_a_branch_is_kept_where_names_do_not_tell_it() -> None:
    assert "Pin: version 580.*\n" in plan(machine("debian12", HOPPER), source="cuda", branch=580)["preferences"]
    # Ubuntu has packages of the same names and versions.
    assert "Pin: release l=NVIDIA CUDA\n" in plan(machine("ubuntu2404", HOPPER), source="cuda", branch=580)["preferences"]
    assert "Pin: version 595.*\n" in plan(machine("ubuntu2404", HOPPER), source="cuda", branch=595)["preferences"]
    assert plan(machine("rhel9", HOPPER), branch=580)["stream"] == "580-open"
    assert plan(machine("rhel9", PASCAL), branch=580)["stream"] == "580-dkms"
    assert [plan(machine("rhel9", gpu))["stream"] for gpu in (HOPPER, PASCAL)] == ["open-dkms", "580-dkms"]
    # The newest of NVIDIA's repository no longer drives it.
    assert "Pin: version 580.*\n" in plan(machine("debian13", PASCAL, HOPPER), source="cuda")["preferences"]
    # What a folder holds is known once it is installed.
    assert [plan(machine("debian13", PASCAL), source=source)["branch"] for source in ("cuda", "folder")] == [580, 0]


@pytest.mark.parametrize(
    ("platform", "url", "key", "fingerprint"),
    [
        ("debian12", "debian12/x86_64/", "3bf863cc.pub", "EB693B3035CD5710E231E123A4B469963BF863CC"),
        ("debian13", "debian13/x86_64/", "8793F200.pub", "02182E60104FCDC26EAE1B8597A5D4CB8793F200"),
        ("ubuntu2404", "ubuntu2404/x86_64/", "3bf863cc.pub", "EB693B3035CD5710E231E123A4B469963BF863CC"),
        ("rhel9", "rhel9/x86_64/", "D42D0685.pub", "610C7B14E068A878070DA4E99CD0A493D42D0685"),
    ],
)
def test_nvidias_repository_and_its_key(platform: str, url: str, key: str, fingerprint: str) -> None:
    found = plan(machine(platform, HOPPER), source="cuda")
    assert found["key"]["from"].endswith(f"/compute/cuda/repos/{url}{key}")
    assert found["key"]["fingerprints"] == [fingerprint]
    where = found["repository"] or str(found["rpm_repositories"])
    assert url in where
    assert found["key"]["to"] in where
    arm = plan(machine(platform, HOPPER, architecture="aarch64"), source="cuda")
    assert "/sbsa/" in (arm["repository"] or str(arm["rpm_repositories"]))


def test_a_mirror_and_its_key() -> None:
    options = {"source": "cuda", "repository_url": "https://mirror.example/cuda", "repository_key_fingerprints": ["aa bb"]}
    found = plan(machine("debian12", HOPPER), **options)
    assert "URIs: https://mirror.example/cuda/\n" in found["repository"]
    assert found["key"]["from"] == "https://mirror.example/cuda/3bf863cc.pub"
    assert found["key"]["fingerprints"] == ["AABB"]
    unsigned = plan(machine("debian12", HOPPER), source="cuda", repository_url="file:///srv/cuda", repository_signed=False)
    assert "Trusted: yes" in unsigned["repository"]
    assert unsigned["key"] == {}


def test_dkms_for_rhel_is_all_that_comes_from_epel() -> None:
    nvidia, dkms = plan(machine("rhel9", HOPPER))["rpm_repositories"]
    assert (nvidia["name"], dkms["name"]) == ("serving-triton-nvidia", "serving-triton-nvidia-dkms")
    assert dkms["includepkgs"] == "dkms"
    assert dkms["fingerprints"] == ["FF8AD1344597106ECE813B918A3872BF3228467C"]
    assert dkms["gpgkey"] == "https://dl.fedoraproject.org/pub/epel/RPM-GPG-KEY-EPEL-9"
    assert len(plan(machine("rhel9", HOPPER), dkms_repository_url="none")["rpm_repositories"]) == 1


@pytest.mark.parametrize(
    ("url", "key", "gpgkey"),
    [
        ("https://mirror.example/epel/", "", "https://mirror.example/epel/RPM-GPG-KEY-EPEL-9"),
        ("https://mirror.example/epel/", "https://mirror.example/key", "https://mirror.example/key"),
        ("file:///srv/dkms/", "", ""),
        ("file:///srv/dkms/", "file:///srv/dkms/key", "file:///srv/dkms/key"),
    ],
)
def test_a_mirror_of_dkms_needs_nothing_from_elsewhere(url: str, key: str, gpgkey: str) -> None:
    options = {"dkms_repository_url": url, "dkms_repository_key": key, "dkms_repository_key_fingerprints": ["aa bb"]}
    dkms = plan(machine("rhel9", HOPPER), **options)["rpm_repositories"][1]
    assert (dkms["gpgkey"], dkms["gpgcheck"], dkms["fingerprints"]) == (gpgkey, bool(gpgkey), ["AABB"] if gpgkey else [])
    assert dkms["baseurl"] == url


def test_missing_components_come_from_where_the_distribution_comes() -> None:
    lines = [
        "/etc/apt/sources.list:1|http://mirror.example/debian/|bookworm|main|$(SIGNED_BY)",
        "/etc/apt/sources.list:2|http://mirror.example/debian/|bookworm-updates|main|/k.gpg",
        "/etc/apt/sources.list:2|http://mirror.example/debian/|bookworm-updates|contrib|/k.gpg",
        "/etc/apt/sources.list:3|http://other.example/|stable|main|$(SIGNED_BY)",
    ]
    text = plan(machine("debian12", HOPPER, targets=lines))["repository"]
    assert text.count("URIs: http://mirror.example/debian/") == 2
    assert "Suites: bookworm\nComponents: contrib non-free non-free-firmware\n\n" in text
    assert "Suites: bookworm-updates\nComponents: non-free non-free-firmware\nSigned-By: /k.gpg\n" in text
    assert "other.example" not in text
    # The role's own file does not count, so that a second run writes the same.
    ours = [
        f"/etc/apt/sources.list.d/serving-triton-nvidia.sources:2|http://mirror.example/debian/|bookworm|{name}|"
        for name in ("contrib", "non-free")
    ]
    assert plan(machine("debian12", HOPPER, targets=lines + ours))["repository"] == text
    full = [lines[0].replace("|main|", f"|{name}|") for name in ("main", "contrib", "non-free", "non-free-firmware")]
    assert plan(machine("debian12", HOPPER, targets=full))["repository"] == ""


def test_kernels_without_headers_are_asked_for() -> None:
    target = machine("debian12", HOPPER)
    others = [{**RUNNING, "release": f"6.1.0-{number}-amd64", "running": False} for number in (9, 26, 31)]
    target["gpu"]["kernels"] = [{**others[0], "image": False}, others[1], RUNNING]
    found = plan(target)
    assert (found["headers"], found["exact_headers"]) == (["linux-headers-amd64"], ["linux-headers-6.1.0-28-amd64"])
    # dkms builds for the running kernel and the newest alone.
    target["gpu"]["kernels"] = [others[1], RUNNING, {**RUNNING, "release": "6.1.0-29-amd64", "running": False}, others[2]]
    assert plan(target)["exact_headers"] == ["linux-headers-6.1.0-28-amd64", "linux-headers-6.1.0-31-amd64"]
    cloud = plan(machine("debian12", HOPPER, installed=["linux-image-cloud-amd64"]))
    assert cloud["headers"] == ["linux-headers-cloud-amd64"]
    assert plan(machine("debian12", HOPPER, architecture="aarch64"))["headers"] == ["linux-headers-arm64"]
    assert plan(machine("rhel9", HOPPER))["headers"] == ["kernel-devel-matched", "kernel-headers"]


@pytest.mark.parametrize(
    ("release", "package"),
    [
        ("5.14.0-503.11.1.el9_5.x86_64", "kernel-devel-5.14.0-503.11.1.el9_5.x86_64"),
        ("5.14.0-503.11.1.el9_5.aarch64+64k", "kernel-64k-devel-5.14.0-503.11.1.el9_5.aarch64"),
        ("5.15.0-206.153.7.el9uek.x86_64", "kernel-uek-devel-5.15.0-206.153.7.el9uek.x86_64"),
    ],
)
def test_kernels_of_rhel_name_their_headers(release: str, package: str) -> None:
    target = machine("rhel9", HOPPER)
    target["gpu"]["kernels"] = [{**RUNNING, "release": release}]
    assert plan(target)["exact_headers"] == [package]


def test_a_folder_brings_its_own_packages() -> None:
    found = plan(machine("debian12", HOPPER), source="folder", branch=580)
    assert (found["names"], found["fabric"], found["repository"], found["key"]) == ([], [], "", {})
    assert found["headers"] == ["linux-headers-amd64"]
    assert [each["name"] for each in plan(machine("rhel9", HOPPER), source="folder")["rpm_repositories"]] == ["serving-triton-nvidia-dkms"]
