# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import json

from ansible_collections.serving.triton.plugins.module_utils.report import service

FACTS = {
    "triton_target": "host",
    "triton_server": {"runtime": "process", "version": "2.51.0", "logs": "/var/log/t.log"},
    "triton_endpoint": {
        "http": "http://127.0.0.1:8000",
        "grpc": "grpc://127.0.0.1:8001",
        "metrics": "http://127.0.0.1:8002/metrics",
        "headers": {"triton-key": "canary-key"},
    },
    "triton_published": {
        "repository": "/srv/models",
        "models": [{"name": "digits", "versions": [1, 2], "state": "changed"}, {"name": "simple", "versions": [1], "state": "unchanged"}],
    },
    "triton_verification": {
        "models": [
            {
                "name": "digits",
                "version": "2",
                "state": "READY",
                "verified": "compared",
                "http": {"p50": 1.25, "p99": 2.5},
                "grpc": {"p50": 1.0, "p99": 2.0},
            }
        ],
        "models_verified": 1,
        "requests": 2,
        "p50": 1.1,
        "p99": 2.5,
    },
    "triton_monitoring": {"prometheus": "", "reason": "no prometheus on PATH"},
}


def report():
    return service.compose("local", FACTS, finished="2026-01-01T00:00:00+00:00", check_mode=False)


def test_headers_never_reach_the_report():
    assert "canary-key" not in json.dumps(report())


def test_published_and_verified_facts_of_a_model_meet_in_one_row():
    digits, simple = report()["models"]
    assert (digits["versions"], digits["published"], digits["state"], digits["verified"]) == ([1, 2], "changed", "READY", "compared")
    assert (simple["name"], simple.get("verified")) == ("simple", None)


def test_the_text_tells_everything_a_user_asks_for():
    text = "\n".join(service.render(report()))
    for part in (
        "Triton service local (host, process, tritonserver 2.51.0)",
        "http://127.0.0.1:8000",
        "grpc://127.0.0.1:8001",
        "/srv/models",
        "1.2/2.5 ms",
        "1 models by 2 requests, p50 1.1 ms, p99 2.5 ms",
        "left out: no prometheus on PATH",
        "/var/log/t.log",
    ):
        assert part in text


def test_repeated_requests_are_told_one_by_one():
    model = {"name": "digits", "http": {"p50": 1.0, "p99": 3.0, "latencies": [3.04, 1.0]}, "grpc": {"p50": 1.0, "p99": 1.0}}
    facts = {**FACTS, "triton_verification": {**FACTS["triton_verification"], "models": [model]}}
    lines = service.render(service.compose("local", facts, finished="", check_mode=False))
    assert [line for line in lines if "Latencies" in line] == ["  Latencies   digits over HTTP 3.0 1.0 ms"]


def test_a_run_that_verified_nothing_says_so():
    lines = service.render(service.compose("local", {"triton_target": "host"}, finished="", check_mode=True))
    assert any("nothing was verified in this run" in line for line in lines)


def test_many_services_get_one_line_each():
    lines = service.render_brief([report(), {**report(), "service": "other"}])
    assert len(lines) == 3
    assert lines[2].split()[:3] == ["other", "host", "http://127.0.0.1:8000"]


def test_a_release_is_told():
    entry = {"state": "done", "served": [1], "released": [2], "withdrawn": []}
    released = {**FACTS, "triton_release": {"result": "released", "models": {"digits": entry}}}
    text = "\n".join(service.render(service.compose("local", released, finished="", check_mode=False)))
    assert "Released    digits 2, before 1" in text
    back = {"digits": {**entry, "withdrawn": [2]}, "new": {"served": [], "withdrawn": [1]}}
    failed = {"result": "rolled back", "models": back, "reason": "Ask: 1 of 2 failed\nmore", "unfinished": ""}
    facts = {**FACTS, "triton_release": failed, "triton_published": {"notes": ["digits stays as it is"]}}
    text = "\n".join(service.render(service.compose("local", facts, finished="", check_mode=False)))
    assert "Rolled back digits to 1, version 2 withdrawn" in text
    assert "Rolled back new to nothing, version 1 withdrawn" in text
    assert "Failed      Ask: 1 of 2 failed\n" in text
    assert "Note        digits stays as it is" in text
    assert "Unfinished" not in text
