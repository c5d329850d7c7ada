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
from support.kubernetes import Cluster, StandIn, open_cluster
from support.kubernetes.device_plugins import CONFIG_LABEL, GPU, DevicePlugins, charts
from support.kubernetes.manifests import custom_definition
from support.rolecheck import PlaybookRun, Promise, Workspace, keep, role_play

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
    """Nodes found by discovery, one shared by a selector, one by its name; a label that was there comes back; nothing is left."""
    DevicePlugins(site.stand_in, {"gpu-1": 2, "gpu-2": 1})
    site.cluster.kubectl("label", "node", "gpu-1", f"{CONFIG_LABEL}=former")
    variables = site.variables(
        device_plugin_configs={
            "shared": {"sharing": "time_slicing", "replicas": 4, "rename": True},
            "mps": {"sharing": "mps", "replicas": 3},
        },
        device_plugin_node_configs={"pool=notebooks": "shared", "gpu-1": "mps"},
        device_plugin_monitoring_labels={"release": "prometheus"},
    )

    def running() -> None:
        assert site.gpus("gpu-1") == {GPU: "6"}
        assert site.gpus("gpu-2") == {GPU: "0", f"{GPU}.shared": "4"}
        assert site.gpus("node-0") == {}
        monitor = site.cluster.get("servicemonitors", "dcgm-exporter", NAMESPACE)
        assert monitor["metadata"]["labels"]["release"] == "prometheus"
        assert not [each for each in site.cluster.get("pods", namespace=NAMESPACE)["items"] if each["metadata"]["name"].startswith("cuda")]
        assert site.cluster.get("namespace", NAMESPACE)["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "privileged"

    def gone() -> None:
        assert site.cluster.kubectl("get", "namespace", NAMESPACE, rc=1)
        assert site.cluster.kubectl("get", "customresourcedefinition", "nodefeatures.nfd.k8s-sigs.io", rc=1)
        labels = {name: site.node(name)["metadata"]["labels"].get(CONFIG_LABEL) for name in ("gpu-1", "gpu-2")}
        assert labels == {"gpu-1": "former", "gpu-2": None}
        assert not any("serving.triton" in key for name in labels for key in site.node(name)["metadata"].get("annotations") or {})

    promise = Promise(role_play(ROLE, variables), absent={"device_plugin_state": "absent"}, after_run=running, after_absent=gone)
    keep(promise, site.workspace)
    site.cluster.kubectl("label", "node", "gpu-1", f"{CONFIG_LABEL}-")
