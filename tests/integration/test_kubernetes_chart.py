# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The chart's life in a cluster, by the real helm 3 and helm 4: installed, upgraded, tested, removed."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import tritonserver
from support.charts.render import CHART, least
from support.kubernetes import Cluster, open_cluster, triton_pods

VALUES = least(gpu={"count": 0}, tests={"image": {"repository": "python", "tag": "3.12"}})
THREES = {"datatype": "INT32", "shape": [1, 16], "data": [3] * 16}
BODY = {"inputs": [{"name": "INPUT0", **THREES}, {"name": "INPUT1", **THREES}]}
KINDS = "deployments,services,configmaps,secrets,serviceaccounts,persistentvolumeclaims,pods"


class Release:
    """One release in a namespace of its own."""

    def __init__(self, cluster: Cluster, namespace: str, name: str) -> None:
        self.cluster, self.namespace, self.name = cluster, namespace, name
        # A real cluster has no bucket for these servers, so they never become ready there.
        self._wait = ["--wait", "--timeout=120s"] if cluster.stand_in else []

    def upgrade(self, values: Any, *, wait: bool = True) -> str:
        arguments = ["upgrade", "--install", self.name, str(CHART), "--values", "-", *(self._wait if wait else [])]
        return self.helm(*arguments, stdin=json.dumps(values))

    def helm(self, *arguments: str, stdin: str = "") -> str:
        return self.cluster.helm("--namespace", self.namespace, *arguments, stdin=stdin)

    def kubectl(self, *arguments: str) -> str:
        return self.cluster.kubectl("--namespace", self.namespace, *arguments)

    def uninstall(self) -> None:
        self.helm("uninstall", self.name, "--wait", "--timeout=120s")

    def objects(self) -> dict[str, Any]:
        """Kind/name → object, of what the chart makes for the release; pods come and go, but for those of tests."""
        found = {f"{each['kind']}/{each['metadata']['name']}": each for each in self.cluster.get(KINDS, namespace=self.namespace)["items"]}
        pod = f"Pod/{self.name}-triton-"
        return {
            name: each for name, each in found.items() if f"/{self.name}-" in name and (not name.startswith(pod) or name == f"{pod}test")
        }


@pytest.fixture(scope="module", params=["helm3", "helm4"])
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with open_cluster(tmp_path_factory.mktemp(request.param), request.param) as found:
        if found.stand_in:
            found.stand_in.behave("python:", "exit")
        yield found


@pytest.fixture
def release(cluster: Cluster) -> Iterator[Release]:
    with cluster.namespace() as namespace:
        yield Release(cluster, namespace, "vision")


def versions(objects: dict[str, Any]) -> dict[str, str]:
    """A Deployment's changes with its pods; what was asked of it has a number of its own."""
    return {name: str(each["metadata"].get("generation") or each["metadata"]["resourceVersion"]) for name, each in objects.items()}


def checksums(objects: dict[str, Any]) -> dict[str, str]:
    return dict(objects["Deployment/vision-triton"]["spec"]["template"]["metadata"]["annotations"])


def key_of(objects: dict[str, Any]) -> str:
    return base64.b64decode(objects["Secret/vision-triton-key"]["data"]["key"]).decode()


def test_a_release_lives(release: Release) -> None:
    """One test of several steps, each on what the one before left."""
    said = release.upgrade(VALUES)
    for command in (
        f"kubectl -n {release.namespace} rollout status deployment/vision-triton --timeout=900s",
        f"helm -n {release.namespace} test vision",
        f"kubectl -n {release.namespace} port-forward service/vision-triton 8000:8000 8001:8001",
        f"kubectl -n {release.namespace} get secret vision-triton-key -o go-template='{{{{index .data \"key\" | base64decode}}}}'",
    ):
        assert f"  {command}\n" in said
    first = release.objects()
    told = release.kubectl("get", "secret", "vision-triton-key", "-o", 'go-template={{index .data "key" | base64decode}}')
    assert (told, len(told)) == (key_of(first), 40)

    release.upgrade(VALUES)
    same = release.objects()
    assert versions(same) == versions(first), "an upgrade to the same values changes nothing: the made key stays"

    release.upgrade({**VALUES, "server": {"options": {"log-verbose": 1}}})
    after = release.objects()
    assert checksums(after)["checksum/config"] != checksums(same)["checksum/config"], "changed options mean new pods"
    assert checksums(after)["checksum/secrets"] == checksums(same)["checksum/secrets"]

    if release.cluster.stand_in:
        release.helm("test", "vision", "--timeout=60s")
    release.uninstall()
    assert list(release.objects()) == []


def test_an_autoscaler_keeps_its_replicas_through_an_upgrade(release: Release) -> None:
    values = {**VALUES, "autoscaling": {"type": "hpa", "cpuUtilization": 70, "minReplicas": 2, "maxReplicas": 4}}
    release.upgrade({**VALUES, "replicaCount": 3}, wait=False)
    release.kubectl("scale", "deployment/vision-triton", "--replicas=4")
    before = release.objects()["Deployment/vision-triton"]
    release.upgrade(values)
    after = release.objects()["Deployment/vision-triton"]
    # A number that helm 3 does not write any more becomes 1, until the autoscaler looks. Helm 4 leaves it to who has changed it.
    kept = after["metadata"]["generation"] == before["metadata"]["generation"] and after["spec"]["replicas"] == 4
    assert kept is (release.cluster.tools == "helm4")

    release.kubectl("scale", "deployment/vision-triton", "--replicas=3")
    release.upgrade({**values, "podAnnotations": {"a": "b"}})
    assert release.objects()["Deployment/vision-triton"]["spec"]["replicas"] == 3
    release.uninstall()


def test_a_kept_claim_outlives_its_release(release: Release) -> None:
    models, cache = {"newClaim": {"size": "1Gi", "retain": True}}, {"newClaim": {"size": "1Gi"}}
    release.upgrade({**VALUES, "modelRepository": {"volume": models}, "cache": {"enabled": True, "volume": cache}}, wait=False)
    release.uninstall()
    claims = [name for name in release.objects() if name.startswith("PersistentVolumeClaim")]
    assert claims == ["PersistentVolumeClaim/vision-triton-models"]


def test_pods_of_the_chart_serve(tmp_path: Path) -> None:
    """Two replicas run a real tritonserver with all that the chart gives it, and `helm test` asks their Service for inferences."""
    repository = tmp_path / "models"
    tritonserver.write_add_sub(repository)
    (tmp_path / "tools").mkdir()
    with open_cluster(tmp_path / "tools", forward=True) as cluster, cluster.namespace() as namespace:
        cluster.configured.behave("tritonserver", triton_pods(cluster.configured, repository))
        release = Release(cluster, namespace, "vision")
        volume = {"hostPath": {"path": str(repository)}}
        values = {"modelRepository": {"volume": volume}, "gpu": {"count": 0}, "replicaCount": 2, "drainSeconds": 0}
        release.upgrade({**values, "probes": {"readiness": {"models": ["add_sub"]}}})
        assert "Succeeded" in release.helm("test", "vision", "--timeout=60s")

        wrong = {"model": "add_sub", "body": BODY, "expect": [{"name": "OUTPUT0", "data": [7] * 16}]}
        release.upgrade({**values, "tests": {"requests": [wrong]}})
        cluster.helm("--namespace", namespace, "test", "vision", "--timeout=60s", rc=1)
        assert "failed  add_sub  OUTPUT0 is [6," in release.kubectl("logs", "pod/vision-triton-test")
        release.uninstall()
