# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.serving.triton.plugins.module_utils.report import doctor
from ansible_collections.serving.triton.plugins.module_utils.report.doctor import FAIL, OK, WARN, Finding

GIB = 1024**3
READY = {"name": "m", "version": "1", "state": "READY", "reason": ""}


def statuses(findings):
    return [(finding.check, finding.status) for finding in findings]


def replica(**values):
    return {"name": "", "live": True, "server": {"version": "2.51.0"}, "models": [READY], **values}


def published(**more: Any) -> dict[str, Any]:
    models = [{"state": "published"}, {"state": "foreign"}]
    told = {"published": True, "models": models, "publisher": "ci@runner", "time": "2026-03-01T12:00:00+00:00", "drift": [], "pending": []}
    return {**told, **more}


def test_a_store_that_is_as_it_was_published_is_fine() -> None:
    touched = [{"model": "a", "file": "a/1/x", "kind": "touched"}]
    [finding] = doctor.judge_published(published(drift=touched))
    assert (finding.status, finding.detail) == (doctor.OK, "1 models are published, last by ci@runner at 2026-03-01T12:00:00+00:00")


def test_a_store_that_was_changed_by_hand_is_told() -> None:
    drift = [{"model": "a", "file": "a/1/x", "kind": "missing"}]
    found = doctor.judge_published(published(drift=drift, pending=["b"]))
    assert [(each.check, each.status) for each in found] == [
        ("repository a", doctor.FAIL),
        ("repository b", doctor.WARN),
        ("repository", doctor.OK),
    ]
    assert [each.status for each in doctor.judge_published(published(published=False, models=[]))] == [doctor.FAIL]
    assert [each.detail for each in doctor.judge_published({"failed": True, "msg": "no credentials"})] == ["no credentials"]


def test_a_healthy_server():
    assert statuses(doctor.judge_server({"replicas": [replica()]})) == [("server", OK), ("models", OK)]


def test_what_a_platform_says_of_its_service():
    assert doctor.judge_platform({}) == []
    assert doctor.judge_platform({"runtime": "process"}) == []
    assert statuses(doctor.judge_platform({"name": "a", "status": "Running", "instances": "2 of 2 run"})) == [("service a", OK)]
    waiting = {"name": "a", "status": "Waiting", "message": "Waiting for instances", "trouble": ["Insufficient GPU", "E log"]}
    [finding] = doctor.judge_platform(waiting)
    assert (finding.status, finding.detail, finding.remedy) == (FAIL, "is Waiting: Waiting for instances", "Insufficient GPU; E log")
    assert doctor.judge_platform({"status": "Stopped"})[0].remedy


def test_a_server_that_cannot_be_asked():
    findings = doctor.judge_server({"failed": True, "msg": "connection refused\nmore"})
    assert statuses(findings) == [("server", FAIL)]
    assert findings[0].detail == "connection refused"


def test_a_dead_replica_is_named():
    answer = {"replicas": [replica(name="a"), replica(name="b", live=False, error="connection refused")]}
    assert ("server b", FAIL) in statuses(doctor.judge_server(answer))


def test_a_broken_model_tells_tritons_reason():
    broken = {"name": "m", "version": "2", "state": "UNAVAILABLE", "reason": "no version"}
    findings = doctor.judge_server({"replicas": [replica(models=[READY, broken])]})
    assert ("model m", FAIL) in statuses(findings)
    assert "no version" in next(finding.detail for finding in findings if finding.check == "model m")


def test_a_replaced_version_is_no_fault():
    old = {"name": "m", "version": "1", "state": "UNAVAILABLE", "reason": "unloaded"}
    assert statuses(doctor.judge_server({"replicas": [replica(models=[old, {**READY, "version": "2"}])]}))[-1] == ("models", OK)


def test_a_server_without_a_ready_model_fails():
    assert ("models", FAIL) in statuses(doctor.judge_server({"replicas": [replica(models=[])]}))


@pytest.mark.parametrize(("severity", "status"), [("error", FAIL), ("warning", WARN)])
def test_lint_findings_keep_their_weight(severity, status):
    answer = {"findings": [{"model": "m", "severity": severity, "message": "x", "remedy": "y"}], "models": []}
    assert ("lint m", status) in statuses(doctor.judge_repository(answer))


def test_hints_of_the_linter_are_not_findings():
    assert statuses(doctor.judge_repository({"findings": [{"severity": "info", "model": "m"}], "models": [1]})) == [("repository", OK)]


def test_unpublished_changes_are_a_warning():
    assert statuses(doctor.judge_publication({"changed": True, "actions": ["put m/1"]})) == [("publication", WARN)]
    assert statuses(doctor.judge_publication({"changed": False})) == [("publication", OK)]


@pytest.mark.parametrize(("content", "status"), [("", WARN), ("nv_inference_count 1", OK)])
def test_an_empty_metrics_body_is_seen(content, status):
    assert statuses(doctor.judge_metrics({"content": content})) == [("metrics", status)]


@pytest.mark.parametrize(
    ("targets", "status"),
    [([], FAIL), ([{"health": "up"}], OK), ([{"health": "down", "scrapeUrl": "u", "lastError": "e"}], FAIL)],
)
def test_prometheus_targets(targets, status):
    assert statuses(doctor.judge_monitoring({"json": {"data": {"activeTargets": targets}}})) == [("monitoring", status)]


def test_the_file_system_nearest_to_the_path_counts():
    mounts = [
        {"mount": "/", "size_available": 9 * GIB},
        {"mount": "/srv", "size_available": 1024},
        {"mount": "/srv2", "size_available": GIB},
    ]
    assert statuses(doctor.judge_mounts(mounts, ["/srv/models"])) == [("disk /srv/models", FAIL)]
    assert statuses(doctor.judge_mounts(mounts, ["/srv2/models"])) == [("disk /srv2/models", OK)]


def test_the_verdict_is_the_worst_finding():
    findings = [Finding("a", OK, "fine"), Finding("b", WARN, "hm", "look"), Finding("c", FAIL, "bad", "mend it")]
    report = doctor.compose("local", findings, "now")
    assert report["verdict"] == FAIL
    assert doctor.compose("local", findings[:2], "now")["verdict"] == WARN
    assert doctor.compose("local", [], "now")["verdict"] == FAIL, "a doctor that looked at nothing must not say ok"
    text = "\n".join(doctor.render(report))
    assert "-> mend it" in text
    assert text.startswith("Triton service local: fail")
