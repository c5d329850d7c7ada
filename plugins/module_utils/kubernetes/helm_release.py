# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is there of one Helm release of any chart, and whether this collection made it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .cluster import Cluster, Object, part
from .inspect import MADE_BY, OURS, namespace_of
from .revisions import documents, history, last_of, revisions
from .rollout import PLURALS
from .service import Release


def record_name(name: str) -> str:
    """The ConfigMap that says that a release is ours. It is there before the release is, so that a run which was killed leaves nothing
    that nobody owns."""
    return f"serving-triton-{name}"


def look(cluster: Cluster, release: Release, together: Sequence[str] = ()) -> dict[str, Any]:
    """together: see `namespace_of`. Raises UnavailableError for what may not be read."""
    namespace = cluster.get(f"/api/v1/namespaces/{part(release.namespace)}")
    known = revisions(cluster, release) if namespace else []
    found = history(known)
    last = last_of(known).content
    chart = (last.get("chart") or {}).get("metadata") or {}
    return {
        "server": cluster.url,
        "namespace": {**namespace_of(cluster, release, namespace, together), "labels": _labels(namespace)},
        "release": {
            **found,
            "version": chart.get("version", ""),
            "app_version": chart.get("appVersion", ""),
        },
        "missing": _missing(cluster, release, workloads(last, release.namespace)),
        "ours": _labels(cluster.get(f"{release.core('configmaps')}/{part(record_name(release.name))}")).get(MADE_BY) == OURS,
    }


def _labels(value: Object | None) -> dict[str, str]:
    return dict(((value or {}).get("metadata") or {}).get("labels") or {})


def workloads(content: Mapping[str, Any], namespace: str) -> list[tuple[str, str]]:
    """Kind and name of the Deployments, DaemonSets and StatefulSets that a revision has in a namespace."""
    found = []
    for value in documents(content, "|".join(PLURALS)):
        metadata = value.get("metadata") or {}
        if value.get("kind") in PLURALS and metadata.get("namespace", namespace) == namespace:
            found.append((str(value["kind"]), str(metadata.get("name"))))
    return found


def _missing(cluster: Cluster, release: Release, wanted: Sequence[tuple[str, str]]) -> list[str]:
    there = {
        (kind, each["metadata"]["name"]) for kind in {kind for kind, _name in wanted} for each in cluster.items(release.apps(PLURALS[kind]))
    }
    return [f"{kind} {name}" for kind, name in wanted if (kind, name) not in there]
