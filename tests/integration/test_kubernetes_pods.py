# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Replicas of a real Triton on a cluster that runs pods, of the image that a variable names; skipped without it.

The models come in ConfigMaps, so nodes need nothing of this machine, and everything is asked through the API server. Where the cluster is
the stand-in, its pods run this machine's tritonserver.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.kubernetes import IMAGE, Cluster, open_cluster, triton_pods
from support.load import Load
from support.rolecheck import PlaybookRun, Workspace, role_play
from support.scorer import CODE, CONFIG, NAME

ROLE = "serving.triton.server_kubernetes"
RELEASE = "pods"
# An image has gigabytes, which each node pulls once.
PULL_SECONDS = 1800
VALUES = {
    "gpu": {"count": 0}, "drainSeconds": 5, "server": {"exitTimeoutSeconds": 10}, "rollout": {"progressDeadlineSeconds": PULL_SECONDS},
    "podDisruptionBudget": {"enabled": True}, "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}},
}  # fmt: skip
THREE: Mapping[str, Any] = {"replicaCount": 3}
FOUR: Mapping[str, Any] = {"autoscaling": {"type": "hpa", "cpuUtilization": 99, "minReplicas": 4, "maxReplicas": 4}}


def image_values(name: str) -> dict[str, Any]:
    """registry/repository:tag as the chart has it."""
    registry, slash, rest = name.partition("/")
    if not slash or not re.search("[.:]|^localhost$", registry):
        registry, rest = "docker.io", name
    repository, _colon, tag = rest.partition(":")
    return {"registry": registry, "repository": repository, "tag": tag}


@dataclass
class Site:
    """One release in a namespace of its own."""

    cluster: Cluster
    folder: Path
    namespace: str
    image: str

    def write(self, name: str, version: int, **more: Any) -> dict[str, Any]:
        """Values for the model in a ConfigMap, which this makes."""
        data = {"config.pbtxt": CONFIG.format(version=version), "model.py": CODE.format(**{"add": 1, "initialize": "pass", **more})}
        self.cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}, namespace=self.namespace)
        places = {"config.pbtxt": f"models/{NAME}/config.pbtxt", "model.py": f"models/{NAME}/{version}/model.py"}
        items = [{"key": key, "path": path} for key, path in places.items()]
        # A ConfigMap as a whole shows folders of the kubelet's own, which Triton would take for models.
        return {"modelRepository": {"subPath": "models", "volume": {"configMap": {"name": name, "items": items}}}}

    def run(self, play: Any, rc: int = 0, **variables: Any) -> PlaybookRun:
        named = {
            "server_kubernetes_name": RELEASE, "server_kubernetes_namespace": self.namespace, "server_kubernetes_repository": "/models",
            "server_kubernetes_rollout_timeout": PULL_SECONDS, "server_kubernetes_patience": 15, **variables,
        }  # fmt: skip
        found = Workspace(self.folder, env=self.cluster.environment(HOME=str(self.folder)), timeout=PULL_SECONDS + 300).run(
            play, variables=named
        )
        assert found.rc == rc, found.tail(100)
        return found

    def deploy(self, model: Mapping[str, Any], scale: Mapping[str, Any], rc: int = 0) -> PlaybookRun:
        values = {**VALUES, **model, **scale, "image": image_values(self.image)}
        return self.run(role_play(ROLE), rc, server_kubernetes_values=values)

    def set_model(self, state: str) -> None:
        """Loads or unloads the model on every replica."""
        look = {"name": "Look", "ansible.builtin.include_role": {"name": ROLE, "tasks_from": "endpoint"}}
        change = {"name": "Change", "serving.triton.model": {"endpoint": "{{ triton_endpoint }}", "name": NAME, "state": state}}
        self.run([{"hosts": "localhost", "gather_facts": False, "tasks": [look, change]}])

    def pods(self) -> dict[str, Any]:
        """Name → pod, of those that are not about to go."""
        found = self.cluster.get("pods", namespace=self.namespace)["items"]
        return {pod["metadata"]["name"]: pod for pod in found if "deletionTimestamp" not in pod["metadata"]}

    def versions(self) -> list[list[str]]:
        """Those that each replica serves, asked one by one; nothing for a replica that does not."""
        found = []
        for name in self.pods():
            path = f"/api/v1/namespaces/{self.namespace}/pods/{name}:8000/proxy/v2/models/{NAME}"
            done = self.cluster.run("kubectl", "get", "--raw", path, rc=None)
            found.append(json.loads(done.stdout)["versions"] if done.returncode == 0 else [])
        return found

    @contextmanager
    def load(self) -> Iterator[Load]:
        """Requests to the Service, by way of the API server: no port-forward, which leads to one pod and ends with it."""
        proxy = self.cluster.start("kubectl", "proxy", "--port=0")
        try:
            assert proxy.stdout
            address = proxy.stdout.readline().rsplit(" ", 1)[1].strip()
            with Load(f"{address}/api/v1/namespaces/{self.namespace}/services/{RELEASE}:http/proxy", reconnect=True) as load:
                yield load
        finally:
            proxy.terminate()
            proxy.communicate(timeout=10)

    def drain(self) -> None:
        """Takes the replicas from a node, where there is another one for them."""
        nodes = [each for each in self.cluster.get("nodes")["items"] if not each["spec"].get("unschedulable")]
        if len(nodes) < 2:
            return
        node = next(iter(self.pods().values()))["spec"]["nodeName"]
        mine = f"--pod-selector=app.kubernetes.io/instance={RELEASE}"
        try:
            flags = ["--ignore-daemonsets", "--delete-emptydir-data", f"--timeout={PULL_SECONDS}s"]
            self.cluster.run("kubectl", "drain", node, mine, *flags, timeout=PULL_SECONDS + 60)
            until(lambda: node not in {pod["spec"].get("nodeName") for pod in self.pods().values()} and self.versions() == [["2"]] * 4)
        finally:
            self.cluster.kubectl("uncordon", node)


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PULL_SECONDS
    while not holds():
        assert time.monotonic() < end, "it does not come true"
        time.sleep(1)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    image = os.environ.get(IMAGE, "")
    if not image:
        pytest.skip(f"{IMAGE} names no image with tritonserver")
    (tmp_path / "tools").mkdir()
    with open_cluster(tmp_path / "tools") as cluster:
        if cluster.stand_in:
            cluster.stand_in.behave(re.escape(image), triton_pods(cluster.stand_in))
            cluster.stand_in.add_node("node-1")
        with cluster.namespace() as namespace:
            yield Site(cluster, tmp_path, namespace, image)


def test_no_request_fails_while_real_replicas_change(site: Site) -> None:
    """Three replicas whose model is loaded on each; a rolling update, a bad model that is rolled back, an autoscaler, a drained node."""
    first, second = site.write("first", 1), site.write("second", 2)
    bad = site.write("bad", 3, initialize='raise RuntimeError("no weights")')
    site.deploy(first, THREE)
    assert site.versions() == [["1"]] * 3
    site.set_model("unloaded")
    assert site.versions() == [[]] * 3
    site.set_model("loaded")
    assert site.versions() == [["1"]] * 3

    with site.load() as load:
        site.deploy(second, THREE)
        assert site.versions() == [["2"]] * 3
        failed = site.deploy(bad, THREE, rc=2).output.replace("\\n", " ")
        assert "no weights" in failed
        assert "which served before, serves again" in failed
        assert site.versions() == [["2"]] * 3
        site.deploy(second, FOUR)
        until(lambda: site.versions() == [["2"]] * 4)
        site.drain()
    assert load.failures == []
    assert load.seen.keys() == {1, 2}

    site.run(role_play(ROLE), server_kubernetes_state="absent")
    assert site.cluster.get("deployments", namespace=site.namespace)["items"] == []
