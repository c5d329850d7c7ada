# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the role server_kubernetes makes of its variables and of what it found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from support.charts.cases import CASES

ROLE = Path(__file__).resolve().parents[3] / "roles" / "server_kubernetes"


def value(name: str, **known: Any) -> Any:
    """A variable of the role; known: variables, the role's own included, without their common prefix."""
    loader = DataLoader()
    files = [ROLE / "defaults" / "main.yml", ROLE / "vars" / "main.yml"]
    variables = {key: each for path in files for key, each in loader.load_from_file(str(path), trusted_as_template=True).items()}
    more = {key if key.startswith("_") else f"server_kubernetes_{key}": each for key, each in known.items()}
    variables |= {f"__server_kubernetes{key}" if key.startswith("_") else key: each for key, each in more.items()}
    variables["inventory_hostname"] = variables["server_kubernetes_name"] = "vision"
    return Templar(loader, variables).template(variables[f"__server_kubernetes_{name}"])


def test_an_empty_store_leaves_the_values_file_alone() -> None:
    assert value("made", _monitored=False)["credentials"] == {}
    assert value("made", _monitored=False, store={"s3": {"region": "eu-central-1"}})["credentials"] == {"region": "eu-central-1"}
    assert value("sync", repository="oss://a/b") == {"url": "oss://a/b"}
    assert value("sync", repository="oss://a/b", store={"oss": {"endpoint": "oss-x"}}) == {"url": "oss://a/b", "endpoint": "oss-x"}


def test_a_region_and_the_environment_come_to_the_chart_as_its_tests_have_them() -> None:
    keys = {"AWS_ACCESS_KEY_ID": "reader", "AWS_SECRET_ACCESS_KEY": "canary", "AWS_DEFAULT_REGION": "eu-central-1"}
    credentials = value("made", _monitored=False, store={"s3": {"region": "eu-central-1"}})["credentials"]
    made = value("secret_values", _all={"credentials": credentials}, _secret="vision-secrets", environment=keys)
    assert made["credentials"] == CASES["variables of the role"]["credentials"]
    assert not made["extraEnv"]


@pytest.mark.parametrize(
    "secret",
    [
        "apiVersion: v1\nkind: Secret\ndata: {a: canary}",
        'stringData:\n  a: canary\nkind: "Secret"\nmetadata:\n  name: a',
        "kind: 'Secret' # mine\ndata:\n  a: canary",
        "apiVersion: v1\nkind: List\nitems:\n- kind: Secret\n  data: {a: canary}",
        '{"kind": "Secret", "data": {"a": "canary"}}',
    ],
)
def test_a_first_installation_shows_no_secret(secret: str) -> None:
    gateway = "kind: Gateway\nspec:\n  listeners:\n  - tls:\n      certificateRefs:\n      - kind: Secret"
    store = "kind: SecretStore\nmetadata:\n  name: shown"
    shown = value("shown", _rendered={"stdout": f"---\n# Source: a\n{gateway}\n---\n# Source: b\n{secret}\n---\n{store}\n"})
    assert "canary" not in shown
    assert shown.split("\n---\n")[1] == "kind: Secret (not shown)"
    assert gateway in shown
    assert store in shown


def test_replicas_are_as_many_as_an_autoscaler_may_make() -> None:
    assert value("most", values={"replicaCount": 2}) == 2
    assert value("most", values={"replicaCount": 2, "autoscaling": {"type": "none", "maxReplicas": 9}}) == 2
    assert value("most", values={"autoscaling": {"type": "hpa"}}) == 3
    assert value("most", values={"autoscaling": {"type": "keda", "maxReplicas": 9}}) == 9


def test_models_that_were_not_published_start_no_pods() -> None:
    before = {"deployment": {"annotations": {"serving.triton/models": "abc"}}}
    kept = value("revision_values", _copied=True, _before=before)
    assert kept == {"podAnnotations": {"serving.triton/models": "abc"}}
    published = value("revision_values", _copied=True, _before=before, _revisions={"add": "1"})
    assert published["podAnnotations"]["serving.triton/models"] != "abc"
    assert value("revision_values", _copied=True, _before={"deployment": {}}) == {}
    assert value("revision_values", _copied=False, _before=before) == {}


@pytest.mark.parametrize(
    ("secret", "there", "used", "removed"),
    [
        # A changed one: that of the pods before stays, not the youngest.
        ("c", ["a", "b", "c"], ["a"], ["b"]),
        ("c", ["a", "b"], ["b", "of-users"], ["a"]),
        # Nothing changes, so nothing goes.
        ("c", ["b", "c"], ["c"], []),
        ("", ["b"], [], []),
        ("", ["a", "b"], ["b"], ["a"]),
    ],
)
def test_the_secret_of_the_pods_before_is_kept(secret: str, there: list[str], used: list[str], removed: list[str]) -> None:
    assert value("old_secrets", _secret=secret, _before={"secrets": there, "deployment": {"secrets": used}}) == removed


def test_clusters_do_not_share_a_folder() -> None:
    first, second = (value("folder", state_dir="/state", _before={"server": f"https://{name}:6443"}) for name in ("a", "b"))
    assert first != second
    assert first.startswith("/state/triton.vision.")


def test_what_is_monitored_has_the_labels_that_the_cluster_selects() -> None:
    problem = "Prometheus a/b selects no PrometheusRules (ruleSelector)"
    found = {
        "service_monitor": {"labels": {"release": "stack"}, "by": "Prometheus a/b", "problem": ""},
        "rule": {"labels": {}, "by": "", "problem": problem},
        "dashboard": {"labels": {"boards": "1"}, "by": "Grafana a/g", "problem": ""},
    }
    before = {"kinds": ["ServiceMonitor"], "monitoring": found}
    made = value("monitors", _before=before, _first=True, monitoring_labels={"team": "ml"})
    assert made["serviceMonitor"]["labels"] == {"release": "stack", "team": "ml"}
    assert made["dashboard"]["labels"] == {"boards": "1"}
    assert made["service"] == "vision"
    assert value("unselected", _before=before) == [problem]
    # Who names labels knows better, and what may not be read is no problem.
    assert value("unselected", _before=before, monitoring_labels={"team": "ml"}) == []
    assert value("unselected", _before={"kinds": ["ServiceMonitor"], "monitoring": {}}) == []
    assert value("monitors", _before={}, _first=True)["dashboard"] == {"enabled": True}
