#!/usr/bin/python
# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: mig_layout
short_description: Partition GPUs by MIG
version_added: 0.1.0
author: serving.triton contributors (@serving-triton)
description:
  - Takes the GPUs that can be partitioned to a layout, and changes those alone that differ from it.
  - By NVIDIA's C(nvidia-mig-parted) where it is installed, which knows how to reset GPUs and stop their clients, else by C(nvidia-smi).
  - The layout is that of the running machine. RV(boot_commands) make it again after a boot.
options:
  layout:
    description: What the GPUs shall be. A GPU that no entry names stays as it is.
    type: list
    elements: dict
    required: true
    suboptions:
      devices:
        description: The GPUs, V(all), or indices among those that can be partitioned, by PCI address.
        type: list
        elements: str
        default: [all]
      enabled:
        description: Whether MIG mode is on.
        type: bool
        default: true
      profiles:
        description: Profiles of MIG devices and how many of each, as C(nvidia-smi mig -lgip) names them. Each gets one compute instance.
        type: dict
        default: {}
  tool:
    description: What makes the layout. V(auto) takes mig-parted where it is there.
    type: str
    choices: [auto, mig-parted, nvidia-smi]
    default: auto
attributes:
  check_mode:
    description: Predicts what would change without changing it.
    support: full
  diff_mode:
    description: Shows the partitions of each GPU.
    support: full
  idempotent:
    description: A second run changes nothing.
    support: full
seealso:
  - module: serving.triton.gpu_info
"""

EXAMPLES = r"""
- name: Seven small devices on each GPU
  serving.triton.mig_layout:
    layout:
      - devices: [all]
        profiles: {1g.10gb: 7}

- name: The first GPU whole, the second in halves
  serving.triton.mig_layout:
    layout:
      - {devices: ["0"], enabled: false}
      - {devices: ["1"], profiles: {3g.40gb: 2}}
"""

RETURN = r"""
actions:
  description: What was done, or would be done in check mode, one sentence each.
  type: list
  elements: str
  returned: success
  sample: ["partition 0000:17:00.0: MIG, 7 x 1g.10gb"]
gpus:
  description: The layout by GPU, in words.
  type: list
  elements: str
  returned: success
  sample: ["0000:17:00.0: MIG, 7 x 1g.10gb"]
boot_commands:
  description: What makes the layout after a boot, each with C(argv) and C(optional), whether it may fail.
  type: list
  elements: dict
  returned: success
  sample:
    - {argv: [/usr/bin/nvidia-smi, -i, "0000:17:00.0", -mig, "1"], optional: false}
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.gpu.info import Request, inspect
from ..module_utils.gpu.mig_service import MigService
from ..module_utils.module import run_plan

LAYOUT = {
    "devices": {"type": "list", "elements": "str", "default": ["all"]},
    "enabled": {"type": "bool", "default": True},
    "profiles": {"type": "dict", "default": {}},
}
OPTIONS = {
    "layout": {"type": "list", "elements": "dict", "required": True, "options": LAYOUT},
    "tool": {"type": "str", "choices": ["auto", "mig-parted", "nvidia-smi"], "default": "auto"},
}


def main() -> None:
    module = AnsibleModule(OPTIONS, supports_check_mode=True)
    run_plan(module, lambda: MigService(module.params["layout"], lambda: list(inspect(Request())["gpus"]), module.params["tool"]))


if __name__ == "__main__":
    main()
