# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter triton_driver_for."""

from __future__ import annotations

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
      - The result of M(serving.triton.gpu_info), a list of its RV(serving.triton.gpu_info#module:gpus), or a list of generations such as V(turing).
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
    - C(least), the oldest version of a driver that runs it on these GPUs, and C(native), the oldest that does so without compatibility libraries.
    - C(recommended), the branch to install, the newest branch for production that drives all the GPUs and runs the release natively; else by compatibility.
    - C(kind) of the kernel module for the recommended branch, V(open) or V(proprietary).
    - C(branches), every branch that does, oldest first, each with C(branch), C(least), C(via) (V(native), V(forward) or V(minor)), C(production)
      and C(kinds), the kinds of kernel module that drive all the GPUs.
  type: dict
  sample:
    release: "24.10"
    version: "2.51"
    cuda: "12.6"
    least: "470.57"
    native: "560"
    recommended: 580
    kind: open
    branches:
      - {branch: 535, least: "535.86", via: forward, production: true, kinds: [open, proprietary]}
      - {branch: 580, least: "580", via: native, production: true, kinds: [open, proprietary]}
"""
