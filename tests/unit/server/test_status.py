# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The state of a service, read from fakes; waiting with a clock that does not wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.fakes import FakeClock, FakeControl

from ansible_collections.serving.triton.plugins.module_utils.core.errors import DeadlineError, ServingError, UnavailableError
from ansible_collections.serving.triton.plugins.module_utils.core.wait import RetryPolicy
from ansible_collections.serving.triton.plugins.module_utils.server import status as subject
from ansible_collections.serving.triton.plugins.module_utils.server.control import LOADING, READY, UNAVAILABLE, CallOptions, ModelState
from ansible_collections.serving.triton.plugins.module_utils.server.endpoint import Endpoint
from ansible_collections.serving.triton.plugins.module_utils.server.errors import ConnectionFailedError, NotServerError, UnsupportedError
from ansible_collections.serving.triton.plugins.module_utils.server.status import Condition, Sections, describe, read_replica, wait_for

LOST = ConnectionFailedError("the connection failed", where="fake", remedy="Start it.")
ABSENT = UnsupportedError("the server does not offer this API", where="fake")

Connect = Callable[..., tuple[Endpoint, CallOptions]]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Fakes in the place of servers, one a replica: r0, r1, …"""

    def connect(*controls: FakeControl) -> tuple[Endpoint, CallOptions]:
        endpoint = Endpoint.from_mapping({"replicas": [{"name": f"r{number}", "http": "http://a"} for number in range(len(controls))]})
        by_name = {f"r{number}": control for number, control in enumerate(controls)}
        monkeypatch.setattr(subject, "connect", lambda endpoint, replica, options: by_name[replica.name])
        return endpoint, CallOptions(1, RetryPolicy(attempts=1), FakeClock())

    return connect


def read(control: FakeControl, **sections: Any) -> dict[str, Any]:
    (replica,) = Endpoint.from_mapping({"http": "http://a"}).replicas
    return read_replica(control, replica, Sections(**sections)).describe()


def test_everything_is_read_when_asked_for() -> None:
    control = FakeControl(models={"a": READY, "b": UNAVAILABLE, "c": ""})
    state = read(control, config=True, metadata=True, statistics=True)
    first, second, third = state["models"]
    assert state["server"] == {"name": "fake", "version": "1", "extensions": ["statistics"]}
    assert first["config"] == {"name": "a"}
    assert first["metadata"]["inputs"][0]["name"] == "IN"
    assert first["statistics"]["inference_count"] == 3
    assert second["state"] == UNAVAILABLE
    assert "config" not in second, "only what is ready has a configuration"
    assert (third["version"], third["state"]) == ("", "")


def test_nothing_is_read_that_was_not_asked_for() -> None:
    control = FakeControl(models={"a": READY})
    read(control)
    assert control.calls == ["live", "ready", "server", "index"]


def test_models_limit_the_index() -> None:
    state = read(FakeControl(models={"a": READY, "b": READY}), models=("b",))
    assert [model["name"] for model in state["models"]] == ["b"]


def test_what_a_server_does_not_offer_is_null_and_explained() -> None:
    state = read(FakeControl(fails={"index": ABSENT, "statistics": ABSENT}), statistics=True)
    assert state["models"] is None
    assert set(state["unavailable"]) == {"index", "statistics"}
    assert "does not offer" in state["unavailable"]["index"]


def test_without_an_index_named_models_are_asked_themselves() -> None:
    control = FakeControl(models={"a": READY, "b": ""}, fails={"index": ABSENT})
    state = read(control, models=("a", "b"))
    assert [(model["name"], model["state"]) for model in state["models"]] == [("a", READY), ("b", UNAVAILABLE)]


def test_a_model_whose_configuration_cannot_be_read_has_none() -> None:
    control = FakeControl(models={"a": READY, "b": READY}, fails={"model_config a": UnavailableError("no")})
    state = read(control, config=True)
    assert [model["config"] for model in state["models"]] == [None, {"name": "b"}]


def test_a_dead_server_is_a_state() -> None:
    state = read(FakeControl(fails={"live": LOST}))
    assert (state["live"], state["ready"], state["server"]) == (False, False, None)
    assert "Start it." in state["error"]


def test_a_wrong_server_is_an_error() -> None:
    with pytest.raises(NotServerError):
        read(FakeControl(fails={"live": NotServerError("a website", where="x")}))


def test_the_service_is_as_good_as_its_worst_replica(service: Connect) -> None:
    endpoint, options = service(
        FakeControl(models={"a": READY, "b": READY}),
        FakeControl(models={"a": LOADING}, is_ready=False),
    )
    state = describe(subject.read_endpoint(endpoint, Sections(), options))
    assert (state["live"], state["ready"]) == (True, False)
    assert [(model["name"], model["state"], model["replicas"]) for model in state["models"]] == [
        ("a", LOADING, {"r0": READY, "r1": LOADING}),
        ("b", "", {"r0": READY, "r1": ""}),
    ]
    assert state["models"][1]["reason"] == "not there on r1"


def test_clients_are_closed(service: Connect) -> None:
    control = FakeControl()
    endpoint, options = service(control)
    subject.read_endpoint(endpoint, Sections(), options)
    assert control.closed


def test_it_waits_until_a_model_is_ready_everywhere(service: Connect) -> None:
    late = FakeControl(models={"a": LOADING})

    def finish(control: FakeControl) -> None:
        if control.calls.count("index") == 3:
            control.models["a"] = READY

    late.on_index = finish
    endpoint, options = service(FakeControl(models={"a": READY}), late)
    wait_for(endpoint, Condition(models_ready=("a",), timeout=10, interval=2), options)
    assert isinstance(options.clock, FakeClock)
    assert options.clock.naps == [2, 2]


def test_looks_in_a_row_meet_the_servers_that_share_an_address(service: Connect) -> None:
    shared = FakeControl(models={"a": READY})

    def answer(control: FakeControl) -> None:
        # The fourth look meets another one, which is not so far.
        control.models["a"] = LOADING if control.calls.count("index") == 4 else READY

    shared.on_index = answer
    endpoint, options = service(shared)
    wait_for(endpoint, Condition(models_ready=("a",), looks=4, interval=1), options)
    assert shared.calls.count("index") == 8
    with pytest.raises(DeadlineError, match="in a row"):
        wait_for(endpoint, Condition(models_ready=("a",), looks=100, timeout=3), options)


def test_a_server_that_comes_up_late_is_waited_for(service: Connect) -> None:
    control = FakeControl(fails={"live": LOST})
    endpoint, options = service(control)
    assert isinstance(options.clock, FakeClock)
    options.clock.sleep = lambda seconds: control.fails.clear()  # type: ignore[method-assign]
    wait_for(endpoint, Condition(live=True), options)
    assert control.calls.count("live") == 2


def test_the_deadline_names_what_is_missing_and_where(service: Connect) -> None:
    endpoint, options = service(FakeControl(models={"a": READY}), FakeControl(models={"a": UNAVAILABLE}, is_ready=False))
    with pytest.raises(DeadlineError) as caught:
        wait_for(endpoint, Condition(ready=True, models_ready=("a", "b"), timeout=3), options)
    text = str(caught.value)
    assert "did not come true within 3 s" in text
    for part in ("r0: model b is not in the repository index", "r1: the server is not ready", f"r1: model a is {UNAVAILABLE}"):
        assert part in text
    assert caught.value.details["last_state"]["models"][0]["name"] == "a"


def test_a_wrong_server_is_not_waited_for(service: Connect) -> None:
    endpoint, options = service(FakeControl(fails={"live": NotServerError("a website", where="x")}))
    with pytest.raises(NotServerError):
        wait_for(endpoint, Condition(live=True), options)
    assert isinstance(options.clock, FakeClock)
    assert options.clock.naps == []


def test_waiting_without_an_index_uses_each_model_s_readiness(service: Connect) -> None:
    endpoint, options = service(FakeControl(models={"a": READY}, fails={"index": ABSENT}))
    wait_for(endpoint, Condition(models_ready=("a",), models_gone=("z",)), options)
    with pytest.raises(DeadlineError, match="model z is UNAVAILABLE"):
        wait_for(endpoint, Condition(models_ready=("z",), timeout=1), options)


INDEX = (
    ModelState("two", "1", UNAVAILABLE, "unloaded"),
    ModelState("two", "2", READY),
    ModelState("busy", "1", READY),
    ModelState("busy", "2", LOADING),
    ModelState("bad", "1", UNAVAILABLE, "no weights"),
    ModelState("idle"),
)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("two", ""),
        ("two:2", ""),
        ("two:1", "model two:1 is UNAVAILABLE: unloaded"),
        ("two:3", "model two:3 is not in the repository index"),
        ("busy", "model busy is LOADING"),
        ("busy:1", ""),
        ("bad", "model bad is UNAVAILABLE: no weights"),
        ("idle", "model idle is not loaded"),
        ("none", "model none is not in the repository index"),
    ],
)
def test_readiness_by_the_index(spec: str, reason: str) -> None:
    assert subject.not_ready(spec, INDEX) == reason


@pytest.mark.parametrize(
    ("spec", "gone"), [("two", False), ("two:1", True), ("busy", False), ("bad", True), ("idle", True), ("none", True)]
)
def test_absence_by_the_index(spec: str, gone: bool) -> None:
    assert (subject.not_gone(spec, INDEX) == "") is gone


def test_a_long_list_of_reasons_is_cut(service: Connect) -> None:
    endpoint, options = service(FakeControl())
    with pytest.raises(ServingError, match="and 190 more"):
        wait_for(endpoint, Condition(models_ready=tuple(f"m{number}" for number in range(200)), timeout=0), options)
