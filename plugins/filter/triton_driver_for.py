# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter triton_driver_for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

from ..module_utils.core.errors import InputError
from ..module_utils.gpu.compatibility import driver_for, gpus_of
from ..plugin_utils.compatibility import table

DOCUMENTATION = r"""
name: triton_driver_for
short_description: The driver branches that a release of Triton needs on given GPUs
version_added: 0.1.0
author: serving.triton contributors (@serving-triton)
description:
  - Answers from a table of NVIDIA's release notes and driver branches, which the collection carries, without network.
  - It is an error when no driver can run the release on the GPUs; the text says why and which release would do.
positional: _input
options:
  _input:
    description: An image of Triton with a tag such as V(24.10-py3), a release such as V(24.10), or a server's version such as V(2.51).
    type: str
    required: true
  gpus:
    description:
      - The result of M(serving.triton.gpu_info), its RV(serving.triton.gpu_info#module:gpus), or a list of generations such as V(turing).
      - Generations alone count as GPUs that are not of the data centre. Empty asks for the driver alone.
    type: raw
    default: []
seealso:
  - plugin: serving.triton.triton_images_for
    plugin_type: filter
  - plugin: serving.triton.gpu_module_kind
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Look at the GPUs
  serving.triton.gpu_info:
  register: gpu

- name: The driver for the image that is deployed
  ansible.builtin.debug:
    msg: "Install driver branch {{ (server_host_container_image | serving.triton.triton_driver_for(gpus=gpu)).recommended }}"
"""

RETURN = r"""
_value:
  description:
    - C(release), C(version) and C(cuda) of the release.
    - C(least), the oldest driver, or branch, that runs it on these GPUs, and C(native), the oldest that does so by itself.
    - C(recommended), the branch to install. The newest for production that drives all the GPUs, by itself if there is one.
    - C(kind) of the kernel module for the recommended branch, V(open) or V(proprietary).
    - C(branches), every branch that does, oldest first, each with C(branch), C(least), C(production), C(via) and C(kinds).
    - C(via) is V(native), V(forward) or V(minor). C(kinds) are the kinds of kernel module that drive all the GPUs.
  type: dict
  sample:
    release: "24.10"
    version: "2.51"
    cuda: "12.6"
    least: "470"
    native: 560.28.03
    recommended: 620
    kind: open
    branches:
      - {branch: 470, least: "470", via: forward, production: true, kinds: [proprietary]}
      - {branch: 580, least: "580", via: native, production: true, kinds: [open, proprietary]}
      - {branch: 620, least: "620", via: native, production: true, kinds: [open]}
"""


def driver(image: str, gpus: Any = ()) -> dict[str, Any]:
    """The filter; errors are Ansible's."""
    try:
        return driver_for(table(), str(image), gpus_of(gpus))
    except InputError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"triton_driver_for": driver}
