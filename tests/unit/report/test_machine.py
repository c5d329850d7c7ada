# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The doctor's findings about machines, from what gpu_info says of trees of files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.gpu_tree import KERNEL, Machine, healthy

from ansible_collections.serving.triton.plugins.module_utils.gpu.info import Request, inspect
from ansible_collections.serving.triton.plugins.module_utils.report import doctor
from ansible_collections.serving.triton.plugins.module_utils.report.finding import FAIL, OK, WARN, Finding
from ansible_collections.serving.triton.plugins.module_utils.report.machine import judge_gate, judge_machine

NEXT = "6.1.0-31-amd64"
Build = Callable[[Path], Machine]


def diagnose(machine: Machine, **more: Any) -> list[Finding]:
    return judge_machine({**inspect(Request(root=str(machine.root)), lambda _command: ""), **more})


def without(machine: Machine, path: str) -> Machine:
    (machine.root / path).unlink()
    return machine


def test_a_machine_without_gpu_simply_says_so(tmp_path: Path) -> None:
    assert diagnose(Machine(tmp_path).docker()) == [Finding("gpu", OK, "there is no NVIDIA GPU")]


def test_a_healthy_machine(tmp_path: Path) -> None:
    found = diagnose(healthy(tmp_path))
    assert {finding.check: finding.detail for finding in found} == {
        "gpu": "1 x NVIDIA H100 80GB HBM3 (hopper)",
        "driver": "550.90.07 is loaded (open module)",
        "nvml": "the root is not this machine's",
        "nouveau": "it is not in the way",
        "secure boot": "it is on, and the module is signed or loaded",
        "dkms": f"has installed 550.90.07 for {KERNEL}",
        "containers docker": "reaches GPUs through NVIDIA's runtime",
        "containers podman": "reaches GPUs through CDI",
        "cdi /etc/cdi/nvidia.yaml": "names 2 devices of nvidia.com/gpu",
    }
    assert {finding.check for finding in found if finding.status != OK} == {"nvml"}


def test_a_module_that_failed_is_a_finding() -> None:
    assert [(each.status, each.detail) for each in judge_machine({"failed": True, "msg": "no python\nmore"})] == [(FAIL, "no python")]


@pytest.mark.parametrize(
    ("build", "check", "status", "detail", "remedy"),
    [
        (lambda path: Machine(path).gpu("ada"), "driver", FAIL, "no driver is installed", "gpu_driver"),
        (
            lambda path: healthy(path).upgrade("550.90.07", "560.35.05").kernel(NEXT, module="560.35.05"),
            "driver",
            FAIL,
            "the loaded module is 550.90.07, the installed driver is 560.35.05",
            "Reboot",
        ),
        (
            lambda path: (
                Machine(path)
                .gpu("turing", "nouveau")
                .nouveau()
                .dpkg({"libcuda1": "535.183.01-1"})
                .kernel(running=True, module="535.183.01")
            ),
            "nouveau",
            FAIL,
            "it holds 0000:01:00.0",
            "Blacklist",
        ),
        (lambda path: without(healthy(path), "etc/modprobe.d/nvidia-blacklists-nouveau.conf"), "nouveau", WARN, "next boot", "gpu_driver"),
        (
            lambda path: (
                Machine(path)
                .gpu("ada")
                .dpkg({"libcuda1": "550.90.07-1"})
                .kernel(running=True, module="550.90.07", signed=False)
                .secure_boot(True)
            ),
            "secure boot",
            FAIL,
            f"the nvidia module of {KERNEL} carries no signature",
            "mokutil",
        ),
        (
            lambda path: (
                Machine(path).gpu("ada").dpkg({"libcuda1": "550.90.07-1"}).kernel(running=True, module="550.90.07").secure_boot(True)
            ),
            "secure boot",
            WARN,
            "may not trust the key",
            "mokutil",
        ),
        (
            lambda path: healthy(path).kernel(NEXT, headers=False),
            "kernels",
            WARN,
            f"{NEXT}, has no nvidia module and no headers",
            "dkms autoinstall --kernelver 6.1.0-31-amd64",
        ),
        (lambda path: healthy(path).kernel(NEXT, module="550.90.07"), "kernels", OK, f"{NEXT}, has the nvidia module 550.90.07", ""),
        (
            lambda path: healthy(path).dkms("560.1.2", log=True),
            "dkms",
            FAIL,
            "/var/lib/dkms/nvidia/560.1.2/build/make.log says why",
            "dkms autoinstall",
        ),
        (
            lambda path: (
                Machine(path).gpu("ada").kernel(running=True, headers=False).dkms("550.90.07").dpkg({"nvidia-kernel-dkms": "550.90.07-1"})
            ),
            "dkms",
            FAIL,
            "nvidia 550.90.07 was not built for any kernel",
            "headers",
        ),
        (lambda path: healthy(path, "volta", "550.90.07"), "module", FAIL, "the open module does not drive", "proprietary one"),
        (
            lambda path: healthy(path, "pascal", "595.45.04", "proprietary"),
            "module",
            FAIL,
            "driver branch 595 does not know Tesla P40, 580 was the last that did",
            "Install branch 580",
        ),
        (
            lambda path: healthy(path).switch("hopper"),
            "fabric manager",
            FAIL,
            "that of version 550.90.07, and none is installed",
            "gpu_driver",
        ),
        (
            lambda path: healthy(path).switch("hopper").dpkg({"nvidia-fabricmanager-550": "550.90.07-1"}),
            "fabric manager",
            OK,
            "550.90.07 is installed",
            "",
        ),
        (
            lambda path: healthy(path).switch("hopper").dpkg({"nvidia-fabricmanager-550": "550.90.07-1"}).processes(),
            "fabric manager",
            FAIL,
            "550.90.07 is installed and does not run",
            "systemctl enable --now nvidia-fabricmanager.service",
        ),
        (
            lambda path: healthy(path).switch("hopper").dpkg({"nvidia-fabricmanager-550": "550.90.07-1"}).processes("nv-fabricmanager"),
            "fabric manager",
            OK,
            "550.90.07 runs",
            "",
        ),
        (lambda path: healthy(path).cdi("550.54.15", "0"), "cdi /etc/cdi/nvidia.yaml", FAIL, "it is for driver 550.54.15", "nvidia-ctk"),
        (lambda path: healthy(path).file("/etc/docker/daemon.json", "{"), "containers docker", WARN, "could not be read", "Mend"),
        (lambda path: healthy(path).docker(debug=True).cdi("550.90.07"), "containers docker", WARN, "knows neither", "container_toolkit"),
        (
            lambda path: Machine(path).gpu("ada").podman(),
            "containers",
            WARN,
            "the NVIDIA container toolkit is not installed",
            "container_toolkit",
        ),
        (
            lambda path: healthy(path).dpkg({"nvidia-docker2": "2.14.0-1"}),
            "containers",
            WARN,
            "nvidia-docker2 is outdated",
            "container_toolkit",
        ),
        (lambda path: healthy(path).file("/usr/bin/nvidia-uninstall"), "driver", WARN, "overwrite each other", "nvidia-uninstall"),
        (lambda path: without(healthy(path), "run/nvidia-persistenced/socket"), "persistence", WARN, "does not run", "nvidia-persistenced"),
        (lambda path: Machine(path).gpu("ada").folder("/sys/firmware/efi/efivars"), "secure boot", WARN, "could not be read", "as root"),
    ],
)
def test_each_fault_is_found_with_its_remedy(build: Build, check: str, status: str, detail: str, remedy: str, tmp_path: Path) -> None:  # noqa: PLR0917
    found = [each for each in diagnose(build(tmp_path)) if each.check == check and each.status == status]
    assert len(found) == 1, diagnose(build(tmp_path / "again"))
    assert detail in found[0].detail
    assert remedy in found[0].remedy
    assert bool(found[0].remedy) == (status != OK)


@pytest.mark.parametrize(
    ("mig", "detail"),
    [
        ({"enabled": True, "pending": False, "devices": []}, "MIG mode will be off after a reset"),
        ({"enabled": True, "pending": True, "devices": []}, "MIG mode is on and there is no MIG device"),
    ],
)
def test_mig_that_is_not_as_it_should_be(mig: dict[str, Any], detail: str, tmp_path: Path) -> None:
    info = inspect(Request(root=str(healthy(tmp_path).root)), lambda _command: "")
    info["gpus"][0]["mig"].update(mig)
    assert [(each.status, each.detail) for each in judge_machine(info) if each.check.startswith("mig")] == [(WARN, detail)]


def test_what_could_not_be_read_is_a_warning(tmp_path: Path) -> None:
    found = diagnose(Machine(tmp_path), problems=["/etc/cdi could not be read: Permission denied"])
    assert [(each.check, each.status) for each in found] == [("gpu", OK), ("gpu facts", WARN)]


def test_the_gate_in_the_table() -> None:
    problem = {"kind": "driver", "where": "24.10", "what": "it needs driver 525", "remedy": "Install one."}
    assert judge_gate([problem], "24.10") == [Finding("gpu driver", FAIL, "24.10: it needs driver 525", "Install one.")]
    assert judge_gate([], "24.10") == [Finding("gpu image", OK, "Triton 24.10 can use the GPUs")]


def test_the_table_of_a_machine_names_it_one() -> None:
    report = doctor.compose("gpu1", [Finding("gpu", OK, "fine")], "now", doctor.MACHINE)
    assert doctor.render(report)[0] == "Machine gpu1: ok"
