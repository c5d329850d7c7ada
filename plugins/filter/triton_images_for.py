# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter triton_images_for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ..module_utils.core.errors import InputError
from ..module_utils.gpu.compatibility import images_for
from ..plugin_utils.compatibility import table

DOCUMENTATION = r"""
name: triton_images_for
short_description: The releases of NVIDIA's Triton image that run on a machine
version_added: 0.1.0
author: serving.triton contributors (@serving-triton)
description:
  - Answers from a table of NVIDIA's release notes, which the collection carries, without network.
  - A release runs when it supports every GPU and the driver satisfies its CUDA. The driver does so natively, by forward compatibility (the
    libraries in the image, for data-centre GPUs) or by minor-version compatibility.
positional: _input
options:
  _input:
    description:
      - The result of M(serving.triton.gpu_info).
      - Or a mapping of C(driver), a version or a branch, and C(gpus), generations or mappings of C(generation) or C(compute_capability) and
        C(datacenter).
      - The loaded driver counts. Where none is loaded the installed one does.
    type: dict
    required: true
  variant:
    description: The image's variant, what follows the release in its tag.
    type: str
    default: py3
  all:
    description: Whether to return the releases that do not run too, with the reasons.
    type: bool
    default: false
seealso:
  - plugin: serving.triton.triton_driver_for
    plugin_type: filter
  - plugin: serving.triton.triton_gpu_problems
    plugin_type: filter
  - module: serving.triton.gpu_info
"""

EXAMPLES = r"""
- name: Look at the GPUs
  serving.triton.gpu_info:
  register: gpu

- name: The newest image that runs here
  ansible.builtin.debug:
    msg: "{{ (gpu | serving.triton.triton_images_for | first).image }}"
"""

RETURN = r"""
_value:
  description:
    - Releases, newest first. Each has C(release), C(version) (of the server), C(image), C(cuda), C(runs), C(via) and C(reasons).
    - C(via) is V(native), V(forward), V(minor) or empty. C(reasons) are sentences that say why it does not run, or what is restricted.
    - Empty where there is no GPU or no driver, unless O(all) is set.
  type: list
  elements: dict
  sample:
    - release: "24.10"
      version: "2.51"
      image: nvcr.io/nvidia/tritonserver:24.10-py3
      cuda: "12.6"
      runs: true
      via: forward
      reasons: []
"""


def images(info: Mapping[str, Any], variant: str = "py3", all: bool = False) -> list[dict[str, Any]]:  # noqa: A002 - the option's name
    """The filter; errors are Ansible's."""
    try:
        return images_for(table(), info, variant, everything=all)
    except InputError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"triton_images_for": images}
