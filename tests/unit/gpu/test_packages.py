# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Package databases of distributions: which packages are the driver's, and which version they carry."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.gpu_tree import Machine

from ansible_collections.serving.triton.plugins.module_utils.gpu import packages, versions
from ansible_collections.serving.triton.plugins.module_utils.gpu.packages import Package
from ansible_collections.serving.triton.plugins.module_utils.gpu.tree import Tree

# As the package managers of machines told them.
DEBIAN = {
    "libcuda1": "535.216.03-1~deb12u1",
    "libnvidia-ml1": "535.216.03-1~deb12u1",
    "nvidia-driver": "535.216.03-1~deb12u1",
    "nvidia-installer-cleanup": "20220217+3~deb12u1",
    "nvidia-kernel-common": "20220217+3~deb12u1",
    "nvidia-kernel-dkms": "535.216.03-1~deb12u1",
    "nvidia-kernel-support": "535.216.03-1~deb12u1",
    "nvidia-modprobe": "535.161.07-1~deb12u1",
    "nvidia-smi": "535.216.03-1~deb12u1",
    "nvidia-cuda-toolkit": "11.8.89~11.8.0-5~deb12u1",
}
UBUNTU = {
    "libnvidia-compute-580-server": "580.95.05-0ubuntu0.24.04.1",
    "linux-modules-nvidia-580-server-open-6.8.0-51-generic": "6.8.0-51.52+1",
    "nvidia-fabricmanager-580": "580.95.05-0ubuntu0.24.04.1",
    "nvidia-firmware-580-server-580.95.05": "580.95.05-0ubuntu0.24.04.1",
    "nvidia-headless-no-dkms-580-server-open": "580.95.05-0ubuntu0.24.04.1",
    "nvidia-kernel-common-580-server": "580.95.05-0ubuntu0.24.04.1",
    "nvidia-utils-580-server": "580.95.05-0ubuntu0.24.04.1",
    "cuda-compat-13-1": "590.44.01-0ubuntu1",
    "nvidia-container-toolkit": "1.17.4-1",
    "libnvidia-container1": "1.17.4-1",
}
ROCKY = """\
kernel-core\t5.14.0-503.el9\tx86_64
kmod-nvidia-open-dkms\t3:570.86.15-1.el9\tnoarch
nvidia-driver-cuda\t3:570.86.15-1.el9\tx86_64
nvidia-driver-cuda-libs\t3:570.86.15-1.el9\tx86_64
nvidia-fabric-manager\t570.86.15-1\tx86_64
nvidia-container-toolkit\t1.17.4-1\tx86_64
nvidia-docker2\t2.14.0-1\tnoarch
nvidia-persistenced\t3:570.86.15-1.el9\tx86_64
"""


def of(installed: dict[str, str]) -> list[Package]:
    return [Package(name, version, "amd64") for name, version in installed.items()]


def test_debian() -> None:
    found = of(DEBIAN)
    assert packages.user_space(found) == "535.216.03"
    assert packages.module_kind(found) == "proprietary"
    names = [each.name for each in packages.of_driver(found)]
    assert "nvidia-kernel-dkms" in names
    assert not {"nvidia-installer-cleanup", "nvidia-kernel-common", "nvidia-cuda-toolkit"} & set(names)


def test_ubuntu_with_precompiled_modules() -> None:
    found = of(UBUNTU)
    assert (packages.user_space(found), packages.module_kind(found), packages.fabric_manager(found)) == ("580.95.05", "open", "580.95.05")
    assert packages.brings_module(found)
    assert packages.compatibility(found) == [{"name": "cuda-compat-13-1", "cuda": "13.1", "driver": "590.44.01"}]
    assert packages.toolkit(found) == "1.17.4"
    told = {each.name: each.driver for each in packages.of_driver(found)}
    assert told["linux-modules-nvidia-580-server-open-6.8.0-51-generic"] == ""
    assert "libnvidia-container1" not in told


def test_rocky() -> None:
    locks = ["# a comment", "kmod-nvidia-open-dkms-3:570.86.15-1.el9.*", "nvidia-driver-cuda"]
    found = list(packages.rpm(ROCKY, locks))
    assert (packages.user_space(found), packages.module_kind(found), packages.fabric_manager(found)) == ("570.86.15", "open", "570.86.15")
    assert packages.legacy(found) == ["nvidia-docker2"]
    assert [each.name for each in found if each.held] == ["kmod-nvidia-open-dkms", "nvidia-driver-cuda"]


def test_both_kinds_at_once_are_no_kind() -> None:
    assert packages.module_kind(of({"nvidia-kernel-dkms": "550.1.1-1", "nvidia-kernel-open-dkms": "550.1.1-1"})) == ""
    assert packages.module_kind([]) == ""
    assert not packages.brings_module(of({"nvidia-kernel-common": "550.1.1-1", "nvidia-firmware-550": "550.1.1"}))


def test_dpkg_tells_what_is_installed_and_what_is_held(tmp_path: Path) -> None:
    machine = Machine(tmp_path).dpkg({"nvidia-smi": "550.90.07-1"}, held=True).dpkg({"libcuda1": "550.54.15-1"}, state="ok config-files")
    machine.dpkg({"bash": "5.2"}).dpkg({"nvidia-kernel-dkms": "550.90.07-1"}, state="reinstreq half-configured")
    kind, found = packages.installed(Tree(str(tmp_path)), lambda _command: "")
    assert (kind, [(each.name, each.held) for each in found]) == ("dpkg", [("nvidia-smi", True), ("nvidia-kernel-dkms", False)])
    assert machine


def test_rpm_is_asked_for_the_database_below_the_root(tmp_path: Path) -> None:
    Machine(tmp_path).file("/var/lib/rpm/rpmdb.sqlite")
    asked: list[Sequence[str]] = []

    def rpm(command: Sequence[str]) -> str:
        asked.append(command)
        return ROCKY

    kind, found = packages.installed(Tree(str(tmp_path)), rpm)
    assert (kind, len(found)) == ("rpm", 7)
    assert [list(command)[:6] for command in asked] == [["rpm", "--root", str(tmp_path), "--dbpath", "/var/lib/rpm", "-qa"]]
    tree = Tree(str(tmp_path))
    assert packages.installed(tree, lambda _command: "") == ("rpm", [])
    assert len(tree.problems) == 1
    assert "rpm is not there" in tree.problems[0]


@pytest.mark.parametrize(
    ("package", "driver"),
    [
        ("535.183.01-1~deb12u1", "535.183.01"),
        ("550.120-0ubuntu0.24.04.1", "550.120"),
        ("3:570.86.15-1.el9", "570.86.15"),
        ("1:1000.10.01-1", "1000.10.01"),
        ("580.126.18+really-1", "580.126.18"),
        ("20220217+3~deb12u1", ""),
        ("11.8.89~11.8.0-5", ""),
        ("1.17.4-1", ""),
        ("6.8.0-51.52", ""),
    ],
)
def test_the_driver_within_a_package_version(package: str, driver: str) -> None:
    assert versions.driver_in(package) == driver


parts = st.tuples(st.integers(1, 999), st.integers(0, 999), st.integers(0, 99))


def text(numbers: tuple[int, int, int]) -> str:
    return f"{numbers[0]}.{numbers[1]}.{numbers[2]:02d}"


@given(parts, parts)
def test_versions_are_ordered_as_their_numbers(one: tuple[int, int, int], other: tuple[int, int, int]) -> None:
    order = versions.compare(text(one), text(other))
    assert order == (one > other) - (one < other)
    assert order == -versions.compare(text(other), text(one))


@given(parts)
def test_a_missing_part_is_zero(one: tuple[int, int, int]) -> None:
    major = f"{one[0]}"
    assert versions.compare(major, f"{major}.0.00") == 0
    assert versions.compare(major, text(one)) <= 0
    assert versions.branch_of(text(one)) == one[0]


@pytest.mark.parametrize("nothing", ["", "open", "none", "v550"])
def test_what_is_no_version_has_no_branch(nothing: str) -> None:
    assert versions.branch_of(nothing) == 0
