# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How a chart is fetched, what Helm keeps of a release, and rollouts of what is no Deployment."""

from __future__ import annotations

import base64
import gzip
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.kubernetes.repositories import Chart

from ansible_collections.serving.triton.plugins.module_utils.core.errors import TransientError, UnavailableError
from ansible_collections.serving.triton.plugins.module_utils.core.wait import Clock
from ansible_collections.serving.triton.plugins.module_utils.kubernetes.helm_chart import Source, definitions, fetch
from ansible_collections.serving.triton.plugins.module_utils.kubernetes.helm_release import workloads
from ansible_collections.serving.triton.plugins.module_utils.kubernetes.revisions import decoded
from ansible_collections.serving.triton.plugins.module_utils.kubernetes.rollout import (
    DAEMON_SET,
    DONE,
    GOING,
    STATEFUL_SET,
    STUCK,
    Observed,
    Verdict,
    combined,
    judge,
)  # fmt: skip


class Still(Clock):
    def sleep(self, seconds: float) -> None:
        """No time passes."""


class Helm:
    """Answers in turn, the last one from then on; a pull that succeeds leaves an archive."""

    def __init__(self, folder: Path, *answers: tuple[int, str, str]) -> None:
        self.folder, self.answers = folder, list(answers)
        self.calls: list[Sequence[str]] = []
        self.environment: Mapping[str, str] = {}

    def __call__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str, str]:
        self.calls.append(arguments)
        self.environment = environment
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if arguments[0] == "pull" and answer[0] == 0:
            (self.folder / "agent-1.0.0.tgz").touch()
        return answer


GOOD = (0, "", "")


def test_credentials_are_in_a_private_file_and_never_in_the_command(tmp_path: Path) -> None:
    helm = Helm(tmp_path, GOOD)
    source = Source("agent", "https://charts.example.com", "1.0.0", "reader", "canary")
    assert fetch(source, tmp_path, helm, Still()).name == "agent-1.0.0.tgz"
    assert helm.calls[-1][:2] == ["pull", "repository/agent"]
    assert "canary" not in json.dumps([helm.calls, dict(helm.environment)])
    login = tmp_path / "login"
    assert login.stat().st_mode & 0o777 == 0o600
    assert json.loads(login.read_text())["repositories"][0]["password"] == "canary"


def test_a_registry_has_its_own_login_unless_one_is_given(tmp_path: Path) -> None:
    helm = Helm(tmp_path, GOOD)
    fetch(Source("oci://registry.example.com/charts/agent", version="1.0.0"), tmp_path, helm, Still())
    assert helm.environment == {}
    fetch(Source("oci://registry.example.com/charts/agent", username="reader", password="canary"), tmp_path, helm, Still())
    kept = json.loads(Path(helm.environment["HELM_REGISTRY_CONFIG"]).read_text())
    assert base64.b64decode(kept["auths"]["registry.example.com"]["auth"]) == b"reader:canary"


def test_what_may_pass_is_tried_again_and_what_cannot_is_not(tmp_path: Path) -> None:
    source = Source("agent", "https://charts.example.com")
    passing = Helm(tmp_path, (0, "Unable to get an update from the repository", ""), GOOD)
    assert fetch(source, tmp_path, passing, Still())
    lasting = Helm(tmp_path, (1, "", "Error: connection refused"))
    with pytest.raises(TransientError, match="connection refused"):
        fetch(source, tmp_path, lasting, Still())
    assert len(lasting.calls) == 3
    refused = Helm(tmp_path, (1, "", "Error: 401 Unauthorized"))
    with pytest.raises(UnavailableError, match="401"):
        fetch(source, tmp_path, refused, Still())
    assert len(refused.calls) == 1


def test_definitions_are_read_as_kubernetes_reads_them(tmp_path: Path) -> None:
    """Those of charts within too, whether one file ends with a separator or not. "=" has a meaning of its own in YAML 1.1."""
    inner = Chart("inner", "1.0.0", crds={"c.yml": "kind: C\n"}).pack()
    outer = Chart(
        "outer", "1.0.0", {"no.yaml": "kind: No\n"}, {"a.yaml": "# first\nkind: A\nenum:\n- '!='\n- =\n", "b.json": '{"kind": "B"}'}
    )
    (tmp_path / "outer.tgz").write_bytes(outer.pack())
    with tarfile.open(tmp_path / "outer.tgz") as archive:
        archive.extractall(tmp_path, filter="data")
    (tmp_path / "outer" / "charts").mkdir()
    (tmp_path / "outer" / "charts" / "inner-1.0.0.tgz").write_bytes(inner)
    assert [each["kind"] for each in definitions(tmp_path / "outer.tgz")] == ["A", "B"]
    found = definitions(tmp_path / "outer")
    assert sorted(each["kind"] for each in found) == ["A", "B", "C"]
    assert next(each["enum"] for each in found if each["kind"] == "A") == ["!=", "="]


MANIFEST = """---
# Source: agent/templates/a.yaml
kind: DaemonSet
metadata:
  labels: {name: no}
  name: node
---
kind: Deployment
metadata: {name: elsewhere, namespace: other}
---
kind: ConfigMap
metadata: {name: text}
data: {a: "kind: Deployment"}
"""


def test_what_helm_keeps_is_read() -> None:
    document = {"manifest": MANIFEST, "chart": {"metadata": {"name": "agent"}}}
    kept = base64.b64encode(base64.b64encode(gzip.compress(json.dumps(document).encode()))).decode()
    assert workloads(decoded(kept), "agents") == [("DaemonSet", "node")]
    assert decoded("") == decoded("bm8=") == {}


def seen(kind: str, spec: dict[str, Any] | None = None, *, generation: int = 1, **status: int) -> Observed:
    value = {
        "metadata": {"name": "a", "uid": "w", "generation": generation},
        "spec": spec or {},
        "status": {"observedGeneration": 1, **status},
    }
    return Observed(value, kind=kind)


NODES = {"desiredNumberScheduled": 2, "updatedNumberScheduled": 2}


@pytest.mark.parametrize(
    ("observed", "state"),
    [
        (seen(DAEMON_SET, **NODES, numberAvailable=2), DONE),
        (seen(DAEMON_SET, **NODES, numberAvailable=1), GOING),
        (seen(DAEMON_SET, **NODES, numberAvailable=2, generation=2), GOING),
        (seen(DAEMON_SET, desiredNumberScheduled=2, updatedNumberScheduled=1, numberAvailable=2), GOING),
        (seen(DAEMON_SET, {"updateStrategy": {"type": "OnDelete"}}, desiredNumberScheduled=2, numberAvailable=2), DONE),
        # No node is meant.
        (seen(DAEMON_SET), DONE),
        (seen(STATEFUL_SET, {"replicas": 2}, replicas=2, updatedReplicas=2, availableReplicas=2), DONE),
        (seen(STATEFUL_SET, {"replicas": 2}, replicas=2, updatedReplicas=1, availableReplicas=2), GOING),
        (seen(STATEFUL_SET, {"replicas": 1, "updateStrategy": {"rollingUpdate": {"partition": 1}}}, replicas=1, readyReplicas=1), DONE),
    ],
)  # fmt: skip
def test_rollouts_of_other_kinds_are_judged(observed: Observed, state: str) -> None:
    assert judge(observed).state == state, judge(observed).text


def test_several_workloads_are_one_rollout() -> None:
    done, going = Verdict(DONE, "1 of 1"), Verdict(GOING, "0 of 1")
    stuck = Verdict(STUCK, "0 of 1", bad=("a",))
    assert combined({}).state == combined({"x": done}).state == DONE
    assert combined({"x": done, "y": going}) == Verdict(GOING, "y: 0 of 1")
    assert combined({"x": going, "y": stuck}) == Verdict(STUCK, "x: 0 of 1; y: 0 of 1", bad=("a",))
