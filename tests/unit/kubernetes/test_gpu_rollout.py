# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""When nodes show their GPUs, what is said where one does not, and where a CUDA program can run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest

from ansible_collections.serving.triton.plugins.module_utils.core.errors import InputError, UnavailableError
from ansible_collections.serving.triton.plugins.module_utils.core.wait import Clock
from ansible_collections.serving.triton.plugins.module_utils.kubernetes.cluster import Cluster
from ansible_collections.serving.triton.plugins.module_utils.kubernetes.cuda_smoke import (
    FAILED,
    PASSED,
    WAITING,
    Place,
    Program,
    advice,
    manifest,
    outcome,
    places,
)
from ansible_collections.serving.triton.plugins.module_utils.kubernetes.device_plugin import GPU, Config
from ansible_collections.serving.triton.plugins.module_utils.kubernetes.gpu_cluster import Asked, checked, inspect, wait
from ansible_collections.serving.triton.plugins.module_utils.kubernetes.gpu_rollout import Seen, Wanted, decide, explanation
from ansible_collections.serving.triton.plugins.module_utils.kubernetes.rollout import DAEMON_SET, DONE, GOING, STUCK, Observed
from ansible_collections.serving.triton.plugins.module_utils.kubernetes.service import Patience, Release, Waiting

RELEASE = Release("nvidia-device-plugin", "nvidia-gpu")
READY = [{"type": "Ready", "status": "True"}]
FOUND = {"feature.node.kubernetes.io/pci-10de.present": "true"}
PLAIN = Wanted({"default": Config()}, "default")
TAINT = {"key": "team", "value": "a", "effect": "NoSchedule"}


def node(name: str, gpus: int = 0, labels: Any = None, taints: Any = (), ready: bool = True) -> dict[str, Any]:
    amounts = {GPU: str(gpus)}
    conditions = READY if ready else []
    return {
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"taints": list(taints)},
        "status": {"allocatable": amounts, "capacity": amounts, "conditions": conditions},
    }


def pod(name: str, on: str, ready: bool = True, phase: str = "Running", **container: Any) -> dict[str, Any]:
    status = {"name": "nvidia-device-plugin-ctr", "ready": ready, "state": {"running": {}}, **container}
    conditions = READY if ready else []
    spec = {"nodeName": on, "containers": [{"name": "nvidia-device-plugin-sidecar"}, {"name": "nvidia-device-plugin-ctr"}]}
    return {"metadata": {"name": name}, "spec": spec, "status": {"phase": phase, "conditions": conditions, "containerStatuses": [status]}}


def plugin(*pods: dict[str, Any], ready: int | None = None) -> dict[str, Observed]:
    template = {
        "containers": [{"image": "nvcr.io/nvidia/k8s-device-plugin:v0.20.0"}],
        "volumes": [{"hostPath": {"path": "/var/lib/kubelet/device-plugins"}}],
        "tolerations": [{"key": GPU, "operator": "Exists"}],
    }
    count = len(pods)
    status = {"desiredNumberScheduled": count, "updatedNumberScheduled": count, "numberAvailable": count if ready is None else ready}
    value = {"metadata": {"name": "nvidia-device-plugin"}, "spec": {"template": {"spec": template}}, "status": status}
    return {"DaemonSet nvidia-device-plugin": Observed(value, (), pods, kind=DAEMON_SET)}


CRASHED = {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "restartCount": 3}


@pytest.mark.parametrize(
    ("seen", "state", "text"),
    [
        (Seen([node("gpu-1", 2), node("cpu-1")], plugin(pod("a", "gpu-1"))), DONE, "1 of 1 nodes show their GPUs"),
        # One that is not ready cannot show anything, and is not waited for.
        (Seen([node("gpu-1", 2), node("gpu-2", labels=FOUND, ready=False)], plugin(pod("a", "gpu-1"))), DONE, "1 of 1"),
        # No pod comes to it.
        (Seen([node("gpu-1", 2), node("gpu-2", labels=FOUND)], plugin(pod("a", "gpu-1"))), STUCK, "1 of 2"),
        # It runs, and finds nothing.
        (Seen([node("gpu-1", labels=FOUND)], plugin(pod("a", "gpu-1"))), STUCK, "0 of 1"),
        (Seen([node("gpu-1", labels=FOUND)], plugin(pod("a", "gpu-1", ready=False), ready=0)), GOING, "0 ready"),
        (Seen([node("gpu-1", labels=FOUND)], plugin(pod("a", "gpu-1", False, **CRASHED), ready=0)), STUCK, "0 ready"),
        # What a node shows may be of the plugin that was there before.
        (Seen([node("gpu-1", 2)], plugin(pod("a", "gpu-1", False, **CRASHED), ready=0)), STUCK, "0 ready"),
        (Seen([node("cpu-1")], plugin()), STUCK, "no node of the cluster shows a GPU"),
        (Seen([node("gpu-1", 2)], {}, [{"metadata": {"name": "cluster-policy"}, "status": {"state": "notReady"}}]), GOING, "is notReady"),
    ],
)
def test_when_nodes_show_their_gpus(seen: Seen, state: str, text: str) -> None:
    verdict = decide(seen, PLAIN)
    assert verdict.state == state
    assert text in verdict.text


def test_a_plugin_of_somebody_else_is_asked_for_any_resource() -> None:
    shared = node("gpu-1")
    shared["status"]["allocatable"] = {f"{GPU}.shared": "4"}
    assert decide(Seen([shared]), Wanted()).state == DONE
    assert decide(Seen([node("gpu-1", labels=FOUND)]), Wanted()).state == STUCK


def test_each_node_is_told_with_what_to_do() -> None:
    nodes = [node("gpu-1", labels=FOUND), node("gpu-2", labels=FOUND, taints=[TAINT]), node("gpu-3"), node("gpu-4", 4, FOUND)]
    looks = plugin(pod("a", "gpu-1", False, **CRASHED), ready=0)
    logs = {"a": "starting\nfailed to initialize NVML: ERROR_LIBRARY_NOT_FOUND"}
    events = [{"type": "Warning", "reason": "BackOff", "message": "restarting", "involvedObject": {"name": "a"}}]
    told = explanation(Seen(nodes, looks, (), events, logs), Wanted({"default": Config()}, "default", ["gpu-3"]))
    assert len(told) == 3
    for text in (
        "node gpu-1: nvidia.com/gpu: 0 allocatable instead of 1 or more",
        "CrashLoopBackOff",
        "BackOff",
        "ERROR_LIBRARY",
        "gpu_driver",
    ):
        assert text in told[0]
    assert "does not tolerate team=a:NoSchedule" in told[1]
    assert "the node's labels do not match" in told[2]


def test_pods_in_trouble_are_told_although_nodes_show_their_gpus() -> None:
    told = explanation(Seen([node("gpu-1", 2)], plugin(pod("a", "gpu-1", False, **CRASHED), ready=0)), PLAIN)
    assert told == ["pod a: container nvidia-device-plugin-ctr waits: CrashLoopBackOff"]


def test_a_daemon_set_that_makes_no_pods_is_told_so() -> None:
    about = {"kind": "DaemonSet", "name": "nvidia-device-plugin"}
    refused = [{"reason": "FailedCreate", "message": 'RuntimeClass "nvidia" not found', "involvedObject": about}]
    told = explanation(Seen([node("gpu-1", labels=FOUND)], plugin(), (), refused), PLAIN)
    assert told[0].endswith('DaemonSet nvidia-device-plugin makes no pods: RuntimeClass "nvidia" not found')


# --- against an API


class Passing(Clock):
    """Time goes by in sleep alone."""

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> float:
        return self.passed

    def sleep(self, seconds: float) -> None:
        self.passed += seconds


def cluster(lists: Mapping[str, list[dict[str, Any]]], denied: str = "") -> Cluster:
    """lists: path → objects. denied: a resource that may not be changed."""

    def send(_method: str, target: str, _headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        path = urlsplit(target).path
        if path.endswith("selfsubjectaccessreviews"):
            asked = json.loads(body)["spec"]["resourceAttributes"]
            return 201, json.dumps({"status": {"allowed": asked["resource"] != denied}}).encode()
        return (200, json.dumps({"items": lists[path]}).encode()) if path in lists else (404, b"{}")

    return Cluster(send, "https://cluster")


def test_a_cluster_without_gpus_may_be_fine() -> None:
    empty = cluster({"/api/v1/nodes": [node("cpu-1")]})
    watch = Waiting(empty, RELEASE, Patience(600, 30), lambda _stage: None, Passing())
    with pytest.raises(UnavailableError, match="no node of the cluster shows a GPU of NVIDIA's"):
        wait(watch, PLAIN)
    _seen, verdict = wait(watch, Wanted({"default": Config()}, "default", (), required=False))
    assert "no node" in verdict.text
    # One that must have some is no cluster without.
    with pytest.raises(UnavailableError, match=r"node cpu-1: nvidia\.com/gpu: 0 allocatable"):
        wait(watch, Wanted({"default": Config()}, "default", ["cpu-1"], required=False))


def test_permissions_come_before_what_needs_them() -> None:
    asked = Asked({"default": {}}, "default", permissions=True)
    assert inspect(cluster({}, "clusterroles"), RELEASE, asked)["denied"] == ["create clusterroles.rbac.authorization.k8s.io"]
    allowed = inspect(cluster({}), RELEASE, asked)
    assert (allowed["denied"], allowed["nodes"]) == ([], [])


def test_definitions_go_where_nobody_else_uses_them() -> None:
    def definition(name: str, group: str, plural: str, manager: str = "serving.triton") -> dict[str, Any]:
        spec = {"group": group, "names": {"plural": plural}, "versions": [{"name": "v1", "storage": True}]}
        return {"metadata": {"name": name, "managedFields": [{"manager": manager}]}, "spec": spec}

    policy = {"metadata": {"name": "cluster-policy", "uid": "1", "annotations": {
        "meta.helm.sh/release-name": "gpu-operator", "meta.helm.sh/release-namespace": "nvidia-gpu"}}}  # fmt: skip
    lists = {
        "/api/v1/nodes": [],
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions": [
            definition("features", "nfd.k8s-sigs.io", "nodefeatures"), definition("rules", "nfd.k8s-sigs.io", "nodefeaturerules"),
            definition("policies", "nvidia.com", "clusterpolicies"), definition("theirs", "nvidia.com", "nvidiadrivers", "helm"),
            definition("widgets", "example.com", "widgets"),
        ],
        "/apis/nfd.k8s-sigs.io/v1/nodefeatures": [{"metadata": {"name": "of-a-node"}}],
        "/apis/nfd.k8s-sigs.io/v1/nodefeaturerules": [{"metadata": {"name": "somebody's"}}],
        "/apis/nvidia.com/v1/clusterpolicies": [policy],
    }  # fmt: skip
    ours = Asked(releases=["nvidia-gpu/nvidia-device-plugin", "nvidia-gpu/gpu-operator"])
    assert inspect(cluster(lists), RELEASE, ours)["definitions"] == ["features", "policies"]
    found = inspect(cluster(lists), RELEASE, Asked(releases=["nvidia-gpu/nvidia-device-plugin"]))
    assert found["others"]["operator"] == ["ClusterPolicy cluster-policy of Helm release nvidia-gpu/gpu-operator"]
    assert found["definitions"] == ["features"]


def test_the_exporter_gets_the_labels_that_prometheus_selects() -> None:
    every = {"serviceMonitorSelector": {"matchLabels": {"release": "stack"}}, "serviceMonitorNamespaceSelector": {}}
    prometheus = {"metadata": {"name": "stack", "namespace": "monitoring"}, "spec": every}
    lists = {"/api/v1/nodes": [], "/apis/monitoring.coreos.com/v1/prometheuses": [prometheus]}
    assert inspect(cluster(lists), RELEASE, Asked(monitored="nvidia-dcgm"))["monitor_labels"] == {"release": "stack"}
    assert inspect(cluster(lists), RELEASE, Asked())["monitor_labels"] == {}


def test_what_cannot_work_anywhere_needs_no_cluster() -> None:
    with pytest.raises(InputError, match=r"gpu-1: is to have the configuration fast, which is not described\. Name one of default"):
        checked(Asked({"default": {}}, "default", {"gpu-1": "fast"}))
    assert checked(Asked(node_configs={"gpu-1": "fast"})) == {}


# --- CUDA


def test_programs_run_where_a_gpu_is_free() -> None:
    def holder(on: str, phase: str = "Running") -> dict[str, Any]:
        held = {"containers": [{"resources": {"limits": {GPU: 1}}}], "nodeName": on}
        return {"metadata": {"name": "server"}, "spec": held, "status": {"phase": phase}}

    nodes = [node("gpu-1", 1), node("gpu-2", 1), node("gpu-3", 1, taints=[TAINT]), node("gpu-4", 2), node("cpu-1")]
    pods = [holder("gpu-1"), holder("gpu-2", "Succeeded"), holder("gpu-4")]
    found = {each.node: each.why for each in places(nodes, pods, PLAIN, Program("cuda"))}
    assert found == {"gpu-1": "all of its nvidia.com/gpu are in use", "gpu-2": "", "gpu-4": "",
                     "gpu-3": "it is cordoned, or has a taint that is not tolerated"}  # fmt: skip
    assert [each.node for each in places(nodes, pods, PLAIN, Program("cuda", each=False))] == ["gpu-2"]
    assert places(nodes[2:3], [], PLAIN, Program("cuda", tolerations=[{"key": "team", "operator": "Exists"}]))[0].why == ""
    renamed = Wanted({"default": Config("time_slicing", {GPU: 4}, rename=True)}, "default")
    shared = node("gpu-1")
    shared["status"]["allocatable"] = {GPU: "0", f"{GPU}.shared": "4"}
    assert places([shared], [], renamed, Program("cuda"))[0] == Place("gpu-1", f"{GPU}.shared")


def test_a_program_has_no_more_rights_than_it_needs() -> None:
    spec = manifest(RELEASE, Place("gpu-1", GPU), Program("cuda", ["/bin/try"], runtime_class="nvidia", pull_secrets=["mirror"]), 60)[
        "spec"
    ]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["containers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert spec["containers"][0]["resources"]["limits"][GPU] == 1
    assert (spec["runtimeClassName"], spec["imagePullSecrets"]) == ("nvidia", [{"name": "mirror"}])
    # The scheduler is asked, so the pod is refused by nobody when the GPU is taken in between.
    assert "nodeName" not in spec


@pytest.mark.parametrize(
    ("status", "log", "state"),
    [
        ({"phase": "Succeeded"}, "Test PASSED", PASSED),
        ({"phase": "Succeeded"}, "Test FAILED", FAILED),
        ({"phase": "Failed"}, "", FAILED),
        ({"phase": "Pending"}, "", WAITING),
        (None, "", FAILED),
    ],
)
def test_what_became_of_a_program(status: Any, log: str, state: str) -> None:
    assert outcome(None if status is None else {"status": status}, log)[0] == state


@pytest.mark.parametrize(
    ("log", "told"),
    [
        ("CUDA driver version is insufficient for CUDA runtime version", "too old"),
        ("no CUDA-capable device is detected", "container_toolkit"),
        ("Failed to initialize NVML: Driver/library version mismatch (driver/library version mismatch)", "reboot"),
        ("out of memory", ""),
    ],
)
def test_a_failed_program_tells_what_to_do(log: str, told: str) -> None:
    assert told in advice(log)
    assert bool(advice(log)) == bool(told)
