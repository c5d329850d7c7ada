# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What Helm keeps of a release in the cluster: its revisions, a Secret each."""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..core.wait import Clock
from .cluster import Cluster, Object
from .service import Release

PENDING = ("pending-install", "pending-upgrade", "pending-rollback", "uninstalling")
_LOOK_SECONDS = 2.0


@dataclass(frozen=True)
class Revision:
    """status: as Helm says. data: what Helm keeps, see `decoded`."""

    number: int
    status: str
    data: str = field(default="", repr=False)

    @cached_property
    def content(self) -> Mapping[str, Any]:
        """With its chart and its manifest, which may hold secrets."""
        return decoded(self.data)

    @property
    def was_deployed(self) -> bool:
        return self.status in ("deployed", "superseded")


NONE = Revision(0, "absent")


def revisions(cluster: Cluster, release: Release) -> list[Revision]:
    """Those of a release, the oldest first."""
    found = cluster.items(release.core("secrets"), labelSelector=f"owner=helm,name={release.name}")
    return sorted((_revision(each) for each in found), key=lambda each: each.number)


def _revision(secret: Object) -> Revision:
    labels = secret["metadata"]["labels"]
    return Revision(int(labels["version"]), labels["status"], (secret.get("data") or {}).get("release") or "")


def history(found: Sequence[Revision]) -> dict[str, Any]:
    """status: of the last revision, or absent. deployed: the last that was deployed, or what a rollback that has not come to its end goes
    to; before: the one before that; 0 for none. chart: the name of the last revision's."""
    last = last_of(found)
    content = last.content
    deployed = [each.number for each in found if each.was_deployed]
    target = rolled_back_to(content) if last.status == "pending-rollback" else 0
    if target in deployed:
        deployed = [each for each in deployed if each <= target]
    chart = str(((content.get("chart") or {}).get("metadata") or {}).get("name") or "")
    before, newest = [0, 0, *deployed][-2:]
    return {"status": last.status, "revision": last.number, "deployed": newest, "before": before, "chart": chart}


def last_of(found: Sequence[Revision]) -> Revision:
    return found[-1] if found else NONE


def wait_for_helm(cluster: Cluster, release: Release, timeout: float, clock: Clock | None = None) -> None:
    """Returns when no Helm is at work on the release, or after so many seconds: it was killed then."""
    clock = clock or Clock()
    end = clock.now() + timeout
    while clock.now() < end and last_of(revisions(cluster, release)).status in PENDING:
        clock.sleep(min(_LOOK_SECONDS, max(0.0, end - clock.now())))


# --- one revision


def decoded(data: str) -> Mapping[str, Any]:
    """What Helm keeps of a revision: JSON, compressed, encoded by Helm and again by the API. Empty if it is none."""
    try:
        found: Mapping[str, Any] = json.loads(gzip.decompress(base64.b64decode(base64.b64decode(data))))
    except (binascii.Error, OSError, EOFError, ValueError):
        return {}
    return found


def rolled_back_to(content: Mapping[str, Any]) -> int:
    """Which revision one is a copy of, as Helm describes it; 0 for none."""
    found = re.fullmatch(r"Rollback to (\d+)", str((content.get("info") or {}).get("description") or ""))
    return int(found[1]) if found else 0


def documents(content: Mapping[str, Any], kinds: str = "") -> Iterator[Any]:
    """Those of a revision's manifest. kinds: a regular expression of the kinds that are wanted, empty for all."""
    import yaml

    for text in re.split(r"(?m)^---\s*$", str(content.get("manifest") or "")):
        # Most of a large chart is dashboards and rules: those are not worth parsing.
        if not kinds or re.search(rf"(?m)^[\"']?kind[\"']? *: *[\"']?({kinds})\b", text):
            yield yaml.safe_load(text) or {}
