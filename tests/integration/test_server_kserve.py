# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Triton by KServe: the role's promise, the whole site with releases on real tritonservers, and a canary on Knative.

KServe is the stand-in's (support.kubernetes.kserve). Its storage initializer copies what was published, with the role's credentials.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support import tritonserver
from support.ansible_runs import ROOT
from support.kubernetes import Cluster, open_cluster, triton_pods
from support.kubernetes.kserve import KServe
from support.rolecheck import PlaybookRun, Promise, Workspace, assert_clean, keep, role_play

ROLE = "serving.triton.server_kserve"
CANARIES = ["canary-secret-key-93b2", "canary-variable-c07d"]
KEYS = {"AWS_ACCESS_KEY_ID": "reader", "AWS_SECRET_ACCESS_KEY": CANARIES[0]}
STORE = "s3://models/production"
SMALL = {
    "server_kserve_gpus": 0, "server_kserve_image": "real-triton:1", "server_kserve_patience": 1, "server_kserve_storage_uri": STORE,
    "server_kserve_models": "", "server_kserve_resources": {"requests": {"cpu": 0.1, "memory": "128Mi"}},
}  # fmt: skip


@dataclass
class Place:
    cluster: Cluster
    kserve: KServe


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with open_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        cluster.configured.behave("real-triton", triton_pods(cluster.configured))
        yield Place(cluster, KServe(cluster, {}, KEYS, knative=True))


def told(run: PlaybookRun) -> str:
    return run.output.replace("\n", " ").replace("\\n", " ")


def workspace(place: Place, folder: Path) -> Workspace:
    return Workspace(folder, env=place.cluster.environment(HOME=str(folder)))


def test_the_role_keeps_its_promise(tmp_path: Path, place: Place) -> None:
    """Check mode predicts, a second run is idle, absent leaves nothing; credentials reach what copies the models, and nobody else."""
    (tmp_path / "models").mkdir()
    tritonserver.write_add_sub(tmp_path / "models")
    place.kserve.stores[STORE] = tmp_path / "models"
    variables = {
        **SMALL, "server_kserve_image": "simulated:1", "server_kserve_name": "promise", "server_kserve_namespace": "promise",
        "server_kserve_environment": {**KEYS, "AWS_DEFAULT_REGION": "eu-central-1", "APP_TOKEN": CANARIES[1]},
    }  # fmt: skip

    def running() -> None:
        service = place.cluster.get("inferenceservices", "promise", "promise")
        model = service["spec"]["predictor"]["model"]
        assert (model["modelFormat"], model["protocolVersion"], model["storageUri"]) == ({"name": "triton"}, "v2", STORE)
        ports = place.cluster.get("services", "promise-predictor", "promise")["spec"]["ports"]
        assert {each["name"]: each["port"] for each in ports} == {"http": 80, "grpc": 9000, "metrics": 8002}
        (pod,) = place.cluster.get("pods", namespace="promise")["items"]
        assert [each["name"] for each in pod["spec"]["initContainers"][0]["env"]] == [*KEYS, "AWS_DEFAULT_REGION"]
        shown = json.dumps([service, pod, place.cluster.get("servingruntimes", namespace="promise")])
        assert not [canary for canary in CANARIES if canary in shown]

    def gone() -> None:
        assert place.cluster.kubectl("get", "namespace", "promise", rc=1)
        assert not (tmp_path / ".local/state/serving.triton/kserve").exists()

    play = role_play(ROLE, variables)
    promise = Promise(play, absent={"server_kserve_state": "absent"}, canaries=CANARIES, after_run=running, after_absent=gone)
    keep(promise, workspace(place, tmp_path))


@dataclass
class Site:
    """One host of inventories/kserve, and the playbooks run over it."""

    place: Place
    folder: Path

    def run(self, name: str, *flags: str, rc: int = 0, **more: Any) -> PlaybookRun:
        variables = {
            **SMALL, "triton_models": str(self.folder / "models"), "triton_golden": "", "triton_repository": str(self.folder / "published"),
            "triton_store": {}, "triton_environment": KEYS, "server_kserve_service_account_annotations": {},
            "server_kserve_min_replicas": 2, "monitoring_prometheus_install": "none", "triton_report_dir": str(self.folder / "reports"),
        }  # fmt: skip
        workspace = Workspace(self.folder, ROOT / "inventories/kserve/hosts.yml", env=self.place.cluster.environment(HOME=str(self.folder)))
        run = workspace.run(f"serving.triton.{name}", *flags, variables={**variables, **more})
        assert run.rc == rc, run.tail(150)
        assert not run.warnings, run.warnings
        return run

    def versions(self) -> list[list[str]]:
        """Those of add_sub that each ready replica serves, asked directly."""
        found = []
        for pod in self.place.cluster.get("pods", namespace="triton")["items"]:
            with urllib.request.urlopen(f"http://{pod['status']['podIP']}:8080/v2/models/add_sub", timeout=10) as answer:
                found.append(json.load(answer)["versions"])
        return found


@pytest.mark.long
def test_the_whole_site_and_a_release_that_goes_back(tmp_path: Path, place: Place) -> None:
    (tmp_path / "models").mkdir()
    tritonserver.write_add_sub(tmp_path / "models")
    place.kserve.stores[STORE] = tmp_path / "published"
    site = Site(place, tmp_path)
    run = site.run("site")
    assert "Instances   2 of 2 run" in run.output
    assert "1 models answered" in run.output
    assert site.versions() == [["1"]] * 2

    tritonserver.write_add_sub(tmp_path / "models", version=2)
    assert_clean(site.run("release"))
    assert site.versions() == [["2"]] * 2

    # New pods copy a version that does not load; those that serve stay, and the repository goes back.
    tritonserver.write_python_model(tmp_path / "models", "add_sub", 3, code=tritonserver.BROKEN_CODE)
    failed = site.run("release", rc=2)
    for text in ("the weights are missing", "What served before serves again"):
        assert text in told(failed), failed.tail(150)
    assert site.versions() == [["2"]] * 2
    assert sorted(path.name for path in (tmp_path / "published" / "add_sub").iterdir() if path.is_dir()) == ["1", "2"]


@pytest.mark.long
def test_a_canary_on_knative_gets_its_share_or_goes_back(tmp_path: Path, place: Place) -> None:
    """Scaled to zero and woken through a gateway; then a tenth of the requests for another image, then one that does not start."""
    (tmp_path / "models").mkdir()
    variables = {
        **SMALL, "server_kserve_name": "canary", "server_kserve_namespace": "canary", "server_kserve_mode": "Serverless",
        "server_kserve_min_replicas": 0, "server_kserve_environment": KEYS, "server_kserve_image": "first:1",
    }  # fmt: skip
    show = [{"name": "Show", "ansible.builtin.debug": {"msg": "host {{ triton_endpoint.headers.Host }}, {{ triton_server.instances }}"}}]
    (play,) = role_play(ROLE, variables)
    plays = [{**play, "post_tasks": show}]

    def traffic() -> list[int]:
        status = place.cluster.get("inferenceservices", "canary", "canary")["status"]
        return [each["percent"] for each in status["components"]["predictor"]["traffic"]]

    with tritonserver.TritonServer([str(tmp_path / "models")]) as gateway:
        reached = {"server_kserve_ingress": gateway.http}
        first = workspace(place, tmp_path).run(plays, variables=reached)
        assert_clean(first)
        assert "host canary.canary.example.com, 0 run" in told(first)
        assert "Wake the service" in {task.task.split(" : ")[-1] for task in first.tasks if task.status == "ok"}
        assert traffic() == [100]

        tenth = {**reached, "server_kserve_canary_percent": "10"}
        assert_clean(workspace(place, tmp_path).run(plays, variables={**tenth, "server_kserve_image": "second:1"}))
        assert traffic() == [10, 90]
        assert len(place.cluster.get("servingruntimes", namespace="canary")["items"]) == 2

        broken = workspace(place, tmp_path).run(plays, variables={**tenth, "server_kserve_image": "broken:1"})
        assert broken.rc == 2
    for text in ("Container failed with exit 1", "What served before serves again"):
        assert text in told(broken), broken.tail(100)
    template = place.cluster.get("services.serving.knative.dev", "canary-predictor", "canary")["spec"]["template"]
    assert template["spec"]["containers"][0]["image"] == "first:1"
    assert traffic() == [100]


def refusal(name: str, **variables: Any) -> dict[str, Any]:
    """Tasks that keep what the preflight says as a line of the output."""
    include = {"name": "Ask", "ansible.builtin.include_role": {"name": ROLE, "tasks_from": "preflight"}, "vars": {**SMALL, **variables}}
    failed = "{{ ansible_failed_result.results | default([ansible_failed_result]) | selectattr('msg', 'defined') | map(attribute='msg') }}"
    show = {"name": "Show", "ansible.builtin.debug": {"msg": f"{name}: {failed}"}}
    return {"name": name, "block": [include], "rescue": [show]}


def test_what_cannot_work_is_told_first(tmp_path: Path, place: Place) -> None:
    metadata = {"name": "theirs", "namespace": "default"}
    model = {"modelFormat": {"name": "sklearn"}, "runtime": "none", "storageUri": "s3://theirs"}
    group, predictor = "serving.kserve.io", {"predictor": {"model": model}}
    theirs = {"apiVersion": f"{group}/v1beta1", "kind": "InferenceService", "metadata": metadata, "spec": predictor}
    spec = {"supportedModelFormats": [{"name": "sklearn"}], "protocolVersions": ["v1"], "containers": []}
    runtime = {"apiVersion": f"{group}/v1alpha1", "kind": "ServingRuntime", "metadata": {"name": "sklearn"}, "spec": spec}
    place.cluster.apply(theirs, runtime)
    where = {"server_kserve_namespace": "default"}
    tasks = [
        refusal("foreign", **where, server_kserve_name="theirs"),
        refusal("mode", **where, server_kserve_name="theirs", server_kserve_mode="Knative"),
        refusal("missing", **where, server_kserve_runtime="no-such-runtime"),
        refusal("format", **where, server_kserve_runtime="sklearn"),
        refusal("canary", **where, server_kserve_canary_percent="10"),
    ]
    run = workspace(place, tmp_path).run([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}])
    assert run.rc == 0, run.tail(100)
    assert not run.changed
    for text in (
        "InferenceService theirs in namespace default was made by somebody else",
        "has the mode RawDeployment, and KServe does not change it",
        "There is no ServingRuntime no-such-runtime", "serves the formats sklearn by the protocols v1, and not triton by v2",
        "KServe splits requests in the mode Serverless alone",
    ):  # fmt: skip
        assert text in told(run), (text, run.tail(100))
