# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is there of one Helm release of any chart, and whether this collection made it."""

from __future__ import annotations

import base64
import binascii
import gzip
import json
from collections.abc import Mapping
from typing import Any

from .cluster import Cluster, Object, part
from .inspect import MADE_BY, OURS, history, namespace_of
from .service import Release


def record_name(name: str) -> str:
    """The ConfigMap that says that a release is ours. It is there before the release is, so that a run which was killed leaves nothing
    that nobody owns."""
    return f"serving-triton-{name}"


def look(cluster: Cluster, release: Release) -> dict[str, Any]:
    """Raises UnavailableError for what may not be read."""
    namespace = cluster.get(f"/api/v1/namespaces/{part(release.namespace)}")
    found = history(cluster, release) if namespace else {"status": "absent", "revision": 0, "deployed": 0, "before": 0}
    chart = _chart(cluster, release, found["revision"]) if found["revision"] else {}
    return {
        "server": cluster.url,
        "namespace": {**namespace_of(cluster, release, namespace), "labels": _labels(namespace)},
        "release": {**found, "chart": chart.get("name", ""), "version": chart.get("version", ""), "app_version": chart.get("appVersion", "")},
        "ours": _labels(cluster.get(f"{release.core('configmaps')}/{part(record_name(release.name))}")).get(MADE_BY) == OURS,
    }


def _labels(value: Object | None) -> dict[str, str]:
    return dict(((value or {}).get("metadata") or {}).get("labels") or {})


def _chart(cluster: Cluster, release: Release, revision: int) -> Mapping[str, Any]:
    """The metadata of a revision's chart."""
    secret = cluster.get(f"{release.core('secrets')}/sh.helm.release.v1.{part(release.name)}.v{revision}") or {}
    return chart_of((secret.get("data") or {}).get("release") or "")


def chart_of(kept: str) -> Mapping[str, Any]:
    """The chart's metadata in what Helm keeps of a revision: JSON, compressed, encoded by Helm and again by the API. Empty if it is none."""
    try:
        document = json.loads(gzip.decompress(base64.b64decode(base64.b64decode(kept))))
        found: Mapping[str, Any] = document["chart"]["metadata"]
    except (binascii.Error, OSError, EOFError, ValueError, KeyError, TypeError):
        return {}
    return found
