# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Triton on Kubernetes with the real helm: the role's promise, failures that go back, killed helms.

The pods are the stand-in's. Simulated ones have addresses that nobody reaches, so the API server's proxy is the way in; real ones answer.
"""

from __future__ import annotations

import json
import subprocess
import time
from base64 import b64decode
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import tritonserver
from support.ansible_runs import ROOT
from support.kubernetes import Cluster, open_cluster, triton_pods
from support.kubernetes.manifests import custom_definition
from support.kubernetes.repositories import Chart
from support.rolecheck import PlaybookRun, Promise, Workspace, assert_clean, assert_secret, keep, role_play

ROLE = "serving.triton.server_kubernetes"
CHART = ROOT / "roles" / "server_kubernetes" / "files" / "chart"
CPU = {
    "gpu": {"count": 0}, "drainSeconds": 0, "server": {"exitTimeoutSeconds": 1},
    "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
}  # fmt: skip
STORE = "s3://models/production"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with ExitStack() as stack:
        opened = stack.enter_context(open_cluster(tmp_path_factory.mktemp("cluster")))
        opened.configured.behave("real-triton", triton_pods(opened.configured))
        opened.configured.behave("crashing", "crash", log="CUDA error: out of memory", exit_code=1, restarts=2)
        opened.configured.behave("slow", "starting")
        operator = {"ServiceMonitor": "servicemonitors", "PodMonitor": "podmonitors", "PrometheusRule": "prometheusrules"}
        opened.apply(*(custom_definition("monitoring.coreos.com", kind, plural) for kind, plural in operator.items()))
        yield opened


@dataclass
class Release:
    """One release in a namespace of its own, and runs of the role for it."""

    cluster: Cluster
    folder: Path
    name: str
    more: Mapping[str, Any]

    @property
    def variables(self) -> dict[str, Any]:
        names = {"server_kubernetes_name": self.name, "server_kubernetes_namespace": self.name}
        return {
            **names,
            "server_kubernetes_repository": STORE,
            "server_kubernetes_values": CPU,
            "server_kubernetes_patience": 1,
            **self.more,
        }

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.folder, env=self.cluster.environment(HOME=str(self.folder)))

    def run(self, *flags: str, rc: int = 0, **more: Any) -> PlaybookRun:
        run = self.workspace.run(role_play(ROLE, self.variables), *flags, variables=more)
        assert run.rc == rc, run.tail(150)
        assert not run.warnings
        return run

    def image(self, repository: str, **more: Any) -> dict[str, Any]:
        """Values with another image, whose name tells the stand-in what its pods do."""
        values = {**CPU, **self.variables["server_kubernetes_values"], "image": {"repository": repository}, **more}
        return {"server_kubernetes_values": values}

    def status(self) -> list[tuple[int, str]]:
        """Helm's history: revision and status."""
        found = json.loads(self.cluster.run("helm", "history", self.name, "--namespace", self.name, "--output", "json").stdout)
        return [(each["revision"], each["status"]) for each in found]

    def containers(self) -> dict[str, Any]:
        """The server's container, as the Deployment has it."""
        template = self.cluster.get("deployment", self.name, self.name)["spec"]["template"]
        found: dict[str, Any] = template["spec"]["containers"][0]
        return found

    def killed_helm(self, operation: str) -> None:
        """A helm that waits for pods which do not become ready, killed. It brings a PodDisruptionBudget, and no PrometheusRule."""
        values = self.folder / "killed.json"
        wanted = {
            "modelRepository": {"url": STORE},
            "fullnameOverride": self.name,
            "image": {"repository": "slow"},
            "podDisruptionBudget": {"enabled": True},
        }
        values.write_text(json.dumps({**CPU, **wanted}))
        command = [self.cluster.program("helm"), *operation.split(), self.name, str(CHART), "--namespace", self.name, "--create-namespace"]
        process = subprocess.Popen([*command, "--wait", "--values", str(values)], env=self.cluster.environment(), stdout=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while not (self.pending() and self.made()) and time.monotonic() < end:
            time.sleep(0.1)
        process.kill()
        process.wait(10)
        assert self.pending(), "the helm was killed too late"
        assert self.made(), "the helm was killed too early"

    def made(self) -> bool:
        """Whether all is made that the helm waits for, and what its revision lacks is gone: Helm removes last."""
        return self.has("poddisruptionbudget") and not self.has("prometheusrules")

    def has(self, kind: str) -> bool:
        return self.cluster.run("kubectl", "get", kind, self.name, "-n", self.name, rc=None).returncode == 0

    def as_if_killed_earlier(self) -> None:
        """What the killed Helm has removed is there again."""
        manifest = self.cluster.helm("get", "manifest", self.name, "--namespace", self.name, "--revision", "1")
        rules = [each for each in yaml.safe_load_all(manifest) if each["kind"] == "PrometheusRule"]
        self.cluster.apply(*rules, namespace=self.name)

    def pending(self) -> bool:
        labels = f"owner=helm,name={self.name}"
        done = self.cluster.run("kubectl", "get", "secrets", "-n", self.name, "-l", labels, "-o", "json", rc=None)
        return done.returncode == 0 and any(
            each["metadata"]["labels"]["status"].startswith("pending") for each in json.loads(done.stdout)["items"]
        )


def told(run: PlaybookRun) -> str:
    return run.output.replace("\n", " ").replace("\\n", " ")


CANARIES = ["canary-secret-key-5d1f", "canary-restricted-7a90", "canary-token-31c8"]


def test_the_role_keeps_its_promise(tmp_path: Path, cluster: Cluster) -> None:
    """Check mode predicts, a second run is idle, absent leaves nothing; credentials are in one Secret and nowhere else."""
    cluster.configured.behave("simulated", "ready")
    more = {
        "server_kubernetes_environment": {"AWS_SECRET_ACCESS_KEY": CANARIES[0], "AWS_ACCESS_KEY_ID": "id"},
        "server_kubernetes_restricted_key": CANARIES[1],
        "server_kubernetes_values": {**CPU, "replicaCount": 2, "image": {"repository": "simulated"},
                                     "credentials": {"aws": {"sessionToken": CANARIES[2]}}},
    }  # fmt: skip
    release = Release(cluster, tmp_path, "promise", more)

    def running() -> None:
        environment = {each["name"]: each for each in release.containers()["env"]}
        secret = environment["AWS_SESSION_TOKEN"]["valueFrom"]["secretKeyRef"]["name"]
        assert {environment[name]["valueFrom"]["secretKeyRef"]["name"] for name in more["server_kubernetes_environment"]} == {secret}
        assert cluster.get("secret", secret, release.name)["immutable"]
        shown = cluster.helm("get", "all", release.name, "--namespace", release.name)
        assert not [canary for canary in CANARIES if canary in shown]
        assert release.status() == [(1, "deployed")]
        monitor = cluster.get("servicemonitors", release.name, release.name)["spec"]["endpoints"][0]
        assert {each["targetLabel"]: each["replacement"] for each in monitor["relabelings"]} == {"job": "triton", "service": "localhost"}
        assert cluster.get("prometheusrules", release.name, release.name)["spec"]["groups"]
        assert cluster.get("configmap", f"{release.name}-dashboard", release.name)["data"]
        (folder,) = (tmp_path / ".local/state/serving.triton/kubernetes").glob("promise.promise.*")
        kept = list(folder.iterdir())
        assert {path.name: path.stat().st_mode & 0o777 for path in kept} == {"ca_file": 0o600}

    def gone() -> None:
        assert cluster.kubectl("get", "namespace", release.name, rc=1)
        assert not (tmp_path / ".local/state/serving.triton/kubernetes").exists()

    play = role_play(ROLE, {**release.variables, **more})
    promise = Promise(play, absent={"server_kubernetes_state": "absent"}, canaries=CANARIES, after_run=running, after_absent=gone)
    keep(promise, release.workspace)


def by_token(cluster: Cluster, folder: Path) -> dict[str, str]:
    """Variables of the role that reach the cluster without a kubeconfig."""
    kept = json.loads(cluster.kubeconfig.read_text())["clusters"][0]["cluster"]
    authority = folder / "authority.pem"
    authority.write_bytes(b64decode(kept["certificate-authority-data"]))
    token = cluster.configured.token
    return {"server_kubernetes_host": kept["server"], "server_kubernetes_api_key": token, "server_kubernetes_ca_cert": str(authority)}


def test_a_killed_helm_recovers(tmp_path: Path, cluster: Cluster) -> None:
    """Killed while it installed, at the end of an upgrade and in the midst of one: check mode predicts, the run converges and shows, but
    not the token by which Helm goes back."""
    release = Release(cluster, tmp_path, "killed", {"server_kubernetes_lock_patience": 0})
    release.killed_helm("install")
    assert_clean(release.run())
    assert release.status() == [(1, "deployed")]
    assert release.containers()["image"].startswith("nvcr.io/nvidia/tritonserver")

    release.killed_helm("upgrade")
    release.run()
    assert release.has("prometheusrules")
    assert not release.has("poddisruptionbudget")

    # Helm refuses its own way back where what the killed revision lacks is not removed yet.
    release.killed_helm("upgrade")
    release.as_if_killed_earlier()
    wanted = release.image("nvidia/next")
    predicted = release.run("--check", **wanted)
    run = release.run("--diff", "-vvv", **wanted, **by_token(cluster, tmp_path))
    assert_secret(run, [cluster.configured.token])
    assert {name for _host, _path, name in run.changed} == {name for _host, _path, name in predicted.changed} == {
        "serving.triton.helm_release : Undo what a killed Helm left", f"{ROLE} : Install or upgrade the release"}  # fmt: skip
    assert "+          image: nvcr.io/nvidia/next:" in run.output
    assert [status for _revision, status in release.status()][-1] == "deployed"
    assert release.containers()["image"].startswith("nvcr.io/nvidia/next")
    assert release.has("prometheusrules")
    assert not release.has("poddisruptionbudget")


def test_a_bad_rollout_tells_why_and_goes_back(tmp_path: Path, cluster: Cluster) -> None:
    """Nothing to go back to at first: a real server with a model that does not load. Then a crash, which the former revision survives."""
    repository = tmp_path / "models"
    repository.mkdir()
    tritonserver.write_add_sub(repository)
    tritonserver.write_broken(repository)
    more = {"server_kubernetes_repository": str(repository), "server_kubernetes_volume": {"hostPath": {"path": str(repository)}}}
    release = Release(cluster, tmp_path, "failing", more)
    real = release.image("real-triton")
    first = release.run(rc=2, **real)
    assert "1 of 1 replicas are new, 0 ready" in told(first)
    assert "model broken 1:" in told(first)
    assert "Nothing served before, so nothing was rolled back" in told(first)

    chosen = {**real, "server_kubernetes_options": {"load-model": ["add_sub"]}}
    assert_clean(release.run(**chosen))
    crashing = release.image("crashing")
    second = release.run(rc=2, **{**chosen, **crashing})
    for text in ("CrashLoopBackOff", "CUDA error: out of memory", "which served before, serves again"):
        assert text in told(second), second.tail(100)
    assert [status for _revision, status in release.status()][-1] == "deployed"
    assert release.containers()["image"].startswith("nvcr.io/real-triton")


def refusal(name: str, **variables: Any) -> dict[str, Any]:
    """Tasks that keep what the preflight says as a line of the output."""
    role = {"name": ROLE, "tasks_from": "preflight"}
    include = {"name": "Ask", "ansible.builtin.include_role": role, "vars": variables}
    show = {"name": "Show", "ansible.builtin.debug": {"msg": f"{name}: {{{{ ansible_failed_result.msg }}}}"}}
    return {"name": name, "block": [include], "rescue": [show]}


def test_what_cannot_work_is_told_first(tmp_path: Path, cluster: Cluster) -> None:
    stand_in = cluster.configured
    weak = stand_in.kubeconfig(tmp_path / "weak", token=stand_in.access.token("nobody"))
    stand_in.add("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", {
        "metadata": {"name": "nobody"}, "roleRef": {"kind": "ClusterRole", "name": "view", "apiGroup": "rbac.authorization.k8s.io"},
        "subjects": [{"kind": "User", "name": "nobody", "apiGroup": "rbac.authorization.k8s.io"}]})  # fmt: skip
    nowhere = tmp_path / "nowhere"
    nowhere.write_text(weak.read_text().replace(stand_in.url, "https://127.0.0.1:1"))
    old = tmp_path / "old.yaml"
    old.write_text("image: {imageName: nvcr.io/nvidia/tritonserver:24.10-py3, modelRepositoryPath: s3://old/models, numGpus: 1}\n")
    base = {"server_kubernetes_repository": STORE}
    theirs = {"server_kubernetes_name": "theirs", "server_kubernetes_namespace": "theirs"}
    offered = Chart("agent", "1.0.0", {"settings.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\n"}, {}, {})
    (tmp_path / "agent.tgz").write_bytes(offered.pack())
    cluster.helm("install", "theirs", tmp_path / "agent.tgz", "--namespace", "theirs", "--create-namespace")
    tasks = [
        refusal("weak", **base, server_kubernetes_kubeconfig=str(weak)),
        refusal("unreachable", **base, server_kubernetes_kubeconfig=str(nowhere)),
        refusal("nohelm", **base, server_kubernetes_helm="no-such-helm"),
        refusal("option", **base, server_kubernetes_options={"http-port": 1}),
        refusal("nomodels", server_kubernetes_repository="/srv/models"),
        refusal("foreign", **base, **theirs),
        {"name": "Leave", "ansible.builtin.include_role": {"name": ROLE}, "vars": {**theirs, "server_kubernetes_state": "absent"}},
        refusal("old", server_kubernetes_values_file=str(old), server_kubernetes_values_chart="auto"),
    ]
    play = [{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]
    run = Workspace(tmp_path, env=cluster.environment(HOME=str(tmp_path))).run(play)
    assert run.rc == 0, run.tail(100)
    assert not run.changed
    for text in (
        "weak: The credentials for", "may not get secrets in triton", "create secrets in triton",
        "unreachable: https://127.0.0.1:1: does not answer",
        "nohelm: There is no no-such-helm on PATH", "option: Release localhost cannot be described", "remove them from triton_options",
        "foreign: Release theirs in namespace theirs of https://", "is of another chart, agent.", "is of another chart, agent, and stays",
        "nomodels: Nothing says where the cluster finds the models", "image.modelRepositoryPath became modelRepository.url",
    ):  # fmt: skip
        assert text in told(run), (text, run.tail(100))
    assert cluster.get("configmap", "settings", "theirs")


def test_check_mode_refuses_what_the_chart_refuses(tmp_path: Path, cluster: Cluster) -> None:
    """Before there is a release, too, where kubernetes.core.helm would render nothing."""
    wrong = {"server_kubernetes_values": {**CPU, "replicaCount": "many"}}
    checked = told(Release(cluster, tmp_path, "wrong", wrong).run("--check", rc=2))
    for text in ("Refuse what the chart refuses: Failure when executing Helm command", "replicaCount", "Nothing served before"):
        assert text in checked, (text, checked[-5000:])
