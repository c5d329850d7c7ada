# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The real helm, kubectl and clients against the Kubernetes stand-in, or against the cluster that SERVING_TRITON_TEST_KUBECONFIG names."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import kubernetes as client
import pytest
from kubernetes.stream import portforward, stream
from support.kubernetes import Behaviour, Cluster, Fault, command_pods, open_cluster, triton_pods
from support.kubernetes.manifests import PAUSE, custom_definition, deployment, service, write_chart
from support.kubernetes.schemas import supported_versions
from support.tritonserver import write_add_sub

GPU = "nvidia.com/gpu"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with open_cluster(tmp_path) as opened:
        yield opened


@pytest.fixture(params=["helm3", "helm4"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    """A cluster with each pair of tools: the oldest and the newest that we support."""
    with open_cluster(tmp_path, request.param) as opened:
        yield opened


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    return write_chart(tmp_path / "demo")


def until(reached: Callable[[], Any], what: str, seconds: float = 20) -> Any:
    """The first true value. A deadline, not an expectation."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = reached()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"not reached: {what}")


def version_of(cluster: Cluster, what: str, name: str, namespace: str) -> str:
    return str(cluster.get(what, name, namespace)["metadata"]["resourceVersion"])


# --- helm


def test_a_release_lives_and_dies(both: Cluster, chart: Path) -> None:
    with both.namespace() as namespace:
        place = ("--namespace", namespace, "--wait", "--timeout", "60s")
        both.helm("upgrade", "--install", "demo", chart, *place)
        before = version_of(both, "deployment", "demo", namespace)
        assert "REVISION: 2" in both.helm("upgrade", "--install", "demo", chart, *place)
        assert version_of(both, "deployment", "demo", namespace) == before
        both.helm("upgrade", "demo", chart, *place, "--set", "replicas=2")
        assert both.get("deployment", "demo", namespace)["status"]["readyReplicas"] == 2
        both.helm("rollback", "demo", "1", *place)
        assert both.get("deployment", "demo", namespace)["spec"]["replicas"] == 1
        history = json.loads(both.run("helm", "history", "demo", "--namespace", namespace, "--output", "json").stdout)
        assert [each["status"] for each in history] == ["superseded"] * 3 + ["deployed"]
        both.helm("uninstall", "demo", "--namespace", namespace, "--wait")
        assert both.get("deployments", namespace=namespace)["items"] == []
        assert "not found" in both.helm("status", "demo", "--namespace", namespace, rc=1)


def test_a_failed_upgrade_is_rolled_back(both: Cluster, chart: Path) -> None:
    both.configured.behave("broken", "crash", log="CUDA error: out of memory\n", exit_code=1)
    flag = "--atomic" if both.tools == "helm3" else "--rollback-on-failure"
    place = ("--namespace", "default", "--wait", "--timeout")
    both.helm("install", "demo", chart, *place, "20s")
    told = both.helm("upgrade", "demo", chart, *place, "15s", flag, "--set", "image=broken:1", rc=1)
    assert "has been rolled back" in told
    assert both.get("deployment", "demo")["spec"]["template"]["spec"]["containers"][0]["image"] == PAUSE
    both.kubectl("rollout", "status", "deployment/demo", "--timeout=20s")


def test_a_killed_upgrade_leaves_a_pending_release_that_a_rollback_ends(both: Cluster, chart: Path) -> None:
    both.configured.behave("slow", "starting")
    both.helm("install", "demo", chart, "--wait", "--timeout", "20s")
    helm = both.start("helm", "upgrade", "demo", chart, "--wait", "--timeout", "60s", "--set", "image=slow:1")
    status = ("helm", "status", "demo", "--output", "json")
    until(lambda: json.loads(both.run(*status).stdout)["info"]["status"] == "pending-upgrade", "the upgrade is under way")
    helm.send_signal(signal.SIGKILL)
    helm.communicate(timeout=10)
    assert "another operation (install/upgrade/rollback) is in progress" in both.helm("upgrade", "demo", chart, rc=1)
    both.helm("rollback", "demo", "1", "--wait", "--timeout", "20s")
    both.helm("upgrade", "demo", chart, "--wait", "--timeout", "20s")
    assert json.loads(both.run(*status).stdout)["info"]["status"] == "deployed"


def test_hooks_and_chart_tests_run_and_are_removed(both: Cluster, chart: Path) -> None:
    both.configured.behave("test:", "exit")
    place = ("--wait", "--timeout", "20s")
    both.helm("install", "demo", chart, *place)
    both.helm("upgrade", "demo", chart, *place, "--set", "hook=true")
    assert both.get("jobs")["items"] == []
    assert "Phase:          Succeeded" in both.helm("test", "demo", "--timeout", "20s")
    both.configured.behave("test:", "exit", exit_code=3, log="no inference\n")
    assert "failed" in both.helm("test", "demo", "--timeout", "20s", rc=1)


def test_helm_4_does_not_overrule_who_scaled(tmp_path: Path, chart: Path) -> None:
    """Helm 3 does; whoever lets an autoscaler scale leaves `replicas` out."""
    with open_cluster(tmp_path, "helm4") as cluster, cluster.namespace() as namespace:
        place = ("--namespace", namespace, "--wait", "--timeout", "60s")
        cluster.helm("install", "demo", chart, *place)
        cluster.kubectl("scale", "deployment/demo", "--replicas=2", "--namespace", namespace)
        told = cluster.helm("upgrade", "demo", chart, *place, "--set", "replicas=3", rc=1)
        assert 'conflict with "kubectl" with subresource "scale" using apps/v1: .spec.replicas' in told
        cluster.helm("upgrade", "demo", chart, *place, "--set", "replicas=0")
        assert cluster.get("deployment", "demo", namespace)["spec"]["replicas"] == 2


def test_a_missing_namespace_fails_an_install(both: Cluster, chart: Path) -> None:
    told = both.helm("install", "demo", chart, "--namespace", "nowhere", "--timeout", "10s", rc=1)
    assert 'namespaces "nowhere" not found' in told


# --- kubectl


def test_apply_merges_and_removes(both: Cluster) -> None:
    def images() -> dict[str, str]:
        containers = both.get("deployment", "web", namespace)["spec"]["template"]["spec"]["containers"]
        return {each["name"]: each["image"] for each in containers}

    def apply(*containers: Mapping[str, Any], args: tuple[str, ...] = (), rc: int = 0) -> str:
        value = json.dumps(deployment("web", *containers))
        return both.kubectl("apply", "--namespace", namespace, "--filename", "-", *args, stdin=value, rc=rc)

    main, side = {"name": "main", "image": PAUSE}, {"name": "side", "image": PAUSE}
    with both.namespace() as namespace:
        assert "created (server dry run)" in apply(main, args=("--dry-run=server",))
        assert "created" in apply(main)
        before = version_of(both, "deployment", "web", namespace)
        assert "unchanged" in apply(main)
        assert before == version_of(both, "deployment", "web", namespace) or both.stand_in is None
        assert "configured" in apply(main, side)
        assert images() == {"main": PAUSE, "side": PAUSE}
        assert "configured" in apply(main)
        assert images() == {"main": PAUSE}
        value = json.dumps(deployment("web", main, side))
        assert "+        name: side" in both.kubectl("diff", "--namespace", namespace, "--filename", "-", stdin=value, rc=1)
        bad = apply({**main, "imagePullpolicy": "Always"}, rc=1)
        assert 'unknown field "spec.template.spec.containers[0].imagePullpolicy"' in bad


def test_server_side_apply_keeps_owners_apart(both: Cluster) -> None:
    def apply(value: Mapping[str, Any], *args: str, rc: int = 0) -> str:
        return both.kubectl("apply", "--server-side", "--namespace", namespace, "--filename", "-", *args, stdin=json.dumps(value), rc=rc)

    with both.namespace() as namespace:
        apply(deployment(replicas=1))
        both.kubectl("rollout", "status", "deployment/web", "--namespace", namespace, "--timeout=60s")
        before = version_of(both, "deployment", "web", namespace)
        apply(deployment(replicas=1))
        assert version_of(both, "deployment", "web", namespace) == before
        both.kubectl("scale", "deployment/web", "--replicas=2", "--namespace", namespace)
        told = apply(deployment(replicas=1), rc=1)
        assert 'conflict with "kubectl" with subresource "scale" using apps/v1: .spec.replicas' in told
        apply(deployment(replicas=None))
        assert both.get("deployment", "web", namespace)["spec"]["replicas"] == 2
        apply(deployment(replicas=1), "--force-conflicts")
        assert both.get("deployment", "web", namespace)["spec"]["replicas"] == 1
        other = {**deployment(replicas=None), "metadata": {"name": "web", "labels": {"team": "a"}}}
        apply(other, "--field-manager=other")
        apply(deployment(replicas=1))
        assert both.get("deployment", "web", namespace)["metadata"]["labels"] == {"team": "a"}


def test_patches_of_three_kinds_and_labels(cluster: Cluster) -> None:
    with cluster.namespace() as namespace:
        place = ("--namespace", namespace)
        cluster.apply(deployment(), namespace=namespace)
        strategic = {"spec": {"template": {"spec": {"containers": [{"name": "side", "image": PAUSE}]}}}}
        cluster.kubectl("patch", "deployment", "web", *place, "--patch", json.dumps(strategic))
        cluster.kubectl("patch", "deployment", "web", *place, "--type=merge", "--patch", '{"spec": {"minReadySeconds": 1}}')
        replace = '[{"op": "replace", "path": "/spec/replicas", "value": 0}]'
        cluster.kubectl("patch", "deployment", "web", *place, "--type=json", "--patch", replace)
        cluster.kubectl("label", "deployment", "web", *place, "tier=gpu")
        spec = cluster.get("deployment", "web", namespace)["spec"]
        assert (len(spec["template"]["spec"]["containers"]), spec["minReadySeconds"], spec["replicas"]) == (2, 1, 0)
        assert "web" in cluster.kubectl("get", "deployments", *place, "--selector", "tier in (gpu,cpu),!x", "--output", "name")
        told = cluster.kubectl("patch", "deployment", "web", *place, "--type=merge", "--patch", '{"spec": {"selector": null}}', rc=1)
        assert "spec.selector" in told


def test_a_rollout_is_watched_and_undone(both: Cluster) -> None:
    stand_in = both.configured
    stand_in.behave("slow", seconds=0.4)
    both.apply(deployment("web", {"name": "main", "image": "slow:1"}, replicas=2))
    watch = both.start("kubectl", "get", "pods", "--watch", "--output-watch-events", "--no-headers")
    assert "successfully rolled out" in both.kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    stand_in.behave("broken", "crash", log="first\nCUDA error: out of memory\n", exit_code=137, reason="OOMKilled")
    both.kubectl("set", "image", "deployment/web", "main=broken:1")
    assert "timed out" in both.kubectl("rollout", "status", "deployment/web", "--timeout=1s", rc=1)
    pods = {each["metadata"]["name"]: each for each in both.get("pods")["items"]}
    state = next(each["status"]["containerStatuses"][0] for each in pods.values() if each["spec"]["containers"][0]["image"] == "broken:1")
    assert state["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert state["lastState"]["terminated"]["reason"] == "OOMKilled"
    broken = next(name for name, each in pods.items() if each["spec"]["containers"][0]["image"] == "broken:1")
    assert both.run("kubectl", "logs", broken, "--tail=1").stdout == "CUDA error: out of memory\n"
    assert "Back-off restarting failed container" in both.kubectl("events", "--for", f"pod/{broken}")
    assert "CrashLoopBackOff" in both.kubectl("get", "pods")
    both.kubectl("rollout", "undo", "deployment/web")
    both.kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    assert both.get("deployment", "web")["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"
    watch.terminate()
    seen = watch.communicate(timeout=10)[0]
    assert seen.count("ADDED") >= 3
    assert {"MODIFIED", "DELETED"} <= set(seen.split())


def test_states_of_pods(cluster: Cluster) -> None:
    stand_in = cluster.configured
    stand_in.behave("unready", "unready")
    stand_in.behave("absent", "pull-error")
    kinds = {"ready": PAUSE, "unready": "unready:1", "absent": "absent:1"}
    pods = [pod(name, image) for name, image in kinds.items()]
    no_secret = pod("no-secret", PAUSE, env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "missing", "key": "a"}}}])
    no_gpu = pod("no-gpu", PAUSE, resources={"limits": {GPU: 1}})
    init = pod("init", PAUSE)
    init["spec"]["initContainers"] = [{"name": "fill", "image": "unready:1"}]
    annotated = pod("annotated", PAUSE)
    annotated["metadata"]["annotations"] = {"stand-in/state": "crash", "stand-in/log": "by annotation\n"}
    cluster.apply(*pods, no_secret, no_gpu, init, annotated)
    cluster.kubectl("wait", "--for=condition=Ready", "pod/ready", "--timeout=20s")
    stand_in.settle()
    shown = {line.split()[0]: line.split()[1:3] for line in cluster.run("kubectl", "get", "pods", "--no-headers").stdout.splitlines()}
    assert shown == {
        "ready": ["1/1", "Running"],
        "unready": ["0/1", "Running"],
        "absent": ["0/1", "ImagePullBackOff"],
        "no-secret": ["0/1", "CreateContainerConfigError"],
        "no-gpu": ["0/1", "Pending"],
        "init": ["0/1", "Init:0/1"],
        "annotated": ["0/1", "CrashLoopBackOff"],
    }
    events = cluster.kubectl("get", "events", "--output", "custom-columns=R:.reason,M:.message")
    for told in ("Insufficient nvidia.com/gpu", "Readiness probe failed", 'Failed to pull image "absent:1"', 'secret "missing" not found'):
        assert told in events
    assert cluster.run("kubectl", "logs", "annotated").stdout == "by annotation\n"
    cluster.kubectl("create", "secret", "generic", "missing", "--from-literal=a=b")
    stand_in.set_allocatable(**{GPU: 1})
    stand_in.behave("unready", "ready")
    cluster.kubectl("wait", "--for=condition=Ready", "pod/no-secret", "pod/no-gpu", "pod/unready", "--timeout=20s")


def pod(name: str, image: str, **container: Any) -> dict[str, Any]:
    spec = {"containers": [{"name": "main", "image": image, **container}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec}


def test_custom_resources_come_with_their_definition(both: Cluster) -> None:
    schema = {"type": "object", "required": ["size"], "properties": {"size": {"type": "integer", "maximum": 9}}}
    definition = custom_definition("tests.serving.triton", "Toy", "toys", schema)
    toy = {"apiVersion": "tests.serving.triton/v1", "kind": "Toy", "metadata": {"name": "a"}, "spec": {"size": 1}}
    try:
        both.apply(definition)
        both.kubectl("wait", "--for=condition=Established", "crd/toys.tests.serving.triton", "--timeout=20s")
        with both.namespace() as namespace:
            if both.stand_in:
                both.stand_in.operate(
                    "Toy", lambda value: {"conditions": [{"type": "Ready", "status": "True"}], "size": value["spec"]["size"]}
                )
                both.apply(toy, namespace=namespace)
                both.kubectl("wait", "--for=condition=Ready", "toy/a", "--namespace", namespace, "--timeout=20s")
            both.apply({**toy, "spec": {"size": 2}}, namespace=namespace)
            assert both.get("toys", "a", namespace)["spec"] == {"size": 2}
            for spec, told in (({"size": 10}, "spec.size"), ({"sise": 1}, "size"), ({"size": 1, "x": 1}, 'unknown field "spec.x"')):
                value = json.dumps({**toy, "spec": spec})
                assert told in both.kubectl("apply", "--namespace", namespace, "--filename", "-", stdin=value, rc=1)
    finally:
        both.kubectl("delete", "crd", "toys.tests.serving.triton", "--timeout=20s")
    assert "NotFound" in both.kubectl("get", "crd", "toys.tests.serving.triton", rc=1)


def test_what_belongs_to_something_goes_with_it(cluster: Cluster) -> None:
    with cluster.namespace() as namespace:
        place = ("--namespace", namespace)
        for how, left in (("background", 0), ("foreground", 0), ("orphan", 1)):
            cluster.apply(deployment(), namespace=namespace)
            cluster.kubectl("rollout", "status", "deployment/web", *place, "--timeout=60s")
            cluster.kubectl("delete", "deployment", "web", *place, f"--cascade={how}", "--timeout=20s")
            until(lambda left=left: len(cluster.get("replicasets", namespace=namespace)["items"]) == left, f"{left} sets are left")
        claim = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "held", "finalizers": ["tests/held"]}}
        cluster.apply(claim, namespace=namespace)
        cluster.kubectl("delete", "configmap", "held", *place, "--wait=false")
        assert cluster.get("configmap", "held", namespace)["metadata"]["deletionTimestamp"]
        cluster.kubectl("patch", "configmap", "held", *place, "--type=merge", "--patch", '{"metadata": {"finalizers": null}}')
        assert "NotFound" in cluster.kubectl("get", "configmap", "held", *place, rc=1)
    cluster.kubectl("delete", "namespace", namespace, "--ignore-not-found", "--timeout=60s")
    assert "NotFound" in cluster.kubectl("get", "namespace", namespace, rc=1)


# --- workloads


def test_sets_claims_jobs_and_budgets(cluster: Cluster) -> None:
    cluster.configured.behave("fails", "exit", exit_code=1, log="no such model\n")
    template = deployment()["spec"]
    claim = {"metadata": {"name": "models"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
    stateful = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "web"}}
    stateful["spec"] = {**template, "replicas": 2, "serviceName": "web", "volumeClaimTemplates": [claim]}  # type: ignore[assignment]
    daemon = {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "plugin"}}
    daemon["spec"] = {key: template[key] for key in ("selector", "template")}
    budget = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"}}
    budget["spec"] = {"minAvailable": 3, "selector": {"matchLabels": {"app": "web"}}}  # type: ignore[assignment]
    cluster.configured.add_node("node-1")
    cluster.apply(stateful, daemon, budget, job("works", PAUSE), job("breaks", "fails:1"))
    cluster.kubectl("rollout", "status", "statefulset/web", "--timeout=20s")
    cluster.kubectl("rollout", "status", "daemonset/plugin", "--timeout=20s")
    cluster.kubectl("wait", "--for=condition=Complete", "job/works", "--timeout=20s")
    cluster.kubectl("wait", "--for=condition=Failed", "job/breaks", "--timeout=20s")
    assert {each["status"]["phase"] for each in cluster.get("pvc")["items"]} == {"Bound"}
    assert {each["metadata"]["name"] for each in cluster.get("pvc")["items"]} == {"models-web-0", "models-web-1"}
    assert cluster.get("pdb", "web")["status"]["disruptionsAllowed"] == 1
    drained = cluster.kubectl("drain", "node-1", "--ignore-daemonsets", "--force", "--timeout=5s", rc=None)
    assert "evicting pod" in drained
    assert all(each["spec"]["nodeName"] == "node-0" for each in cluster.get("pods")["items"] if each["metadata"]["name"].startswith("web-"))
    cluster.kubectl("delete", "node", "node-1")
    until(lambda: cluster.get("daemonset", "plugin")["status"]["currentNumberScheduled"] == 1, "the node's pods are gone")
    cluster.kubectl("delete", "pvc", "models-web-0", "--wait=false")
    assert cluster.get("pvc", "models-web-0")["metadata"]["deletionTimestamp"], "a pod uses it"
    cluster.kubectl("delete", "statefulset", "web", "--timeout=20s")
    until(
        lambda: [each["metadata"]["name"] for each in cluster.get("pvc")["items"]] == ["models-web-1"], "the claim goes with its last pod"
    )


def job(name: str, image: str) -> dict[str, Any]:
    spec = {"restartPolicy": "Never", "containers": [{"name": "main", "image": image}]}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"backoffLimit": 1, "template": {"spec": spec}}}


def test_a_device_plugin_brings_gpus_and_an_autoscaler_uses_them(cluster: Cluster) -> None:
    stand_in = cluster.configured
    stand_in.behave("device-plugin", Behaviour(on_ready=lambda pod: stand_in.set_allocatable(pod["spec"]["nodeName"], **{GPU: 2})))
    gpu = {"name": "main", "image": PAUSE, "resources": {"limits": {GPU: 1}}}
    scaler = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"}}
    scaler["spec"] = {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}  # type: ignore[assignment]
    plugin = {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "plugin"}}
    template = deployment("plugin", {"name": "main", "image": "device-plugin:1"})["spec"]
    plugin["spec"] = {key: template[key] for key in ("selector", "template")}
    cluster.apply(deployment("web", gpu, replicas=None), scaler)
    assert "timed out" in cluster.kubectl("rollout", "status", "deployment/web", "--timeout=0.5s", rc=1)
    cluster.apply(plugin)
    cluster.kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    stand_in.measure(cpu=240)
    until(lambda: cluster.get("deployment", "web")["status"].get("readyReplicas") == 2, "as many as there are GPUs")
    assert cluster.get("hpa", "web")["status"]["desiredReplicas"] == 3


# --- who may, and what the protocol promises


def test_credentials_decide(cluster: Cluster, tmp_path: Path) -> None:
    stand_in = cluster.configured
    cluster.kubectl("create", "serviceaccount", "reader")
    binding = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "reader"}}
    binding["roleRef"] = {"kind": "ClusterRole", "name": "view", "apiGroup": "rbac.authorization.k8s.io"}  # type: ignore[assignment]
    binding["subjects"] = [{"kind": "ServiceAccount", "name": "reader", "namespace": "default"}]  # type: ignore[assignment]
    cluster.apply(binding)
    token = cluster.run("kubectl", "create", "token", "reader").stdout.strip()
    reader = ("--kubeconfig", stand_in.kubeconfig(tmp_path / "reader", token=token))
    cluster.kubectl("get", "pods", *reader)
    told = cluster.kubectl("delete", "pods", "--all", "--namespace", "kube-system", *reader, rc=1)
    assert 'User "system:serviceaccount:default:reader" cannot list resource "pods"' in told
    assert "no" in cluster.kubectl("auth", "can-i", "create", "pods", *reader, rc=1)
    admin = ("--kubeconfig", stand_in.kubeconfig(tmp_path / "admin", user="jane", group="system:masters"))
    assert "jane" in cluster.kubectl("auth", "whoami", *admin)
    cluster.kubectl("get", "pods", "--all-namespaces", *admin)
    nobody = ("--kubeconfig", stand_in.kubeconfig(tmp_path / "nobody", token="wrong-token-of-nobody"))
    assert "Unauthorized" in cluster.kubectl("get", "pods", *nobody, rc=1)


def test_pod_security_is_enforced(cluster: Cluster) -> None:
    with cluster.namespace() as namespace:
        place = ("--namespace", namespace)
        cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
        value = json.dumps(deployment())
        told = cluster.kubectl("apply", *place, "--filename", "-", stdin=value)
        assert "would violate PodSecurity" in told
        reason = ("--output", 'jsonpath={.status.conditions[?(@.type=="ReplicaFailure")].message}')
        until(lambda: "violates PodSecurity" in cluster.run("kubectl", "get", "deployment", "web", *place, *reason).stdout, "the refusal")
        security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True, "runAsUser": 1000}
        main = {"name": "main", "image": PAUSE, "securityContext": {**security, "seccompProfile": {"type": "RuntimeDefault"}}}
        cluster.apply(deployment("web", main), namespace=namespace)
        cluster.kubectl("rollout", "status", "deployment/web", *place, "--timeout=60s")


def test_the_python_client_lists_in_parts_and_watches_on(cluster: Cluster) -> None:
    core = client.client.CoreV1Api(client.config.new_client_from_config(str(cluster.kubeconfig)))
    with cluster.namespace() as namespace:
        for number in range(5):
            core.create_namespaced_config_map(namespace, {"metadata": {"name": f"a{number}", "labels": {"n": str(number)}}})
        raw = json.loads(cluster.kubectl("get", "--raw", f"/api/v1/namespaces/{namespace}/configmaps?labelSelector=n%3D0"))
        assert (raw["kind"], [sorted(each) for each in raw["items"]]) == ("ConfigMapList", [["metadata"]]), "items do not name their kind"
        assert "the server could not find" in cluster.kubectl("get", "--raw", "/apis/nowhere.example/v1/toys", rc=1)
        first = core.list_namespaced_config_map(namespace, limit=4, label_selector="n")
        assert (len(first.items), first.metadata.remaining_item_count) == (4, None)
        assert core.list_namespaced_config_map(namespace, limit=1).metadata.remaining_item_count >= 4
        rest = core.list_namespaced_config_map(namespace, limit=4, label_selector="n", _continue=first.metadata._continue)
        assert [each.metadata.name for each in rest.items] == ["a4"]
        core.patch_namespaced_config_map("a0", namespace, {"data": {"k": "v"}})
        core.delete_namespaced_config_map("a1", namespace)
        since = {"resource_version": first.metadata.resource_version, "timeout_seconds": 1, "label_selector": "n"}
        events = list(client.watch.Watch().stream(core.list_namespaced_config_map, namespace, **since))
        assert [(each["type"], each["object"].metadata.name) for each in events] == [("MODIFIED", "a0"), ("DELETED", "a1")]
        if cluster.stand_in:
            cluster.stand_in.compact()
            with pytest.raises(client.client.ApiException) as caught:
                list(client.watch.Watch().stream(core.list_namespaced_config_map, namespace, **since))
            assert caught.value.status == 410
        stale = core.read_namespaced_config_map("a2", namespace)
        core.patch_namespaced_config_map("a2", namespace, {"data": {"k": "v"}})
        with pytest.raises(client.client.ApiException) as caught:
            core.replace_namespaced_config_map("a2", namespace, stale)
        assert caught.value.status == 409


def test_faults_are_served_on_demand(cluster: Cluster) -> None:
    stand_in = cluster.configured
    stand_in.faults.append(Fault("answer", "GET", "/namespaces/default/pods", 429, "TooManyRequests"))
    assert "No resources found" in cluster.kubectl("get", "pods")
    stand_in.faults.append(Fault("answer", "GET", "/namespaces/default/pods", 500, "InternalError"))
    assert "By order of the test" in cluster.kubectl("get", "pods", rc=1)
    stand_in.faults.append(Fault("lost", "POST", "/namespaces/default/configmaps"))
    assert "EOF" in cluster.kubectl("create", "configmap", "lost", rc=1)
    assert cluster.get("configmap", "lost")
    codes = [each.code for each in stand_in.log if "/namespaces/default/pods" in each.path]
    assert codes[:3] == [429, 200, 500]


@pytest.mark.parametrize("version", [supported_versions()[-1], "1.30"])
def test_other_versions_serve_what_they_had(tmp_path: Path, version: str) -> None:
    with open_cluster(tmp_path, version=version) as cluster:
        told = json.loads(cluster.run("kubectl", "version", "--output", "json").stdout)
        if cluster.stand_in:
            assert told["serverVersion"]["minor"] == version.partition(".")[2]
        cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept"}})
        cluster.kubectl("delete", "configmap", "kept")
        value = json.dumps({"apiVersion": "policy/v1beta1", "kind": "PodDisruptionBudget", "metadata": {"name": "old"}})
        assert "no matches for kind" in cluster.kubectl("apply", "--filename", "-", stdin=value, rc=1)


# --- pods that run


class Greeter:
    """A pod that answers HTTP on port 8000 of its address."""

    def __init__(self, pod: Mapping[str, Any], _container: Mapping[str, Any], address: str) -> None:
        name = pod["metadata"]["name"]

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = f"{name} {self.path}".encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
                pass

        self._server = ThreadingHTTPServer((address, 8000), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def ready(self) -> bool:
        return True

    def exit_code(self) -> int | None:
        return None

    def log(self) -> str:
        return "listening\n"

    def stop(self, grace: float) -> None:
        self._server.shutdown()
        self._server.server_close()


def test_pods_are_reached_in_every_way(both: Cluster) -> None:
    def execute(pod: Mapping[str, Any], container: Mapping[str, Any], command: list[str]) -> tuple[int, str, str]:
        return (0, " ".join(command[1:]) + "\n", "") if command[0] == "echo" else (3, "", "no such command\n")

    both.configured.behave("greeter", Behaviour(start=Greeter, execute=execute))
    both.apply(deployment("web", {"name": "main", "image": "greeter:1", "ports": [{"containerPort": 8000}]}), service())
    both.kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    name = both.get("pods")["items"][0]["metadata"]["name"]
    slices = both.get("endpointslices")["items"]
    address = slices[0]["endpoints"][0]["addresses"][0]
    with urlopen(f"http://{address}:{slices[0]['ports'][0]['port']}/direct", timeout=10) as answer:
        assert answer.read().decode() == f"{name} /direct"
    for path in (f"pods/{name}:8000", "services/web:http", "services/web:8000"):
        told = both.kubectl("get", "--raw", f"/api/v1/namespaces/default/{path}/proxy/v2?a=b")
        assert told == f"{name} /v2?a=b"
    forward = both.start("kubectl", "port-forward", "service/web", ":8000")
    assert forward.stdout
    port = int(forward.stdout.readline().split(" -> ")[0].rsplit(":", 1)[1])
    for number in range(3):
        with urlopen(f"http://127.0.0.1:{port}/{number}", timeout=10) as answer:
            assert answer.read().decode() == f"{name} /{number}"
    forward.terminate()
    forward.communicate(timeout=10)
    assert both.run("kubectl", "exec", name, "--", "echo", "hello").stdout == "hello\n"
    assert "no such command" in both.kubectl("exec", name, "--", "other", rc=3)
    assert both.run("kubectl", "logs", name).stdout == "listening\n"


def test_the_python_client_executes_and_forwards_to_hidden_pods(tmp_path: Path) -> None:
    with open_cluster(tmp_path, hide=True) as cluster:
        cluster.configured.behave("greeter", Behaviour(start=Greeter, execute=lambda pod, container, command: (0, "done", "")))
        cluster.apply(pod("web", "greeter:1"))
        cluster.kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=20s")
        with pytest.raises(OSError, match="refused"):
            urlopen(f"http://{cluster.get('pod', 'web')['status']['podIP']}:8000", timeout=5)
        assert cluster.kubectl("get", "--raw", "/api/v1/namespaces/default/pods/web:8000/proxy/x") == "web /x"
        execute_and_forward(cluster)


def execute_and_forward(cluster: Cluster) -> None:
    core = client.client.CoreV1Api(client.config.new_client_from_config(str(cluster.kubeconfig)))
    assert stream(core.connect_get_namespaced_pod_exec, "web", "default", command=["x"], stdout=True, stderr=True) == "done"
    core = client.client.CoreV1Api(client.config.new_client_from_config(str(cluster.kubeconfig)))
    forwarded = portforward(core.connect_get_namespaced_pod_portforward, "web", "default", ports="8000")
    connection = forwarded.socket(8000)
    connection.settimeout(10)
    connection.sendall(b"GET /by-channel HTTP/1.0\r\n\r\n")
    answer = b""
    while not answer.endswith(b"/by-channel"):
        answer += connection.recv(4096)
    forwarded.close()


def test_commands_of_containers_run(cluster: Cluster) -> None:
    cluster.configured.behave("command", command_pods(cluster.configured))
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "code"},
        "data": {"say.py": "import sys; sys.exit(sys.argv[1])"},
    }
    finds, fails = (
        pod("finds", "command:1", command=["cat", "/code/say.py"]),
        pod("fails", "command:1", args=["python3", "/code/say.py", "no"]),
    )
    for each in (finds, fails):
        each["spec"].update(restartPolicy="Never", volumes=[{"name": "code", "configMap": {"name": "code"}}])
        each["spec"]["containers"][0]["volumeMounts"] = [{"name": "code", "mountPath": "/code"}]
    copies = pod("copies", "command:1", command=["cat", "/copy/say.py"])
    copies["spec"].update(finds["spec"] | {"containers": copies["spec"]["containers"]})
    copies["spec"]["volumes"] = [*finds["spec"]["volumes"], {"name": "copy", "emptyDir": {}}]
    mounts = [{"name": "code", "mountPath": "/code"}, {"name": "copy", "mountPath": "/copy"}]
    copies["spec"]["containers"][0]["volumeMounts"] = mounts
    copies["spec"]["initContainers"] = [
        {"name": "copy", "image": "command:1", "command": ["cp", "/code/say.py", "/copy/say.py"], "volumeMounts": mounts}
    ]
    cluster.apply(config, finds, fails, copies)
    phases = {"finds": "Succeeded", "fails": "Failed", "copies": "Succeeded"}
    for name, phase in phases.items():
        cluster.kubectl("wait", f"--for=jsonpath={{.status.phase}}={phase}", f"pod/{name}", "--timeout=20s")
    assert cluster.run("kubectl", "logs", "finds").stdout == config["data"]["say.py"]  # type: ignore[index]
    assert cluster.run("kubectl", "logs", "copies").stdout == config["data"]["say.py"]  # type: ignore[index]
    assert cluster.run("kubectl", "logs", "fails").stdout == "no\n"
    assert cluster.get("pod", "fails")["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 1


def test_real_tritons_roll_without_a_failed_request(tmp_path: Path) -> None:
    repository = tmp_path / "models"
    repository.mkdir()
    write_add_sub(repository)
    with open_cluster(tmp_path, forward=True) as cluster:
        cluster.configured.behave("tritonserver", triton_pods(cluster.configured, volumes={"models": repository}))
        cluster.apply(*triton("tritonserver:1"))
        cluster.kubectl("rollout", "status", "deployment/triton", "--timeout=60s")
        address = cluster.get("service", "triton")["spec"]["clusterIP"]
        with Load(f"http://{address}:8000/v2/models/add_sub/ready") as load:
            cluster.apply(*triton("tritonserver:2"))
            cluster.kubectl("rollout", "status", "deployment/triton", "--timeout=60s")
        assert load.done > 10
        assert load.failures == []
        assert "Started HTTPService at" in cluster.kubectl("logs", "deployment/triton")


def triton(image: str) -> list[dict[str, Any]]:
    options = ["--model-repository=/models", "--model-control-mode=explicit", "--load-model=add_sub"]
    main = {
        "name": "triton", "image": image, "args": ["tritonserver", *options], "ports": [{"name": "http", "containerPort": 8000}],
        "readinessProbe": {"httpGet": {"path": "/v2/models/add_sub/ready", "port": "http"}},
        "lifecycle": {"preStop": {"sleep": {"seconds": 1}}}, "volumeMounts": [{"name": "models", "mountPath": "/models"}],
    }  # fmt: skip
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    volumes = [{"name": "models", "persistentVolumeClaim": {"claimName": "models"}}]
    return [
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "models"}, "spec": claim},
        deployment("triton", main, replicas=2, volumes=volumes, terminationGracePeriodSeconds=20),
        service("triton"),
    ]


class Load:
    """Asks a URL all the time, a connection each. failures: what went wrong."""

    def __init__(self, url: str) -> None:
        self._url, self._ended = url, threading.Event()
        self.done, self.failures = 0, list[str]()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def _ask(self) -> None:
        while not self._ended.wait(0.02):
            try:
                with urlopen(self._url, timeout=10):
                    self.done += 1
            except OSError as error:
                self.failures.append(repr(error))

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_unused: object) -> None:
        self._ended.set()
        self._thread.join(15)


# --- Ansible


def test_the_modules_of_kubernetes_core(cluster: Cluster, chart: Path) -> None:
    """They work with helm 3; what they change they change once."""

    def run(module: str, *, check: bool = False, **args: Any) -> dict[str, Any]:
        """The module in a process of its own, as Ansible would run it."""
        payload = {"ANSIBLE_MODULE_ARGS": {**args, "_ansible_check_mode": check, "_ansible_remote_tmp": str(cluster.folder)}}
        command = [sys.executable, "-m", f"ansible_collections.kubernetes.core.plugins.modules.{module}"]
        done = subprocess.run(
            command, input=json.dumps(payload), capture_output=True, text=True, timeout=120, check=False, env=cluster.environment()
        )
        result: dict[str, Any] = json.loads(done.stdout)
        assert not result.get("failed"), result
        return result

    def thrice(module: str, **args: Any) -> list[bool]:
        return [run(module, check=check, **args)["changed"] for check in (True, False, False)]

    with cluster.namespace() as namespace:
        value = {**deployment("web", replicas=2), "metadata": {"name": "web", "namespace": namespace}}
        waiting = {"wait": True, "wait_sleep": 1, "wait_timeout": 60}
        assert thrice("k8s", definition=value, **waiting) == [True, True, False]
        before = version_of(cluster, "deployment", "web", namespace)
        applied = {"definition": value, "apply": True, "server_side_apply": {"field_manager": "ansible"}}
        assert run("k8s", **applied)["changed"]
        assert not run("k8s", **applied)["changed"]
        assert version_of(cluster, "deployment", "web", namespace) != before
        assert len(run("k8s_info", kind="Pod", namespace=namespace, label_selectors=["app=web"])["resources"]) == 2
        release = {"name": "demo", "namespace": namespace}
        assert thrice("helm", **release, chart_ref=str(chart), wait=True) == [True, True, False]
        assert run("helm_info", **release)["status"]["status"] == "deployed"
        assert run("helm", **release, state="absent", wait=True)["changed"]
        assert thrice("k8s", definition=value, state="absent", **waiting) == [True, True, False]
