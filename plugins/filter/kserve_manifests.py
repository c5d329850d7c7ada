# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter kserve_manifests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ..module_utils.core.errors import InputError
from ..module_utils.kubernetes.kserve import mode_of, plan, wanted

DOCUMENTATION = r"""
name: kserve_manifests
short_description: The InferenceService of KServe that a Triton service asks for
version_added: 0.1.0
author: serving.triton contributors (@serving-triton)
description:
  - Makes the definitions of an InferenceService with Triton's runtime, and of the ServingRuntime, the ServiceAccount and the Secret that
    belong to it.
  - What KServe would refuse, or take without a word and never serve, is an error that says what to do.
positional: _input
options:
  _input:
    description:
      - The variables of the role C(serving.triton.server_kserve) by their names without C(server_kserve_).
      - C(models) is a text that changes with what is published, C(names) what the cluster calls the modes
        (RV(serving.triton.server_kserve_info#module:kserve)), C(shm_mebibytes) and C(startup_seconds) what the models want.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show what KServe would get
  ansible.builtin.debug:
    msg: "{{ (wanted | serving.triton.kserve_manifests).service }}"
  vars:
    wanted: {name: vision, namespace: inference, repository: "s3://acme/vision", image: "nvcr.io/nvidia/tritonserver:24.10-py3"}
"""

RETURN = r"""
_value:
  description:
    - "C(service), C(runtime), C(account), C(secret): definitions, empty for those that are not wanted. The Secret's is secret."
    - "C(pods): the annotation of the pods that are wanted. C(mode): by its older name. C(control_mode): how the server takes models in,
      none or poll. C(canary): the share of requests, null for all."
  type: dict
  sample: {pods: 9f86d08188, mode: RawDeployment, control_mode: none, canary: null, service: {}, runtime: {}, account: {}, secret: {}}
"""


def plain(value: Any) -> Any:
    """Values of templates as Python's own."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return value


def kserve_manifests(given: Mapping[str, Any]) -> dict[str, Any]:
    """The filter; errors are Ansible's."""
    try:
        asked = wanted(plain(given))
        planned = plan(asked)
    except InputError as error:
        raise AnsibleFilterError(str(error)) from error
    return {
        "service": planned.service,
        "runtime": planned.runtime,
        "account": planned.account,
        "secret": planned.secret,
        "pods": planned.pods,
        "mode": mode_of(asked.mode),
        "control_mode": planned.reads,
        "canary": asked.canary,
    }


class FilterModule:
    """Ansible's entry."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"kserve_manifests": kserve_manifests}
