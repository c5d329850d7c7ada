# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a Helm that goes from one manifest to another removes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_POLICY = "helm.sh/resource-policy"


def removals(before: Iterable[Any], after: Iterable[Any]) -> list[Mapping[str, Any]]:
    """
    Objects of before that after has not, without those that Helm is told to keep.

    Contents and versions of an API do not count. Documents that are empty, as manifests have them, are no objects.
    """
    stays = {_identity(each) for each in after if isinstance(each, Mapping)}
    return [each for each in before if isinstance(each, Mapping) and _identity(each) not in stays and not _kept(each)]


def _identity(each: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Group, kind, namespace and name."""
    metadata = each.get("metadata") or {}
    group, slash, _version = str(each.get("apiVersion", "")).rpartition("/")
    return (group if slash else "", str(each.get("kind", "")), str(metadata.get("namespace") or ""), str(metadata.get("name", "")))


def _kept(each: Mapping[str, Any]) -> bool:
    annotations = (each.get("metadata") or {}).get("annotations") or {}
    return str(annotations.get(_POLICY, "")).strip().lower() == "keep"
