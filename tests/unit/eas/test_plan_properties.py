# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The planner reaches what is wanted from anywhere, and then has nothing left to do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from support.eas_runs import MemoryEas, memory_service, with_added

from ansible_collections.serving.triton.plugins.module_utils.eas import compare
from ansible_collections.serving.triton.plugins.module_utils.eas.plan import Wanted, plan_actions
from ansible_collections.serving.triton.plugins.module_utils.eas.predict import predict
from ansible_collections.serving.triton.plugins.module_utils.eas.state import FAILED, RUNNING, STOPPED, Service

NAME = "digits"
LABELS = st.dictionaries(st.sampled_from(["team", "cost", "stage"]), st.sampled_from(["a", "b"]), max_size=3)
AUTOSCALERS = st.builds(
    lambda least, more, threshold: {"min": least, "max": least + more, "scaleStrategies": [{"metricName": "qps", "threshold": threshold}]},
    st.integers(0, 2),
    st.integers(1, 3),
    st.integers(1, 3),
)


def configs(*, partly: bool) -> st.SearchStrategy[dict[str, Any]]:
    """Canonical configurations of a service; of any of their keys, where they only change one that is there."""
    metadata = st.fixed_dictionaries(
        {"name": st.just(NAME)} if partly else {"name": st.just(NAME), "instance": st.integers(0, 4), "gpu": st.integers(1, 2)},
        optional={
            **({"instance": st.integers(0, 4), "gpu": st.integers(1, 2)} if partly else {}),
            "cpu": st.integers(1, 8),
            "memory": st.sampled_from([1000, 10000]),
            "rpc": st.fixed_dictionaries({}, optional={"keepalive": st.sampled_from([3000, 5000]), "worker_threads": st.integers(1, 9)}),
            "resource": st.sampled_from(["eas-r-1", "eas-r-2"]),
        },
    )
    flags = st.permutations(["--log-verbose=1", "--strict-readiness=false", "--model-repository=oss://b/new"])
    processor = {"processor": st.just("triton"), "processor_params": flags.map(lambda found: [*found[:2], "--model-repository=oss://b/x"])}
    apart = {"labels": LABELS, "autoscaler": AUTOSCALERS, "storage": st.just([{"mount_path": "/data", "oss": {"path": "oss://b/c/"}}])}
    if partly:
        return st.fixed_dictionaries({"metadata": metadata}, optional={**processor, **apart})
    return st.fixed_dictionaries({"metadata": metadata, **processor}, optional=apart)


@st.composite
def services(draw: st.DrawFn) -> Service | None:
    if draw(st.integers(0, 5)) == 0:
        return None
    config = draw(configs(partly=False))
    status = draw(st.sampled_from([RUNNING, RUNNING, STOPPED, FAILED]))
    latest = draw(st.integers(1, 3))
    total = config["metadata"]["instance"]
    labels, autoscaler = config.get("labels", {}), config.get("autoscaler")
    lock = draw(st.sampled_from(["none", "none", "dangerous", "all"]))
    versions = {"current": draw(st.integers(1, latest)), "latest": latest}
    running = total if status == RUNNING else 0
    service = Service(NAME, status, with_added(config), total=total, running=running, labels=labels, autoscaler=autoscaler, **versions)
    return replace(service, lock=lock, weight=draw(st.integers(0, 2)), traffic_state="standalone")


@st.composite
def wishes(draw: st.DrawFn, actual: Service | None) -> Wanted:
    state = draw(st.sampled_from(["present", "present", "started", "stopped", "absent"]))
    lock = draw(st.sampled_from([None, None, "none", "dangerous"]))
    common: dict[str, Any] = {"lock": lock, "lift_lock": True, "weight": draw(st.sampled_from([None, 0, 2]))}
    if state == "absent":
        return Wanted(NAME, state, lift_lock=True)
    if actual and actual.current > 1 and draw(st.booleans()):
        return Wanted(NAME, state, version=draw(st.integers(1, actual.current)), **common)
    whole = draw(st.booleans())
    config = draw(configs(partly=actual is not None and not whole))
    if actual and whole and draw(st.booleans()):
        # Their number stays also where the rest is replaced.
        del config["metadata"]["instance"]
    return Wanted(NAME, state, config, whole, **common)


def reached(wanted: Wanted, service: Service | None) -> bool:
    """Whether the service is as it is wanted, without the planner's own eyes."""
    if wanted.state == "absent" or service is None:
        return wanted.state == "absent" and service is None
    config = dict(wanted.config or {})
    autoscaler = config.pop("autoscaler", None)
    labels = config.pop("labels", {})
    if service.autoscaler:
        config["metadata"] = {key: value for key, value in config.get("metadata", {}).items() if key != "instance"}
    flags = set(config.pop("processor_params", []))
    return (
        compare.equal(config, service.config)
        and (not flags or flags == set(service.config["processor_params"]))
        and labels.items() <= dict(service.labels).items()
        and autoscaler in (None, service.autoscaler)
        and wanted.version in (None, service.current)
        and wanted.weight in (None, service.weight or 0)
        and wanted.lock in (None, service.lock or "none")
        and (service.status == STOPPED if wanted.state == "stopped" else service.status != STOPPED or wanted.state == "present")
    )


@settings(max_examples=250, deadline=None, derandomize=True)
@given(st.data())
def test_a_plan_reaches_what_is_wanted_and_a_second_one_is_empty(data: st.DataObject) -> None:
    actual = data.draw(services())
    wanted = data.draw(wishes(actual))
    backend = MemoryEas(actual)
    actions = plan_actions(wanted, actual)
    predicted = predict(actual, NAME, actions)
    for action in actions:
        memory_service(backend, wanted)._do(action)
    assert reached(wanted, backend.service)
    assert plan_actions(wanted, backend.service) == []
    # The prediction, which check mode and diff show, is what came of it.
    assert (predicted is None) == (backend.service is None)
    if predicted and backend.service:
        assert compare.equal(predicted.config, backend.service.config)
        for part in ("status", "labels", "autoscaler", "traffic_state"):
            assert getattr(predicted, part) == getattr(backend.service, part) or predicted.status == FAILED
        assert (predicted.lock or "none") == (backend.service.lock or "none")


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.data())
def test_a_run_that_broke_off_anywhere_converges(data: st.DataObject) -> None:
    actual = data.draw(services())
    wanted = data.draw(wishes(actual))
    backend = MemoryEas(actual)
    actions = plan_actions(wanted, actual)
    for action in actions[: data.draw(st.integers(0, len(actions)))]:
        memory_service(backend, wanted)._do(action)
    for action in plan_actions(wanted, backend.service):
        memory_service(backend, wanted)._do(action)
    assert plan_actions(wanted, backend.service) == []
