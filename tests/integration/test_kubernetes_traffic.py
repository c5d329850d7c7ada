# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The playbooks over replicas of a real tritonserver on Kubernetes, while clients ask their Service and no request fails."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.ansible_runs import ROOT
from support.kubernetes import Cluster, open_cluster, triton_pods
from support.load import Load
from support.rolecheck import PlaybookRun, Workspace, assert_clean
from support.scorer import CODE, CONFIG, GOLDEN, NAME
from support.tritonserver import write_python_model

RELEASE, NAMESPACE = "triton-samples", "triton"
# A replica that goes is asked for some seconds more, until everybody knows.
VALUES = {
    "replicaCount": 3, "gpu": {"count": 0}, "drainSeconds": 3, "image": {"repository": "real-triton"},
    "podDisruptionBudget": {"enabled": True}, "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
}  # fmt: skip
SCALED = {
    **VALUES,
    "podAnnotations": {"new": "pods"},
    "autoscaling": {"type": "hpa", "cpuUtilization": 50, "minReplicas": 3, "maxReplicas": 4},
}


@dataclass
class Site:
    """One host of inventories/kubernetes, and the playbooks run over it."""

    cluster: Cluster
    folder: Path

    def write(self, version: int, **more: Any) -> None:
        code = CODE.format(**{"add": 1, "initialize": "pass", **more})
        write_python_model(self.folder / "models", NAME, version, code=code, config=CONFIG.format(version=version))

    def run(self, name: str, *flags: str, rc: int = 0, **more: Any) -> PlaybookRun:
        golden = self.folder / "golden"
        golden.mkdir(exist_ok=True)
        (golden / f"{NAME}.yml").write_text(json.dumps(GOLDEN))
        variables = {
            "triton_models": str(self.folder / "models"), "triton_golden": str(golden), "triton_repository": str(self.folder / "published"),
            "server_kubernetes_volume": {"hostPath": {"path": str(self.folder / "published")}}, "server_kubernetes_values": VALUES,
            "monitoring_prometheus_install": "none", "triton_report_dir": str(self.folder / "reports"),
        }  # fmt: skip
        workspace = Workspace(self.folder, ROOT / "inventories/kubernetes/hosts.yml", env=self.cluster.environment(HOME=str(self.folder)))
        run = workspace.run(f"serving.triton.{name}", *flags, variables={**variables, **more})
        if rc:
            assert run.rc == rc, run.tail(80)
        else:
            assert_clean(run, step=name)
        return run

    def pods(self) -> dict[str, Any]:
        """Name → pod, of those that are not about to go."""
        found = self.cluster.get("pods", namespace=NAMESPACE)["items"]
        return {pod["metadata"]["name"]: pod for pod in found if "deletionTimestamp" not in pod["metadata"]}

    def versions(self) -> list[list[str]]:
        """Those that each replica serves, asked directly."""
        found = []
        for pod in self.pods().values():
            with urllib.request.urlopen(f"http://{pod['status']['podIP']}:8000/v2/models/{NAME}", timeout=10) as answer:
                found.append(json.load(answer)["versions"])
        return found

    def load(self) -> Load:
        address = self.cluster.get("service", RELEASE, NAMESPACE)["spec"]["clusterIP"]
        return Load(f"{address}:8000", f"{address}:8001", reconnect=True)

    def settle(self) -> None:
        self.cluster.kubectl("--namespace", NAMESPACE, "rollout", "status", f"deployment/{RELEASE}", "--timeout=60s")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "tools").mkdir()
    with open_cluster(tmp_path / "tools", forward=True) as cluster:
        cluster.configured.behave("real-triton", triton_pods(cluster.configured))
        cluster.configured.add_node("node-1")
        yield Site(cluster, tmp_path)


def test_no_request_fails_whatever_happens_to_the_replicas(site: Site) -> None:
    """From a folder of models to three verified replicas; releases, a rolling update, a drained node, an autoscaler; back to nothing."""
    site.write(1)
    first = site.run("site")
    for text in ("Replicas    3", "Instances   3 of 3 run", "1 models answered 6 requests"):
        assert text in first.output
    assert site.versions() == [["1"]] * 3

    with site.load() as load:
        site.write(2)
        released = site.run("release")
        assert "Load on every replica" in {name for _host, _path, name in released.changed}
        assert site.versions() == [["2"]] * 3

        site.write(3, add=2)
        failed = site.run("release", rc=2)
        assert f"What served before serves again: {NAME} 2" in failed.output.replace("\n", " ")
        assert site.versions() == [["2"]] * 3

        before = site.pods()
        site.run("deploy", server_kubernetes_values=SCALED)  # One serves alone until the autoscaler looks: docs/chart.md, Scaling.
        site.cluster.configured.measure(cpu=65)
        site.settle()
        assert len(site.pods()) == 4
        assert not before.keys() & site.pods().keys()
        assert site.versions() == [["2"]] * 4, "a replica more serves what the others do"

        node = next(iter(site.pods().values()))["spec"]["nodeName"]
        site.cluster.kubectl("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=100s")
        site.settle()
        assert node not in {pod["spec"]["nodeName"] for pod in site.pods().values()}
        site.run("rollback", rollback_to={NAME: 1}, server_kubernetes_values=SCALED)
        assert site.versions() == [["1"]] * 4
    assert load.failures == []
    assert load.seen.keys() == {1, 2, 3}

    assert "is Running, 4 of 4 run" in site.run("doctor", server_kubernetes_values=SCALED).output
    site.run("destroy")
    assert site.cluster.kubectl("get", "namespace", NAMESPACE, rc=1)
    assert not (site.folder / "published").exists()
    assert not (site.folder / ".local").exists() or not list((site.folder / ".local/state/serving.triton").iterdir())
