# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What Helm keeps of a release in the cluster: its revisions, a Secret each."""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..core.wait import Clock
from .cluster import Cluster, part
from .service import Release

NONE: Mapping[str, Any] = {"status": "absent", "revision": 0, "deployed": 0, "before": 0}
PENDING = ("pending-install", "pending-upgrade", "pending-rollback", "uninstalling")
_LOOK_SECONDS = 2.0


def history(cluster: Cluster, release: Release) -> dict[str, Any]:
    """status: of the last revision, as Helm says, or absent. deployed: the last that was deployed, before: the one before; 0 for none."""
    labels = f"owner=helm,name={release.name}"
    found = [each["metadata"]["labels"] for each in cluster.items(release.core("secrets"), labelSelector=labels)]
    revisions = sorted((int(each["version"]), each["status"]) for each in found)
    if not revisions:
        return dict(NONE)
    before, deployed = [0, 0, *(number for number, status in revisions if status in ("deployed", "superseded"))][-2:]
    return {"status": revisions[-1][1], "revision": revisions[-1][0], "deployed": deployed, "before": before}


def wait_for_helm(cluster: Cluster, release: Release, timeout: float, clock: Clock | None = None) -> None:
    """Returns when no Helm is at work on the release, or after so many seconds: it was killed then."""
    clock = clock or Clock()
    end = clock.now() + timeout
    while clock.now() < end and history(cluster, release)["status"] in PENDING:
        clock.sleep(min(_LOOK_SECONDS, max(0.0, end - clock.now())))


# --- one revision


def kept(cluster: Cluster, release: Release, number: int) -> Mapping[str, Any]:
    """A revision with its chart and its manifest, which may hold secrets; empty without one."""
    if not number:
        return {}
    secret = cluster.get(f"{release.core('secrets')}/sh.helm.release.v1.{part(release.name)}.v{number}") or {}
    return decoded((secret.get("data") or {}).get("release") or "")


def decoded(data: str) -> Mapping[str, Any]:
    """What Helm keeps of a revision: JSON, compressed, encoded by Helm and again by the API. Empty if it is none."""
    try:
        found: Mapping[str, Any] = json.loads(gzip.decompress(base64.b64decode(base64.b64decode(data))))
    except (binascii.Error, OSError, EOFError, ValueError):
        return {}
    return found


def rolled_back_to(revision: Mapping[str, Any]) -> int:
    """Which revision one is a copy of, as Helm describes it; 0 for none."""
    found = re.fullmatch(r"Rollback to (\d+)", str((revision.get("info") or {}).get("description") or ""))
    return int(found[1]) if found else 0


def documents(revision: Mapping[str, Any], kinds: str = "") -> Iterator[Any]:
    """Those of a revision's manifest. kinds: a regular expression of the kinds that are wanted, empty for all."""
    import yaml

    for text in re.split(r"(?m)^---\s*$", str(revision.get("manifest") or "")):
        # Most of a large chart is dashboards and rules: those are not worth parsing.
        if not kinds or re.search(rf"(?m)^[\"']?kind[\"']? *: *[\"']?({kinds})\b", text):
            yield yaml.safe_load(text) or {}
