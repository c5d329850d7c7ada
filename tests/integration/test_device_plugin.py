# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""GPUs of a cluster by the role device_plugin, with the real helm: nodes with configurations of their own, CUDA on each, and what fails.

The charts are small ones with the names and values of NVIDIA's; `DevicePlugins` plays what their pods do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.ansible_runs import run_module
from support.kubernetes import Cluster, StandIn, open_cluster
from support.kubernetes.device_plugins import CONFIG_LABEL, FOUND_LABEL, GPU, DevicePlugins, charts
from support.kubernetes.manifests import custom_definition
from support.rolecheck import PlaybookRun, Workspace, assert_predicted, assert_unchanged, role_play

ROLE = "serving.triton.device_plugin"
NAMESPACE = "nvidia-gpu"
DEFINITION = custom_definition("nfd.k8s-sigs.io", "NodeFeature", "nodefeatures")
TAINT = {"key": GPU, "value": "present", "effect": "NoSchedule"}
CUDA_LOG = "[Vector addition of 50000 elements]\nTest PASSED\nDone"
NO_DRIVER = "error starting plugins: failed to initialize NVML: ERROR_LIBRARY_NOT_FOUND"


@dataclass
class Site:
    """A cluster with two nodes that have GPUs, and runs of the role on it."""

    cluster: Cluster
    charts: dict[str, str]
    folder: Path

    @property
    def stand_in(self) -> StandIn:
        return self.cluster.configured

    def variables(self, **more: Any) -> dict[str, Any]:
        return {
            "device_plugin_chart": self.charts["nvidia-device-plugin"], "device_plugin_dcgm_chart": self.charts["dcgm-exporter"],
            "device_plugin_patience": 2, **more,
        }  # fmt: skip

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.folder, env=self.cluster.environment(HOME=str(self.folder)))

    def run(self, *flags: str, rc: int = 0, **more: Any) -> PlaybookRun:
        run = self.workspace.run(role_play(ROLE, self.variables(**more)), *flags)
        assert run.rc == rc, run.tail(120)
        assert not run.warnings
        return run

    def ask(self, module: str, **options: Any) -> dict[str, Any]:
        """What a module answers, without a playbook around it."""
        options = {"name": "nvidia-device-plugin", "namespace": NAMESPACE, "kubeconfig": str(self.cluster.kubeconfig), **options}
        return run_module(f"serving.triton.{module}", options)

    def node(self, name: str) -> Any:
        return self.cluster.get("node", name)

    def gpus(self, name: str) -> dict[str, str]:
        return {key: value for key, value in self.node(name)["status"]["allocatable"].items() if key.startswith("nvidia.com/")}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with open_cluster(tmp_path_factory.mktemp("cluster")) as opened:
        stand_in = opened.configured
        stand_in.add_node("gpu-1", taints=[TAINT])
        stand_in.add_node("gpu-2", {"pool": "notebooks"}, taints=[TAINT])
        stand_in.behave("cuda-sample", "exit", log=CUDA_LOG)
        opened.apply(custom_definition("monitoring.coreos.com", "ServiceMonitor", "servicemonitors"))
        yield opened


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return charts(tmp_path_factory.mktemp("charts"), DEFINITION)


@pytest.fixture
def site(cluster: Cluster, packed: dict[str, str], tmp_path: Path) -> Site:
    return Site(cluster, packed, tmp_path)


def told(run: PlaybookRun) -> str:
    return run.output.replace("\n", " ").replace("\\n", " ")


def test_the_role_keeps_its_promise(site: Site) -> None:
    """Nodes found by discovery, one of them shared. A plugin that crashes is told, and removed all the same; a label that was there comes
    back, and nothing is left. As rolecheck.keep has it, in fewer runs."""
    plugins = DevicePlugins(site.stand_in, {"gpu-1": 2, "gpu-2": 1})
    site.cluster.kubectl("label", "node", "gpu-2", f"{CONFIG_LABEL}=former")
    configs = {"shared": {"sharing": "time_slicing", "replicas": 4, "rename": True}}
    chosen: dict[str, Any] = {
        "device_plugin_configs": configs, "device_plugin_node_configs": {"pool=notebooks": "shared"},
        "device_plugin_dcgm_exporter": False,
    }  # fmt: skip
    predicted = site.run("--check", "--diff", **chosen)
    assert_predicted(predicted, site.run("--diff", **chosen))
    assert site.gpus("gpu-1") == {GPU: "2"}
    assert site.gpus("gpu-2") == {GPU: "0", f"{GPU}.shared": "4"}
    assert site.gpus("node-0") == {}
    assert site.cluster.get("namespace", NAMESPACE)["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "privileged"
    pods = [each["metadata"]["name"] for each in site.cluster.get("pods", namespace=NAMESPACE)["items"]]
    assert pods
    assert not [name for name in pods if name.startswith("cuda")]
    assert_unchanged(site.run("--diff", **chosen))

    plugins.fail(NO_DRIVER)
    failed = site.ask("device_plugin_rollout", configs={"default": {}, **configs}, patience=1)
    for text in (
        "node gpu-2: nvidia.com/gpu.shared: 0 allocatable instead of 4",
        "CrashLoopBackOff",
        "ERROR_LIBRARY_NOT_FOUND",
        "gpu_driver",
    ):
        assert text in failed["msg"]

    gone = {"device_plugin_state": "absent"}
    predicted = site.run("--check", "--diff", **gone)
    assert_predicted(predicted, site.run("--diff", **gone))
    assert site.cluster.kubectl("get", "namespace", NAMESPACE, "--ignore-not-found") == ""
    assert site.cluster.kubectl("get", "customresourcedefinition", "nodefeatures.nfd.k8s-sigs.io", "--ignore-not-found") == ""
    node = site.node("gpu-2")["metadata"]
    assert node["labels"][CONFIG_LABEL] == "former"
    assert not any("serving.triton" in key for key in node.get("annotations") or {})
    names = ("installed", "patches", "definitions")
    left = site.ask("device_plugin_info", releases=[f"{NAMESPACE}/nvidia-device-plugin"])
    assert {name: left[name] for name in names} == {name: [] for name in names}


def refusal(name: str, **variables: Any) -> dict[str, Any]:
    """Tasks that keep what the preflight says as a line of the output."""
    include = {"name": "Ask", "ansible.builtin.include_role": {"name": ROLE, "tasks_from": "preflight"}, "vars": variables}
    show = {"name": "Show", "ansible.builtin.debug": {"msg": f"{name}: {{{{ ansible_failed_result.msg }}}}"}}
    return {"name": name, "block": [include], "rescue": [show]}


def test_what_is_there_is_left_alone_and_what_cannot_work_is_told(site: Site) -> None:
    """A device plugin of somebody else serves one node: it is waited for and tried, and neither doubled nor configured; the exporter comes
    all the same. A program that fails tells why, and its pods are gone."""
    site.cluster.kubectl("label", "node", "gpu-1", "gpu-2", f"{CONFIG_LABEL}-", f"{FOUND_LABEL}-", f"{GPU}.count-", f"{GPU}.replicas-")
    socket = {"name": "sockets", "hostPath": {"path": "/var/lib/kubelet/device-plugins"}}
    container = {"name": "plugin", "image": "gke.gcr.io/nvidia-gpu-device-plugin:1"}
    template = {"metadata": {"labels": {"app": "gke"}}, "spec": {"containers": [container], "volumes": [socket]}}
    spec = {"selector": {"matchLabels": {"app": "gke"}}, "template": template}
    theirs = {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "gke-gpus"}, "spec": spec}
    refused = [
        refusal("twice", device_plugin_sharing="mps", device_plugin_replicas=2, device_plugin_configs={"default": {}}),
        refusal("undiscovered", device_plugin_nfd="never"),
        {"name": "Add theirs", "kubernetes.core.k8s": {"namespace": "kube-system", "definition": theirs}},
        refusal("theirs", device_plugin_sharing="time_slicing", device_plugin_replicas=2),
    ]
    run = site.workspace.run([{"hosts": "localhost", "gather_facts": False, "tasks": refused}], variables=site.variables())
    assert run.rc == 0, run.tail(100)
    for text in (
        "twice: device_plugin_configs has", "undiscovered: Without node feature discovery",
        "theirs: GPUs of the cluster are served by DaemonSet kube-system/gke-gpus",
    ):  # fmt: skip
        assert text in told(run), (text, run.tail(100))

    site.stand_in.set_allocatable("gpu-1", **{GPU: "2"})
    run = site.run(device_plugin_monitoring_labels={"release": "prometheus"})
    assert "DaemonSet kube-system/gke-gpus: not made by this role" in told(run)
    assert site.cluster.kubectl("get", "namespace", NAMESPACE, "--ignore-not-found") == ""
    assert site.cluster.get("servicemonitors", "dcgm-exporter", "nvidia-dcgm")["metadata"]["labels"]["release"] == "prometheus"

    site.stand_in.behave("cuda-sample", "crash", log="CUDA driver version is insufficient for CUDA runtime version", exit_code=1)
    failed = site.ask("device_plugin_smoke", namespace="default", image="nvcr.io/nvidia/k8s/cuda-sample:1")
    assert "node gpu-1: " in failed["msg"]
    assert "CUDA driver version is insufficient" in failed["msg"]
    assert "upgrade it with the role gpu_driver" in failed["msg"]
    site.stand_in.settle()
    assert site.cluster.get("pods", namespace="default")["items"] == []
