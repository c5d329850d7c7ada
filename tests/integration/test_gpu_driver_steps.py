# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What gpu_driver decides where a GPU, Secure Boot or a broken build would be needed: its own tasks, with what gpu_info would have told."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from support.rolecheck import ROOT, Play, PlaybookRun, Workspace

ROLE = "serving.triton.gpu_driver"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
PASSWORD = "canary-5c1f77"
PLAN = {"dkms": True, "signed": False, "branch": 580, "kind": "open", "source": "cuda", "packages": [], "headers": ["linux-headers-amd64"]}
DRIVER = {"pending": "", "reason": "", "loaded": "", "installed": "580.95.05", "branch": 580, "installed_kind": "open"}
REASON = "the loaded module is 570.86.15, the installed driver is 580.95.05"
MOKUTIL = """#!/usr/bin/python3
import pathlib, sys
folder = pathlib.Path(__file__).parent
(folder / "argv").open("a").write(" ".join(sys.argv[1:]) + "\\n")
if sys.argv[1] == "--test-key":
    print(sys.argv[2], "is already enrolled" if (folder / "enrolled").exists() else "is not enrolled")
    sys.exit((folder / "enrolled").exists())
elif sys.argv[1] == "--import":
    (folder / "typed").write_text(sys.stdin.read())
else:
    sys.exit("mokutil: no such option")
"""


def step(name: str, values: dict[str, Any], *after: dict[str, Any], environment: dict[str, str] | None = None) -> Play:
    facts = {
        "name": "Know",
        "ansible.builtin.set_fact": {key: value for key, value in values.items() if key.endswith(("_after", "_known"))},
    }
    given = {key: value for key, value in values.items() if key not in facts["ansible.builtin.set_fact"]}
    include = {"name": "Step", "ansible.builtin.include_role": {"name": ROLE, "tasks_from": name}, "vars": given}
    tasks = [*([facts] if facts["ansible.builtin.set_fact"] else []), include, *after]
    return [{"hosts": "localhost", "gather_facts": False, "environment": environment or {}, "tasks": tasks}]


@pytest.fixture
def elsewhere(tmp_path: Path) -> Workspace:
    """This machine under a connection that Ansible takes for a remote one."""
    connection = {"ansible_connection": "elsewhere", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    plugins = {"ANSIBLE_CONNECTION_PLUGINS": str(ROOT / "tests" / "support" / "connection_plugins")}
    return Workspace(tmp_path / "elsewhere", inventory={"all": {"hosts": {"localhost": connection}}}, env=plugins)


def load(boot_id: str, policy: str = "auto") -> Play:
    """The step that loads the driver or reboots, on a machine with this boot id where a reboot is due."""
    return step(
        "load",
        {
            "__gpu_driver_after": {"kernels": [], "driver": {**DRIVER, "pending": "reboot", "reason": REASON}},
            "__gpu_driver_boot_id": {"content": base64.b64encode(boot_id.encode()).decode()},
            "__gpu_driver_foretold_install": False,
            "gpu_driver_reboot": policy,
        },
    )


def reboots(run: PlaybookRun) -> list[str]:
    assert run.rc == 0, run.tail()
    assert any(task.task.endswith("Look at what is loaded") for task in run.tasks), run.tail()
    return [task.task.rpartition(" : ")[2] for task in run.tasks if "eboot" in task.task and task.changed]


@pytest.mark.parametrize(
    ("policy", "expected"), [("auto", ["Reboot"]), ("never", []), ("handler", ["Ask for a reboot at the end", "Reboot for the driver"])]
)
def test_another_machine_is_rebooted_as_the_policy_says(elsewhere: Workspace, policy: str, expected: list[str]) -> None:
    # In check mode alone: a mistake here must not reboot anybody.
    assert reboots(elsewhere.run(load("another machine's", policy), "--check")) == expected


@pytest.mark.parametrize("policy", ["auto", "handler"])
def test_the_controller_is_never_rebooted(tmp_path: Path, elsewhere: Workspace, policy: str) -> None:
    same = BOOT_ID.read_text(encoding="utf-8")
    assert reboots(elsewhere.run(load(same, policy), "--check")) == []
    assert reboots(Workspace(tmp_path / "local").run(load("another machine's", policy), "--check")) == []


@pytest.mark.parametrize(("reason", "rc"), [(REASON, 2), ("nouveau holds the GPU", 0)])
def test_a_reboot_that_changed_nothing_is_an_error(tmp_path: Path, reason: str, rc: int) -> None:
    values = {
        "__gpu_driver_after": {"kernels": [], "kernel": "6.1.0", "driver": {**DRIVER, "pending": "reboot", "reason": REASON}},
        "__gpu_driver_reboot_reason": reason,
        "__gpu_driver_foretold_install": False,
    }
    done = Workspace(tmp_path / "work").run(step("rebooted", values))
    assert done.rc == rc, done.tail()
    assert ("One more reboot does not help" in done.output) == bool(rc)


class Firmware:
    """A folder with a mokutil, and a certificate of dkms."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "mokutil").write_text(MOKUTIL)
        (folder / "mokutil").chmod(0o755)
        (folder / "mok.pub").touch()
        self.environment = {"PATH": f"{folder}:/usr/sbin:/usr/bin:/sbin:/bin"}
        self.plan = {**PLAN, "certificate": str(folder / "mok.pub")}

    def asked(self) -> list[str]:
        return [line.split()[0] for line in (self.folder / "argv").read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def firmware(tmp_path: Path) -> Firmware:
    return Firmware(tmp_path / "firmware")


def test_secure_boot_stops_before_anything_is_changed(tmp_path: Path, firmware: Firmware) -> None:
    workspace = Workspace(tmp_path / "work")
    play = step(
        "secure_boot_check", {"__gpu_driver_plan": firmware.plan, "gpu_driver_secure_boot": "require"}, environment=firmware.environment
    )
    refused = workspace.run(play)
    assert refused.rc == 2
    assert "Nothing was changed" in refused.output
    assert "Enroll MOK" in refused.output
    (firmware.folder / "enrolled").touch()
    assert workspace.run(play, "--check").rc == 0
    assert set(firmware.asked()) == {"--test-key"}


def test_a_key_is_enrolled_once_and_its_password_shows_nowhere(tmp_path: Path, firmware: Firmware) -> None:
    workspace = Workspace(tmp_path / "work")
    values = {"__gpu_driver_plan": firmware.plan, "gpu_driver_mok_password": "{{ password }}", "__gpu_driver_foretold_install": False}
    play = step("secure_boot_enroll", values, environment=firmware.environment)
    first = workspace.run(play, "-vvv", variables={"password": PASSWORD})
    assert first.rc == 0, first.tail()
    assert sum(first.changed.values()) == 1
    assert (firmware.folder / "typed").read_text(encoding="utf-8") == f"{PASSWORD}\n{PASSWORD}\n"
    assert PASSWORD not in first.output
    assert PASSWORD not in (firmware.folder / "argv").read_text(encoding="utf-8")
    (firmware.folder / "enrolled").touch()
    assert not workspace.run(play, variables={"password": PASSWORD}).changed
    assert firmware.asked() == ["--test-key", "--import", "--test-key"]


def kernel(release: str, module: str = "") -> dict[str, Any]:
    return {"release": release, "headers": True, "image": True, "running": True, "module": module}


@pytest.mark.parametrize(
    ("after", "told"),
    [
        (
            {"kernels": [kernel("6.12.1")], "dkms": {"failed": ["{log}"]}},
            ["6.12.1", "error: implicit declaration", "newer gpu_driver_branch"],
        ),
        (
            {"kernels": [kernel("6.1.0", "580.95.05"), {**kernel("6.12.1"), "running": False}], "dkms": {"failed": []}},
            ["without one: 6.12.1", "dkms autoinstall --kernelver 6.12.1"],
        ),
        # A kernel that does not boot on its own needs none, as dkms builds none for it.
        (
            {"kernels": [{**kernel("5.10.0"), "running": False}, kernel("6.1.0", "580.95.05")], "dkms": {"failed": []}},
            [],
        ),
        ({"kernels": [kernel("6.1.0", "570.86.15")], "dkms": {"failed": []}}, ["modules of another version: 570.86.15"]),
        ({"kernels": [], "dkms": {"failed": []}}, ["There are headers for no kernel"]),
        (
            {
                "kernels": [kernel("6.1.0", "595.58.03")],
                "dkms": {"failed": []},
                "driver": {**DRIVER, "installed": "595.58.03", "branch": 595},
            },
            ["lead to another one"],
        ),
        (
            {"kernels": [kernel("6.1.0", "580.95.05"), {**kernel("6.12.1"), "headers": False}], "dkms": {"failed": []}},
            ["no newer one takes over", "headers of 6.12.1"],
        ),
    ],
)
def test_a_module_that_is_missing_is_told_with_its_reason(tmp_path: Path, after: dict[str, Any], told: list[str]) -> None:
    dkms = tmp_path / "bin" / "dkms"
    dkms.parent.mkdir()
    dkms.write_text('#!/bin/sh\necho "$*" >> "$0.argv"\nexit 1\n')
    dkms.chmod(0o755)
    log = tmp_path / "make.log"
    log.write_text("CC nvidia.o\nerror: implicit declaration of function\n")
    failed = [str(log) for _each in after["dkms"]["failed"]]
    known = {"driver": DRIVER, "kernel": "6.12.1", **after, "dkms": {"failed": failed}}
    values = {"__gpu_driver_after": known, "__gpu_driver_plan": PLAN}
    done = Workspace(tmp_path / "work").run(step("verify", values, environment={"PATH": f"{dkms.parent}:/usr/sbin:/usr/bin:/sbin:/bin"}))
    booting = [each["release"] for each in after["kernels"] if each["headers"] and not each["module"] and each["release"] != "5.10.0"]
    argv = dkms.with_suffix(".argv")
    asked = argv.read_text().splitlines() if argv.exists() else []
    assert asked == [f"autoinstall --kernelver {release}" for release in booting]
    assert done.rc == (2 if told else 0), done.tail()
    message = " ".join(task.message for task in done.tasks if task.status == "failed")
    assert not [text for text in told if text not in " ".join(message.split())], message
