# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter verification_summary."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..module_utils.server.verification import summarize

DOCUMENTATION = r"""
name: verification_summary
short_description: What the answers of a server's models come to
version_added: 0.1.0
author: serving.triton contributors (@serving-triton)
description:
  - Takes the plan of P(serving.triton.verification_plan#filter), the models it was made from, and what M(serving.triton.infer) returned,
    and composes one line a model for reports.
positional: _input, models, results
options:
  _input:
    description: The plan.
    type: dict
    required: true
  models:
    description: The models of M(serving.triton.server_info).
    type: list
    elements: dict
    required: true
  results:
    description: The results of M(serving.triton.infer), one a request.
    type: list
    elements: dict
    required: true
seealso:
  - plugin: serving.triton.verification_plan
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show the summary
  ansible.builtin.debug:
    msg: "{{ plan | serving.triton.verification_summary(server.models, answers.results) }}"
"""

RETURN = r"""
_value:
  description:
    - One entry a model that is ready. C(verified) is V(compared), V(answered), or why it was not verified.
    - For each protocol the requests and the latencies in milliseconds; where requests were repeated, the first ten one by one.
  type: list
  elements: dict
  sample:
    - name: simple
      versions: ["1"]
      state: READY
      verified: compared
      http: {requests: 2, p50: 1.2, p99: 1.9}
      grpc: {requests: 20, p50: 0.9, p99: 1.1, latencies: [1.1, 0.9, 0.9, 0.8, 0.9, 0.9, 0.9, 0.9, 0.8, 0.9]}
"""


class FilterModule:
    """Ansible's entry."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"verification_summary": summarize}
