# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the credentials for a cluster may do, as its API server says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .cluster import Cluster

_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@dataclass(frozen=True)
class Permission:
    """group: of the API, empty for the core. resource: with its subresource, `pods/log`. namespace: empty for the whole cluster."""

    group: str
    resource: str
    verb: str
    namespace: str = ""

    def __str__(self) -> str:
        name = ".".join(filter(None, (self.resource, self.group)))
        return f"{self.verb} {name}" + (f" in {self.namespace}" if self.namespace else "")


def denied(cluster: Cluster, wanted: Iterable[Permission]) -> list[str]:
    """Those that are lacking, as `verb resource.group in namespace`. Raises UnavailableError where the server is not reached."""
    return [str(each) for each in wanted if not may(cluster, each)]


def may(cluster: Cluster, wanted: Permission) -> bool:
    resource, _slash, subresource = wanted.resource.partition("/")
    asked = {"group": wanted.group, "resource": resource, "verb": wanted.verb, "subresource": subresource, "namespace": wanted.namespace}
    spec = {"resourceAttributes": {name: value for name, value in asked.items() if value or name == "group"}}
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": spec}
    answer = cluster.create(_REVIEWS, review) or {}
    return bool((answer.get("status") or {}).get("allowed"))
