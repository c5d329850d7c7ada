# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter legacy_values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ..module_utils.core.errors import InputError
from ..module_utils.kubernetes.legacy_values import translate

DOCUMENTATION = r"""
name: legacy_values
short_description: Values of other Triton charts as values of this collection's chart
version_added: 0.1.0
author: serving.triton contributors (@serving-triton)
description:
  - Translates the values of the charts that Triton deployments come from, and says what became what and what has no meaning any more.
  - The values may hold credentials, and so does the result; the sentences hold none.
positional: _input
options:
  _input:
    description: The old values, as read from their file.
    type: dict
    required: true
  chart:
    description:
      - Which chart they are of. V(auto) tells it by the names that only one of them has.
      - V(aws) is deploy/aws of Triton's repository, and gcp and oci there; V(fil) RAPIDS' Forest Inference Library on EKS.
      - V(instill) is Instill AI's triton-backend. The others are those of Triton's repository.
    type: str
    choices: [auto, aws, fil, instill, fleetcommand, k8s-onprem, gke-marketplace]
    default: auto
"""

EXAMPLES = r"""
- name: Show what old values become
  ansible.builtin.debug:
    msg: "{{ (lookup('ansible.builtin.file', 'old-values.yaml') | from_yaml | serving.triton.legacy_values).notes }}"
"""

RETURN = r"""
_value:
  description: "C(values): values of this collection's chart. C(notes): sentences on each old value."
  type: dict
  sample:
    values: {modelRepository: {url: "s3://bucket/models"}}
    notes: ["image.modelRepositoryPath became modelRepository.url."]
"""


def legacy_values(values: Mapping[str, Any], chart: str = "auto") -> dict[str, Any]:
    """The filter; errors are Ansible's."""
    try:
        new, notes = translate(values, str(chart))
    except InputError as error:
        raise AnsibleFilterError(str(error)) from error
    return {"values": new, "notes": notes}


class FilterModule:
    """Ansible's entry."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"legacy_values": legacy_values}
