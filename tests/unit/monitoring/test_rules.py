# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The alerts and recording rules, tried by promtool on made-up series."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import prometheus

CASES = Path(__file__).parent / "rules_test.yml"
GUIDE = prometheus.ROOT / "docs" / "monitoring.md"


def alerts(**changed: Any) -> list[dict[str, Any]]:
    groups = yaml.safe_load(prometheus.rules(**changed))["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


@pytest.fixture(scope="module")
def promtool() -> str:
    try:
        return str(prometheus.program("promtool"))
    except prometheus.NoPrometheusError as error:
        pytest.skip(str(error))


def run_cases(promtool: str, folder: Path, **changed: Any) -> subprocess.CompletedProcess[str]:
    (folder / "serving-triton.rules.yml").write_text(prometheus.rules(**changed), encoding="utf-8")
    shutil.copy(CASES, folder)
    return subprocess.run([promtool, "test", "rules", CASES.name], cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_every_rule_does_what_its_cases_say(promtool: str, tmp_path: Path) -> None:
    done = run_cases(promtool, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


THRESHOLDS = [name for name in prometheus.variables() if name.startswith("monitoring_alert_")]


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_every_threshold_decides_a_case(promtool: str, tmp_path: Path, threshold: str) -> None:
    """With a threshold out of reach an expected alert is missing: the cases do look at it."""
    beyond = 1 if threshold == "monitoring_alert_vanished_minutes" else 10_000
    assert run_cases(promtool, tmp_path, **{threshold: beyond}).returncode == 1


def test_every_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    cases = [case for test in yaml.safe_load(CASES.read_text(encoding="utf-8"))["tests"] for case in test.get("alert_rule_test", [])]
    names = {alert["alert"] for alert in alerts()}
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == names
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == names


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    guide = GUIDE.read_text(encoding="utf-8")
    chapters = {heading.lower() for heading in re.findall(r"^### (\w+)$", guide.partition("\n## Alerts\n")[2], re.MULTILINE)}
    for alert in alerts():
        assert alert["labels"]["severity"] in ("critical", "warning"), alert["alert"]
        assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}, alert["alert"]
        page, _unused, anchor = alert["annotations"]["runbook_url"].partition("#")
        assert page.endswith("/docs/monitoring.md")
        assert anchor == alert["alert"].lower()
    assert chapters == {alert["alert"].lower() for alert in alerts()}


def test_the_guide_names_every_recorded_series_and_every_threshold() -> None:
    guide = GUIDE.read_text(encoding="utf-8")
    groups = yaml.safe_load(prometheus.rules())["groups"]
    wanted = [rule["record"] for group in groups for rule in group["rules"] if "record" in rule] + THRESHOLDS
    assert [name for name in wanted if f"`{name}`" not in guide] == []


def test_a_user_adds_groups(promtool: str, tmp_path: Path) -> None:
    extra = [{"name": "mine", "rules": [{"record": "mine:models", "expr": 'count(triton:success:rate{model!~"x{{1}}"})'}]}]
    text = prometheus.rules(monitoring_extra_groups=extra)
    assert [group["name"] for group in yaml.safe_load(text)["groups"]] == ["triton-recording", "triton-alerts", "mine"]
    assert yaml.safe_load(text)["groups"][-1] == extra[0]
    path = tmp_path / "rules.yml"
    path.write_text(text, encoding="utf-8")
    done = subprocess.run([promtool, "check", "rules", str(path)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_the_job_is_the_users() -> None:
    expressions = [alert["expr"] for alert in alerts(monitoring_job="inference")]
    assert not [expression for expression in expressions if 'job="triton"' in expression]
    assert [expression for expression in expressions if 'job="inference"' in expression]
