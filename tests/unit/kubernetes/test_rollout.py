# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""When a rollout is done, goes on or is stuck, what is said of it, and how a release is reached."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.serving.triton.plugins.module_utils.core.errors import InputError
from ansible_collections.serving.triton.plugins.module_utils.kubernetes.access import Known, choose, endpoint
from ansible_collections.serving.triton.plugins.module_utils.kubernetes.rollout import DONE, GOING, STUCK, Model, Observed, explain, judge

ROOT = Path(__file__).resolve().parents[3]
REVISION = "deployment.kubernetes.io/revision"


def deployment(generation: int = 2, seen: int = 2, conditions: Any = (), **counts: int) -> dict[str, Any]:
    metadata = {"name": "vision", "uid": "d", "generation": generation, "annotations": {REVISION: "2"}}
    return {"metadata": metadata, "spec": {"replicas": 2}, "status": {"observedGeneration": seen, "conditions": conditions, **counts}}


def pod(name: str, owner: str = "new", ready: bool = False, **container: Any) -> dict[str, Any]:
    status = {"name": "triton", "ready": ready, "state": {"running": {}}, **container}
    conditions = [{"type": "Ready", "status": str(ready)}]
    metadata = {"name": name, "ownerReferences": [{"uid": owner}]}
    return {"metadata": metadata, "spec": {"containers": []}, "status": {"conditions": conditions, "containerStatuses": [status]}}


def seen(*pods: dict[str, Any], index: Any = None, logs: Any = None, events: Any = (), **counts: Any) -> Observed:
    sets = [{"metadata": {"uid": uid, "annotations": {REVISION: number}}} for uid, number in (("old", "1"), ("new", "2"))]
    return Observed(deployment(**counts), sets, pods, events, index or {}, logs or {})


WAITING = {"state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}, "restartCount": 3}
ENDED = {"lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}
FULL = {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}
OVERDUE = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
BROKEN = [Model("add", "1", "READY", ""), Model("broken", "1", "UNAVAILABLE", "no such file")]


@pytest.mark.parametrize(
    ("observed", "state", "final"),
    [
        (Observed(), STUCK, True),
        (seen(**FULL), DONE, False),
        # The controller has not looked yet: its numbers are those of the former template.
        (seen(**FULL, generation=3), GOING, False),
        # A former replica is still there.
        (seen(**{**FULL, "replicas": 3}), GOING, False),
        (seen(pod("a"), **{**FULL, "availableReplicas": 1}), GOING, False),
        (seen(pod("a", **WAITING), **{**FULL, "availableReplicas": 1}), STUCK, False),
        # One of the former template in trouble is on its way out.
        (seen(pod("a", "old", **WAITING), **{**FULL, "availableReplicas": 1}), GOING, False),
        (seen(pod("a"), index={"a": BROKEN}, **{**FULL, "availableReplicas": 1}), STUCK, False),
        (seen(pod("a"), index={"a": [*BROKEN, Model("big", "1", "LOADING", "")]}, **{**FULL, "availableReplicas": 1}), GOING, False),
        (seen(pod("a"), index={"a": [Model("add", "1", "UNAVAILABLE", "unloaded")]}, **{**FULL, "availableReplicas": 1}), GOING, False),
        (seen(conditions=[OVERDUE], **{**FULL, "updatedReplicas": 1}), STUCK, True),
    ],
)  # fmt: skip
def test_a_rollout_is_judged(observed: Observed, state: str, final: bool) -> None:
    verdict = judge(observed)
    assert (verdict.state, verdict.final) == (state, final), verdict.text


def test_trouble_is_told_once_for_pods_that_share_it() -> None:
    pods = [pod(name, **WAITING, **ENDED) for name in ("a", "b")]
    event = {"type": "Warning", "reason": "BackOff", "message": "again", "involvedObject": {"name": "c"}}
    observed = seen(*pods, pod("c"), pod("d", ready=True), index={"c": BROKEN}, logs={"c": "one\n\ntwo\n"}, events=[event, event], **FULL)
    both = "container triton waits: CrashLoopBackOff (back-off); container triton ended with 137 (OOMKilled), and was started again 3 times"
    assert explain(observed) == [
        f"pods a, b: {both}",
        "pod c: it runs and is not ready; model broken 1: no such file; event BackOff: again; the end of its log: one | two",
    ]  # fmt: skip


REPLICA = {"name": "a", "address": "10.0.0.7", "ready": True, "ports": {"http": 8000, "grpc": 8001, "metrics": 8002}}
NODE_PORTS = {"http": 31000, "grpc": 31001}
SERVICE = {"type": "NodePort", "address": "10.96.0.1", "balancer": "", "ports": {"http": 80, "grpc": 81}, "node_ports": NODE_PORTS}


def known(*replicas: Any, **more: Any) -> Known:
    return Known("ml", replicas, [SERVICE], ["192.0.2.1"], "https://api:6443", {"authorization": "Bearer t"}, {"triton-key": "k"}, **more)


def test_each_way_in_has_its_endpoint() -> None:
    other = {**REPLICA, "name": "b", "address": "fd00::7"}
    found = endpoint("pod", known(REPLICA, other, {**REPLICA, "name": "c", "ready": False}, grpc="grpcs"))
    assert [each["grpc"] for each in found["replicas"]] == ["grpcs://10.0.0.7:8001", "grpcs://[fd00::7]:8001"]
    assert found["headers"] == {"triton-key": "k"}
    proxied = endpoint("proxy", known(REPLICA))
    assert proxied["http"] == "https://api:6443/api/v1/namespaces/ml/pods/http:a:8000/proxy"
    assert proxied["headers"] == {"authorization": "Bearer t", "triton-key": "k"}
    assert not {"grpc", "metrics"} & proxied.keys()
    assert endpoint("nodeport", known(REPLICA))["http"] == "http://192.0.2.1:31000"
    assert "replicas" not in endpoint("service", known(REPLICA))
    assert endpoint("pod", known()) == {}
    with pytest.raises(InputError, match="no loadbalancer"):
        endpoint("loadbalancer", known(REPLICA))
    assert (choose("auto", True), choose("auto", False), choose("service", True)) == ("pod", "proxy", "service")


@pytest.fixture(scope="module")
def diff() -> Any:
    path = ROOT / "roles" / "helm_release" / "files" / "helm-plugins" / "diff" / "diff.py"
    spec = importlib.util.spec_from_file_location("helm_diff", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_kubernetes_core_takes_the_plugin_at_its_word_with_helm_4() -> None:
    """From 6.6 on it wants helm-diff 3.14 there, and compares values alone otherwise, with a warning."""
    plugin = yaml.safe_load((ROOT / "roles/helm_release/files/helm-plugins/diff/plugin.yaml").read_text())
    assert tuple(map(int, plugin["version"].split("."))) >= (3, 14, 0)


SECRET = """---
# Source: triton/templates/secrets.yaml
apiVersion: v1
kind: Secret
metadata:
  name: key
  labels:
    a: b
data:
  key: {key}
  multi: |
    {key}
"""


def test_a_changed_secret_shows_that_it_changed_and_nothing_of_it(diff: Any) -> None:
    before, after = ([SECRET.format(key=key)] for key in ("b2xkLWNhbmFyeQ==", "bmV3LWNhbmFyeQ=="))
    lines = diff.compare(diff.objects(before), diff.objects(after))
    assert "-  key: (secret)" in lines
    assert "+  key: (another secret)" in lines
    assert not [line for line in lines if "Y2FuYXJ5" in line or "LWNhbmFyeQ" in line]
    assert diff.compare(diff.objects(before), diff.objects(before)) == []
    assert diff.compare({}, diff.objects(after))[:2] == ["--- before: /dev/null", "+++ after: Secret key"]


@pytest.mark.parametrize(
    "text",
    ['kind: "Secret"\nmetadata:\n  name: a\ndata: {a: %s}', '{"kind": "Secret", "data": {"a": "%s"}}', "kind: List\nitems:\n- data: %s"],
)
def test_secrets_in_other_spellings_are_hidden_too(diff: Any, text: str) -> None:
    before, after = (diff.objects([text % key]) for key in ("canary-1", "canary-2"))
    assert not [line for line in [*diff.compare(before, after), *diff.compare({}, after)] if "canary" in line]
