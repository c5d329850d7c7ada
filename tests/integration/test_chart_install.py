# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The chart's life in a cluster, by the real helm 3 and helm 4: installed, upgraded, tested, removed."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import tritonserver
from support.charts.render import CHART, NAMESPACE, least
from support.kubernetes import tools
from support.kubernetes.standin import StandIn
from support.kubernetes.triton import triton_pods

VALUES = least(gpu={"count": 0}, tests={"image": {"repository": "python", "tag": "3.12"}})
WAIT = ("--wait", "--timeout=60s")
KINDS = ("apps/v1/Deployment", "v1/Service", "v1/ConfigMap", "v1/Secret", "v1/ServiceAccount", "v1/PersistentVolumeClaim", "v1/Pod")


class Client:
    """helm and kubectl against one cluster, with a home of their own."""

    def __init__(self, which: str, folder: Path, cluster: StandIn) -> None:
        self._cluster = cluster
        self._programs = tools.folder(which)
        kubeconfig = str(cluster.kubeconfig(folder / "kubeconfig", namespace=NAMESPACE))
        self._environment = {**os.environ, "KUBECONFIG": kubeconfig, "HOME": str(folder), "TMPDIR": str(folder)}

    def run(self, *arguments: str, values: Any = None, program: str = "helm") -> str:
        command = [str(self._programs / program), *arguments, *(["--values", "-"] if values is not None else [])]
        text = None if values is None else json.dumps(values)
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=120, check=False, env=self._environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def install(self, name: str, values: Any, *more: str) -> str:
        return self.run("upgrade", "--install", name, str(CHART), "--create-namespace", *more, values=values)

    def objects(self, release: str) -> dict[str, Any]:
        """Kind/name → object, of what the chart may make for a release."""
        found = {}
        for each in KINDS:
            api_version, _slash, kind = each.rpartition("/")
            things = self._cluster.all(api_version, kind, NAMESPACE)
            found.update({f"{kind}/{thing['metadata']['name']}": thing for thing in things})
        return {name: thing for name, thing in found.items() if f"/{release}-" in name}


@pytest.fixture(scope="module", params=["helm3", "helm4"])
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with StandIn() as cluster:
        cluster.behave("python:", "exit")
        yield Client(request.param, tmp_path_factory.mktemp(request.param), cluster)


def versions(objects: dict[str, Any]) -> dict[str, str]:
    return {name: each["metadata"]["resourceVersion"] for name, each in objects.items()}


def checksums(objects: dict[str, Any]) -> dict[str, str]:
    return dict(objects["Deployment/vision-triton"]["spec"]["template"]["metadata"]["annotations"])


def test_a_release_lives(client: Client) -> None:
    """One test of several steps, each on what the one before left."""
    said = client.install("vision", VALUES, *WAIT)
    for command in (
        "kubectl -n inference rollout status deployment/vision-triton --timeout=900s",
        "helm -n inference test vision",
        "kubectl -n inference logs pod/vision-triton-test",
        "kubectl -n inference port-forward service/vision-triton 8000:8000 8001:8001",
        "kubectl -n inference get secret vision-triton-key -o go-template='{{index .data \"key\" | base64decode}}'",
    ):
        assert f"  {command}\n" in said
    first = client.objects("vision")
    key = base64.b64decode(first["Secret/vision-triton-key"]["data"]["key"]).decode()
    told = client.run(*["get", "secret", "vision-triton-key", "-o"], 'go-template={{index .data "key" | base64decode}}', program="kubectl")
    assert (told, len(key)) == (key, 40)

    client.install("vision", VALUES, *WAIT)
    same = client.objects("vision")
    assert versions(same) == versions(first), "an upgrade to the same values changes nothing: the made key stays"

    client.install("vision", {**VALUES, "server": {"options": {"log-verbose": 1}}}, *WAIT)
    after = client.objects("vision")
    assert checksums(after)["checksum/config"] != checksums(same)["checksum/config"], "changed options mean new pods"
    assert checksums(after)["checksum/secrets"] == checksums(same)["checksum/secrets"]

    client.run("test", "vision", "--timeout=60s")
    client.run("uninstall", "vision", *WAIT)
    assert list(client.objects("vision")) == []


def test_an_autoscaler_keeps_its_replicas_through_an_upgrade(client: Client) -> None:
    values = {**VALUES, "autoscaling": {"type": "hpa", "cpuUtilization": 70}}
    client.install("scaled", values, *WAIT)
    client.run("scale", "deployment/scaled-triton", "--replicas=3", program="kubectl")
    client.install("scaled", {**values, "podAnnotations": {"a": "b"}}, *WAIT)
    assert client.objects("scaled")["Deployment/scaled-triton"]["spec"]["replicas"] == 3
    client.run("uninstall", "scaled", *WAIT)


def test_a_kept_claim_outlives_its_release(client: Client) -> None:
    models, cache = {"newClaim": {"size": "1Gi", "retain": True}}, {"newClaim": {"size": "1Gi"}}
    client.install("kept", {**VALUES, "modelRepository": {"volume": models}, "cache": {"enabled": True, "volume": cache}})
    client.run("uninstall", "kept")
    claims = [name for name in client.objects("kept") if name.startswith("PersistentVolumeClaim")]
    assert claims == ["PersistentVolumeClaim/kept-triton-models"]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    tritonserver.write_add_sub(tmp_path / "models")
    return tmp_path / "models"


def test_pods_of_the_chart_serve(tmp_path: Path, repository: Path) -> None:
    """Two replicas run a real tritonserver with all that the chart gives it, behind its Service; `helm test` asks them."""
    with StandIn(forward=True) as cluster:
        cluster.behave("tritonserver", triton_pods(cluster, repository))
        client = Client("helm3", tmp_path, cluster)
        values = {
            **VALUES,
            "modelRepository": {"volume": {"hostPath": {"path": str(repository)}}},
            "replicaCount": 2,
            "probes": {"readiness": {"models": ["add_sub"]}},
            "drainSeconds": 0,
        }
        client.install("vision", values, "--wait", "--timeout=120s")
        objects = client.objects("vision")
        address = objects["Service/vision-triton"]["spec"]["clusterIP"]
        asked = tmp_path / "requests.json"
        asked.write_text(objects["ConfigMap/vision-triton-test"]["data"]["requests.json"].replace('["add_sub"]', "[]"))
        key = base64.b64decode(objects["Secret/vision-triton-key"]["data"]["key"]).decode()
        command = [sys.executable, str(CHART / "files" / "inference.py"), f"http://{address}:8000", str(asked)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env={**os.environ, "TRITON_KEY": key})
        assert (done.returncode, done.stdout) == (0, "ok      add_sub 1 answered\n1 of 1 inferences\n")
        client.run("uninstall", "vision", *WAIT)
