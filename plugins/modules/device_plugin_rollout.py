#!/usr/bin/python
# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: device_plugin_rollout
short_description: Wait until the nodes of a cluster show their GPUs, and tell why one does not
version_added: 0.1.0
author: serving.triton contributors (@serving-triton)
description:
  - Waits until the pods of the release are ready, and every node with GPUs has them in C(allocatable), as many as GPU feature discovery
    counted, times the replicas of the node's configuration. Where nothing counts them, one is enough.
  - A failure tells, for each node, which resource is missing, the state of the plugin's pod, its warnings, the last lines of its log, and
    what to do about them.
options:
  name:
    description: Name of the Helm release that brings the device plugin, or the GPU operator.
    type: str
    required: true
  configs:
    description:
      - Configurations by name. Each has C(sharing) (V(none), V(time_slicing) or V(mps)), C(replicas) of C(nvidia.com/gpu) or C(resources)
        (name of a resource to its replicas), C(mig_strategy) (V(none), V(single) or V(mixed)), C(rename) (to C(….shared)) and
        C(fail_requests_greater_than_one).
      - Empty where the plugin is somebody else's. Then any resource of NVIDIA's is enough.
    type: dict
    default: {}
  default_config:
    description: Name of the configuration of nodes without the label C(nvidia.com/device-plugin.config).
    type: str
    default: default
  nodes:
    description: Names of nodes that have GPUs, whatever the cluster says. Others are found by labels and resources.
    type: list
    elements: str
    default: []
  require_gpu:
    description: Whether it is an error when no node of the cluster has GPUs.
    type: bool
    default: true
  timeout:
    description: Seconds that all of it may take.
    type: float
    default: 900
  patience:
    description:
      - Seconds that pods may be in trouble, that a plugin may run without resources on its node, and that no node may have GPUs once
        everything runs, before it counts as failed.
    type: float
    default: 120
  progress_file:
    description:
      - File that tells how far a long wait is, as JSON with C(text), C(elapsed) seconds and C(started), the seconds since 1970. It is there
        while the module runs.
      - The action of this module gives and reads one, so that the playbook's output tells every few seconds how far it is.
    type: path
extends_documentation_fragment:
  - serving.triton.promises.reads
  - serving.triton.cluster.unkeyed
  - serving.triton.cluster
  - serving.triton.cluster.connection
  - serving.triton.cluster.attributes
"""

EXAMPLES = r"""
- name: Wait for the GPUs
  serving.triton.device_plugin_rollout:
    name: nvidia-device-plugin
    namespace: nvidia-gpu
    configs: {default: {sharing: time_slicing, replicas: 4}}
"""

RETURN = r"""
rollout:
  description: How far it is, in words.
  type: str
  returned: success
  sample: 2 of 2 nodes show their GPUs
nodes:
  description: Nodes with GPUs, and NVIDIA's resources of each.
  type: list
  elements: dict
  returned: success
  sample: [{name: gpu-1, resources: {nvidia.com/gpu: 8}}]
lacking:
  description: What nodes lack, by their names.
  type: dict
  returned: failure
  sample: {gpu-1: ["nvidia.com/gpu: 0 allocatable instead of 8"]}
trouble:
  description: Why, a text each.
  type: list
  elements: str
  returned: failure
  sample: ["node gpu-1: nvidia.com/gpu: 0 allocatable instead of 8. pod nvidia-device-plugin-x2x8v: container ... waits: CrashLoopBackOff"]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.kubernetes.cluster import connect
from ..module_utils.kubernetes.device_plugin import parse_all
from ..module_utils.kubernetes.gpu_cluster import shown, wait
from ..module_utils.kubernetes.gpu_rollout import Wanted
from ..module_utils.kubernetes.options import CLUSTER, GPU_NODES, SERVICE
from ..module_utils.kubernetes.service import Patience, Release, Waiting
from ..module_utils.module import run_info
from ..module_utils.stores.progress_file import progress_in

OPTIONS = {
    **CLUSTER,
    **SERVICE,
    **GPU_NODES,
    "require_gpu": {"type": "bool", "default": True},
    "timeout": {"type": "float", "default": 900},
    "patience": {"type": "float", "default": 120},
    "progress_file": {"type": "path"},
}


def main() -> None:
    module = AnsibleModule(OPTIONS, supports_check_mode=True)
    params = module.params

    def read() -> dict[str, Any]:
        configs = parse_all(params["configs"], params["default_config"]) if params["configs"] else {}
        wanted = Wanted(configs, params["default_config"], params["nodes"], params["require_gpu"])
        patience = Patience(params["timeout"], params["patience"])
        with progress_in(params["progress_file"]) as tell:
            release = Release(params["name"], params["namespace"])
            seen, verdict = wait(Waiting(connect(params), release, patience, tell), wanted)
        return {"rollout": verdict.text, "nodes": shown(seen, wanted)}

    run_info(module, read)


if __name__ == "__main__":
    main()
