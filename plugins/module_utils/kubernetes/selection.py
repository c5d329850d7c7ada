# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which labels make a Prometheus of the operator, and Grafana's sidecar, take objects of a namespace. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Object = Mapping[str, Any]
Labels = Mapping[str, str]
# What is selected → the names of its selectors in a Prometheus.
_KINDS = {
    "service_monitor": ("ServiceMonitors", "serviceMonitorSelector", "serviceMonitorNamespaceSelector"),
    "rule": ("PrometheusRules", "ruleSelector", "ruleNamespaceSelector"),
}


def selections(prometheuses: Sequence[Object], deployments: Sequence[Object], namespace: str, labels: Labels) -> dict[str, Any]:
    """By service_monitor, rule and dashboard: `labels` that are wanted, `by` whom, and the `problem` where nobody takes them.

    namespace, labels: of the objects' namespace.
    """
    known = {"kubernetes.io/metadata.name": namespace, **labels}
    found = {name: _by_prometheus(prometheuses, name, namespace, known) for name in _KINDS}
    return {**found, "dashboard": _by_grafana(deployments, namespace)}


def _by_prometheus(prometheuses: Sequence[Object], name: str, namespace: str, labels: Labels) -> dict[str, Any]:
    kinds, selector, namespaces = _KINDS[name]
    fitting, refusals = [], []
    for each in prometheuses:
        where, spec = f"{each['metadata']['namespace']}/{each['metadata']['name']}", each.get("spec") or {}
        wanted = wanted_labels(spec.get(selector))
        if wanted is None:
            refusals.append(f"Prometheus {where} selects no {kinds} ({selector})")
        elif not takes_namespace(spec.get(namespaces), each["metadata"]["namespace"], namespace, labels):
            refusals.append(f"Prometheus {where} selects no {kinds} of namespace {namespace} ({namespaces})")
        else:
            fitting.append((len(wanted), where, wanted))
    if fitting:
        _count, where, wanted = min(fitting, key=lambda each: each[:2])
        return _selection(wanted, f"Prometheus {where}")
    return _selection({}, "", "; ".join(refusals) or "the operator runs no Prometheus")


def _selection(labels: Labels, by: str, problem: str = "") -> dict[str, Any]:
    return {"labels": dict(labels), "by": by, "problem": problem}


def wanted_labels(selector: Object | None) -> dict[str, str] | None:
    """Labels that satisfy a selector, as few as there can be; None where there is no selector, which selects nothing."""
    if selector is None:
        return None
    found = dict(selector.get("matchLabels") or {})
    for each in selector.get("matchExpressions") or ():
        if each["operator"] == "In" and found.get(each["key"]) not in each["values"]:
            found[each["key"]] = each["values"][0]
        elif each["operator"] == "Exists":
            found.setdefault(each["key"], "true")
    return found if matches(selector, found) else None


def takes_namespace(selector: Object | None, own: str, namespace: str, labels: Labels) -> bool:
    """Without a selector a Prometheus looks into its own namespace alone."""
    return own == namespace if selector is None else matches(selector, labels)


def matches(selector: Object, labels: Labels) -> bool:
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_holds(each, labels) for each in selector.get("matchExpressions") or ())


def _holds(expression: Object, labels: Labels) -> bool:
    value, values = labels.get(expression["key"]), expression.get("values") or ()
    there = value is not None
    return {"In": there and value in values, "NotIn": value not in values, "Exists": there, "DoesNotExist": not there}[
        expression["operator"]
    ]


def _by_grafana(deployments: Sequence[Object], namespace: str) -> dict[str, Any]:
    problem = ""
    for deployment, environment in _sidecars(deployments):
        where = f"{deployment['metadata']['namespace']}/{deployment['metadata']['name']}"
        looked_at = environment.get("NAMESPACE") or deployment["metadata"]["namespace"]
        if looked_at == "ALL" or namespace in looked_at.split(","):
            return _selection({environment["LABEL"]: environment.get("LABEL_VALUE") or "1"}, f"Grafana {where}")
        problem = f"Grafana {where} takes dashboards of namespace {looked_at} alone"
    return _selection({}, "", problem)


def _sidecars(deployments: Sequence[Object]) -> Iterator[tuple[Object, dict[str, str]]]:
    """Those that bring dashboards: they write them to a folder, and tell data sources apart by another label."""
    for deployment in deployments:
        for container in deployment["spec"]["template"]["spec"]["containers"]:
            environment = {each["name"]: str(each.get("value") or "") for each in container.get("env") or ()}
            if "sidecar" in container.get("image", "") and "dashboard" in environment.get("LABEL", ""):
                yield deployment, environment
