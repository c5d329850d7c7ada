# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What of a namespace is somebody else's, which revision serves, and what is said where the cluster does not tell."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from ansible_collections.serving.triton.plugins.module_utils.core.wait import Clock
from ansible_collections.serving.triton.plugins.module_utils.kubernetes import sizing
from ansible_collections.serving.triton.plugins.module_utils.kubernetes.cluster import Cluster
from ansible_collections.serving.triton.plugins.module_utils.kubernetes.endpoints import serving
from ansible_collections.serving.triton.plugins.module_utils.kubernetes.inspect import OURS, Wanted, inspect
from ansible_collections.serving.triton.plugins.module_utils.kubernetes.service import Release, replicas

RELEASE = Release("vision", "inference")
CORE, APPS, BATCH = (f"{each}/namespaces/inference" for each in ("/api/v1", "/apis/apps/v1", "/apis/batch/v1"))
NAMESPACE = {"metadata": {"name": "inference", "labels": {"app.kubernetes.io/managed-by": OURS}}}
REVISION = "deployment.kubernetes.io/revision"
PROJECTED = {"sources": [{"secret": {"name": "second"}}]}
Listed = Mapping[str, list[dict[str, Any]] | None]


def inspected(lists: Listed, wanted: Wanted | None = None) -> dict[str, Any]:
    """lists: path → objects, None for those that may not be read."""

    def send(_method: str, target: str, _headers: Mapping[str, str], _body: bytes) -> tuple[int, bytes]:
        path, query = urlsplit(target).path, parse_qs(urlsplit(target).query)
        selector = dict(each.split("=") for each in query.get("labelSelector", [""])[0].split(",") if each)
        if path == "/api/v1/namespaces/inference":
            return 200, json.dumps(NAMESPACE).encode()
        things = lists.get(path, [])
        chosen = [each for each in things or () if selector.items() <= each["metadata"]["labels"].items()]
        return (403, b"{}") if things is None else (200, json.dumps({"items": chosen}).encode())

    return inspect(Cluster(send, "https://cluster"), RELEASE, wanted or Wanted())


def thing(name: str, owner: str = "", labels: Any = None, kind: str = "", **more: Any) -> dict[str, Any]:
    owners = [{"uid": owner, "kind": kind, "controller": True}] if owner else []
    metadata = {"name": name, "uid": name, "namespace": "inference", "labels": labels or {}, "ownerReferences": owners}
    return {"metadata": {**metadata, **more}}


MINE = {"app.kubernetes.io/instance": "vision"}
HELM = {"meta.helm.sh/release-name": "vision"}


def helm(number: int, status: str, name: str = "vision") -> dict[str, Any]:
    return thing(f"sh.helm.{name}.{number}", labels={"owner": "helm", "name": name, "version": str(number), "status": status})


@pytest.mark.parametrize(
    ("lists", "others"),
    [
        ({f"{CORE}/secrets": [helm(1, "deployed"), thing("mine", labels=MINE), thing("extra", annotations=HELM)]}, []),
        ({f"{CORE}/configmaps": [thing("kube-root-ca.crt")], f"{CORE}/pods": [thing("left", "gone", kind="ReplicaSet")]}, []),
        ({f"{CORE}/secrets": [thing("token", annotations={"kubernetes.io/service-account.name": "default"})]}, []),
        ({f"{APPS}/deployments": [thing("leaving", deletionTimestamp="2026-01-01T00:00:00Z")]}, []),
        ({f"{CORE}/secrets": [thing("password")]}, ["secret password"]),
        ({f"{CORE}/configmaps": [thing("settings")]}, ["configmap settings"]),
        ({f"{APPS}/deployments": [thing("web")], f"{BATCH}/cronjobs": [thing("nightly")]}, ["deployment web", "cronjob nightly"]),
        ({f"{CORE}/pods": [thing("alone"), thing("custom", "x", kind="Workflow")]}, ["pod alone", "pod custom"]),
        ({f"{BATCH}/jobs": None}, ["each job, which may not be listed"]),
        (
            {f"{CORE}/persistentvolumeclaims": [thing("models", labels=MINE, annotations={"helm.sh/resource-policy": "keep"})]},
            ["claim models"],
        ),
    ],
)
def test_a_namespace_goes_only_with_what_is_ours(lists: Listed, others: list[str]) -> None:
    assert inspected(lists)["namespace"] == {"exists": True, "ours": True, "others": others}


def test_another_release_of_helm_is_told_by_its_name() -> None:
    found = inspected({f"{CORE}/secrets": [helm(1, "superseded", "speech"), helm(2, "deployed", "speech")]})
    assert found["namespace"]["others"] == ["release speech"]


def test_what_is_lacking_is_told_before_it_is_missed() -> None:
    """With Kubernetes' own role view, secrets may not be listed."""
    found = inspected({f"{CORE}/secrets": None}, Wanted(permissions=True, lock_timeout=60))
    assert "list secrets in inference" in found["denied"]
    assert found["release"]["status"] == "absent"


def rolling(ready: str) -> Listed:
    """An interrupted rollout. ready: the ReplicaSet whose pod is ready, old or new."""
    template = {
        "metadata": {"annotations": {"serving.triton/models": "abc"}},
        "spec": {
            "containers": [{"name": "triton", "image": "a:1", "envFrom": [{"secretRef": {"name": "third"}}],
                            "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "first", "key": "A"}}}]}],
            "volumes": [{"name": "google", "secret": {"secretName": "first"}}, {"name": "all", "projected": PROJECTED}],
        },
    }  # fmt: skip
    deployment = {
        **thing("d", labels=MINE, annotations={REVISION: "3"}),
        "spec": {"template": template, "replicas": 1},
        "status": {"readyReplicas": 1},
    }
    sets = [replica_set("old", "2", template), replica_set("new", "3", template)]
    pods = [
        {**thing(f"p-{uid}", uid, MINE, "ReplicaSet"), "spec": {"containers": []},
         "status": {"conditions": [{"type": "Ready", "status": str(uid == ready)}]}}
        for uid in ("old", "new")
    ]  # fmt: skip
    revisions = [helm(1, "superseded"), helm(2, "superseded"), helm(3, "deployed")]
    return {f"{CORE}/secrets": revisions, f"{APPS}/deployments": [deployment], f"{APPS}/replicasets": sets, f"{CORE}/pods": pods}


def replica_set(uid: str, number: str, template: Any) -> dict[str, Any]:
    return {**thing(uid, "d", MINE, "Deployment", annotations={REVISION: number}), "spec": {"template": template}}


@pytest.mark.parametrize(("ready", "deployed"), [("new", 3), ("old", 2), ("", 3)])
def test_the_revision_to_go_back_to_is_one_that_served(ready: str, deployed: int) -> None:
    release = inspected(rolling(ready))["release"]
    assert (release["status"], release["revision"], release["deployed"]) == ("deployed", 3, deployed)


def test_a_revision_that_was_interrupted_does_not_hide_the_deployed_one() -> None:
    lists = rolling("old")
    pending = {**lists, f"{CORE}/secrets": [helm(1, "superseded"), helm(2, "deployed"), helm(3, "pending-upgrade")]}
    assert inspected(pending)["release"]["deployed"] == 2


def template(image: str = "a:1", checksum: str = "x", memory: str = "1Gi") -> dict[str, Any]:
    """Of pods, as a manifest has it."""
    container = {"name": "triton", "image": image, "env": [], "resources": {"limits": {"memory": memory}}}
    return {"metadata": {"annotations": {"checksum/config": checksum}}, "spec": {"containers": [container], "hostNetwork": False}}


def running(kept: Any) -> dict[str, Any]:
    """What the cluster makes of a template: with defaults, without what is empty."""
    container = {name: value for name, value in kept["spec"]["containers"][0].items() if name != "env"}
    pod = {"containers": [{**container, "imagePullPolicy": "IfNotPresent"}], "dnsPolicy": "ClusterFirst"}
    return {"metadata": {**kept["metadata"], "labels": {"pod-template-hash": "6d5c"}}, "spec": pod}


CHART = {"metadata": {"name": "other"}}


def interrupted(*revisions: tuple[str, Any], rollback: int = 0, ready: int = 1) -> Listed:
    """revisions: status and template of each. rollback: what the last one goes back to. ready: the revision whose pod is ready."""
    lists = {**rolling("old")}
    secrets = []
    for number, (status, kept) in enumerate(revisions, 1):
        manifest = {"kind": "Deployment", "metadata": {"name": "d"}, "spec": {"template": kept}}
        description = f"Rollback to {rollback}" if rollback and number == len(revisions) else "Upgrade complete"
        content = {"info": {"description": description}, "manifest": "---\n" + yaml.safe_dump(manifest), "chart": CHART}
        secrets.append({**helm(number, status), "data": {"release": encoded(content)}})
    old = replica_set("old", "2", running(revisions[ready - 1][1]))
    return {**lists, f"{CORE}/secrets": secrets, f"{APPS}/replicasets": [old, replica_set("new", "3", running(revisions[-1][1]))]}


def encoded(value: Any) -> str:
    return base64.b64encode(base64.b64encode(gzip.compress(json.dumps(value).encode()))).decode()


FIRST, BAD, WORSE = template(), template("a:2"), template("a:3")


@pytest.mark.parametrize(
    ("revisions", "rollback", "deployed"),
    [
        # Two interrupted upgrades.
        ([("superseded", FIRST), ("superseded", BAD), ("deployed", WORSE)], 0, 1),
        ([("superseded", FIRST), ("superseded", template(checksum="y")), ("deployed", WORSE)], 0, 1),
        ([("superseded", FIRST), ("superseded", template(memory="9Ti")), ("deployed", WORSE)], 0, 1),
        # The second changed no pods, so it is as good.
        ([("superseded", FIRST), ("superseded", FIRST), ("deployed", WORSE)], 0, 2),
        # A rollback that was killed.
        ([("superseded", FIRST), ("deployed", BAD), ("pending-rollback", FIRST)], 1, 1),
        ([("superseded", FIRST), ("superseded", FIRST), ("deployed", BAD), ("pending-rollback", FIRST)], 1, 1),
        # An upgrade that was killed, after one that was interrupted.
        ([("superseded", FIRST), ("deployed", BAD), ("pending-upgrade", WORSE)], 0, 1),
    ],
)
def test_a_revision_that_never_served_is_passed_over(revisions: list[tuple[str, Any]], rollback: int, deployed: int) -> None:
    assert inspected(interrupted(*revisions, rollback=rollback))["release"]["deployed"] == deployed


def test_a_memory_in_other_words_is_no_other_template() -> None:
    """The cluster makes 1Gi of 1024Mi, so images and checksums count where nothing is the same."""
    lists = interrupted(("superseded", template(memory="1024Mi")), ("superseded", BAD), ("deployed", WORSE))
    sets = [replica_set("old", "2", running(template(memory="1Gi"))), replica_set("new", "3", running(WORSE))]
    assert inspected({**lists, f"{APPS}/replicasets": sets})["release"]["deployed"] == 1


def test_a_rollback_that_was_killed_goes_on_where_no_pod_tells_more() -> None:
    lists = interrupted(("superseded", FIRST), ("deployed", BAD), ("pending-rollback", FIRST), rollback=1)
    assert inspected({**lists, f"{CORE}/pods": []})["release"]["deployed"] == 1


def test_whose_chart_it_is() -> None:
    assert inspected(interrupted(("deployed", FIRST)))["release"]["chart"] == "other"
    assert inspected({})["release"]["chart"] == ""


def sliced(*ready: str, late: int = 0) -> Cluster:
    """A cluster with one Service. ready: pods that its slice names as ready. late: how often the slice is behind."""
    asked: list[str] = []

    def send(_method: str, target: str, _headers: Mapping[str, str], _body: bytes) -> tuple[int, bytes]:
        asked.append(target)
        names = ready if len(asked) > late else ()
        points = [{"targetRef": {"kind": "Pod", "name": name}, "conditions": {"ready": name in names}} for name in ("p-a", "p-b")]
        return 200, json.dumps({"items": [{"endpoints": points}]}).encode()

    return Cluster(send, "https://cluster")


class Still(Clock):
    """Time passes only where somebody sleeps."""

    time = 0.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


def pod(name: str, app: str = "vision") -> dict[str, Any]:
    return {**thing(name, labels={"app": app}), "spec": {"containers": []}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}


SELECTING = {**thing("vision", labels=MINE), "spec": {"selector": {"app": "vision"}}}


@pytest.mark.parametrize(
    ("cluster", "pods", "found", "seconds"),
    [
        (sliced("p-a", "p-b"), [pod("p-a"), pod("p-b")], {"p-a", "p-b"}, 0),
        # The Service does not select it.
        (sliced("p-a"), [pod("p-a"), pod("p-b", "other")], {"p-a"}, 0),
        # It has just become ready.
        (sliced("p-a", "p-b", late=3), [pod("p-a"), pod("p-b")], {"p-a", "p-b"}, 1.5),
        (sliced("p-a"), [pod("p-a"), pod("p-b")], {"p-a"}, 10),
    ],
)
def test_replicas_are_those_that_get_requests(cluster: Cluster, pods: list[Any], found: set[str], seconds: float) -> None:
    clock = Still()
    assert serving(cluster, [SELECTING], pods, clock) == found
    assert clock.now() == seconds
    assert [each["name"] for each in replicas(pods, RELEASE, found) if each["ready"]] == sorted(found)


@pytest.mark.parametrize("slices", [None, []])
def test_without_slices_pods_say_themselves_that_they_are_ready(slices: Any) -> None:
    lists = {**rolling("new"), f"{CORE}/services": [SELECTING], "/apis/discovery.k8s.io/v1/namespaces/inference/endpointslices": slices}
    assert [each["name"] for each in inspected(lists)["replicas"] if each["ready"]] == ["p-new"]


def test_a_pod_that_no_slice_names_is_no_replica() -> None:
    slices = [{**thing("s", labels={"kubernetes.io/service-name": "vision"}), "endpoints": []}]
    lists = {**rolling("new"), f"{CORE}/services": [SELECTING], "/apis/discovery.k8s.io/v1/namespaces/inference/endpointslices": slices}
    assert [each["ready"] for each in inspected(lists)["replicas"]] == [False, False]


def test_what_a_deployments_pods_refer_to() -> None:
    deployment = inspected(rolling("new"))["deployment"]
    assert deployment["secrets"] == ["first", "second", "third"]
    assert deployment["annotations"] == {"serving.triton/models": "abc"}


@pytest.mark.parametrize(("pods", "spare"), [([], 1), (None, 0)])
def test_gpus_are_spare_only_where_pods_may_be_read(pods: list[Any] | None, spare: int) -> None:
    node = {
        "metadata": {"name": "a", "labels": {}},
        "status": {"allocatable": {"nvidia.com/gpu": "4"}, "conditions": [{"type": "Ready", "status": "True"}]},
    }
    wanted = Wanted(gpus=sizing.Wanted("nvidia.com/gpu"))
    assert inspected({"/api/v1/nodes": [node], "/api/v1/pods": pods}, wanted)["spare_gpus"] == spare
