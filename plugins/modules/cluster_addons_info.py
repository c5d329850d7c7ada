#!/usr/bin/python
# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_addons_info
short_description: Which addons a cluster has, and whose they are
version_added: 0.1.0
author: serving.triton contributors (@serving-triton)
description:
  - Finds metrics-server, a Prometheus operator, an adapter of custom metrics, KEDA and Istio by the APIs that they serve and the
    controllers that run, however they were installed.
  - The role C(serving.triton.cluster_addons) decides by it, and leaves what somebody else installed alone.
options:
  objects:
    description: Whether to read which custom resource definitions the addons have, and what lies in these kinds.
    type: bool
    default: false
extends_documentation_fragment:
  - serving.triton.promises.reads
  - serving.triton.cluster.connection
"""

EXAMPLES = r"""
- name: Look for addons
  serving.triton.cluster_addons_info:
    kubeconfig: ~/.kube/config
  register: cluster

- name: Tell who serves the metrics of pods
  ansible.builtin.debug:
    msg: "{{ cluster.addons['metrics-server'].others }}"
"""

RETURN = r"""
server:
  description: URL of the API server.
  type: str
  returned: success
  sample: https://10.0.0.1:6443
addons:
  description:
    - Of each addon by its name, C(ours), the Helm releases that the role C(serving.triton.helm_release) made and their namespaces, and
      C(others), where somebody else runs it, in words.
    - With O(objects) also C(definitions), its custom resource definitions, and C(objects) of these kinds that no addon of ours brought.
  type: dict
  returned: success
  sample:
    metrics-server: {ours: {metrics-server: kube-system}, others: "", objects: [], definitions: []}
    keda: {ours: {}, others: Deployment keda/keda-operator of Helm release keda, objects: [], definitions: []}
denied:
  description: Permissions of a cluster's administrator that are lacking.
  type: list
  elements: str
  returned: success
  sample: [create customresourcedefinitions]
prometheus:
  description: Namespaces in which the Prometheus operator runs a Prometheus, as the Service C(prometheus-operated).
  type: list
  elements: str
  returned: success
  sample: [monitoring]
namespaces:
  description: The namespaces of the cluster.
  type: list
  elements: str
  returned: success
  sample: [default, kube-system]
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.kubernetes.addons import survey
from ..module_utils.kubernetes.cluster import connect
from ..module_utils.kubernetes.options import CLUSTER
from ..module_utils.module import run_info

OPTIONS = {**CLUSTER, "objects": {"type": "bool", "default": False}}


def main() -> None:
    module = AnsibleModule(OPTIONS, supports_check_mode=True)
    params = module.params

    def read() -> dict[str, object]:
        return survey(connect(params), objects=params["objects"])

    run_info(module, read)


if __name__ == "__main__":
    main()
