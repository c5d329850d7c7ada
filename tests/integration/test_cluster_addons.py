# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Addons of a cluster, with the real helm and small charts in place of the makers': made where nobody has them, else left alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.ansible_runs import ROOT
from support.kubernetes import Cluster, open_cluster
from support.kubernetes.manifests import PAUSE, custom_definition, deployment, service
from support.kubernetes.repositories import Chart
from support.rolecheck import Promise, Workspace, assert_clean, keep, role_play

ROLE = "serving.triton.cluster_addons"
CONTROLLER = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}}
spec:
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata: {labels: {app: {{ .Release.Name }}}}
    spec: {containers: [{name: main, image: %s}]}
"""
# What the values come to, where a test can read it.
VALUES = """
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}-values}
data: {values: {{ toJson .Values | quote }}}
"""
MONITORING = "monitoring.coreos.com/v1"
OPERATOR_KINDS = {"Prometheus": "prometheuses", "ServiceMonitor": "servicemonitors"}


def chart(name: str, image: str = PAUSE, **crds: str) -> Chart:
    definitions = {f"{plural}.yaml": json.dumps(custom_definition("monitoring.coreos.com", kind, plural)) for kind, plural in crds.items()}
    return Chart(name, "1.0.0", {"controller.yaml": CONTROLLER % image, "values.yaml": VALUES}, definitions)


def environment(cluster: Cluster, folder: Path) -> dict[str, str]:
    return cluster.environment(HOME=str(folder), ANSIBLE_PIPELINING="true")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with open_cluster(tmp_path_factory.mktemp("cluster")) as opened:
        yield opened


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archives")
    stack = chart("kube-prometheus-stack", "quay.io/prometheus-operator/prometheus-operator:v1", **OPERATOR_KINDS)
    for each in (stack, chart("prometheus-adapter")):
        (folder / f"{each.name}-{each.version}.tgz").write_bytes(each.pack())
    return folder


def metrics_of_somebody_else() -> list[dict[str, Any]]:
    spec = {
        "group": "metrics.k8s.io", "version": "v1beta1", "service": {"namespace": "kube-system", "name": "metrics-server"},
        "groupPriorityMinimum": 100, "versionPriority": 100, "insecureSkipTLSVerify": True,
    }  # fmt: skip
    return [
        deployment("metrics-server"),
        service("metrics-server", 443),
        {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": "v1beta1.metrics.k8s.io"}, "spec": spec},
    ]


def test_the_role_keeps_its_promise(tmp_path: Path, cluster: Cluster, archives: Path) -> None:
    """Two addons from a folder of charts; the one that somebody else runs stays as it is; definitions that somebody uses outlive absent."""
    cluster.apply(*metrics_of_somebody_else(), deployment("istiod"), namespace="kube-system")
    before = cluster.get("deployment", "metrics-server", "kube-system")["metadata"]["resourceVersion"]
    variables = {
        "cluster_addons_install": ["prometheus-adapter", "metrics-server", "kube-prometheus-stack", "istio"],
        "cluster_addons_archives": str(archives), "cluster_addons_kube_prometheus_stack_version": "1.0.0",
        "cluster_addons_prometheus_adapter_version": "1.0.0", "cluster_addons_patience": 1,
        "cluster_addons_prometheus_adapter_values": {"replicas": 2}, "cluster_addons_istio_inject": ["empty", "used"],
    }  # fmt: skip
    workspace = Workspace(tmp_path, env=environment(cluster, tmp_path))

    def values(release: str) -> Any:
        return json.loads(cluster.get("configmap", f"{release}-values", "monitoring")["data"]["values"])

    def made() -> None:
        adapter = values("prometheus-adapter")
        assert adapter["prometheus"] == {"url": "http://prometheus-operated.monitoring.svc", "port": 9090, "path": ""}
        assert {rule["name"]["as"] for rule in adapter["rules"]["custom"]} >= {"avg_time_queue_us", "DCGM_FI_DEV_GPU_UTIL"}
        assert adapter["replicas"] == 2
        assert values("kube-prometheus-stack")["prometheus"]["prometheusSpec"]["serviceMonitorSelectorNilUsesHelmValues"] is False
        assert cluster.get("deployment", "metrics-server", "kube-system")["metadata"]["resourceVersion"] == before
        cluster.apply(service("theirs", 80), namespace="used")
        cluster.apply(service("kube-prometheus-stack-kubelet", 10250), namespace="kube-system")
        # Not by kubectl, which remembers the kinds that there were.
        cluster.configured.add(MONITORING, "ServiceMonitor", {"metadata": {"name": "theirs", "namespace": "default"}, "spec": {}})

    def gone() -> None:
        assert cluster.kubectl("get", "namespace", "monitoring", "empty", rc=1).count("not found") == 2
        assert cluster.get("service", "theirs", "used")
        assert cluster.kubectl("get", "service", "kube-prometheus-stack-kubelet", "--namespace", "kube-system", rc=1)
        assert cluster.configured.get(MONITORING, "ServiceMonitor", "theirs", "default")
        assert cluster.get("deployment", "metrics-server", "kube-system")["metadata"]["resourceVersion"] == before
        assert not list(Path(cluster.environment()["TMPDIR"]).glob("helm-chart-*"))

    absent = {"cluster_addons_state": "absent"}
    runs = keep(Promise(role_play(ROLE, variables), absent, after_run=made, after_absent=gone), workspace)
    assert "metrics-server: left alone, since it is there: APIService v1beta1.metrics.k8s.io, served by kube-system" in runs[1].output
    assert "prometheus-adapter: installed 1.0.0, in namespace monitoring" in runs[1].output
    assert "The definitions of kube-prometheus-stack stay" in runs[4].output
    assert "ServiceMonitor default theirs" in runs[4].output


def refusal(name: str, **variables: Any) -> dict[str, Any]:
    """Tasks that keep what the preflight says as a line of the output."""
    include = {"name": "Ask", "ansible.builtin.include_role": {"name": ROLE, "tasks_from": "preflight"}, "vars": variables}
    show = {"name": "Show", "ansible.builtin.debug": {"msg": f"{name}: {{{{ ansible_failed_result.msg }}}}"}}
    return {"name": name, "block": [include], "rescue": [show]}


def test_what_cannot_work_is_told_first(tmp_path: Path, cluster: Cluster, archives: Path) -> None:
    stand_in = cluster.configured
    weak = stand_in.kubeconfig(tmp_path / "weak", token=stand_in.access.token("nobody"))
    stand_in.add("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", {
        "metadata": {"name": "nobody"}, "roleRef": {"kind": "ClusterRole", "name": "view", "apiGroup": "rbac.authorization.k8s.io"},
        "subjects": [{"kind": "User", "name": "nobody", "apiGroup": "rbac.authorization.k8s.io"}]})  # fmt: skip
    keda = {"cluster_addons_install": ["keda"]}
    tasks = [
        refusal("unknown", cluster_addons_install=["kedda"]),
        refusal("weak", **keda, cluster_addons_kubeconfig=str(weak)),
        refusal("archives", **keda, cluster_addons_archives=str(archives)),
        refusal("nobody", cluster_addons_install=["prometheus-adapter"], cluster_addons_archives=str(archives),
                cluster_addons_prometheus_adapter_version="1.0.0"),
        refusal("external", **keda, cluster_addons_adapter_external_rules=[{"seriesQuery": "a"}]),
    ]  # fmt: skip
    play = [{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]
    run = Workspace(tmp_path, env=environment(cluster, tmp_path)).run(play)
    assert_clean(run)
    told = run.output.replace("\\n", " ")
    for text in (
        "unknown: cluster_addons_install knows metrics-server", "weak: The credentials for",
        "may not create namespaces, create clusterroles.rbac.authorization.k8s.io",
        "archives: cluster_addons_archives lacks keda-2.20.2.tgz", "nobody: prometheus-adapter asks a Prometheus",
        "external: Either KEDA or the adapter",
    ):  # fmt: skip
        assert text in told, (text, run.tail(100))


def test_the_playbook_does_nothing_without_clusters(tmp_path: Path, cluster: Cluster) -> None:
    run = Workspace(tmp_path, ROOT / "inventories/kubernetes/hosts.yml", env=environment(cluster, tmp_path)).run("serving.triton.cluster")
    assert_clean(run)
    assert not run.tasks
