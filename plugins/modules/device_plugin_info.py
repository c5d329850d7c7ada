#!/usr/bin/python
# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: device_plugin_info
short_description: What a cluster has of GPUs and their device plugins, and which node labels a configuration asks for
version_added: 0.1.0
author: serving.triton contributors (@serving-triton)
description:
  - Checks configurations of NVIDIA's device plugin, and reads the nodes and what serves their GPUs already.
  - The role C(serving.triton.device_plugin) decides by it before it changes anything.
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
      - Empty for a plugin that is to be removed. Then RV(patches) give back every label that was set.
    type: dict
    default: {}
  default_config:
    description: Name of the configuration of nodes without the label C(nvidia.com/device-plugin.config).
    type: str
    default: default
  node_configs:
    description:
      - Configurations of single nodes, a node's name or a label selector to the name of one. A name goes before selectors.
      - A selector must not use labels that change with the configuration, such as C(nvidia.com/gpu.product).
    type: dict
    default: {}
  nodes:
    description: Names of nodes that have GPUs, whatever the cluster says. Others are found by labels and resources.
    type: list
    elements: str
    default: []
  label_nodes:
    description: Whether O(nodes) get the label C(nvidia.com/gpu.present), by which the plugin finds them where nothing discovers GPUs.
    type: bool
    default: false
  releases:
    description: All Helm releases that are no stranger's, as C(namespace/name). O(name) in O(namespace) alone when empty.
    type: list
    elements: str
    default: []
  runtime_class:
    description: Name of a RuntimeClass that must be there.
    type: str
    default: ""
  monitored:
    description: Namespace of the DCGM exporter, for RV(monitor_labels).
    type: str
    default: ""
  permissions:
    description: Whether to ask which of the permissions that the role needs are lacking. Nothing else is read then if one is.
    type: bool
    default: false
extends_documentation_fragment:
  - serving.triton.promises.reads
  - serving.triton.cluster.unkeyed
  - serving.triton.cluster
  - serving.triton.cluster.connection
  - serving.triton.cluster.attributes
"""

EXAMPLES = r"""
- name: Look who serves the GPUs
  serving.triton.device_plugin_info:
    name: nvidia-device-plugin
    namespace: nvidia-gpu
    configs:
      default: {}
      shared: {sharing: time_slicing, replicas: 4}
    node_configs: {pool=notebooks: shared}
  register: gpus
"""

RETURN = r"""
server:
  description: URL of the API server.
  type: str
  returned: success
  sample: https://10.0.0.1:6443
denied:
  description: The permissions that are lacking, with O(permissions).
  type: list
  elements: str
  returned: success
  sample: [create clusterroles.rbac.authorization.k8s.io]
kinds:
  description: The kinds of the Prometheus operator that the cluster knows.
  type: list
  elements: str
  returned: where no permission is lacking
  sample: [PodMonitor, PrometheusRule, ServiceMonitor]
monitor_labels:
  description: Labels by which the cluster's Prometheus selects a ServiceMonitor of the namespace O(monitored).
  type: dict
  returned: where no permission is lacking
  sample: {release: kube-prometheus-stack}
namespace_exists:
  description: Whether O(namespace) is there.
  type: bool
  returned: where no permission is lacking
  sample: true
documents:
  description: The plugin's configuration files, by the names of O(configs).
  type: dict
  returned: where no permission is lacking
  sample: {default: {version: v1, flags: {migStrategy: none}}}
needs_documents:
  description: Whether the plugin needs them. One configuration without sharing is an option of its command line.
  type: bool
  returned: where no permission is lacking
  sample: true
mig_strategies:
  description: Those of the configurations.
  type: list
  elements: str
  returned: where no permission is lacking
  sample: [none]
shares_by_mps:
  description: Whether a configuration shares by MPS.
  type: bool
  returned: where no permission is lacking
  sample: false
others:
  description: Who serves GPUs and is none of O(releases), in words, by C(plugin), C(operator), C(exporter) and C(discovery).
  type: dict
  returned: where no permission is lacking
  sample: {plugin: [DaemonSet kube-system/nvidia-gpu-device-plugin], operator: [], exporter: [], discovery: []}
installed:
  description: Those of O(releases) that are there, or of which something is left.
  type: list
  elements: str
  returned: where no permission is lacking
  sample: [nvidia-gpu/nvidia-device-plugin]
definitions:
  description: Custom resource definitions that came with the releases and that nobody else uses.
  type: list
  elements: str
  returned: where no permission is lacking
  sample: [nodefeatures.nfd.k8s-sigs.io]
nodes:
  description:
    - All nodes, whether each is C(ready), has a C(gpu), and is C(discovered), so that the chart of the device plugin goes there.
    - The C(product) and C(config) of its labels, and NVIDIA's C(resources).
  type: list
  elements: dict
  returned: where no permission is lacking
  sample: [{name: gpu-1, ready: true, gpu: true, discovered: true, product: NVIDIA-L4, config: a, resources: {nvidia.com/gpu: 4}}]
unmatched:
  description: Selectors of O(node_configs) that find no node.
  type: list
  elements: str
  returned: where no permission is lacking
  sample: [pool=notebooks]
patches:
  description: Nodes to change, with the C(labels) and C(annotations) to merge into their metadata. Null is for what goes.
  type: list
  elements: dict
  returned: where no permission is lacking
  sample: [{name: gpu-1, labels: {nvidia.com/device-plugin.config: shared}}]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.kubernetes.cluster import connect
from ..module_utils.kubernetes.gpu_cluster import Asked, checked, inspect
from ..module_utils.kubernetes.options import CLUSTER, GPU_NODES, SERVICE
from ..module_utils.kubernetes.service import Release
from ..module_utils.module import run_info

OPTIONS = {
    **CLUSTER,
    **SERVICE,
    **GPU_NODES,
    "node_configs": {"type": "dict", "default": {}},
    "label_nodes": {"type": "bool", "default": False},
    "releases": {"type": "list", "elements": "str", "default": []},
    "runtime_class": {"type": "str", "default": ""},
    "monitored": {"type": "str", "default": ""},
    "permissions": {"type": "bool", "default": False},
}


def main() -> None:
    module = AnsibleModule(OPTIONS, supports_check_mode=True)
    params = module.params

    def read() -> dict[str, Any]:
        wanted = {name: params[name] for name in ("configs", "node_configs", "releases", "runtime_class", "monitored", "permissions")}
        asked = Asked(default=params["default_config"], named=params["nodes"], present=params["label_nodes"], **wanted)
        # What cannot work anywhere is told without a cluster.
        checked(asked)
        return inspect(connect(params), Release(params["name"], params["namespace"]), asked)

    run_info(module, read)


if __name__ == "__main__":
    main()
