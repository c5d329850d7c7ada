# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The doctor's findings about a cluster, from what server_kubernetes_info answers."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.serving.triton.plugins.module_utils.report import doctor
from ansible_collections.serving.triton.plugins.module_utils.report.cluster import judge_cluster
from ansible_collections.serving.triton.plugins.module_utils.report.finding import FAIL, OK, WARN

HEALTHY: dict[str, Any] = {
    "version": "1.36",
    "server": "https://10.0.0.1:6443",
    "denied": [],
    "release": {"status": "deployed", "revision": 3, "deployed": 3},
    "deployment": {"replicas": 2, "ready": 2},
    "rollout": "2 of 2 replicas are ready",
    "nodes": ["10.0.0.11"],
    "spare_gpus": 1,
}
SHORT = {"deployment": {"replicas": 2, "ready": 1}, "rollout": "1 of 2 replicas are ready", "spare_gpus": 0}


def test_a_healthy_cluster() -> None:
    found = judge_cluster(HEALTHY)
    assert {finding.status for finding in found} == {OK}
    assert [finding.check for finding in found] == ["cluster", "cluster permissions", "release", "replicas", "cluster gpus"]
    assert "Kubernetes 1.36 answers at https://10.0.0.1:6443, 1 nodes are ready" in found[0].detail
    report = doctor.compose("vision", found, "now", doctor.CLUSTER)
    assert doctor.render(report)[0] == "Cluster vision: ok"
    # All replicas are there: nothing is wrong with a full cluster.
    assert {finding.status for finding in judge_cluster({**HEALTHY, "spare_gpus": 0})} == {OK}


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"failed": True, "msg": "the API server does not answer\nmore"}, {"cluster": (FAIL, "the API server does not answer")}),
        # What the role lets pass has no sign of a failure but its message.
        ({"failed": False, "msg": "refused"}, {"cluster": (FAIL, "refused")}),
        ({**HEALTHY, "denied": ["create pods in a"]}, {"cluster permissions": (WARN, "the credentials may not create pods in a")}),
        (
            {**HEALTHY, "release": {"status": "absent", "revision": 0, "deployed": 0}, "deployment": {}},
            {"release": (FAIL, "there is no release of the chart")},
        ),
        (
            {**HEALTHY, "release": {"status": "failed", "revision": 4, "deployed": 3}},
            {"release": (FAIL, "revision 4 is failed; revision 3 was the last that was deployed")},
        ),
        (
            {**HEALTHY, "release": {"status": "pending-upgrade", "revision": 1, "deployed": 0}},
            {"release": (WARN, "revision 1 is pending-upgrade")},
        ),
        ({**HEALTHY, **SHORT}, {"replicas": (FAIL, "1 of 2 replicas are ready"), "cluster gpus": (WARN, "none is free for a replica")}),
    ],
)
def test_what_is_wrong_is_told_with_a_remedy(answer: dict[str, Any], told: dict[str, tuple[str, str]]) -> None:
    bad = [finding for finding in judge_cluster(answer) if finding.status != OK]
    assert {finding.check: (finding.status, finding.detail) for finding in bad} == told
    assert all(finding.remedy for finding in bad)


SERVED = {**HEALTHY, "kserve": {"version": "0.16.0", "names": "current"}, "service": {"ready": True, "message": ""}}


@pytest.mark.parametrize(
    ("service", "status", "told"),
    [
        ({"ready": True, "message": ""}, OK, "KServe 0.16.0 says that it is ready"),
        (
            {"ready": False, "message": "Deployment does not have minimum availability."},
            FAIL,
            "KServe says that it is not ready: Deployment",
        ),
        ({}, FAIL, "there is no InferenceService"),
    ],
)
def test_a_service_of_kserve_has_no_release(service: dict[str, Any], status: str, told: str) -> None:
    found = {each.check: each for each in judge_cluster({**SERVED, "service": service})}
    assert "release" not in found
    assert found["inference service"].status == status
    assert found["inference service"].detail.startswith(told)
