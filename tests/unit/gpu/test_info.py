# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""gpu_info on trees of many generations and states."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.gpu_tree import BOARDS, KERNEL, Machine, healthy

from ansible_collections.serving.triton.plugins.module_utils.core.errors import InputError
from ansible_collections.serving.triton.plugins.module_utils.gpu import dkms
from ansible_collections.serving.triton.plugins.module_utils.gpu.info import Request, inspect

NEXT = "6.1.0-31-amd64"


def nothing(_command: Sequence[str]) -> str:
    return ""


def look(machine: Machine, **options: Any) -> dict[str, Any]:
    return inspect(Request(root=str(machine.root), **options), nothing)


def test_a_machine_without_anything(tmp_path: Path) -> None:
    info = look(Machine(tmp_path))
    assert (info["present"], info["gpus"], info["generations"], info["problems"]) == (False, [], [], [])
    assert (info["driver"]["loaded"], info["driver"]["installed"], info["driver"]["branch"], info["driver"]["pending"]) == (
        "",
        "",
        None,
        "",
    )
    assert (info["packages"], info["kernels"], info["secure_boot"]["state"]) == ("none", [], "unsupported")
    assert info["nvml"] == {"source": "none", "problem": "the root is not this machine's"}


def test_a_root_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such folder"):
        inspect(Request(root=str(tmp_path / "x")), nothing)


@pytest.mark.parametrize(
    ("board", "generation", "chip", "capability", "modules", "last", "datacenter", "mig"),
    [
        ("kepler", "kepler", "", "", ["proprietary"], 470, False, False),
        ("maxwell", "maxwell", "GM204", "5.2", ["proprietary"], 580, True, False),
        ("pascal", "pascal", "GP102", "6.1", ["proprietary"], 580, True, False),
        ("volta", "volta", "GV100", "7.0", ["proprietary"], 580, True, False),
        ("turing", "turing", "TU104", "7.5", ["open", "proprietary"], None, True, False),
        ("ampere", "ampere", "GA100", "8.0", ["open", "proprietary"], None, True, True),
        ("ada", "ada", "AD104", "8.9", ["open", "proprietary"], None, True, False),
        ("geforce", "ada", "AD102", "8.9", ["open", "proprietary"], None, False, False),
        ("hopper", "hopper", "GH100", "9.0", ["open", "proprietary"], None, True, True),
        ("blackwell", "blackwell", "GB100", "10.0", ["open"], None, True, True),
        ("unknown", "", "", "", [], None, None, False),
    ],
)
def test_every_generation_is_told_from_its_pci_id(  # noqa: PLR0917
    board: str,
    generation: str,
    chip: str,
    capability: str,
    modules: list[str],
    last: int | None,
    datacenter: Any,
    mig: bool,
    tmp_path: Path,
) -> None:
    info = look(Machine(tmp_path).gpu(board, count=2))
    assert [each["address"] for each in info["gpus"]] == ["0000:01:00.0", "0000:02:00.0"]
    gpu = info["gpus"][0]
    assert (gpu["generation"], gpu["chip"], gpu["compute_capability"]) == (generation, chip, capability)
    assert (gpu["modules"], gpu["last_branch"], gpu["datacenter"], gpu["mig"]["capable"]) == (modules, last, datacenter, mig)
    assert gpu["device_id"] == f"{BOARDS[board][0]:04x}"
    assert gpu["device_id"] in gpu["name"]
    assert (gpu["memory_mib"], gpu["uuid"], gpu["bound"], gpu["mig"]["enabled"]) == (None, "", "", None)
    assert info["generations"] == ([generation] if generation else [])


def test_names_come_from_pci_ids_and_before_it_from_the_driver(tmp_path: Path) -> None:
    ids = "10dd  Other\n\t2330  Wrong\n10de  NVIDIA Corporation\n\t2330  GH100 [H100 SXM5 80GB]\n\t\t10de 16c1  Wrong too\n10df  Emulex\n"
    machine = Machine(tmp_path).gpu("hopper", count=2).file("/usr/share/misc/pci.ids", ids)
    assert [each["name"] for each in look(machine)["gpus"]] == ["NVIDIA H100 SXM5 80GB"] * 2
    told = look(machine.loaded("550.90.07", "open", "hopper"))["gpus"]
    assert [each["name"] for each in told] == ["NVIDIA H100 80GB HBM3", "NVIDIA H100 SXM5 80GB"]
    assert [each["uuid"][:12] for each in told] == ["GPU-6e0fd2a5", ""]


def test_the_fabric(tmp_path: Path) -> None:
    hopper = Machine(tmp_path / "hgx").gpu("hopper", count=8).switch("hopper").dpkg({"nvidia-fabricmanager-550": "550.90.07-1"})
    assert look(hopper)["fabric"] == {
        "nvswitches": [f"0000:c{number}:00.0" for number in range(4)],
        "nvlink_managers": [],
        "manager_needed": True,
        "manager_version": "550.90.07",
        "manager_running": None,
    }
    assert look(hopper.processes("sshd"))["fabric"]["manager_running"] is False
    assert look(hopper.processes("sshd", "nv-fabricmanager"))["fabric"]["manager_running"] is True
    assert look(hopper)["problems"] == []
    blackwell = look(Machine(tmp_path / "b200").gpu("blackwell", count=8).switch_manager("mlx5_4"))["fabric"]
    assert (blackwell["nvlink_managers"], blackwell["manager_needed"], blackwell["manager_version"]) == (["mlx5_4"], True, "")
    pcie = look(Machine(tmp_path / "pcie").gpu("ada").switch_manager("mlx5_4").processes())["fabric"]
    assert (pcie["manager_needed"], pcie["manager_running"]) == (False, None)


def test_a_healthy_machine(tmp_path: Path) -> None:
    info = look(healthy(tmp_path))
    driver = info["driver"]
    assert {key: driver[key] for key in ("loaded", "loaded_kind", "installed", "installed_kind", "branch", "pending", "runfile")} == {
        "loaded": "550.90.07",
        "loaded_kind": "open",
        "installed": "550.90.07",
        "installed_kind": "open",
        "branch": 550,
        "pending": "",
        "runfile": False,
    }
    assert driver["persistence"] is True
    assert driver["device_nodes"] == ["nvidia-uvm", "nvidia0", "nvidiactl"]
    assert info["kernels"] == [
        {
            "release": KERNEL,
            "running": True,
            "image": True,
            "headers": True,
            "module": "550.90.07",
            "module_kind": "open",
            "module_signed": True,
            "module_path": f"/lib/modules/{KERNEL}/updates/dkms/nvidia.ko",
        }
    ]
    assert info["secure_boot"] == {"state": "enabled", "setup_mode": False, "lockdown": "integrity", "unsigned": []}
    assert info["nouveau"] == {"loaded": False, "blacklisted": True, "by": ["/etc/modprobe.d/nvidia-blacklists-nouveau.conf"]}
    assert [each["state"] for each in info["dkms"]["modules"]] == ["installed"]
    assert info["problems"] == []


def test_another_driver_is_installed_than_loaded(tmp_path: Path) -> None:
    machine = Machine(tmp_path).gpu("hopper", "nvidia").loaded("550.54.15", "open").kernel(running=True, module="550.90.07", kind="open")
    driver = look(machine.dpkg({"libnvidia-compute-550": "550.90.07-0ubuntu0.24.04.1"}))["driver"]
    assert (driver["pending"], driver["reason"]) == ("reboot", "the loaded module is 550.54.15, the installed driver is 550.90.07")


def test_the_other_kind_of_module_is_installed_than_loaded(tmp_path: Path) -> None:
    machine = (
        Machine(tmp_path).gpu("ada", "nvidia").loaded("550.90.07", "proprietary").kernel(running=True, module="550.90.07", kind="open")
    )
    driver = look(machine.dpkg({"libcuda1": "550.90.07-1"}))["driver"]
    assert (driver["loaded_kind"], driver["installed_kind"], driver["pending"]) == ("proprietary", "open", "reboot")


def test_nouveau_holds_the_gpu(tmp_path: Path) -> None:
    machine = Machine(tmp_path).gpu("turing", "nouveau").nouveau().kernel(running=True, module="535.183.01")
    info = look(machine.dpkg({"libcuda1": "535.183.01-1~deb12u1"}))
    assert info["nouveau"] == {"loaded": True, "blacklisted": False, "by": []}
    assert (info["driver"]["pending"], info["driver"]["reason"]) == ("reboot", "nouveau holds the GPU")
    assert look(machine.file("/proc/cmdline", "quiet modprobe.blacklist=nvidiafb,nouveau\n"))["nouveau"]["by"] == ["/proc/cmdline"]


def test_a_module_that_waits_to_be_loaded(tmp_path: Path) -> None:
    machine = Machine(tmp_path).gpu("turing").kernel(running=True, module="535.183.01", signed=False).dpkg({"libcuda1": "535.183.01-1"})
    info = look(machine.secure_boot(True))
    assert (info["driver"]["pending"], info["secure_boot"]["unsigned"]) == ("load", [KERNEL])


@pytest.mark.parametrize(
    ("headers", "log", "reason"),
    [
        (False, False, f"the headers of the running kernel {KERNEL} are missing"),
        (True, True, f"the build for {KERNEL} failed, see /var/lib/dkms/nvidia/535.183.01/build/make.log"),
        (True, False, f"the running kernel {KERNEL} has no nvidia module"),
    ],
)
def test_dkms_that_only_added(headers: bool, log: bool, reason: str, tmp_path: Path) -> None:
    machine = Machine(tmp_path).gpu("turing").kernel(running=True, headers=headers).dkms("535.183.01", log=log)
    info = look(machine.dpkg({"libcuda1": "535.183.01-1", "nvidia-kernel-dkms": "535.183.01-1"}))
    assert info["dkms"]["modules"] == [{"name": "nvidia", "version": "535.183.01", "kernel": "", "architecture": "", "state": "added"}]
    assert (info["driver"]["pending"], info["driver"]["reason"]) == ("build", reason)
    assert info["driver"]["installed_kind"] == "proprietary"


def test_a_container_has_no_modules_of_the_running_kernel(tmp_path: Path) -> None:
    info = look(Machine(tmp_path).kernel(module="550.90.07", kind="open"), kernel="6.18.44-host")
    assert info["kernel"] == "6.18.44-host"
    assert [(each["release"], each["running"]) for each in info["kernels"]] == [(KERNEL, False)]
    assert (info["driver"]["installed_kind"], info["driver"]["pending"]) == ("open", "")


def test_kernels_are_sorted_as_people_do_and_leftovers_are_no_kernels(tmp_path: Path) -> None:
    machine = (
        Machine(tmp_path)
        .kernel("6.1.0-9-amd64")
        .kernel(NEXT, headers=False, module="550.90.07", path="extra/nvidia.ko.xz")
        .kernel(running=True)
    )
    machine.folder("/lib/modules/5.10.0-1-amd64/updates")
    found = look(machine)["kernels"]
    assert [each["release"] for each in found] == ["6.1.0-9-amd64", KERNEL, NEXT]
    assert [(each["headers"], each["module"], each["module_kind"]) for each in found][2] == (False, "550.90.07", "proprietary")


def test_a_module_that_cannot_be_unpacked_here_is_asked_of_modinfo(tmp_path: Path) -> None:
    machine = Machine(tmp_path).kernel(module="570.86.15", path="kernel/nvidia-570-open/nvidia.ko.zst")
    asked = []

    def modinfo(command: Sequence[str]) -> str:
        asked.append(command[0])
        return {"version": "570.86.15\n", "license": "Dual MIT/GPL\n"}.get(command[2], "") if command[0] == "modinfo" else ""

    kernel = inspect(Request(root=str(tmp_path)), modinfo)["kernels"][0]
    assert (kernel["module"], kernel["module_kind"], kernel["module_signed"]) == ("570.86.15", "open", False)
    assert set(asked) == {"modinfo"}
    assert look(machine)["kernels"][0]["module"] == "unknown"


def test_dkms_states(tmp_path: Path) -> None:
    machine = Machine(tmp_path).dkms("550.90.07", {KERNEL: "installed", NEXT: "built"}).dkms("535.1.2", name="nvidia-current", source=False)
    state = look(machine)["dkms"]
    assert state["present"] is True
    assert [(each["name"], each["kernel"], each["state"]) for each in state["modules"]] == [
        ("nvidia", KERNEL, "installed"),
        ("nvidia", NEXT, "built"),
        ("nvidia-current", "", "broken"),
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("nvidia/550.90.07: added", ("nvidia", "550.90.07", "", "", "added")),
        (
            "nvidia-current/535.183.01, 6.1.0-28-amd64, x86_64: installed (WARNING! Diff)",
            ("nvidia-current", "535.183.01", KERNEL, "x86_64", "installed"),
        ),
        ("nvidia, 470.256.02, 5.4.0-1, x86_64: built", ("nvidia", "470.256.02", "5.4.0-1", "x86_64", "built")),
    ],
)
def test_the_lines_of_dkms_status(line: str, expected: tuple[str, ...]) -> None:
    assert [tuple(each.values()) for each in dkms.parse(f"{line}\nError! not a module\n")] == [expected]


@pytest.mark.parametrize(("on", "validation", "state"), [(True, True, "enabled"), (False, True, "disabled"), (True, False, "disabled")])
def test_secure_boot(on: bool, validation: bool, state: str, tmp_path: Path) -> None:
    assert look(Machine(tmp_path).secure_boot(on, validation=validation))["secure_boot"]["state"] == state


def test_secure_boot_that_cannot_be_read(tmp_path: Path) -> None:
    assert look(Machine(tmp_path).folder("/sys/firmware/efi/efivars"))["secure_boot"]["state"] == "unknown"


def test_links_stay_inside_the_root(tmp_path: Path) -> None:
    """An image's absolute links point into the image, and a link that climbs does not get out of it."""
    (tmp_path / "outside.conf").write_text("blacklist nouveau\n")
    machine = (
        Machine(tmp_path / "image").link("/etc/modprobe.d/a.conf", "../../../../../outside.conf").link("/etc/modprobe.d/b.conf", "b.conf")
    )
    assert look(machine)["nouveau"]["blacklisted"] is False
    machine.link("/etc/modprobe.d/c.conf", "/etc/own.conf").file("/etc/own.conf", "install nouveau /bin/false\n")
    assert look(machine)["nouveau"]["by"] == ["/etc/modprobe.d/c.conf"]


def test_a_runfile_and_a_toolkit_are_seen(tmp_path: Path) -> None:
    machine = Machine(tmp_path).file("/usr/bin/nvidia-uninstall").file("/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.560.35.05")
    info = look(machine.folder("/usr/local/cuda-12.10").folder("/usr/local/cuda-12.9"))
    assert (info["driver"]["runfile"], info["driver"]["installed"], info["driver"]["packages"]) == (True, "560.35.05", [])
    assert info["cuda"]["toolkits"] == ["12.9", "12.10"]
