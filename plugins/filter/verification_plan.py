# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter verification_plan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..module_utils.server.verification import plan_requests

DOCUMENTATION = r"""
name: verification_plan
short_description: The requests that prove a server's models
version_added: 0.1.0
author: serving.triton contributors (@serving-triton)
description:
  - Takes the models of M(serving.triton.server_info), read with O(serving.triton.server_info#module:config=true), and
    composes what M(serving.triton.infer) is to ask those that are ready.
  - Golden cases are asked as they are. A model without one, and a version that no case names, is asked with zeros.
positional: _input, golden
options:
  _input:
    description: The models, one entry a version.
    type: list
    elements: dict
    required: true
  golden:
    description: A model's name to its requests, as the lookup P(serving.triton.golden_cases#lookup) reads them.
    type: dict
    required: true
seealso:
  - plugin: serving.triton.golden_cases
    plugin_type: lookup
  - plugin: serving.triton.verification_summary
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show what would be asked
  ansible.builtin.debug:
    msg: "{{ server.models | serving.triton.verification_plan(lookup('serving.triton.golden_cases', '/srv/golden')) }}"
"""

RETURN = r"""
_value:
  description:
    - C(requests) for M(serving.triton.infer); C(files), what their inputs read; C(how), a model to V(compared) or V(answered);
      C(left_out), a model to the reason why it cannot be asked.
  type: dict
  sample:
    requests: [{model: simple, synthetic: true}]
    files: []
    how: {simple: answered}
    left_out: {chat: it answers in a stream (decoupled)}
"""


class FilterModule:
    """Ansible's entry."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"verification_plan": plan_requests}
