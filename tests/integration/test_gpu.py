# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""gpu_info, the doctor and the gate, run by Ansible on this machine and on trees of files."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.ansible_runs import Result, run_module, run_playbook
from support.gpu_tree import Machine, healthy
from support.rules import docs
from support.tritonserver import free_ports

from ansible_collections.serving.triton.plugins.modules import gpu_info

ROOT = os.geteuid() == 0
LOCAL = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
GPU_INFO = "serving.triton.gpu_info"


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that another user can reach, unlike pytest's."""
    with tempfile.TemporaryDirectory(prefix="gpu-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def documented(values: dict[str, Any], told: dict[str, Any], where: str = "") -> None:
    """What a result holds is what RETURN says, key by key, in its types."""
    kinds: dict[str, tuple[type, ...]] = {"str": (str,), "bool": (bool,), "int": (int,), "list": (list,), "dict": (dict,)}
    assert set(values) == set(told), where
    for name, value in values.items():
        if value is None:
            continue
        assert isinstance(value, kinds[told[name]["type"]]), f"{where}{name}"
        for each in value if isinstance(value, list) else [value]:
            if "contains" in told[name]:
                documented(each, told[name]["contains"], f"{where}{name}.")


def result(answer: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in answer.items() if key not in ("changed", "invocation")}


def test_this_machine_is_read_as_documented() -> None:
    told = yaml.safe_load(gpu_info.RETURN)
    assert not docs.returns(told)
    answer = run_module(GPU_INFO, {})
    assert (answer["changed"], bool(answer.get("failed"))) == (False, False)
    documented(result(answer), told)
    assert answer["kernel"] == os.uname().release
    assert run_module(GPU_INFO, {}, check=True)["gpus"] == answer["gpus"]


def test_a_tree_is_read_as_documented_and_left_as_it_was(tmp_path: Path) -> None:
    machine = healthy(tmp_path).gpu("ampere").switch("hopper").dpkg({"cuda-compat-12-6": "560.35.05-1"})
    before = sorted((str(path), path.lstat().st_mtime_ns) for path in tmp_path.rglob("*"))
    answer = run_module(GPU_INFO, {"root": str(machine.root)})
    documented(result(answer), yaml.safe_load(gpu_info.RETURN))
    assert answer["generations"] == ["ampere", "hopper"]
    assert answer["nvml"]["problem"] == "the root is not this machine's"
    assert sorted((str(path), path.lstat().st_mtime_ns) for path in tmp_path.rglob("*")) == before


def test_a_root_that_is_not_there_is_told() -> None:
    answer = run_module(GPU_INFO, {"root": "/no/such/folder"})
    assert (answer["failed"], answer["where"]) == (True, "/no/such/folder")
    assert answer["remedy"]


@pytest.mark.skipif(not ROOT, reason="not root: every test here runs as an ordinary user")
def test_an_ordinary_user_reads_it_too(public: Path) -> None:
    """nobody has no home; Ansible keeps its files in the folder here, and the module works with the system's Python."""
    machine = healthy(public / "tree", "ada")
    (machine.root / "etc/cdi").chmod(0o700)
    user = {"become": True, "become_method": "ansible.builtin.su", "become_user": "nobody", "become_flags": "--shell /bin/sh"}
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        **user,
        "tasks": [
            {"name": "Here", GPU_INFO: {}},
            {"name": "There", GPU_INFO: {"root": str(machine.root)}},
        ],
    }
    remote = public / "remote"
    remote.mkdir(mode=0o777)
    remote.chmod(0o777)
    inventory = inventory_of(public, {"localhost": {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"}})
    ran = run_playbook([play], inventory, env={"ANSIBLE_REMOTE_TEMP": str(remote), "ANSIBLE_PIPELINING": "1"})
    here, there = ran.result("Here"), ran.result("There")
    assert here["kernel"] == os.uname().release
    assert there["driver"]["loaded"] == "550.90.07"
    assert (there["cdi"], there["problems"]) == ([], ["/etc/cdi could not be read: Permission denied"])


def inventory_of(folder: Path, hosts: dict[str, Any], group: str = "gpu_hosts") -> Path:
    path = folder / "hosts.json"
    path.write_text(json.dumps({"all": {"children": {group: {"hosts": hosts}}}}))
    return path


def doctor(folder: Path, machine: Machine, rc: int, **options: Any) -> Result:
    arguments = {"checks": ["machine"], "root": str(machine.root), "directory": str(folder), **options}
    play = {"hosts": "all", "gather_facts": False, "tasks": [{"name": "Diagnose", "serving.triton.doctor": arguments}]}
    return run_playbook([play], inventory_of(folder, {"gpu1": LOCAL}), rc=rc)


def test_the_doctor_of_a_machine_that_is_ill(tmp_path: Path) -> None:
    """One table, one JSON and a return code; each finding with its remedy."""
    machine = healthy(tmp_path / "tree").upgrade("550.90.07", "560.35.05").cdi("550.54.15", "0")
    ran = doctor(tmp_path, machine, 2, gpus=["all"], image="26.09")
    text = " ".join(ran.stdout.split())
    assert "Machine gpu1: fail" in text
    assert "fail driver the loaded module is 550.90.07, the installed driver is 560.35.05 -> Reboot the machine." in text
    assert "fail gpu driver 26.09: release 26.09 with CUDA 13.4 needs driver 580 or newer" in text
    report = json.loads((tmp_path / "gpu1.doctor.json").read_text())
    assert (report["kind"], report["verdict"], (tmp_path / "gpu1.doctor.json").stat().st_mode & 0o777) == ("machine", "fail", 0o600)
    faults = [each for each in report["findings"] if each["status"] != "ok"]
    assert {"driver", "cdi /etc/cdi/nvidia.yaml", "gpu driver"} <= {each["check"] for each in faults}
    assert all(each["remedy"] for each in faults)


def test_the_doctor_of_a_machine_that_is_well(tmp_path: Path) -> None:
    ran = doctor(tmp_path, healthy(tmp_path / "tree"), 0, gpus=["all"], image="24.10")
    assert "Triton 24.10 can use the GPUs" in ran.stdout
    assert ran.changed == 0


def test_the_playbook_diagnoses_machines_and_services(tmp_path: Path) -> None:
    """A machine alone, and one with a service that nobody deployed. No GPU is no fault; a service that is not there is one."""
    if run_module(GPU_INFO, {"nvml": False})["present"]:
        pytest.skip("this machine has a GPU")
    http, grpc, metrics = free_ports(3)
    service = {
        "triton_target": "host",
        "triton_models": str(tmp_path / "models"),
        "triton_repository": str(tmp_path / "repository"),
        "server_host_prefix": str(tmp_path / "prefix"),
        "server_host_user": "",
        "server_host_http_port": http,
        "server_host_grpc_port": grpc,
        "server_host_metrics_port": metrics,
        "monitoring_prefix": str(tmp_path / "prefix"),
    }
    hosts = {name: {**LOCAL, "triton_report_dir": str(tmp_path)} for name in ("gpu1", "both")}
    inventory = tmp_path / "hosts.json"
    children = {"gpu_hosts": {"hosts": hosts}, "triton": {"hosts": {"both": service}}}
    inventory.write_text(json.dumps({"all": {"children": children}}))
    ran = run_playbook("serving.triton.doctor", inventory, rc=2)
    assert (ran.stats["gpu1"]["failures"], ran.stats["both"]["failures"]) == (0, 1)
    machine, both = (json.loads((tmp_path / f"{name}.doctor.json").read_text()) for name in ("gpu1", "both"))
    assert (machine["kind"], machine["verdict"], [each["detail"] for each in machine["findings"]]) == (
        "machine",
        "ok",
        ["there is no NVIDIA GPU"],
    )
    assert (both["kind"], both["verdict"], both["findings"][0]["check"]) == ("service", "fail", "gpu")
    assert {"server", "repository"} <= {each["check"] for each in both["findings"] if each["status"] == "fail"}


def test_the_playbook_without_the_group_triton(tmp_path: Path) -> None:
    """No warning about groups that are not there."""
    ran = run_playbook(
        "serving.triton.doctor", inventory_of(tmp_path, {"gpu1": {**LOCAL, "triton_report_dir": str(tmp_path)}}), "--list-hosts"
    )
    assert "gpu1" in ran.stdout


PREFLIGHT = {
    "hosts": "localhost",
    "gather_facts": False,
    "tasks": [{"name": "Check", "ansible.builtin.include_role": {"name": "serving.triton.server_host", "tasks_from": "preflight"}}],
}


def preflight(tmp_path: Path, rc: int, **more: Any) -> Result:
    (tmp_path / "models" / "m" / "1").mkdir(parents=True)
    variables = {
        **LOCAL,
        "server_host_runtime": "container",
        "server_host_prefix": str(tmp_path / "prefix"),
        "server_host_user": "",
        "server_host_repository": str(tmp_path / "models"),
        "server_host_http_port": 1024,
        "server_host_grpc_port": 1025,
        "server_host_metrics_port": 1026,
        **more,
    }
    ran = run_playbook([PREFLIGHT], inventory_of(tmp_path, {"localhost": variables}, "triton"), rc=rc)
    assert not (tmp_path / "prefix").exists()
    return ran


def test_preflight_stops_where_gpus_are_asked_for_and_none_is_there(tmp_path: Path) -> None:
    if run_module(GPU_INFO, {"nvml": False})["present"]:
        pytest.skip("this machine has a GPU")
    ran = preflight(tmp_path, 2, server_host_container_gpus="all")
    assert "GPUs are asked for, and this machine has none of NVIDIA." in " ".join(ran.stdout.split())


def test_preflight_of_a_run_without_gpus_does_not_look_for_any(tmp_path: Path) -> None:
    ran = preflight(tmp_path, 0)
    assert not [event for event in ran.events if event.get("task") == "Look at the GPUs" and event["status"] == "ok"]
