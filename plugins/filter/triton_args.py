# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter triton_args."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

from ..module_utils.core.errors import InputError
from ..module_utils.server.options import triton_args

DOCUMENTATION = r"""
name: triton_args
short_description: Arguments of tritonserver from a mapping of its options
version_added: 0.1.0
author: serving.triton contributors (@serving-triton)
description:
  - Renders a mapping of tritonserver's options, in Triton's own names, to a list of arguments.
  - An unknown name is an error that offers the nearest one; so is a value of the wrong type.
positional: _input
options:
  _input:
    description:
      - Option names to values. A list repeats the option, null leaves it out, a flag is given with true and left out with false.
      - C(backend-config), C(cache-config), C(trace-config), C(metrics-config) and C(host-policy) take mappings of settings,
        or of groups of settings.
      - C(http-restricted-api) and C(grpc-restricted-protocol) take a mapping of APIs to a mapping of header and value.
      - C(rate-limit-resource) takes a mapping of resource to count, or to a mapping of device and count.
    type: dict
    required: true
  extra:
    description: More option names to let through, for a newer server. Their values are rendered as texts.
    type: list
    elements: str
    default: []
  version:
    description: The version of tritonserver. When given, options that are newer than it are refused.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Show the arguments
  ansible.builtin.debug:
    msg: "{{ options | serving.triton.triton_args }}"
  vars:
    options:
      model-control-mode: explicit
      load-model: [digits, forest]
      log-verbose: 1
      backend-config:
        python: {shm-default-byte-size: 1048576}
"""

RETURN = r"""
_value:
  description: The arguments, each as C(--name=value).
  type: list
  elements: str
  sample: ["--model-control-mode=explicit", "--load-model=digits", "--backend-config=python,shm-default-byte-size=1048576"]
"""


def render(options: Mapping[str, Any], extra: Sequence[str] = (), version: str = "") -> list[str]:
    """The filter; errors are Ansible's."""
    try:
        return triton_args(options, extra=extra, version=str(version))
    except InputError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """Ansible's entry."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"triton_args": render}
