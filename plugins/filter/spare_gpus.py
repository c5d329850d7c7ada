# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter spare_gpus."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

from ..module_utils.core.errors import InputError
from ..module_utils.kubernetes import sizing

DOCUMENTATION = r"""
name: spare_gpus
short_description: GPUs of a cluster that are free for more replicas
version_added: 0.1.0
author: serving.triton contributors (@serving-triton)
description:
  - Tells for how many GPUs more pods would fit on the nodes now, as a multiple of O(count).
  - Nodes that are not ready, cordoned, without the labels of O(node_selector) or with a taint that is not tolerated do not count. Pods that
    wait for such a GPU come first.
positional: _input
options:
  _input:
    description: The cluster's nodes, as kubernetes.core.k8s_info gives them.
    type: list
    elements: dict
    required: true
  pods:
    description: The cluster's pods, of all namespaces.
    type: list
    elements: dict
    required: true
  resource:
    description: Name of the resource.
    type: str
    default: nvidia.com/gpu
  count:
    description: GPUs of one replica.
    type: int
    default: 1
  node_selector:
    description: Labels that the nodes must have.
    type: dict
    default: {}
  tolerations:
    description: The pods' tolerations, as Kubernetes has them.
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
- name: Surge where there is room
  ansible.builtin.set_fact:
    chart_values: "{{ {'rollout': {'spareGpus': nodes.resources | serving.triton.spare_gpus(pods=pods.resources, count=2)}} }}"
"""

RETURN = r"""
_value:
  description: Number of GPUs.
  type: int
  sample: 2
"""


def spare_gpus(  # noqa: PLR0913 - a filter's options
    nodes: Sequence[Mapping[str, Any]],
    pods: Sequence[Mapping[str, Any]],
    *,
    resource: str = "nvidia.com/gpu",
    count: int = 1,
    node_selector: Mapping[str, str] | None = None,
    tolerations: Sequence[Mapping[str, Any]] = (),
) -> int:
    """The filter; errors are Ansible's."""
    try:
        return sizing.spare_gpus(nodes, pods, sizing.Wanted(str(resource), int(count), node_selector or {}, tolerations))
    except InputError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """Ansible's entry."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"spare_gpus": spare_gpus}
