# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What Helm removes between two manifests."""

from __future__ import annotations

from typing import Any

from ansible_collections.serving.triton.plugins.module_utils.kubernetes.manifests import removals


def item(kind: str, name: str, version: str = "v1", **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, **metadata}}


def test_what_is_gone_is_told_by_group_kind_namespace_and_name() -> None:
    before = [
        item("Service", "a"),
        item("Service", "a", namespace="other"),
        item("ConfigMap", "a"),
        item("Service", "a", "serving.knative.dev/v1"),
    ]
    assert removals(before, [item("Service", "a")]) == before[1:]
    assert removals(before, before[::-1]) == []


def test_another_version_or_content_is_the_same_object() -> None:
    before = [item("Deployment", "a", "apps/v1beta1", labels={"x": "y"}), item("Role", "a", "rbac.authorization.k8s.io/v1", namespace=None)]
    assert removals(before, [item("Deployment", "a", "apps/v1"), item("Role", "a", "rbac.authorization.k8s.io/v1")]) == []


def test_what_helm_keeps_and_empty_documents_are_left_out() -> None:
    kept = item("PersistentVolumeClaim", "models", annotations={"helm.sh/resource-policy": " Keep"})
    claim = item("PersistentVolumeClaim", "cache", annotations={"helm.sh/resource-policy": "other"})
    assert removals([None, kept, "text", claim], [None]) == [claim]
