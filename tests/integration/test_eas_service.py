# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""eas_service and eas_service_info against EAS, by the SDK and by the command line client: stand-ins, or the real ones by environment."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from support.ansible_runs import environment, run_module
from support.certificates import make_certificates, tls_front
from support.eas_runs import FastClock, info_options, run_service, service_options
from support.eas_server import OTHER_KEY, OTHER_SECRET, SECRET, TEMPORARY_KEY, TEMPORARY_SECRET, TOKEN, EasServer, Fault, throttled
from support.eas_state import Pace
from support.eas_under_test import EasUnderTest, open_eas_under_test, triton_config
from support.eascmd import Eascmd

from ansible_collections.serving.triton.plugins.module_utils.core.errors import InputError
from ansible_collections.serving.triton.plugins.module_utils.core.redaction import MASK
from ansible_collections.serving.triton.plugins.module_utils.core.wait import Clock
from ansible_collections.serving.triton.plugins.module_utils.eas.info import read_services

BACKENDS = ("openapi", "eascmd")
# Over eascmd every look is two processes: services take the shortest way that is one.
QUICK = Pace(creating=0, waiting=1, partial=0, updating=1, scaling=1, stopping=1, starting=0, deleting=1)
# What eascmd does not tell.
_UNTOLD = ("traffic_state", "safety_lock", "created", "updated")

every_backend = pytest.mark.parametrize("backend", BACKENDS)


@pytest.fixture
def eas() -> Iterator[EasUnderTest]:
    with open_eas_under_test() as found:
        yield found


@pytest.fixture
def keys(eas_server: EasServer, monkeypatch: pytest.MonkeyPatch) -> EasServer:
    """The stand-in, with its credentials in the environment."""
    for name, value in eas_server.environment.items():
        monkeypatch.setenv(name, value)
    return eas_server


def run(server: EasServer, *, check: bool = False, clock: Clock | None = None, **options: Any) -> dict[str, Any]:
    """eas_service by the SDK, in this process and in no time."""
    found: dict[str, Any] = run_service(service_options(**server.options(backend="openapi", **options)), check=check, clock=clock)
    assert SECRET not in json.dumps(found)
    return found


# --- a life


def told(result: dict[str, Any]) -> dict[str, Any]:
    """A result without what differs between two lives, and without what eascmd does not tell."""
    kept = {key: value for key, value in result.items() if key not in ("backend", "backend_reason")}
    kept["service"] = {key: value for key, value in result["service"].items() if key not in _UNTOLD}
    for side in ("before", "after"):
        kept["diff"][side] = {key: value for key, value in result["diff"][side].items() if key not in _UNTOLD}
    return kept


def step(eas: EasUnderTest, backend: str, **options: Any) -> dict[str, Any]:
    """A run that is predicted by check mode, and that a second run has nothing to add to."""
    clock = Clock() if eas.real else FastClock()
    parameters = service_options(**{**eas.options(backend), **options})
    before = eas.server.changes if eas.server else []
    # The planner is the same for both backends, and the client is slow.
    predicted = run_service(parameters, check=True, clock=clock) if backend == "openapi" else {}
    assert not predicted.get("failed"), predicted
    assert before == (eas.server.changes if eas.server else [])
    done = run_service(parameters, clock=clock)
    assert not done.get("failed"), done
    assert done["changed"] is True
    for key in predicted and ("changed", "actions", "diff", "status"):
        assert predicted[key] == done[key]
    again = run_service(parameters, clock=clock)
    assert (again["changed"], again["actions"]) == (False, []), again
    assert again["diff"]["before"] == again["diff"]["after"]
    assert again["status"] == done["status"]
    for result in (predicted, done, again):
        assert not [secret for secret in eas.secrets if secret in json.dumps(result)]
    return told(done)


def life(eas: EasUnderTest, backend: str) -> list[dict[str, Any]]:
    name = eas.name("life")
    config = eas.service("life", instance=1)
    changed = eas.service("life", instance=2, rpc={"keepalive": 7000})
    return [
        step(eas, backend, config=config),
        step(eas, backend, name=name, instances=2),
        step(eas, backend, config=changed),
        step(eas, backend, name=name, version=1),
        step(eas, backend, name=name, state="stopped"),
        step(eas, backend, name=name, state="started"),
        step(eas, backend, name=name, state="absent"),
    ]


def test_both_backends_lead_the_same_life(eas: EasUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in eas.environment.items():
        monkeypatch.setenv(name, value)
    if eas.server:
        eas.server.services.pace = QUICK
    lives = {backend: life(eas, backend) for backend in BACKENDS if backend == "openapi" or eas.eascmd}
    statuses = [result["status"] for result in lives["openapi"]]
    assert statuses == ["Running", "Running", "Running", "Running", "Stopped", "Running", "Absent"]
    assert [result["versions"]["current"] for result in lives["openapi"]] == [1, 1, 2, 1, 1, 1, 0]
    assert lives["openapi"][0]["endpoints"]["internet"] == lives["openapi"][0]["triton_endpoint"]["http"]
    if "eascmd" in lives:
        assert lives["eascmd"] == lives["openapi"]
    if eas.server and eas.tool:
        kinds = [change.split()[0].removesuffix("Service") for change in eas.server.changes]
        one = ["Create", "Update", "Update", "UpdateServiceVersion", "Stop", "Start", "Delete"]
        assert kinds == one * 2
        # No key was on a command line, and no file with keys is left.
        arguments = [word for each in eas.tool.runs for word in each.argv]
        assert not [word for word in arguments if SECRET in word or eas.environment["ALIBABA_CLOUD_ACCESS_KEY_ID"] in word]
        configs = {each.argv[each.argv.index("-c") + 1] for each in eas.tool.runs}
        assert len(configs) > len(one)
        assert not [path for path in configs if Path(path).exists()]


@every_backend
def test_the_module_as_ansible_runs_it(backend: str, keys: EasServer, eascmd: Eascmd, tmp_path: Path) -> None:
    """In a process of its own: from the seed's file, with credentials of the environment, and nothing secret anywhere."""
    keys.services.pace = QUICK
    file = tmp_path / "triton.config"
    service = triton_config("digits", token="service-token-1") | {"token": "service-token-1"}
    file.write_text(f"// the seed's\n{json.dumps(service)[:-1]}, }}")
    arguments = {"endpoint": keys.url, "region": keys.region, "backend": backend, "config_file": str(file), "wait_interval": 0.02}
    arguments |= {"eascmd_path": str(eascmd.path)} if backend == "eascmd" else {}
    made = run_module("serving.triton.eas_service", arguments, diff=True)
    assert made["actions"] == ["create digits (triton, 1 instance)"]
    assert (made["backend"], made["status"], made["token"]) == (backend, "Running", MASK)
    assert not [secret for secret in (SECRET, "service-token-1") if secret in json.dumps(made)]
    # Asked for, the token is told, also where an option gives it.
    secret_env = {"THREADS": "1", "S3_KEY": "key-of-a-store"}
    more = {"token": "service-token-1", "return_token": True, "secret_env": secret_env, "image": "tritonserver", "update": "merge"}
    refused = run_module("serving.triton.eas_service", {**arguments, **more})
    assert "processor" in refused["msg"]
    assert "key-of-a-store" not in json.dumps(refused)
    open_ = run_module("serving.triton.eas_service", {**arguments, "token": "service-token-1", "return_token": True})
    assert open_["changed"] is False
    assert (open_["token"], open_["triton_endpoint"]["headers"]) == ("service-token-1", {"Authorization": "service-token-1"})
    read = run_module(
        "serving.triton.eas_service_info", {key: value for key, value in arguments.items() if key not in ("config_file", "wait_interval")}
    )
    assert [each["name"] for each in read["services"]] == ["digits"]
    assert "service-token-1" not in json.dumps(read)


# --- changes of every kind


def test_what_only_the_api_can_do(keys: EasServer) -> None:
    base = {"name": "digits", "config": triton_config("digits", group="g"), "labels": {"team": "a"}}
    run(keys, **base)
    rule = {"min": 1, "max": 4, "strategies": [{"metric": "qps", "threshold": 50.0}]}
    more = {
        **base,
        "labels": {"team": "b", "cost": "1"},
        "autoscaler": rule,
        "weight": 10,
        "traffic_state": "grouping",
        "safety_lock": "dangerous",
    }
    done = run(keys, **more)
    assert done["actions"] == [
        "set the autoscaler of digits (1 to 4 instances)",
        "label digits (team=b, cost=1)",
        "release digits (weight 10, traffic state grouping)",
        "set the safety lock of digits to dangerous",
    ]
    service = keys.services.all["digits"]
    assert (service.weight, service.traffic_state, service.lock, service.labels) == (
        10,
        "grouping",
        "dangerous",
        {"team": "b", "cost": "1"},
    )
    assert service.autoscaler == {"min": 1, "max": 4, "scaleStrategies": [{"metricName": "qps", "threshold": 50}]}
    # The autoscaler decides how many there are.
    keys.services.autoscale("digits", 3)
    again = run(keys, **more)
    assert (again["changed"], again["service"]["instances"]["total"]) == (False, 3)
    replaced = run(keys, name="digits", config={**triton_config("digits"), "labels": {"team": "b"}}, update="replace")
    assert replaced["actions"] == [
        "replace the configuration of digits (without metadata.group)",
        "remove the autoscaler of digits",
        "label digits (without cost)",
    ]
    assert (service.autoscaler, service.labels, service.config["metadata"].get("group")) == (None, {"team": "b"}, None)


def test_a_safety_lock_is_heeded(keys: EasServer) -> None:
    keys.make(triton_config("digits"), lock="dangerous")
    refused = run(keys, name="digits", state="absent")
    assert refused["failed"]
    assert "safety lock (dangerous)" in refused["msg"]
    assert "digits" in keys.services.all
    gone = run(keys, name="digits", state="absent", lift_lock=True)
    assert gone["actions"] == ["lift the safety lock of digits (dangerous)", "delete digits (1 instance)"]
    assert "digits" not in keys.services.all


@pytest.mark.parametrize("option", [{"update": "replace", "instances": 1}, {"weight": 1}, {"safety_lock": "none"}, {"lift_lock": True}])
def test_what_eascmd_cannot_do_is_refused_before_anything_is_done(option: dict[str, Any], keys: EasServer, eascmd: Eascmd) -> None:
    options = service_options(**keys.options(backend="eascmd", eascmd_path=str(eascmd.path), name="digits", **option))
    found = run_service(options)
    assert "openapi" in found["remedy"]
    assert eascmd.runs == []


def test_a_service_that_is_being_deleted_is_waited_out(keys: EasServer) -> None:
    keys.make(triton_config("digits"))
    keys.services.remove(keys.services.all["digits"])
    keys.services.pace.deleting = 3
    done = run(keys, config=triton_config("digits"))
    assert done["actions"] == ["wait until the old digits is gone", "create digits (triton, 1 instance)"]
    assert done["status"] == "Running"


@pytest.mark.parametrize("update_starts", [False, True])
def test_an_update_of_a_stopped_service_leaves_it_stopped_where_it_is_wanted(update_starts: bool, keys: EasServer) -> None:
    keys.make(triton_config("digits"))
    run(keys, name="digits", state="stopped")
    keys.services.update_starts = update_starts
    done = run(keys, config=triton_config("digits", cpu=8), state="stopped")
    assert (done["actions"], done["status"]) == (["update digits (metadata.cpu)"], "Stopped")
    started = run(keys, config=triton_config("digits", cpu=9), state="started")
    assert started["status"] == "Running"


def test_stale_answers_are_not_believed(keys: EasServer) -> None:
    keys.make(triton_config("digits"))
    keys.services.pace.stale = 3
    done = run(keys, config=triton_config("digits", cpu=8))
    assert (done["versions"], done["status"]) == ({"current": 2, "latest": 2}, "Running")
    assert done["service"]["instances"] == {"total": 1, "running": 1, "pending": 0}


# --- what goes wrong


@pytest.mark.parametrize(
    "fault",
    [
        Fault(action="CreateService", times=2),
        throttled("CreateService", times=2),
        throttled("DescribeService", times=2, code="Rejected.Throttling"),
        Fault("html", status=502, action="CreateService"),
        Fault("html", status=200, action="DescribeService"),
        Fault("reset", action="CreateService"),
        Fault("lost", action="CreateService"),
        Fault("truncate", action="DescribeService"),
        Fault(status=500, code="InternalError", action="DescribeService", times=3),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.action}-{fault.code if fault.kind == 'answer' else fault.status}",
)
def test_what_passes_is_tried_again(fault: Fault, keys: EasServer) -> None:
    keys.faults.append(fault)
    clock = FastClock()
    done = run(keys, clock=clock, config=triton_config("digits"))
    assert (done.get("failed"), done.get("status")) == (None, "Running"), done
    assert keys.changes == ["CreateService digits"]
    assert clock.pauses
    keys.faults.append(Fault("lost", action="DeleteService"))
    assert run(keys, name="digits", state="absent")["status"] == "Absent"


@every_backend
def test_a_change_whose_answer_is_lost_is_not_held_against_itself(backend: str, keys: EasServer, eascmd: Eascmd) -> None:
    keys.make(triton_config("digits"))
    keys.services.pace = QUICK
    base = {**keys.options(backend=backend, eascmd_path=str(eascmd.path)), "name": "digits"}
    # A further attempt is refused: the state does not allow it any more, or the version is the one in use.
    for action, expected, wanted in (
        ("StopService", "Stopped", {"state": "stopped"}),
        ("StartService", "Running", {"state": "started"}),
        ("UpdateService", "Running", {"cpu": 9.0}),
        ("UpdateServiceVersion", "Running", {"version": 1}),
    ):
        keys.faults.append(Fault("lost", action=action))
        done = run_service(service_options(**base, **wanted))
        assert (done.get("failed"), done.get("status")) == (None, expected), done
        assert len(keys.requests(action)) > 1
    keys.faults.append(Fault("lost", action="RestartService" if backend == "openapi" else "DeleteServiceInstances"))
    done = run_service(service_options(**base, state="restarted"))
    assert (done.get("failed"), done.get("status")) == (None, "Running"), done


def test_the_chain_of_credentials_is_asked(keys: EasServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in keys.environment:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "true")
    monkeypatch.setenv("ALIBABA_CLOUD_CREDENTIALS_URI", keys.credentials_uri)
    # In a process of its own: the library reads the environment when it is imported.
    arguments = {"backend": "openapi", "endpoint": keys.url, "region": keys.region, "name": "digits", "state": "absent"}
    found = run_module("serving.triton.eas_service", arguments)
    assert found["status"] == "Absent"
    assert {each.headers["x-acs-security-token"] for each in keys.requests("DescribeService")} == {TOKEN}
    assert TOKEN not in json.dumps(found)


def test_odd_options_are_warned_of_by_name(keys: EasServer) -> None:
    config = triton_config("digits")
    config["processor_params"].append("--allow-grpc=true")
    done = run(keys, config=config)
    assert done["status"] == "Running"
    assert [warning.split()[0] for warning in done["warnings"]] == ["--allow-grpc"]


def test_retries_are_bounded_and_heed_the_services_wish(keys: EasServer) -> None:
    keys.faults.append(throttled("DescribeService", times=2, after=20))
    clock = FastClock()
    run(keys, clock=clock, config=triton_config("digits"))
    assert clock.pauses[:2] == [20.0, 20.0]
    keys.faults.append(Fault(times=99))
    failed = run(keys, name="digits", state="absent", attempts=3)
    assert "ServiceUnavailable" in failed["msg"]
    assert len([each for each in keys.requests("DescribeService") if each.status == 503]) == 3


def test_every_refusal_is_told_plainly(keys: EasServer) -> None:
    keys.make(triton_config("theirs"), owner="somebody")
    expected = {
        "another user": {"name": "theirs", "state": "absent"},
        "AccessKey ID": {"name": "digits", "state": "absent", "access_key_id": "unknown"},
        "the secret is not that": {"name": "digits", "state": "absent", "access_key_secret": "wrong-secret-of-eas"},
        "security token": {"name": "digits", "state": "absent", "access_key_id": TEMPORARY_KEY, "access_key_secret": TEMPORARY_SECRET},
        "region": {"name": "digits", "state": "absent", "region": "cn-other"},
    }
    for text, options in expected.items():
        found = run_service(service_options(**{**keys.options(backend="openapi"), **options}))
        assert text in found["msg"], found
        assert found["remedy"]
        assert "wrong-secret-of-eas" not in json.dumps(found)
    keys.skew = 3600
    assert "clock" in run(keys, name="digits", state="absent")["msg"]


@every_backend
def test_temporary_credentials_of_another_user(backend: str, keys: EasServer, eascmd: Eascmd) -> None:
    temporary = {"access_key_id": TEMPORARY_KEY, "access_key_secret": TEMPORARY_SECRET, "security_token": TOKEN}
    options = {**keys.options(backend=backend, eascmd_path=str(eascmd.path), name="digits", state="absent"), **temporary}
    assert run_service(service_options(**options))["status"] == "Absent"
    assert TOKEN not in str([each.argv for each in eascmd.runs])
    keys.accounts[TEMPORARY_KEY].expired = True
    found = run_service(service_options(**options))
    assert "expired" in found["msg"]
    assert TOKEN not in json.dumps(found)
    other = {**options, "access_key_id": OTHER_KEY, "access_key_secret": OTHER_SECRET, "security_token": None}
    assert run_service(service_options(**other))["status"] == "Absent"


@every_backend
def test_a_failed_service_ends_the_wait(backend: str, keys: EasServer, eascmd: Eascmd) -> None:
    keys.services.pace = QUICK
    keys.services.fail("digits")
    options = service_options(**keys.options(backend=backend, eascmd_path=str(eascmd.path), config=triton_config("digits")))
    failed = run_service(options)
    assert "image pull failed" in failed["msg"]
    assert failed["last_state"]["status"] == "Failed"
    if backend == "openapi":
        assert failed["last_state"]["logs"][-1] == "E1 error: creating server: Internal - failed to load all models"
        assert "Check the model repository" in failed["remedy"]
    keys.services.heal("digits")
    mended = run_service({**options, "cpu": 8.0})
    assert (mended["actions"], mended["status"]) == (["update digits (metadata.cpu)"], "Running")


@every_backend
def test_a_stuck_service_is_told_with_its_reasons(backend: str, keys: EasServer, eascmd: Eascmd) -> None:
    keys.services.pace = QUICK
    keys.services.stick("digits")
    options = service_options(
        **keys.options(backend=backend, eascmd_path=str(eascmd.path), config=triton_config("digits"), wait_timeout=10.0)
    )
    failed = run_service(options)
    assert "within 10 s: Waiting, 0 of 1 instances running: health check of port 8000 failed" in failed["msg"]
    assert failed["last_state"]["diagnosis"]
    assert bool(failed["last_state"]["logs"]) == (backend == "openapi")
    keys.services.heal("digits")
    # The next run waits for what the first one began.
    stages: list[str] = []
    again = run_service(options, stages=stages)
    assert (again["changed"], again["status"]) == (False, "Running")
    assert stages or backend == "eascmd"


def test_a_service_that_cannot_be_deleted(keys: EasServer) -> None:
    keys.make(triton_config("digits"))
    keys.services.keep("digits")
    failed = run(keys, name="digits", state="absent")
    assert "could not be released" in failed["msg"]
    refused = run(keys, config=triton_config("digits"))
    assert "state: absent" in refused["remedy"]


def test_a_killed_run_converges(keys: EasServer) -> None:
    keys.services.held = True
    arguments = {
        "endpoint": keys.url,
        "region": keys.region,
        "backend": "openapi",
        "config": triton_config("digits"),
        "wait_interval": 0.02,
    }
    command = [sys.executable, "-m", "ansible_collections.serving.triton.plugins.modules.eas_service"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
    assert process.stdin is not None
    process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode())
    process.stdin.close()
    end = time.monotonic() + 60
    while len(keys.requests("DescribeService")) < 3 and time.monotonic() < end:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(30)
    assert keys.changes == ["CreateService digits"]
    keys.services.held = False
    again = run(keys, config=triton_config("digits"))
    assert (again["changed"], again["status"]) == (False, "Running")


def test_no_proxy_is_heeded(keys: EasServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        proxy = f"http://127.0.0.1:{free.getsockname()[1]}"
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, proxy)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "example.com,127.0.0.1")
    assert run(keys, name="digits", state="absent")["status"] == "Absent"
    assert os.environ["HTTP_PROXY"] == proxy
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "example.com")
    assert "no proper answer" in run(keys, name="digits", state="absent", attempts=2)["msg"]


@pytest.mark.parametrize(("more", "trusted"), [({}, False), ({"ca_path": True}, True), ({"validate_certs": False}, True)], ids=str)
def test_tls_is_checked(more: dict[str, Any], trusted: bool, keys: EasServer, tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path)
    options = {name: str(certificates.ca) if name == "ca_path" else value for name, value in more.items()}
    with tls_front(urlsplit(keys.url).port or 0, certificates.server, certificates.server_key) as url:
        found = run_service(service_options(backend="openapi", endpoint=url, region=keys.region, name="digits", state="absent", **options))
    assert found.get("status") == ("Absent" if trusted else None)
    assert trusted or "certificate is not trusted" in found["msg"]


# --- the command line client's ways


@pytest.mark.parametrize(
    "knobs",
    [
        {"noise": "ansi", "ragged": True},
        {"noise": "progress", "prompts": ["delete", "stop", "start"], "prompt_ends": False},
        {"noise": "warnings", "codes": {"create": 1, "ls": 2, "desc": 3, "stop": 4, "delete": 5}, "errors_on_stdout": True},
    ],
    ids=str,
)
def test_eascmd_is_read_whatever_it_prints(knobs: dict[str, Any], keys: EasServer, eascmd: Eascmd) -> None:
    keys.services.pace = QUICK
    eascmd.set(**knobs)
    base = keys.options(backend="eascmd", eascmd_path=str(eascmd.path))
    made = run_service(service_options(**base, config=triton_config("digits")))
    assert (made.get("failed"), made.get("status")) == (None, "Running"), made
    assert run_service(service_options(**base, name="digits", state="stopped"))["status"] == "Stopped"
    assert run_service(service_options(**base, name="digits", state="absent"))["status"] == "Absent"
    assert keys.changes == ["CreateService digits", "StopService digits", "DeleteService digits"]


def test_eascmd_tries_again_what_passes_and_takes_no_error_for_absence(keys: EasServer, eascmd: Eascmd) -> None:
    keys.services.pace = QUICK
    base = keys.options(backend="eascmd", eascmd_path=str(eascmd.path))
    keys.faults += [throttled("ListServices"), Fault("html", status=502, action="CreateService"), Fault("lost", action="CreateService")]
    made = run_service(service_options(**base, config=triton_config("digits")))
    assert (made.get("failed"), made.get("status")) == (None, "Running"), made
    assert keys.changes == ["CreateService digits"]
    keys.faults += [Fault(status=403, code="NoPermission", action=action, times=9) for action in ("DescribeService", "ListServices")]
    eascmd.set(codes={"ls": 0, "desc": 0})
    refused = run_service(service_options(**base, name="digits", state="absent"))
    assert "RAM" in refused["msg"]
    assert "digits" in keys.services.all


# --- reading


@every_backend
def test_services_are_read(backend: str, keys: EasServer, eascmd: Eascmd) -> None:
    for name, team in (("one", "a"), ("two", "b")):
        keys.make({**triton_config(name), "labels": {"team": team}})
    keys.services.pace = QUICK
    keys.services.fail("two")
    base = keys.options(backend=backend, eascmd_path=str(eascmd.path))
    run_service(service_options(**base, name="two", cpu=8.0))
    run_service(service_options(**base, name="one", instances=2))

    def names(**options: Any) -> list[str]:
        return [each["name"] for each in read_services(info_options(**base, **options), FastClock())["services"]]

    assert names() == ["one", "two"]
    assert names(names=["two", "three"], statuses=["failed"]) == ["two"]
    assert names(labels={"team": "a"}) == ["one"]
    [one] = read_services(info_options(**base, names=["one"], instances=True, versions=True), FastClock())["services"]
    assert [each["ready"] for each in one["instances_info"]] == [True, True]
    assert [each["version"] for each in one["versions_info"]] == [1]
    if backend == "eascmd":
        with pytest.raises(InputError, match="cannot do this"):
            names(events=True)
        return
    [two] = read_services(info_options(**base, names=["two"], events=True, logs=True, log_lines=2, versions=True), FastClock())["services"]
    assert "Failed" in two["events"][-1] or "ImagePullBackOff" in two["events"][-1]
    assert two["diagnosis"][0].startswith("ImagePullBackOff: image pull failed")
    assert two["logs"] == ["E1 image pull failed: not found", "E1 error: creating server: Internal - failed to load all models"]
    assert [each["version"] for each in two["versions_info"]] == [2, 1]
