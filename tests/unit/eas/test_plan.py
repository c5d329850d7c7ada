# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The planner case by case, and how a plan is carried out and waited for."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
from support.eas_runs import FastClock, MemoryEas, memory_service, with_added

from ansible_collections.serving.triton.plugins.module_utils.core.errors import (
    ConflictError,
    DeadlineError,
    InputError,
    ServingError,
    TransientError,
    UnavailableError,
)
from ansible_collections.serving.triton.plugins.module_utils.core.redaction import MASK
from ansible_collections.serving.triton.plugins.module_utils.eas import shown
from ansible_collections.serving.triton.plugins.module_utils.eas.gateway import wait_for_gateway
from ansible_collections.serving.triton.plugins.module_utils.eas.plan import Wanted, needs, plan_actions
from ansible_collections.serving.triton.plugins.module_utils.eas.revision import VARIABLE
from ansible_collections.serving.triton.plugins.module_utils.eas.state import Service
from ansible_collections.serving.triton.plugins.module_utils.eas.waiting import Patience, telling
from ansible_collections.serving.triton.plugins.module_utils.server import connect as server_connect
from ansible_collections.serving.triton.plugins.module_utils.server.endpoint import Endpoint
from ansible_collections.serving.triton.plugins.module_utils.server.errors import (
    BusyError,
    ConnectionFailedError,
    RestrictedError,
    UnknownHostError,
    UnsupportedError,
)

BODY = {
    "processor": "triton",
    "processor_params": ["--model-repository=oss://b/m"],
    "metadata": {"name": "digits", "instance": 2, "gpu": 1},
}
RULE = {"min": 1, "max": 4, "scaleStrategies": [{"metricName": "qps", "threshold": 50}]}


def running(**fields: Any) -> Service:
    defaults = {"total": 2, "running": 2, "current": 2, "latest": 3, "weight": 0, "lock": "none", "traffic_state": "standalone"}
    return Service("digits", **{"status": "Running", "config": with_added(BODY), **defaults, **fields})


def body(**metadata: Any) -> dict[str, Any]:
    return {**BODY, "metadata": {**BODY["metadata"], **metadata}}  # type: ignore[dict-item]


def told(wanted: Wanted, actual: Service | None) -> list[str]:
    return [str(action) for action in plan_actions(wanted, actual)]


@pytest.mark.parametrize(
    ("wanted", "actual", "actions"),
    [
        (Wanted("digits", config=BODY), None, ["create digits (triton, 2 instances)"]),
        (Wanted("digits", config=BODY), running(), []),
        (Wanted("digits"), running(), []),
        (
            Wanted("digits", config=BODY),
            running(status="Deleting"),
            ["wait until the old digits is gone", "create digits (triton, 2 instances)"],
        ),
        (Wanted("digits", config=body(instance=1)), running(), ["scale digits from 2 to 1 instance"]),
        (Wanted("digits", config=body(instance=1, cpu=8)), running(), ["update digits (metadata.instance, metadata.cpu)"]),
        (Wanted("digits", config=body(instance=1)), running(autoscaler=RULE), []),
        (Wanted("digits", config={**body(instance=1), "autoscaler": RULE}), running(autoscaler=RULE), []),
        (Wanted("digits", config={**BODY, "autoscaler": RULE}), running(), ["set the autoscaler of digits (1 to 4 instances)"]),
        (Wanted("digits", config=BODY, replace=True), running(autoscaler=RULE), ["remove the autoscaler of digits"]),
        (
            Wanted("digits", config=BODY, replace=True),
            running(config={**with_added(BODY), "storage": []}),
            ["replace the configuration of digits (without storage)"],
        ),
        (Wanted("digits", config=body(instance=1), replace=True), running(), ["scale digits from 2 to 1 instance"]),
        (Wanted("digits", config={**BODY, "metadata": {"name": "digits", "gpu": 1}}, replace=True), running(), []),
        (
            Wanted("digits", config={**BODY, "labels": {"a": "1"}}, replace=True),
            running(labels={"b": "2", "acs:x": "y"}),
            ["label digits (a=1, without b)"],
        ),
        (Wanted("digits", config={**BODY, "labels": {"a": "1"}}), running(labels={"a": "1", "b": "2"}), []),
        (Wanted("digits", version=1), running(), ["switch digits from version 2 to 1"]),
        (Wanted("digits", version=2), running(), []),
        (Wanted("digits", weight=10), running(), ["release digits (weight 10)"]),
        (Wanted("digits", weight=0, traffic_state="standalone"), running(), []),
        (
            Wanted("digits", config=body(group="g"), traffic_state="grouping"),
            running(config=body(group="g")),
            ["release digits (traffic state grouping)"],
        ),
        (Wanted("digits", "stopped"), running(), ["stop digits"]),
        (Wanted("digits", "stopped"), running(status="Stopping"), []),
        (Wanted("digits", "stopped", config=BODY), None, ["create digits (triton, 2 instances)", "stop digits"]),
        (Wanted("digits", "started"), running(status="Stopped"), ["start digits"]),
        (Wanted("digits", "started"), running(), []),
        (Wanted("digits"), running(status="Stopped"), []),
        (Wanted("digits", "restarted"), running(), ["restart digits"]),
        (Wanted("digits", "restarted"), running(status="Stopped"), ["start digits"]),
        (Wanted("digits", "restarted", config=body(cpu=9)), running(), ["update digits (metadata.cpu)"]),
        (Wanted("digits", "absent"), running(), ["delete digits (2 instances)"]),
        (Wanted("digits", "absent", lock="dangerous"), running(), ["delete digits (2 instances)"]),
        (Wanted("digits", "absent"), running(status="Deleting"), []),
        (Wanted("digits", "absent"), running(status="DeleteFailed"), ["delete digits (2 instances)"]),
        (Wanted("digits", "absent"), None, []),
        (
            Wanted("digits", config=BODY, lock="dangerous"),
            None,
            ["create digits (triton, 2 instances)", "set the safety lock of digits to dangerous"],
        ),
        (Wanted("digits", lock="all"), running(), ["set the safety lock of digits to all"]),
        (Wanted("digits", lock="none"), running(lock="all"), ["set the safety lock of digits to none"]),
        (Wanted("digits", config=body(cpu=9)), running(lock="dangerous"), ["update digits (metadata.cpu)"]),
        (
            Wanted("digits", "stopped", lift_lock=True),
            running(lock="dangerous"),
            ["lift the safety lock of digits (dangerous)", "stop digits", "set the safety lock of digits to dangerous"],
        ),
        (
            Wanted("digits", "absent", lock="none"),
            running(lock="all"),
            ["lift the safety lock of digits (all)", "delete digits (2 instances)"],
        ),
        (
            Wanted("digits", config=body(cpu=9), lock="dangerous"),
            running(lock="all"),
            ["lift the safety lock of digits (all)", "update digits (metadata.cpu)", "set the safety lock of digits to dangerous"],
        ),
    ],
)
def test_plans(wanted: Wanted, actual: Service | None, actions: Sequence[str]) -> None:
    assert told(wanted, actual) == list(actions)


@pytest.mark.parametrize(
    ("wanted", "actual", "kind", "text"),
    [
        (Wanted("digits", "started"), None, InputError, "does not exist"),
        (Wanted("digits", version=1), None, InputError, "does not exist"),
        (Wanted("digits", version=4), running(), InputError, "no version 4"),
        (Wanted("digits", version=3), running(), InputError, "older versions alone"),
        (Wanted("digits", traffic_state="grouping"), running(), InputError, "no group"),
        (Wanted("digits", config={"metadata": {}, "containers": [{"image": "x"}]}), running(), InputError, "update: replace"),
        (
            Wanted("digits", config=body(resource="eas-r-1")),
            running(config={**BODY, "cloud": {"computing": {"x": 1}}}),
            InputError,
            "cloud.computing",
        ),
        (Wanted("digits", "absent"), running(lock="dangerous"), ConflictError, "delete digits"),
        (Wanted("digits", "stopped"), running(lock="dangerous"), ConflictError, "lift_lock"),
        (Wanted("digits", config=body(cpu=9)), running(lock="all"), ConflictError, "safety lock (all)"),
        (Wanted("digits", "stopped", lock="all"), running(lock="dangerous"), ConflictError, "safety lock"),
        # The update may start it.
        (Wanted("digits", "stopped", config=body(cpu=9)), running(status="Stopped", lock="dangerous"), ConflictError, "update digits"),
        (Wanted("digits", "stopped", version=1), running(status="Stopped", lock="dangerous"), ConflictError, "switch digits"),
        (Wanted("digits", config=BODY), running(status="DeleteFailed", message="in use"), ConflictError, "in use"),
    ],
)
def test_what_cannot_be_done_is_told_before_anything_is(
    wanted: Wanted, actual: Service | None, kind: type[ServingError], text: str
) -> None:
    with pytest.raises(kind) as caught:
        plan_actions(wanted, actual)
    assert text in str(caught.value)
    assert caught.value.remedy


def test_a_plan_that_cannot_be_made_tells_which_service_was_meant() -> None:
    service = memory_service(MemoryEas(running(lock="all")), Wanted("digits", config=body(cpu=9)))
    with pytest.raises(ConflictError) as caught:
        service.plan(service.observe())
    assert caught.value.details["name"] == "digits"


def test_abilities_are_named_by_option() -> None:
    wanted = Wanted("digits", config=BODY, replace=True, weight=1, lift_lock=True)
    assert needs(wanted) == {"replace": "update: replace", "release": "weight", "lock": "lift_lock"}
    assert needs(Wanted("digits", config=BODY)) == {}


# --- carrying it out


class Script(MemoryEas):
    """Answers looks from a script; its last line stays."""

    def __init__(self, *looks: Service | Exception | None) -> None:
        super().__init__()
        self.looks = list(looks)
        self.count = 0

    def find(self, name: str) -> Service | None:
        self.count += 1
        look = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if isinstance(look, Exception):
            raise look
        return look

    def update(self, name: str, config: dict[str, Any], *, replace: bool) -> None:
        self.log.append("update")

    def start(self, name: str) -> None:
        self.log.append("start")


def settle(script: Script, wanted: Wanted, **manners: Any) -> dict[str, Any]:
    service = memory_service(script, wanted, **manners)
    actual = service.observe()
    plan = service.plan(actual)
    if plan:
        service.apply(plan)
    return service.result(actual, plan, bool(plan))


def test_running_is_believed_on_the_second_look() -> None:
    waiting = running(status="Waiting", running=0, pending=2)
    # Right after it was made EAS may not tell of it.
    looks = [None, None, waiting, running(), waiting, running(running=1, pending=1), running(), running()]
    script = Script(*looks)
    found = settle(script, Wanted("digits", config=BODY))
    assert found["status"] == "Running"
    assert script.count == len(looks)


def test_an_update_is_waited_for_until_it_is_in_use() -> None:
    changed = with_added(body(cpu=8))
    stale, old = running(config=changed, current=2, latest=3), running()
    script = Script(old, old, stale, stale, stale, *[running(config=changed, current=3, latest=3)] * 2)
    assert settle(script, Wanted("digits", config=body(cpu=8)))["versions"] == {"current": 3, "latest": 3}
    assert script.count == 7


def test_what_runs_already_is_looked_at_once() -> None:
    script = Script(running())
    settle(script, Wanted("digits", config=BODY))
    assert script.count == 1


def test_what_an_earlier_run_left_under_way_is_waited_for() -> None:
    script = Script(running(status="Creating", running=0), running(status="Waiting", running=0), running())
    assert settle(script, Wanted("digits", config=BODY))["status"] == "Running"
    script = Script(running(status="Creating", running=0))
    assert settle(script, Wanted("digits", config=BODY), check_mode=True)["status"] == "Creating"
    assert settle(Script(running(status="Deleting"), None), Wanted("digits", "absent"))["status"] == "Absent"
    assert settle(Script(running(status="Stopping"), running(status="Stopped")), Wanted("digits", "stopped"))["status"] == "Stopped"


def test_a_failure_ends_the_wait_and_is_explained() -> None:
    failed = running(status="Failed", message="no image", token="the-services-token", reason="x")
    with pytest.raises(UnavailableError) as caught:
        settle(Script(None, running(status="Creating", running=0), failed), Wanted("digits", config=BODY))
    assert "no image" in str(caught.value)
    assert "a diagnosis | an event | a line of the log" in caught.value.remedy
    state = caught.value.details["last_state"]
    assert (state["status"], state["logs"]) == ("Failed", ["a line of the log"])


def test_lines_of_the_log_that_tell_why_come_before_others() -> None:
    why = ['E1 "failed to load m"', "| m | UNAVAILABLE: RuntimeError: no weights |", "error: creating server"]
    usual = ["Error: Failed to initialize NVML", 'W1 metrics.cc:798] "DCGM unable to start: DCGM initialization error"']
    assert telling(["I1 starting", *why[:2], "I1 metrics", *usual, why[2], "bye"]) == why
    assert telling(["I1 starting", *usual]) == usual
    assert telling(["a", "b", "c", "d"]) == ["b", "c", "d"]
    assert telling([]) == []


def test_a_service_that_had_failed_may_be_told_so_once_more() -> None:
    failed = running(status="Failed")
    fixed = running(config=with_added(body(cpu=8)), current=3, latest=3)
    assert settle(Script(failed, failed, fixed), Wanted("digits", config=body(cpu=8)))["status"] == "Running"
    with pytest.raises(UnavailableError):
        settle(Script(failed), Wanted("digits", config=body(cpu=8)))


def test_a_timeout_tells_what_is_lacking() -> None:
    stuck = running(status="Waiting", running=0, message="health check failed")
    with pytest.raises(DeadlineError) as caught:
        settle(Script(None, stuck), Wanted("digits", config=BODY))
    assert "within 60 s: Waiting, 0 of 2 instances running: health check failed" in str(caught.value)
    assert caught.value.details["last_state"]["events"] == ["an event"]


def test_looks_that_fail_for_a_moment_are_tolerated_and_deletion_is_not() -> None:
    script = Script(None, TransientError("busy"), running())
    assert settle(script, Wanted("digits", config=BODY))["status"] == "Running"
    with pytest.raises(UnavailableError, match="somebody deleted"):
        settle(Script(None, running(running=1), None), Wanted("digits", config=BODY))
    with pytest.raises(UnavailableError, match="could not be deleted"):
        settle(Script(running(), running(status="DeleteFailed")), Wanted("digits", "absent"))


def test_a_lifted_lock_is_put_back_also_where_the_rest_fails() -> None:
    backend = MemoryEas(running(lock="dangerous"))
    backend.fail_at = "stop"
    wanted = Wanted("digits", "stopped", lift_lock=True)
    service = memory_service(backend, wanted)
    with pytest.raises(ServingError):
        service.apply(service.plan(service.observe()))
    assert backend.log == ["lock", "stop", "lock"]
    assert backend.service is not None
    assert backend.service.lock == "dangerous"


def test_an_update_that_starts_a_stopped_service_is_undone() -> None:
    stopped = running(status="Stopped", running=0)
    changed = with_added(body(cpu=8))
    script = Script(stopped, replace(stopped, config=changed, status="Updating"), running(config=changed), replace(stopped, config=changed))
    assert settle(script, Wanted("digits", "stopped", config=body(cpu=8)))["status"] == "Stopped"
    assert script.log == ["update", "stop"]


def test_a_service_that_an_update_starts_behind_its_lock_is_stopped_again_and_stays_locked() -> None:
    stopped = running(status="Stopped", running=0, lock="dangerous")
    changed = with_added(body(cpu=8))
    script = Script(stopped, *[running(config=changed, lock="dangerous")] * 2, replace(stopped, config=changed))
    settle(script, Wanted("digits", "stopped", config=body(cpu=8), lift_lock=True))
    assert script.log == ["lock", "update", "lock", "lock", "stop", "lock"]


@pytest.mark.parametrize(
    ("looks", "told"),
    [
        ([running(), running(status="Stopping"), None], "somebody deleted"),
        ([running(), running(status="Stopping"), running(status="Failed", message="no node")], "no node"),
        ([running(status="Failed", message="no node")], "no node"),
    ],
)
def test_the_wait_for_a_stop_ends_where_there_is_none(looks: list[Service | None], told: str) -> None:
    with pytest.raises(UnavailableError, match=told):
        settle(Script(*looks), Wanted("digits", "stopped"))


def test_a_new_service_that_is_not_told_of_yet_is_waited_for_until_it_is_stopped() -> None:
    script = Script(None, None, running(status="Stopping"), running(status="Stopped"))
    assert settle(script, Wanted("digits", "stopped", config=BODY))["status"] == "Stopped"


def test_stopping_is_waited_out_before_a_start() -> None:
    stopping, stopped = running(status="Stopping", running=0), running(status="Stopped", running=0)
    script = Script(stopping, stopping, stopping, stopped, running())
    assert settle(script, Wanted("digits", "started"))["status"] == "Running"
    assert script.log == ["start"]


def test_without_waiting_nothing_is_waited_for() -> None:
    clock = FastClock()
    script = Script(None, running(status="Creating", running=0))
    wanted = Wanted("digits", config=BODY)
    service = memory_service(script, wanted, clock, wait=False)
    plan = service.plan(service.observe())
    service.apply(plan)
    assert service.result(None, plan, True)["status"] == "Creating"
    assert clock.pauses == []


# --- the gateway

URL = "http://1.cn-test.pai-eas.aliyuncs.com/api/predict/digits"
VPC = "http://1.vpc.cn-test.pai-eas.aliyuncs.com/api/predict/digits"


class Gateway:
    """A client whose server answers from a script; the last answer stays."""

    def __init__(self, *answers: Any) -> None:
        self.answers, self.count = list(answers), 0

    def live(self) -> bool:
        self.count += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return bool(answer)

    def server_metadata(self) -> dict[str, Any]:
        raise BusyError("the server cannot take the call now (503)", where="x", remedy="Try again later.")

    def close(self) -> None:
        """Nothing is held."""


REFUSED = RestrictedError("the server refuses the credentials (401)", where="x", remedy="Check the token.")
UNKNOWN = UnknownHostError("the host name is not known", where="x", remedy="Correct the URL.")
NOT_YET = UnsupportedError("the server does not offer this API (404)", where="x", remedy="Check the URL.")


@pytest.mark.parametrize(
    ("answers", "kind", "looks"),
    [
        ([REFUSED, UNKNOWN, NOT_YET, ConnectionFailedError("reset", where="x", remedy="y"), False, True], None, 6),
        ([REFUSED, NOT_YET, REFUSED], RestrictedError, 7),
        ([UNKNOWN], UnknownHostError, 5),
        ([NOT_YET], DeadlineError, 13),
    ],
)
def test_the_gateway_is_waited_for_while_there_is_hope(
    answers: list[Any], kind: type[ServingError] | None, looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = Gateway(*answers)
    monkeypatch.setattr(server_connect, "connect", lambda *_arguments: gateway)
    with pytest.raises(kind) if kind else nullcontext():
        wait_for_gateway("digits", {"http": URL}, Patience(60, 5), 1.0, FastClock())
    assert gateway.count == looks


# --- results


def facts(service: Service | None, access: str = "auto", *, open_token: bool = True) -> dict[str, Any]:
    return shown.facts(service, "digits", access=access, open_token=open_token)


def test_the_endpoint_is_what_the_other_modules_take() -> None:
    service = running(internet=URL, intranet=VPC, token="the-token")
    found = facts(service)["triton_endpoint"]
    assert found == {"http": URL, "grpc": "", "metrics": "", "headers": {"Authorization": "the-token"}, "binary": False, "replicas": []}
    [replica] = Endpoint.from_mapping(found).replicas
    assert str(replica.http) == URL.replace(".com/", ".com:80/")
    assert facts(service, "intranet")["triton_endpoint"]["http"] == VPC
    assert facts(running(intranet=VPC))["triton_endpoint"]["http"] == VPC
    assert facts(running(intranet=VPC), "internet")["triton_endpoint"] == {}
    over_grpc = running(internet="https://digits.1.cn-test.pai-eas.aliyuncs.com/", token="t-o-k", config=body(enable_grpc=True))
    assert facts(over_grpc)["triton_endpoint"]["grpc"] == "grpcs://digits.1.cn-test.pai-eas.aliyuncs.com:80"
    assert facts(over_grpc)["triton_endpoint"]["headers"] == {"Authorization": "Bearer t-o-k"}
    assert facts(None)["triton_endpoint"] == {}


def test_secrets_are_masked_unless_asked_for() -> None:
    hidden = {
        **BODY,
        "token": "the-token",
        "dockerAuth": "dXNlcjpwYXNz",
        "containers": [
            {"env": [{"name": "S3_SECRET", "value": "key-of-s3"}, {"name": VARIABLE, "value": "r1"}], "script": "uses the-token"}
        ],
        # Of an earlier run's secret_env: nobody can tell today.
        "processor_envs": [{"name": "MODE", "value": "old-value"}],
    }
    service = running(internet=URL, token="the-token", config=hidden, message="the-token is wrong")
    for open_token in (False, True):
        found = facts(service, open_token=open_token)
        assert found["config"]["token"] == found["config"]["dockerAuth"] == MASK
        [container] = found["config"]["containers"]
        assert container["env"] == [{"name": "S3_SECRET", "value": MASK}, {"name": VARIABLE, "value": "r1"}]
        assert container["script"] == f"uses {MASK}"
        assert found["config"]["processor_envs"] == [{"name": "MODE", "value": MASK}]
        assert found["service"]["message"] == f"{MASK} is wrong"
        assert found["token"] == ("the-token" if open_token else MASK)
    assert "the-token" not in str(facts(service, open_token=False))
    assert not any(secret in str(shown.diffed(service)) for secret in ("the-token", "key-of-s3", "old-value"))
