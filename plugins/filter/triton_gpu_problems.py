# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter triton_gpu_problems."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

from ..module_utils.core.errors import InputError
from ..module_utils.gpu.gate import problems
from ..plugin_utils.compatibility import table

DOCUMENTATION = r"""
name: triton_gpu_problems
short_description: What stands against running an image of Triton with GPUs on a machine
version_added: 0.1.0
author: serving.triton contributors (@serving-triton)
description:
  - The gate of the playbook C(serving.triton.preflight). Empty means that nothing is known to stand against it.
  - An image that is not NVIDIA's, or newer than the table, is judged by the machine alone.
positional: _input
options:
  _input:
    description: An image of Triton with a tag such as V(24.10-py3), a release such as V(24.10), or a server's version such as V(2.51).
    type: str
    required: true
  info:
    description: The result of M(serving.triton.gpu_info).
    type: dict
    required: true
  engine:
    description: The container engine that runs the image, V(docker) or V(podman), whose CDI is looked at. Empty for none.
    type: str
    default: ""
  devices:
    description: The CDI devices that are asked for, as their specification names them, such as V(all) or V(0).
    type: list
    elements: str
    default: []
seealso:
  - plugin: serving.triton.triton_images_for
    plugin_type: filter
  - module: serving.triton.gpu_info
"""

EXAMPLES = r"""
- name: Look at the GPUs
  serving.triton.gpu_info:
  register: gpu

- name: Stop where the image cannot run
  ansible.builtin.assert:
    that: problems | length == 0
    fail_msg: "{{ problems | map(attribute='message') | join(' ') }}"
  vars:
    image: nvcr.io/nvidia/tritonserver:24.10-py3
    problems: "{{ image | serving.triton.triton_gpu_problems(info=gpu, engine='podman', devices=['all']) }}"
"""

RETURN = r"""
_value:
  description:
    - Problems, each with C(kind) (V(gpu), V(driver), V(image), V(cdi)), C(where), C(what), C(remedy) and C(message), the whole.
  type: list
  elements: dict
  sample:
    - kind: driver
      where: nvcr.io/nvidia/tritonserver:25.10-py3
      what: release 25.10 with CUDA 13.0 needs driver 580 or newer, and here is 550.90.07
      remedy: Install driver branch 620, or take the image nvcr.io/nvidia/tritonserver:25.07-py3, the newest that runs here.
      message: >-
        nvcr.io/nvidia/tritonserver:25.10-py3: release 25.10 with CUDA 13.0 needs driver 580 or newer, and here is 550.90.07.
        Install driver branch 620, or take the image nvcr.io/nvidia/tritonserver:25.07-py3, the newest that runs here.
"""


def found(image: str, info: Mapping[str, Any], engine: str = "", devices: Sequence[str] = ()) -> list[dict[str, str]]:
    """The filter; errors are Ansible's."""
    try:
        return [each.as_dict() for each in problems(table(), str(image), info, engine=engine, devices=devices)]
    except InputError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"triton_gpu_problems": found}
