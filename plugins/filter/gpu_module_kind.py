# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter gpu_module_kind."""

from __future__ import annotations

DOCUMENTATION = r"""
name: gpu_module_kind
short_description: Whether GPUs need NVIDIA's open or proprietary kernel module
version_added: 0.1.0
author: serving.triton contributors (@serving-triton)
description:
  - V(open) where every GPU can be driven by the open module in that branch, which is what NVIDIA recommends from Turing on; else V(proprietary).
  - It is an error when no module of the branch drives all the GPUs, such as a Volta beside a Blackwell, or any GPU that the branch does not know.
positional: _input
options:
  _input:
    description: The result of M(serving.triton.gpu_info), a list of its RV(serving.triton.gpu_info#module:gpus), or a list of generations.
    type: raw
    required: true
  branch:
    description: The driver's branch, such as V(580), or a version of it. Left out, the newest branch for production that drives all the GPUs.
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
  description: V(open) or V(proprietary). V(open) where there is no GPU, or none that is known.
  type: str
  sample: open
"""
