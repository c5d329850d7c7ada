# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter gpu_driver_plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ..module_utils.core.errors import ServingError
from ..module_utils.gpu.driver_plan import driver_plan

DOCUMENTATION = r"""
name: gpu_driver_plan
short_description: What a machine needs for an NVIDIA driver
version_added: 0.1.0
author: serving.triton contributors (@serving-triton)
description:
  - Computes packages, repositories, keys, preferences and headers from what is known of a machine, without touching it.
  - The role C(serving.triton.gpu_driver) does what it says. What cannot work is an error that says why and what to do.
positional: _input, options
options:
  _input:
    description:
      - What is known of the machine. C(distribution), C(version) and C(architecture) as Ansible's facts have them.
      - C(installed), the names of its packages; C(targets), the lines of C(apt-get indextargets).
      - C(gpu), the result of M(serving.triton.gpu_info).
    type: dict
    required: true
  options:
    description: The variables of the role without their prefix.
    type: dict
    required: true
seealso:
  - module: serving.triton.gpu_info
"""

EXAMPLES = r"""
- name: Show what the role would install
  ansible.builtin.debug:
    msg: "{{ (machine | serving.triton.gpu_driver_plan(options)).packages }}"
  vars:
    machine:
      distribution: "{{ ansible_facts['distribution'] }}"
      version: "{{ ansible_facts['distribution_version'] }}"
      architecture: "{{ ansible_facts['architecture'] }}"
      installed: "{{ ansible_facts['packages'].keys() | list }}"
      targets: []
      gpu: "{{ gpu }}"
    options:
      source: cuda
      branch: 580
      version: ""
      platform: ""
      kernel_module: auto
      profile: compute
      precompiled: true
      fabric_manager: auto
      repository_url: ""
      repository_key: ""
      repository_key_fingerprints: []
      repository_signed: true
      dkms_repository_url: ""
      dkms_repository_key: ""
      dkms_repository_key_fingerprints: []
"""

RETURN = r"""
_value:
  description:
    - C(platform), C(manager) (V(apt) or V(dnf)), C(source), C(branch) (0 for the newest), C(version).
    - C(kind) of the kernel module, V(open) or V(proprietary).
    - C(packages) to install, with their version where one is pinned, and their C(names); C(fabric), those of the fabric manager;
      C(held), those that a hold is for;
      C(headers), and C(exact_headers) that archives may have dropped; C(stream) of dnf's module C(nvidia-driver).
    - C(repository) and C(preferences), the contents of apt's files; C(rpm_repositories); C(key) with C(from), C(to) and C(fingerprints).
    - C(dkms), whether the host builds the module; C(signed), whether Secure Boot trusts it as it comes.
    - C(certificate) that dkms signs with.
  type: dict
  sample:
    platform: debian12
    manager: apt
    source: distribution
    branch: 535
    kind: open
    packages: [nvidia-open-kernel-dkms, libcuda1, libnvidia-ml1, nvidia-smi, nvidia-persistenced]
    headers: [linux-headers-amd64]
    dkms: true
"""


def plan(machine: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The filter; errors are Ansible's."""
    try:
        return driver_plan(machine, options)
    except ServingError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """Ansible's entry."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"gpu_driver_plan": plan}
