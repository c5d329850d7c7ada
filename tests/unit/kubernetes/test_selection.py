# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""By which labels a cluster's own monitoring takes what a release brings."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.serving.triton.plugins.module_utils.kubernetes.selection import selections, wanted_labels

LABELLED = {"matchLabels": {"release": "stack"}}
EVERY: dict[str, Any] = {}


def prometheus(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "monitoring", "name": name}, "spec": spec}


def taking(name: str, selector: Any, namespaces: Any) -> dict[str, Any]:
    kinds = ("serviceMonitor", "rule")
    spec = {f"{kind}Selector": selector for kind in kinds} | {f"{kind}NamespaceSelector": namespaces for kind in kinds}
    return prometheus(name, **spec)


def grafana(**environment: str) -> dict[str, Any]:
    env = [{"name": key, "value": value} for key, value in environment.items()]
    containers = [{"image": "quay.io/kiwigrid/k8s-sidecar:2", "env": env}]
    return {"metadata": {"namespace": "monitoring", "name": "grafana"}, "spec": {"template": {"spec": {"containers": containers}}}}


@pytest.mark.parametrize(
    ("selector", "labels"),
    [
        (None, None),
        ({}, {}),
        (LABELLED, {"release": "stack"}),
        ({"matchExpressions": [{"key": "team", "operator": "In", "values": ["ml", "web"]}]}, {"team": "ml"}),
        ({"matchExpressions": [{"key": "team", "operator": "Exists"}, {"key": "old", "operator": "DoesNotExist"}]}, {"team": "true"}),
        ({**LABELLED, "matchExpressions": [{"key": "release", "operator": "NotIn", "values": ["stack"]}]}, None),
    ],
)
def test_labels_satisfy_a_selector(selector: Any, labels: Any) -> None:
    assert wanted_labels(selector) == labels


def test_the_prometheus_that_asks_for_least_is_taken() -> None:
    found = selections([taking("a", LABELLED, EVERY), taking("b", EVERY, EVERY)], [grafana(LABEL="dashboards", NAMESPACE="ALL")], "ml", {})
    assert found["service_monitor"] == {"labels": {}, "by": "Prometheus monitoring/b", "problem": ""}
    assert selections([taking("a", LABELLED, EVERY)], [], "ml", {})["rule"]["labels"] == {"release": "stack"}
    assert found["dashboard"] == {"labels": {"dashboards": "1"}, "by": "Grafana monitoring/grafana", "problem": ""}


def test_a_namespace_that_nobody_looks_into_is_told() -> None:
    team = {"matchLabels": {"team": "ml"}}
    assert selections([taking("a", EVERY, team)], [], "ml", {"team": "ml"})["rule"]["problem"] == ""
    assert (
        "selects no PrometheusRules of namespace ml (ruleNamespaceSelector)"
        in selections([taking("a", EVERY, team)], [], "ml", {})["rule"]["problem"]
    )
    # Without a selector of namespaces it is its own alone; without one of monitors it is none.
    assert selections([taking("a", EVERY, None)], [], "monitoring", {})["rule"]["by"]
    assert selections([taking("a", EVERY, None)], [], "ml", {})["rule"]["problem"]
    assert "(serviceMonitorSelector)" in selections([prometheus("a")], [], "ml", {})["service_monitor"]["problem"]
    assert selections([], [], "ml", {})["rule"]["problem"] == "the operator runs no Prometheus"
    alone = selections([], [grafana(LABEL="grafana_dashboard")], "ml", {})["dashboard"]
    assert alone["problem"] == "Grafana monitoring/grafana takes dashboards of namespace monitoring alone"
