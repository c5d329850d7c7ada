# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One Helm release of somebody else's chart, with the real helm: from a repository that wants a password, and from an archive."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import file_server
from support.kubernetes import Cluster, open_cluster
from support.kubernetes.manifests import PAUSE, custom_definition
from support.kubernetes.repositories import Chart, offer
from support.rolecheck import PlaybookRun, Promise, Workspace, assert_clean, keep, role_play

ROLE = "serving.triton.helm_release"
PASSWORD = "canary-repository-91e2"
WORKLOAD = """
apiVersion: apps/v1
kind: %s
metadata: {name: {{ .Release.Name }}-%s, labels: {app.kubernetes.io/instance: {{ .Release.Name }}}}
spec:
  selector: {matchLabels: {app: {{ .Release.Name }}-%s}}
  %s
  template:
    metadata: {labels: {app: {{ .Release.Name }}-%s}}
    spec: {containers: [{name: main, image: {{ .Values.image | quote }}}]}
"""
SECRET = """
apiVersion: v1
kind: Secret
metadata: {name: {{ .Release.Name }}}
stringData: {token: {{ .Values.token }}}
"""


def workload(kind: str, name: str, more: str = "") -> str:
    return WORKLOAD % (kind, name, name, more, name)


def chart(version: str, **values: str) -> Chart:
    templates = {
        "daemons.yaml": workload("DaemonSet", "node"),
        "sets.yaml": workload("StatefulSet", "state", "serviceName: none"),
        "secret.yaml": SECRET,
    }
    definition = custom_definition(
        "example.com", "Widget", "widgets", {"type": "object", "properties": {version.replace(".", "_"): {"type": "string"}}}
    )
    return Chart(
        "agent", version, templates, {"widgets.yaml": json.dumps(definition)}, {"image": PAUSE, "token": "canary-token-77", **values}
    )


def environment(cluster: Cluster, folder: Path) -> dict[str, str]:
    return cluster.environment(HOME=str(folder), ANSIBLE_PIPELINING="true")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with open_cluster(tmp_path_factory.mktemp("cluster")) as opened:
        opened.configured.behave("crashing", "crash", log="no such device", exit_code=1, restarts=2)
        yield opened


@pytest.fixture(scope="module")
def repository() -> Iterator[file_server.FileServer]:
    with file_server.running() as server:
        server.credentials = f"reader:{PASSWORD}"
        offer(server, chart("1.0.0"), chart("1.1.0"))
        yield server


def run(cluster: Cluster, folder: Path, variables: dict[str, Any], *flags: str, rc: int = 0) -> PlaybookRun:
    found = Workspace(folder, env=environment(cluster, folder)).run(role_play(ROLE, variables), *flags)
    assert found.rc == rc, found.tail(100)
    return found


@pytest.mark.long
def test_the_role_keeps_its_promise(tmp_path: Path, cluster: Cluster, repository: file_server.FileServer) -> None:
    """The namespace with its labels, the version's definitions, a DaemonSet and a StatefulSet that are waited for, no secret shown."""
    named = {"helm_release_name": "agent", "helm_release_namespace": "agents"}
    variables = {
        **named, "helm_release_chart": "agent", "helm_release_repository": repository.url, "helm_release_version": "1.0.0",
        "helm_release_repository_username": "reader", "helm_release_repository_password": PASSWORD,
        "helm_release_generated_secrets": [{"name": "made", "data": {"user": "admin"}, "generate": ["password", "other"]}],
        "helm_release_namespace_labels": {"pod-security.kubernetes.io/enforce": "privileged"},
    }  # fmt: skip
    workspace = Workspace(tmp_path, env=environment(cluster, tmp_path))

    def running() -> None:
        assert cluster.get("namespace", "agents")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "privileged"
        assert cluster.get("daemonset", "agent-node", "agents")["status"]["numberReady"] == 1
        assert cluster.get("statefulset", "agent-state", "agents")["status"]["readyReplicas"] == 1
        made = {key: b64decode(each).decode() for key, each in cluster.get("secret", "made", "agents")["data"].items()}
        assert made["user"] == "admin"
        assert len(made["password"]) == len(made["other"]) == 40
        assert made["password"] != made["other"]
        # Definitions change with the chart's version, which Helm itself would not do. What somebody removed is there again.
        cluster.kubectl("delete", "daemonset", "agent-node", "--namespace", "agents")
        newer = run(cluster, tmp_path, {**variables, "helm_release_version": "1.1.0"}, "--diff")
        assert "DaemonSet agent-node is gone." in newer.output
        assert "canary-token-77" not in newer.output
        schema = cluster.get("crd", "widgets.example.com")["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        assert "1_1_0" in schema["properties"]["spec"]["properties"]

    def gone() -> None:
        assert cluster.kubectl("get", "namespace", "agents", rc=1)
        assert not list(Path(cluster.environment()["TMPDIR"]).glob("helm-chart-*"))

    promise = Promise(
        role_play(ROLE, variables),
        {"helm_release_state": "absent"},
        canaries=[PASSWORD, "canary-token-77"],
        after_run=running,
        after_absent=gone,
    )
    keep(promise, workspace)


def step(name: str, **variables: Any) -> dict[str, Any]:
    """A task that calls the role, and shows as a line what it fails with."""
    include = {"name": name, "ansible.builtin.include_role": {"name": ROLE}, "vars": variables}
    show = {"name": "Show", "ansible.builtin.debug": {"msg": f"{name}: {{{{ ansible_failed_result.msg }}}}"}}
    return {"name": name, "block": [include], "rescue": [show]}


def test_check_mode_refuses_what_the_charts_schema_refuses(tmp_path: Path, cluster: Cluster) -> None:
    """Another failure may come of what only the cluster knows, so it is told alone."""
    schema = {"type": "object", "properties": {"image": {"type": "string"}}}
    archive = tmp_path / "agent.tgz"
    archive.write_bytes(Chart("agent", "1.0.0", {"a.yaml": '{{ fail "no such kind" }}'}, {}, {}, schema).pack())
    named = {"helm_release_name": "wrong", "helm_release_namespace": "wrong", "helm_release_chart": str(archive)}
    tasks = [step("refused", **named, helm_release_values={"image": 1}), step("predicted", **named)]
    found = Workspace(tmp_path, env=environment(cluster, tmp_path)).run(
        [{"hosts": "localhost", "gather_facts": False, "tasks": tasks}], "--check"
    )
    assert_clean(found)
    told = found.output.replace("\\n", " ")
    assert "refused: Failure when executing Helm command" in told
    assert "values don't meet the specifications of the schema" in told
    assert "The chart is not rendered without the cluster" in told
    assert "no such kind" in told
    assert "predicted: " not in told


def test_a_release_of_somebody_else_and_one_that_fails(tmp_path: Path, cluster: Cluster, repository: file_server.FileServer) -> None:
    """Somebody else's release is neither changed nor removed; a rollout that fails tells why; a namespace in which more lives stays."""
    archive = tmp_path / "agent.tgz"
    archive.write_bytes(chart("1.0.0").pack())
    cluster.helm("install", "theirs", archive, "--namespace", "shared", "--create-namespace")
    theirs = {"helm_release_name": "theirs", "helm_release_namespace": "shared", "helm_release_chart": str(archive)}
    mine = {**theirs, "helm_release_name": "mine", "helm_release_patience": 1}
    tasks = [
        step("refused", **theirs),
        step("left alone", **theirs, helm_release_state="absent"),
        step("unauthorized", **{**mine, "helm_release_chart": "agent", "helm_release_repository": repository.url}),
        step("failed", **mine, helm_release_values={"image": "crashing"}),
        step("mended", **mine),
        step("removed", **mine, helm_release_state="absent"),
    ]
    play = [{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]
    found = Workspace(tmp_path, env=environment(cluster, tmp_path)).run(play)
    assert_clean(found)
    told = found.output.replace("\\n", " ")
    for text in (
        "refused: Release theirs in namespace shared (agent 1.0.0) was not made by this role",
        "shared was not made by this role, and stays",
        "unauthorized: agent of http://127.0.0.1", "401",
        "failed: shared/mine: the rollout failed: DaemonSet mine-node: 1 of 1 replicas are new, 0 ready",
        "CrashLoopBackOff", "no such device",
    ):  # fmt: skip
        assert text in told, (text, found.tail(100))
    assert "mended: " not in told
    assert cluster.get("daemonset", "theirs-node", "shared")
    assert [each["metadata"]["name"] for each in cluster.get("daemonsets", namespace="shared")["items"]] == ["theirs-node"]
