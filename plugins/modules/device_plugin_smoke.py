#!/usr/bin/python
# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: device_plugin_smoke
short_description: Run a CUDA program in a pod on the nodes of a cluster that have GPUs
version_added: 0.1.0
author: serving.triton contributors (@serving-triton)
description:
  - Starts a pod that asks for one GPU on each node with GPUs, or on one of them, and waits for its end. A failure tells the pod's state,
    its warnings and the last lines of its log, and what to do about them.
  - The pods run as nobody with no rights, no token and a read-only file system. They are always removed, those of a run that was killed by
    the next one.
  - Nodes whose GPUs are all in use, which are cordoned or have a taint that is not tolerated are skipped, and told.
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
      - Empty where the plugin is somebody else's.
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
  image:
    description: Image of a CUDA program that ends with 0 where a GPU works.
    type: str
    required: true
  command:
    description: Its command. The image's own when empty.
    type: list
    elements: str
    default: []
  every_node:
    description: Whether every node with GPUs is tried, or one that has a free GPU.
    type: bool
    default: true
  runtime_class:
    description: RuntimeClass of the pods, where NVIDIA's is not the default runtime of the nodes.
    type: str
    default: ""
  tolerations:
    description: Tolerations of the pods as Kubernetes has them, besides that of C(nvidia.com/gpu).
    type: list
    elements: dict
    default: []
  image_pull_secrets:
    description: Names of Secrets in O(namespace) by which the image is pulled.
    type: list
    elements: str
    default: []
  timeout:
    description: Seconds until the last pod must have ended.
    type: float
    default: 600
  patience:
    description: Seconds that a pod may be in trouble, such as C(ImagePullBackOff), before it counts as failed.
    type: float
    default: 60
  progress_file:
    description:
      - File that tells how far a long wait is, as JSON with C(text), C(elapsed) seconds and C(started), the seconds since 1970. It is there
        while the module runs.
      - The action of this module gives and reads one, so that the playbook's output tells every few seconds how far it is.
    type: path
extends_documentation_fragment:
  - serving.triton.cluster.unkeyed
  - serving.triton.cluster
  - serving.triton.cluster.connection
  - serving.triton.cluster.attributes
attributes:
  check_mode:
    description: Is skipped in check mode, since it tells something only by running pods.
    support: none
  diff_mode:
    description: Leaves nothing that differs.
    support: none
  idempotent:
    description: Leaves nothing that differs.
    support: full
"""

EXAMPLES = r"""
- name: Try CUDA on every node
  serving.triton.device_plugin_smoke:
    name: nvidia-device-plugin
    namespace: nvidia-gpu
    image: nvcr.io/nvidia/k8s/cuda-sample:vectoradd-cuda12.5.0
"""

RETURN = r"""
nodes:
  description: What became of each node, C(state) being V(passed), V(failed) or V(skipped).
  type: list
  elements: dict
  returned: always
  sample: [{node: gpu-1, resource: nvidia.com/gpu, state: passed, text: CUDA works}]
trouble:
  description: Why pods failed, a text each.
  type: list
  elements: str
  returned: failure
  sample: ["node gpu-1: the program failed; the end of its log: CUDA driver version is insufficient for CUDA runtime version"]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.kubernetes.cluster import connect
from ..module_utils.kubernetes.cuda_smoke import Program, smoke
from ..module_utils.kubernetes.device_plugin import parse_all
from ..module_utils.kubernetes.gpu_rollout import Wanted
from ..module_utils.kubernetes.options import CLUSTER, GPU_NODES, SERVICE
from ..module_utils.kubernetes.service import Patience, Release, Waiting
from ..module_utils.module import run_info
from ..module_utils.stores.progress_file import progress_in

OPTIONS = {
    **CLUSTER,
    **SERVICE,
    **GPU_NODES,
    "image": {"type": "str", "required": True},
    "command": {"type": "list", "elements": "str", "default": []},
    "every_node": {"type": "bool", "default": True},
    "runtime_class": {"type": "str", "default": ""},
    "tolerations": {"type": "list", "elements": "dict", "default": []},
    "image_pull_secrets": {"type": "list", "elements": "str", "default": [], "no_log": False},
    "timeout": {"type": "float", "default": 600},
    "patience": {"type": "float", "default": 60},
    "progress_file": {"type": "path"},
}


def main() -> None:
    module = AnsibleModule(OPTIONS, supports_check_mode=False)
    params = module.params

    def read() -> dict[str, Any]:
        configs = parse_all(params["configs"], params["default_config"]) if params["configs"] else {}
        names = ("image", "command", "runtime_class", "tolerations")
        chosen = {name: params[name] for name in names}
        program = Program(each=params["every_node"], pull_secrets=params["image_pull_secrets"], **chosen)
        wanted = Wanted(configs, params["default_config"], params["nodes"])
        patience = Patience(params["timeout"], params["patience"])
        with progress_in(params["progress_file"]) as tell:
            release = Release(params["name"], params["namespace"])
            return {"nodes": smoke(Waiting(connect(params), release, patience, tell), wanted, program)}

    run_info(module, read)


if __name__ == "__main__":
    main()
