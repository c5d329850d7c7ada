# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an InferenceService is made of, what cannot work with KServe, and when it serves."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from ansible_collections.serving.triton.plugins.module_utils.core.errors import InputError
from ansible_collections.serving.triton.plugins.module_utils.kubernetes.kserve import MODE, PODS, Planned, amount_of, plan, wanted
from ansible_collections.serving.triton.plugins.module_utils.kubernetes.kserve_cluster import (
    Made,
    complaints,
    endpoint,
    held,
    installation,
)
from ansible_collections.serving.triton.plugins.module_utils.kubernetes.kserve_rollout import Goal, assess
from ansible_collections.serving.triton.plugins.module_utils.kubernetes.kserve_storage import credentials, place
from ansible_collections.serving.triton.plugins.module_utils.kubernetes.rollout import DONE, GOING, STUCK, Observed

BASE = {"name": "vision", "namespace": "inference", "repository": "s3://acme/vision", "image": "triton:1"}
SERVERLESS = {"mode": "Serverless"}


def planned(**more: Any) -> Planned:
    return plan(wanted({**BASE, **more}))


def predictor(**more: Any) -> dict[str, Any]:
    return dict(planned(**more).service["spec"]["predictor"])


def server(**more: Any) -> dict[str, Any]:
    (container,) = planned(**more).runtime["spec"]["containers"]
    return dict(container)


# --- where the models are


@pytest.mark.parametrize(
    ("repository", "uri", "server"),
    [
        # The slash keeps s3://acme/vision2 out of the copy.
        ("s3://acme/vision", "s3://acme/vision/", None),
        ("s3://acme", "s3://acme", None),
        ("s3://https://minio.local:9000/acme/a/b/", "s3://acme/a/b/", ("minio.local:9000", True)),
        ("s3://https://minio.local/acme/a", "s3://acme/a/", ("minio.local", True)),
        ("s3://10.0.0.1:9000/acme/a", "s3://acme/a/", ("10.0.0.1:9000", False)),
        ("gs://acme/vision", "gs://acme/vision", None),
        ("as://acme/models/vision/", "https://acme.blob.core.windows.net/models/vision", None),
    ],
)
def test_a_repository_has_a_name_that_kserve_knows(repository: str, uri: str, server: tuple[str, bool] | None) -> None:
    found = place(repository)
    assert found.uri == uri
    assert not server or (found.endpoint, found.https) == server


@pytest.mark.parametrize(
    ("repository", "storage_uri", "told"),
    [
        ("/srv/models", "", "server_kserve_storage_uri"),
        ("oss://acme/vision", "", "cannot read what is published to 'oss://acme/vision'"),
        ("", "", "nothing says where the models are"),
        ("as://acme", "", "names no container"),
        ("s3://https://minio.local", "", "names no bucket"),
        ("/srv/models", "ftp://acme", "KServe takes no such storage"),
        ("/srv/models", "claim/models", "KServe takes no such storage"),
    ],
)
def test_what_kserve_cannot_read_is_refused(repository: str, storage_uri: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        place(repository, storage_uri)


def decoded(found: Planned) -> dict[str, str]:
    return {name: base64.b64decode(text).decode() for name, text in found.secret.get("data", {}).items()}


def test_keys_of_s3_are_for_what_copies_the_models() -> None:
    environment = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "eu-central-1", "APP": "mine"}
    found = planned(environment=environment, repository="s3://https://minio.local:9000/acme/a", s3={"verify_ssl": False})
    assert decoded(found) == {
        "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "awsAccessKeyID": "id", "awsSecretAccessKey": "secret", "APP": "mine"
    }  # fmt: skip
    told = {"s3-endpoint": "minio.local:9000", "s3-usehttps": "1", "s3-region": "eu-central-1", "s3-verifyssl": "0"}
    assert found.secret["metadata"]["annotations"] == {f"serving.kserve.io/{name}": text for name, text in told.items()}
    name = found.secret["metadata"]["name"]
    assert found.account["secrets"] == [{"name": name}]
    (container,) = found.runtime["spec"]["containers"]
    assert container["env"] == [{"name": "APP", "valueFrom": {"secretKeyRef": {"name": name, "key": "APP"}}}]
    assert planned(environment={**environment, "AWS_SECRET_ACCESS_KEY": "other"}).secret["metadata"]["name"] != name


def test_a_role_of_the_cloud_needs_no_secret() -> None:
    annotations = {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/a"}
    found = planned(service_account_annotations=annotations, s3={"region": "eu-central-1"})
    assert not found.secret
    assert found.account["metadata"]["annotations"] == {**annotations, "serving.kserve.io/s3-region": "eu-central-1"}
    assert "secrets" not in found.account


def test_public_buckets_have_a_secret_without_keys() -> None:
    """KServe reads the annotation of a Secret that has the keys' names alone."""
    found = planned(s3={"anonymous": True})
    assert found.secret["metadata"]["annotations"] == {"serving.kserve.io/s3-useanoncredential": "true"}
    assert set(decoded(found).values()) == {""}


@pytest.mark.parametrize(
    ("uri", "environment", "google", "data"),
    [
        ("gs://acme/a", {}, "{}", {"gcloud-application-credentials.json": "{}"}),
        ("as://acme/a", {"AZURE_STORAGE_ACCOUNT": "acme", "AZURE_STORAGE_KEY": "k"}, "", {"AZURE_STORAGE_ACCESS_KEY": "k"}),
        ("as://acme/a", {"AZURE_CLIENT_ID": "i", "AZURE_TENANT_ID": "t"}, "", {"AZURE_CLIENT_ID": "i", "AZURE_TENANT_ID": "t"}),
    ],
)
def test_other_stores_have_names_of_their_own(uri: str, environment: dict[str, str], google: str, data: dict[str, str]) -> None:
    found = credentials(place(uri), environment, {}, google)
    assert (found.data, found.rest) == (data, {})


@pytest.mark.parametrize(
    ("uri", "environment", "s3", "told"),
    [
        ("s3://a", {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_SESSION_TOKEN": "c"}, {}, "no session token"),
        ("s3://a", {"AWS_ACCESS_KEY_ID": "a"}, {}, "AWS_SECRET_ACCESS_KEY: one half of the key is missing"),
        ("s3://a", {}, {"regoin": "x"}, "there is no regoin"),
        ("gs://a", {"GOOGLE_APPLICATION_CREDENTIALS": "/a"}, {}, "server_kserve_google_credentials"),
    ],
)
def test_credentials_that_cannot_work_are_refused(uri: str, environment: dict[str, str], s3: dict[str, str], told: str) -> None:
    with pytest.raises(InputError, match=told):
        credentials(place(uri), environment, s3)


# --- the InferenceService


@pytest.mark.parametrize(
    ("more", "ports", "protocol"),
    [
        ({}, {"http": 8080, "grpc": 9000, "metrics": 8002}, "v2"),
        ({"protocols": ["grpc"]}, {"grpc": 9000, "metrics": 8002}, "grpc-v2"),
        (SERVERLESS, {"http1": 8080}, "v2"),
        ({**SERVERLESS, "protocols": ["grpc"]}, {"h2c": 9000}, "grpc-v2"),
    ],
)
def test_each_mode_lets_out_what_it_can(more: dict[str, Any], ports: dict[str, int], protocol: str) -> None:
    assert {each["name"]: each["containerPort"] for each in server(**more)["ports"]} == ports
    assert predictor(**more)["model"]["protocolVersion"] == protocol
    # Knative would ask another port than the one it lets out.
    assert ("readinessProbe" in server(**more)) == ("h2c" not in ports)


@pytest.mark.parametrize(
    ("mode", "names", "written"),
    [
        ("RawDeployment", "legacy", "RawDeployment"), ("Standard", "legacy", "RawDeployment"), ("RawDeployment", "current", "Standard"),
        ("Serverless", "current", "Knative"), ("Knative", "legacy", "Serverless"), ("Standard", "", "Standard"),
    ],
)  # fmt: skip
def test_the_mode_has_the_name_that_the_cluster_knows(mode: str, names: str, written: str) -> None:
    assert planned(mode=mode, names=names).service["metadata"]["annotations"][MODE] == written


def test_the_server_gets_its_options() -> None:
    arguments = server(options={"log-verbose": 1, "exit-on-error": True})["args"]
    assert arguments[:2] == ["tritonserver", "--model-repository=/mnt/models"]
    assert {"--http-port=8080", "--grpc-port=9000", "--exit-on-error=true", "--log-verbose=1"} <= set(arguments)
    found = planned(runtime="kserve-tritonserver", options={"log-verbose": 1})
    assert not found.runtime
    assert found.service["spec"]["predictor"]["model"]["args"] == ["--log-verbose=1"]


def test_what_scales_starts_no_pods_and_what_runs_does() -> None:
    pods, measured = planned().pods, {"resources": {"requests": {"cpu": 1}}}
    for more in ({"min_replicas": 2}, {"scale_metric": "cpu", "scale_target": 60}, {"predictor": {"maxReplicas": 9}}):
        assert planned(**more).pods == pods
    assert planned(**measured, max_replicas=4).pods == planned(**measured).pods != pods
    for more in ({"models": "abc"}, {"image": "triton:2"}, {"gpus": 1}, {"environment": {"A": "b"}}, {"labels": {"a": "b"}}):
        assert planned(**more).pods != pods
    # A runtime that changed is another one, so that what served before can be had again.
    assert planned(image="triton:2").runtime["metadata"]["name"] != planned().runtime["metadata"]["name"]


def test_replicas_and_shares_are_the_predictors() -> None:
    assert predictor(min_replicas=2)["maxReplicas"] == 2
    found = predictor(**SERVERLESS, min_replicas=0, scale_metric="concurrency", scale_target=4, canary_percent="10")
    assert {name: found[name] for name in ("minReplicas", "scaleMetric", "scaleTarget", "canaryTrafficPercent")} == {
        "minReplicas": 0, "scaleMetric": "concurrency", "scaleTarget": 4, "canaryTrafficPercent": 10,
    }  # fmt: skip
    assert "maxReplicas" not in found
    assert "canaryTrafficPercent" not in predictor(**SERVERLESS)


def test_resources_are_written_as_kserve_writes_them() -> None:
    found = predictor(gpus=2, resources={"requests": {"cpu": 0.5, "memory": "4Gi"}, "limits": {"cpu": "2000m"}})["model"]["resources"]
    assert found == {"requests": {"cpu": "500m", "memory": "4Gi", "nvidia.com/gpu": "2"}, "limits": {"cpu": "2", "nvidia.com/gpu": "2"}}
    assert [amount_of(each) for each in (1, "1500m", "0.25", "1.5Gi", "10G")] == ["1", "1500m", "250m", "1.5Gi", "10G"]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"name": "1vision"}, "no name of an InferenceService"),
        ({"name": "v" * 45}, "has 65 letters"),
        ({"mode": "Raw"}, "no deployment mode"),
        ({"protocols": ["rest"]}, "no protocols"),
        ({**SERVERLESS, "protocols": ["http", "grpc"]}, "Knative lets one port out"),
        ({"min_replicas": 0}, "cannot scale to zero"),
        ({"min_replicas": 3, "max_replicas": 2}, "there are no 3 to 2 replicas"),
        ({"scale_metric": "rps"}, "'rps' does not scale RawDeployment"),
        ({**SERVERLESS, "scale_metric": "cpu"}, "Use concurrency or rps"),
        ({"max_replicas": 3}, "the autoscaler measures cpu"),
        ({"max_replicas": 3, "scale_metric": "memory", "resources": {"requests": {"cpu": 1}}}, "requests.memory"),
        ({"scale_target": 101}, "101 is no target"),
        ({"canary_percent": 10}, "KServe splits requests in the mode Serverless alone"),
        ({**SERVERLESS, "canary_percent": 101}, "'101' is no share"),
        ({**SERVERLESS, "canary_percent": "ten"}, "'ten' is no share"),
        ({"options": {"http-port": 1}}, "KServe decides http-port"),
        ({"options": {"model-control-mode": "explicit"}}, "lost with its pod"),
        ({"options": {"model-control-mode": "poll"}}, "nothing new appears in the copy"),
        ({"options": {"log-verbos": 1}}, "no such option"),
        ({"service_account": "theirs", "environment": {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}}, "service_account"),
    ],
)
def test_what_cannot_work_is_refused(more: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        planned(**more)


def test_a_volume_may_be_polled() -> None:
    found = planned(repository="/mnt/models", storage_uri="pvc://models/vision", options={"model-control-mode": "poll"})
    assert found.reads == "poll"
    assert found.service["spec"]["predictor"]["model"]["storageUri"] == "pvc://models/vision"


# --- what a cluster says


class Asked:
    """A cluster that answers paths with these values, and 404 otherwise."""

    url = "https://cluster"

    def __init__(self, **values: Any) -> None:
        self._values = values

    def get(self, path: str, **_query: str) -> Any:
        return next((value for name, value in self._values.items() if path.endswith(name.replace("__", "/"))), None)

    def items(self, path: str, **_query: str) -> list[Any]:
        return self.get(path) or []


KINDS = {"v1beta1": {"resources": [{"kind": "InferenceService"}]}, "v1alpha1": {"resources": [{"kind": "ServingRuntime"}]}}
DEFINITION = "inferenceservices.serving.kserve.io"


def controller(tag: str) -> list[Any]:
    return [{"spec": {"template": {"spec": {"containers": [{"name": "manager", "image": f"kserve/kserve-controller:{tag}"}]}}}}]


def definition(*fields: str) -> dict[str, Any]:
    status = {"properties": {name: {} for name in fields}} if fields else {}
    return {"spec": {"versions": [{"name": "v1beta1", "schema": {"openAPIV3Schema": {"properties": {"status": status}}}}]}}


@pytest.mark.parametrize(
    ("values", "version", "names"),
    [
        ({"deployments": controller("v0.15.2")}, "0.15.2", "legacy"),
        ({"deployments": controller("v0.16.0")}, "0.16.0", "current"),
        ({"deployments": controller("latest"), DEFINITION: definition("url", "deploymentMode")}, "", "current"),
        ({DEFINITION: definition("url")}, "", "legacy"),
        # KServe's minimal definitions have no fields.
        ({DEFINITION: definition()}, "", ""),
    ],
)
def test_the_version_is_known_by_the_controller_or_the_definition(values: dict[str, Any], version: str, names: str) -> None:
    found = installation(Asked(**KINDS, **values))  # type: ignore[arg-type]
    assert (found["version"], found["names"]) == (version, names)


def test_a_cluster_without_kserve_is_told_what_to_install() -> None:
    with pytest.raises(InputError, match=r"knows no InferenceService and no ServingRuntime.*Install KServe"):
        installation(Asked())  # type: ignore[arg-type]


def test_what_holds_is_not_applied_again() -> None:
    definition = {"metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}], "size": 1}}
    annotations = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(definition)}
    there = {
        "metadata": {"name": "a", "uid": "u", "annotations": annotations},
        "spec": {"ports": [{"port": 80, "more": 1}], "size": 1, "b": 2},
    }
    assert held(there) == [definition]
    for spec in ({"ports": [{"port": 80}], "size": 2}, {"ports": [{"port": 80}, {"port": 81}], "size": 1}, {"size": 1}):
        assert not held({**there, "spec": spec})
    assert not held({"metadata": {"name": "a"}})
    assert not held(None)


# --- whether it serves

GOAL = Goal("vision", "inference", "new")


def service(mode: str = "Standard", ready: str = "True", **status: Any) -> dict[str, Any]:
    metadata = {"name": "vision", "uid": "u", "annotations": {MODE: mode}}
    conditions = status.pop("conditions", []) or [{"type": "Ready", "status": ready}]
    return {"metadata": metadata, "spec": {"predictor": {}}, "status": {"deploymentMode": mode, "conditions": conditions, **status}}


def deployment(pods: str, replicas: int = 1, ready: int = 1) -> Observed:
    counts = {"observedGeneration": 1, "updatedReplicas": replicas, "availableReplicas": ready, "replicas": replicas}
    template = {"metadata": {"annotations": {PODS: pods}}}
    return Observed({"metadata": {"name": "a", "generation": 1}, "spec": {"replicas": replicas, "template": template}, "status": counts})


@pytest.mark.parametrize(
    ("made", "goal", "state", "told"),
    [
        (Made(), GOAL, STUCK, "no InferenceService"),
        # The former pods are ready, and say nothing of the new ones.
        (Made(service(), observed=deployment("old")), GOAL, GOING, "nothing of it yet"),
        (Made(service(modelStatus={"transitionStatus": "InvalidSpec"}), observed=deployment("old")), GOAL, STUCK, "nothing of it yet"),
        (Made(service(), observed=deployment("new")), GOAL, DONE, "1 of 1 replicas are ready"),
        (Made(service(ready="Unknown"), observed=deployment("new")), GOAL, GOING, "not ready yet"),
        (Made(service(), observed=deployment("new")), Goal("vision", "inference", "new", 2), GOING, "1 of 2 replicas are there"),
        (Made(service(), observed=deployment("new", ready=0)), GOAL, GOING, "0 ready"),
    ],
)
def test_a_deployment_serves_when_its_pods_are_the_wanted_ones(made: Made, goal: Goal, state: str, told: str) -> None:
    verdict = assess(made, goal)
    assert verdict.state == state
    assert told in verdict.text


def knative(created: str = "v-2", latest: str = "v-2", ready: str = "True", seen: int = 2, pods: str = "new") -> dict[str, Any]:
    status = {
        "observedGeneration": seen, "latestCreatedRevisionName": created, "latestReadyRevisionName": latest,
        "conditions": [{"type": "Ready", "status": ready}],
    }  # fmt: skip
    template = {"metadata": {"annotations": {PODS: pods}}}
    return {"metadata": {"name": "vision-predictor", "generation": 2}, "spec": {"template": template}, "status": status}


def split(share: int, whole: str = "v-1") -> dict[str, Any]:
    traffic = [{"revisionName": "v-2", "percent": share}, {"revisionName": "v-1", "percent": 100 - share}]
    return service("Knative", components={"predictor": {"traffic": traffic, "latestRolledoutRevision": whole}})


CANARY = Goal("vision", "inference", "new", 1, 10)


@pytest.mark.parametrize(
    ("made", "goal", "state"),
    [
        (Made(split(100), knative()), GOAL, DONE),
        (Made(split(100), knative(seen=1)), GOAL, GOING),
        (Made(split(100), knative(pods="old")), GOAL, GOING),
        (Made(split(100), knative(latest="v-1", ready="Unknown")), GOAL, GOING),
        (Made(split(100), knative(latest="v-1", ready="False")), GOAL, STUCK),
        # Promoted: the route follows a moment later.
        (Made(split(10), knative()), GOAL, GOING),
        (Made(split(10), knative()), CANARY, DONE),
        (Made(split(100), knative()), CANARY, GOING),
        # The first revision of all.
        (Made(split(100, "v-2"), knative()), CANARY, DONE),
    ],
)
def test_a_revision_serves_when_it_gets_its_share(made: Made, goal: Goal, state: str) -> None:
    assert assess(made, goal).state == state


def test_what_kserve_says_is_told() -> None:
    failed = {"type": "PredictorReady", "status": "False", "reason": "ReconcileFailed", "message": "no such runtime"}
    failure = {"transitionStatus": "InvalidSpec", "lastFailureInfo": {"reason": "RuntimeNotRecognized", "message": "Waiting for runtime"}}
    made = Made(service(conditions=[failed, {"type": "Ready", "status": "Unknown"}], modelStatus=failure))
    event = {"type": "Warning", "reason": "InternalError", "message": "fails", "involvedObject": {"uid": "u"}}
    assert complaints(made, [event, event, {**event, "involvedObject": {"uid": "other"}}]) == [
        "condition PredictorReady is False (ReconcileFailed: no such runtime)",
        "KServe says RuntimeNotRecognized: Waiting for runtime",
        "event InternalError: fails",
    ]


# --- the way in


def reached(url: str = "http://localhost", protocol: str = "v2", ingress: str = "") -> dict[str, Any]:
    value = service("Knative", url=url)
    value["spec"]["predictor"]["model"] = {"protocolVersion": protocol}
    return endpoint(Made(value), ingress)


def test_a_gateway_is_told_the_host_by_a_header() -> None:
    assert reached() == {"http": "http://localhost"}
    assert reached("http://vision.example.invalid", ingress="http://10.0.0.5/") == {
        "http": "http://10.0.0.5", "headers": {"Host": "vision.example.invalid"},
    }  # fmt: skip
    assert reached("https://localhost", "grpc-v2") == {"grpc": "grpcs://localhost:443"}
    assert reached("") == {}


@pytest.mark.parametrize(
    ("protocol", "ingress", "told"), [("v2", "", "leads nowhere from here"), ("grpc-v2", "http://10.0.0.5", "gRPC has no header")]
)
def test_a_host_that_leads_nowhere_is_told(protocol: str, ingress: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        reached("http://vision.example.invalid", protocol, ingress)
