# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter helm_removals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..module_utils.kubernetes import manifests

DOCUMENTATION = r"""
name: helm_removals
short_description: Objects that Helm removes when it goes from one manifest to another
version_added: 0.1.0
author: serving.triton contributors (@serving-triton)
description:
  - Tells which objects are in one manifest and not in the other, by API group, kind, namespace and name.
  - Objects with the annotation C(helm.sh/resource-policy) V(keep) are left out, as Helm leaves them.
positional: _input
options:
  _input:
    description: Documents of the manifest that is left. Empty ones do not count.
    type: list
    elements: dict
    required: true
  wanted:
    description: Documents of the manifest that is wanted.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Remove what only the killed revision has
  kubernetes.core.k8s:
    definition: "{{ killed.stdout | from_yaml_all | serving.triton.helm_removals(deployed.stdout | from_yaml_all) }}"
    state: absent
"""

RETURN = r"""
_value:
  description: The objects, in their order.
  type: list
  elements: dict
"""


def helm_removals(documents: Sequence[Any], wanted: Sequence[Any]) -> list[Mapping[str, Any]]:
    """The filter."""
    return manifests.removals(documents, wanted)


class FilterModule:
    """Ansible's entry."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"helm_removals": helm_removals}
