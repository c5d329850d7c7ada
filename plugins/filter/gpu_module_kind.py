# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter gpu_module_kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

from ..module_utils.core.errors import InputError
from ..module_utils.gpu.compatibility import gpus_of, module_kind
from ..plugin_utils.compatibility import table

DOCUMENTATION = r"""
name: gpu_module_kind
short_description: Whether GPUs need NVIDIA's open or proprietary kernel module
version_added: 0.1.0
author: serving.triton contributors (@serving-triton)
description:
  - V(open) where the branch's open module drives every GPU (Turing and newer) and is NVIDIA's default (since branch 560), or where a GPU
    needs it. Else V(proprietary).
  - It is an error when no module of the branch drives all the GPUs, such as a Volta beside a Blackwell, or a GPU that it does not know.
  - A GPU of unknown generation asks for nothing.
positional: _input
options:
  _input:
    description: The result of M(serving.triton.gpu_info), a list of its RV(serving.triton.gpu_info#module:gpus), or a list of generations.
    type: raw
    required: true
  branch:
    description: The driver's branch, such as V(580), or a version of it. Left out, the newest for production that drives all the GPUs.
    type: raw
seealso:
  - plugin: serving.triton.triton_driver_for
    plugin_type: filter
  - module: serving.triton.gpu_info
"""

EXAMPLES = r"""
- name: Look at the GPUs
  serving.triton.gpu_info:
  register: gpu

- name: Install the right module on Debian
  ansible.builtin.apt:
    name: "{{ 'nvidia-open-kernel-dkms' if gpu | serving.triton.gpu_module_kind(branch=550) == 'open' else 'nvidia-kernel-dkms' }}"
"""

RETURN = r"""
_value:
  description: V(open) or V(proprietary). With no GPU, what the branch has by default.
  type: str
  sample: open
"""


def kind(gpus: Any, branch: Any = "") -> str:
    """The filter; errors are Ansible's."""
    try:
        return module_kind(table(), gpus_of(gpus), str(branch or ""))
    except InputError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"gpu_module_kind": kind}
