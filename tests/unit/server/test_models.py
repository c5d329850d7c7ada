# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Loading and unloading on several replicas, with fakes in the place of servers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.fakes import FakeClock, FakeControl

from ansible_collections.serving.triton.plugins.module_utils.core.errors import InputError, UnavailableError
from ansible_collections.serving.triton.plugins.module_utils.core.plan import Plan
from ansible_collections.serving.triton.plugins.module_utils.core.wait import RetryPolicy
from ansible_collections.serving.triton.plugins.module_utils.server import models as subject
from ansible_collections.serving.triton.plugins.module_utils.server.control import LOADING, READY, UNAVAILABLE, UNLOADING, CallOptions
from ansible_collections.serving.triton.plugins.module_utils.server.endpoint import Endpoint
from ansible_collections.serving.triton.plugins.module_utils.server.errors import (
    ConnectionFailedError,
    ControlModeError,
    LoadError,
    LostAnswerError,
)
from ansible_collections.serving.triton.plugins.module_utils.server.models import Desired, ModelService, covers

Make = Callable[..., ModelService]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Make:
    """A service over fakes, one a replica: r0, r1, …"""

    def build(*controls: FakeControl, check: bool = False, **desired: Any) -> ModelService:
        endpoint = Endpoint.from_mapping({"replicas": [{"name": f"r{number}", "http": "http://a"} for number in range(len(controls))]})
        by_name = {f"r{number}": control for number, control in enumerate(controls)}
        monkeypatch.setattr(subject, "connect", lambda endpoint, replica, options: by_name[replica.name])
        return ModelService(endpoint, Desired(**desired), CallOptions(1, RetryPolicy(attempts=1), FakeClock()), check=check)

    return build


def run(service: ModelService) -> tuple[Plan, dict[str, Any]]:
    actual = service.observe()
    plan = service.plan(actual)
    if plan:
        service.apply(plan)
    return plan, service.result(actual, plan, bool(plan))


def changes(control: FakeControl) -> list[str]:
    return [call for call in control.calls if call.startswith(("load", "unload")) and subject.PROBE_NAME not in call]


def test_only_replicas_that_lack_a_model_are_asked_to_load(make: Make) -> None:
    has, lacks = FakeControl(models={"a": READY}), FakeControl(models={"a": ""})
    plan, result = run(make(has, lacks, names=("a",)))
    assert plan.describe() == ["load a on r1"]
    assert (changes(has), changes(lacks)) == ([], ["load a"])
    assert [replica["models"][0]["action"] for replica in result["replicas"]] == ["", "load"]
    assert plan.diff()["before"]["r1"]["a"] == {"state": "not loaded"}
    assert plan.diff()["after"]["r1"]["a"] == {"state": READY}


def test_the_second_run_changes_nothing(make: Make) -> None:
    control = FakeControl(models={"a": "", "b": UNAVAILABLE})
    assert run(make(control, names=("a", "b")))[0].describe() == ["load a", "load b"]
    plan, result = run(make(control, names=("a", "b")))
    assert not plan
    assert [model["state"] for model in result["replicas"][0]["models"]] == [READY, READY]


def test_a_plan_predicts_what_apply_does(make: Make) -> None:
    control = FakeControl(models={"a": ""})
    service = make(control, names=("a",), check=True)
    actual = service.observe()
    predicted = service.result(actual, service.plan(actual), False)
    assert changes(control) == []
    applied = run(make(control, names=("a",)))[1]
    assert predicted["replicas"][0]["models"][0]["state"] == applied["replicas"][0]["models"][0]["state"] == READY


def test_unloading_waits_until_the_index_says_so(make: Make) -> None:
    control = FakeControl(models={"a": READY})
    looks = iter([READY, UNLOADING, UNLOADING, UNAVAILABLE])
    control.on_index = lambda fake: fake.models.update(a=next(looks, UNAVAILABLE))
    plan, result = run(make(control, names=("a",), state="unloaded"))
    assert plan.describe() == ["unload a"]
    assert result["replicas"][0]["models"][0] == {"name": "a", "action": "unload", "state": "", "versions": []}


def test_an_unknown_model_is_unloaded_already(make: Make) -> None:
    control = FakeControl(models={"a": UNAVAILABLE})
    assert not run(make(control, names=("a", "z"), state="unloaded"))[0]
    assert control.calls == ["index"]


def test_reloading_always_loads(make: Make) -> None:
    control = FakeControl(models={"a": READY})
    assert run(make(control, names=("a",), state="reloaded"))[0].describe() == ["reload a"]
    assert changes(control) == ["load a"]


def test_an_unknown_name_is_refused_before_any_change(make: Make) -> None:
    control = FakeControl(models={"digits": "", "b": ""})
    with pytest.raises(InputError, match=r"the model digit is not in the repository of r0. Did you mean digits\?"):
        run(make(control, names=("b", "digit")))
    assert changes(control) == []


def test_check_mode_takes_an_unknown_name_for_one_that_is_about_to_be_published(make: Make) -> None:
    service = make(FakeControl(), names=("new",), check=True)
    assert service.plan(service.observe()).describe() == ["load new"]


@pytest.mark.parametrize("error", [ControlModeError("none or poll", where="r1"), ConnectionFailedError("away", where="r1", remedy="")])
def test_a_replica_that_cannot_be_changed_stops_all_before_any_change(make: Make, error: Exception) -> None:
    good = FakeControl(models={"a": ""})
    bad = FakeControl(models={"a": ""}, fails={f"unload {subject.PROBE_NAME}": error})  # type: ignore[dict-item]
    with pytest.raises(type(error)):
        run(make(good, bad, names=("a",)))
    assert changes(good) == []


def test_a_server_that_refuses_control_is_fine_when_nothing_is_to_do(make: Make) -> None:
    control = FakeControl(models={"a": READY}, fails={"unload": ControlModeError("none or poll")})
    assert not run(make(control, names=("a",)))[0]


def test_a_failure_names_the_replica_and_the_others_are_done(make: Make) -> None:
    error = LoadError("load failed: no weights", where="r1", remedy="Correct the model.")
    controls = [FakeControl(models={"a": "", "b": ""}) for _unused in range(3)]
    controls[1].fails["load a"] = error
    with pytest.raises(UnavailableError) as caught:
        run(make(*controls, names=("a", "b")))
    assert str(caught.value) == "1 of 6 loads failed: a on r1: load failed: no weights. Correct the model."
    assert [replica["failed"] for replica in caught.value.details["replicas"]] == [{}, {"a": "load failed: no weights"}, {}]
    assert sorted(changes(controls[2])) == ["load a", "load b"]


def test_after_a_failed_reload_it_says_what_still_serves(make: Make) -> None:
    control = FakeControl(models={"a": READY}, fails={"load a": LoadError("load failed", where="x", remedy="")})
    with pytest.raises(UnavailableError, match=r"version 1, which served before, still serves"):
        run(make(control, names=("a",), state="reloaded"))


def test_a_version_that_does_not_come_is_told_at_once(make: Make) -> None:
    control = FakeControl(models={"a": READY})
    with pytest.raises(UnavailableError, match=r"model a:2 is not in the repository index \(ready versions: 1\)"):
        run(make(control, names=("a",), versions=("1", "2")))


def test_a_lost_answer_is_looked_up_in_the_index(make: Make) -> None:
    lost = LostAnswerError("the connection broke", where="x", remedy="Look at the log.")
    control = FakeControl(models={"a": ""}, fails={"load a": lost})
    with pytest.raises(UnavailableError, match="the connection broke during the load, and model a is not loaded"):
        run(make(control, names=("a",)))

    slow = FakeControl(models={"a": ""}, fails={"load a": lost})
    looks = iter(["", LOADING, LOADING, READY])
    slow.on_index = lambda fake: fake.models.update(a=next(looks, READY))
    assert run(make(slow, names=("a",)))[0].describe() == ["load a"]


def test_a_config_that_differs_loads_again(make: Make) -> None:
    control = FakeControl(models={"a": READY}, configs={"a": {"name": "a", "max_batch_size": 8, "dims": [16]}})
    assert not run(make(control, names=("a",), config={"max_batch_size": 8}))[0]
    plan, _unused = run(make(control, names=("a",), config={"max_batch_size": 4}))
    assert plan.describe() == ["load a"]
    assert plan.diff()["before"]["r0"]["a"]["config"] == {"max_batch_size": 8}
    assert plan.diff()["after"]["r0"]["a"]["config"] == {"max_batch_size": 4}
    assert not run(make(control, names=("a",), config={"max_batch_size": 4}))[0]


@pytest.mark.parametrize(
    ("actual", "wanted", "same"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": "1"}, {"a": 1}, True),
        ({"a": {"b": [1, {"c": 2}]}}, {"a": {"b": [1, {"c": 2}]}}, True),
        ({"a": [1, 2]}, {"a": [1]}, False),
        ({}, {"a": 0}, True),
        ({}, {"a": ""}, True),
        ({}, {"a": False}, True),
        ({}, {"a": 1}, False),
        ({"a": True}, {"a": False}, False),
        ({"a": []}, {"a": {}}, True),
        ("x", {"a": 1}, False),
    ],
)
def test_a_configuration_covers_another(actual: Any, wanted: Any, same: bool) -> None:
    assert covers(actual, wanted) is same
