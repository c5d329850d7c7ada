#!/usr/bin/python
# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: server_kserve_info
short_description: What a cluster with KServe offers for Triton, and what is there of an InferenceService
version_added: 0.1.0
author: serving.triton contributors (@serving-triton)
description:
  - Reads the versions of a cluster and of its KServe, permissions, the namespace, an InferenceService with its revisions and pods, and free
    GPUs.
  - The role C(serving.triton.server_kserve) decides by it before it changes anything.
  - Fails where the cluster has no KServe, and says what to install.
options:
  name:
    description: Name of the InferenceService.
    type: str
    required: true
  namespace:
    description: Its namespace.
    type: str
    required: true
  runtime:
    description: A ServingRuntime of the namespace, or a ClusterServingRuntime, to look at.
    type: str
    default: ""
  access:
    description:
      - The way in that RV(endpoint) is to tell. Its headers are secret with V(proxy), and are shown, so give the task C(no_log).
      - V(pod) is the replicas' own addresses. V(proxy) leads to each replica through the API server, over HTTP alone. V(service) is the
        address of KServe's Service inside of the cluster.
      - V(url) is the URL that KServe tells, behind which models cannot be told apart by replica. In mode V(Serverless) it is the only way.
      - V(auto) is V(pod) where a replica's address answers, else V(proxy).
    type: str
    choices: [auto, pod, proxy, service, url]
  ingress:
    description: URL of the gateway, for the way V(url) where the host's name leads nowhere. The name goes into the header C(Host).
    type: str
    default: ""
extends_documentation_fragment:
  - serving.triton.promises.reads
  - serving.triton.cluster.connection
  - serving.triton.cluster.look
  - serving.triton.cluster.attributes
"""

EXAMPLES = r"""
- name: Look at the cluster
  serving.triton.server_kserve_info:
    name: vision
    namespace: inference
    permissions: true
  register: cluster

- name: Tell where it is
  ansible.builtin.debug:
    msg: "KServe {{ cluster.kserve.version }} serves {{ cluster.service.url | default('nothing') }}"
"""

RETURN = r"""
version:
  description: Version of Kubernetes.
  type: str
  returned: success
  sample: "1.36"
server:
  description: URL of the API server.
  type: str
  returned: success
  sample: https://10.0.0.1:6443
kserve:
  description:
    - C(version) of KServe, empty where its controller may not be read.
    - C(names) is V(current) where KServe calls the modes C(Standard) and C(Knative), V(legacy) where C(RawDeployment) and C(Serverless),
      empty where that is not known. C(knative) tells whether there is Knative Serving.
  type: dict
  returned: success
  sample: {version: 0.16.0, names: current, knative: false}
kinds:
  description: The kinds of the Prometheus operator that the cluster knows.
  type: list
  elements: str
  returned: success
  sample: [PodMonitor]
denied:
  description: The permissions that are lacking, with O(permissions).
  type: list
  elements: str
  returned: success
  sample: [create inferenceservices.serving.kserve.io in inference]
namespace:
  description:
    - Whether the namespace C(exists), and whether it is C(ours), made by this collection.
    - Then C(others) is what it holds besides the service, and the kinds that may not be listed.
  type: dict
  returned: success
  sample: {exists: true, ours: true, others: [inference service speech]}
service:
  description:
    - The InferenceService; empty without one. C(ours) tells whether this collection made it.
    - C(pods) and C(models) are its annotations C(serving.triton/pods) and C(serving.triton/models), C(mode) is its deployment mode by the
      older name, C(mode_name) whether that is called by the V(current) or V(legacy) name, C(traffic) what each revision gets.
  type: dict
  returned: success
  sample:
    name: vision
    ours: true
    mode: RawDeployment
    mode_name: current
    ready: true
    message: ""
    url: http://vision-inference.example.com
    pods: 9f86d08188
    models: 2c26b46b68ffc68f
    min_replicas: 3
    canary: null
    runtime: vision-5891b5b522
    traffic: []
runtime:
  description: C(disabled), C(formats) and C(protocols) of O(runtime); empty where there is none.
  type: dict
  returned: success
  sample: {disabled: false, formats: [triton], protocols: [v2, grpc-v2]}
runtimes:
  description: Names of the ServingRuntimes that the role has made for the service.
  type: list
  elements: str
  returned: success
  sample: [vision-5891b5b522]
secrets:
  description: Names of the Secrets that the role has made for the service, the oldest first.
  type: list
  elements: str
  returned: success
  sample: [vision-secrets-2c26b46b68]
account:
  description: The service account of the service's name, whether it is C(ours) and the C(secrets) that it lists; empty without one.
  type: dict
  returned: success
  sample: {ours: true, secrets: [vision-secrets-2c26b46b68]}
checking:
  description: Whether this is check mode, which C(ansible_check_mode) does not tell of a role that is included in check mode.
  type: bool
  returned: success
  sample: false
current:
  description: Definitions of the service, its account and its runtimes that were applied last and that the objects still hold.
  type: list
  elements: dict
  returned: success
  sample: [{apiVersion: v1, kind: ServiceAccount, metadata: {name: vision, namespace: inference}}]
served:
  description: The definitions C(service), C(runtime) and C(account) that served last, as the role keeps them; empty without any.
  type: dict
  returned: success
  sample: {}
deployment:
  description: The Deployment that KServe made, as RV(serving.triton.server_kubernetes_info#module:deployment).
  type: dict
  returned: success
  sample: {name: vision-predictor, uid: 1f0c9a3e, generation: 2, replicas: 3, ready: 3, image: "nvcr.io/nvidia/tritonserver:24.10-py3"}
rollout:
  description: How far its rollout is, in words.
  type: str
  returned: success
  sample: 3 of 3 replicas are ready
replicas:
  description: The pods that are there to stay, by name; in mode V(Serverless) those of the newest revision.
  type: list
  elements: dict
  returned: success
  sample:
    - name: vision-predictor-6d5c-x2x8v
      address: 10.244.1.7
      node: gpu-1
      ready: true
      ports: {http: 8080, grpc: 9000, metrics: 8002}
      restarts: 0
pods_answer:
  description: Whether the pods' addresses are reached from the machine that runs this module.
  type: bool
  returned: success
  sample: true
services:
  description: The Services that KServe made, without headless ones.
  type: list
  elements: dict
  returned: success
  sample: [{name: vision-predictor, type: ClusterIP, address: 10.96.0.7, balancer: "", ports: {http: 80, grpc: 9000}, node_ports: {}}]
nodes:
  description: Addresses of the nodes that are ready, those outside first.
  type: list
  elements: str
  returned: success
  sample: [10.0.0.11]
spare_gpus:
  description: GPUs for one replica more than O(replicas), 0 where there are none for it.
  type: int
  returned: success
  sample: 1
access:
  description: The way in, with O(access).
  type: str
  returned: with O(access)
  sample: pod
pem:
  description: With the way V(proxy), the PEM files that its clients need, by the names that C(tls) of an endpoint gives them. Secret.
  type: dict
  returned: with O(access)
  sample: {ca_file: "-----BEGIN CERTIFICATE-----\n..."}
endpoint:
  description: What the roles call C(triton_endpoint); empty while nothing is ready.
  type: dict
  returned: with O(access)
  sample: {http: "http://10.0.0.5", headers: {Host: vision-inference.example.com}}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.kubernetes.access import AUTO, POD, PROXY, SERVICE
from ..module_utils.kubernetes.cluster import connect
from ..module_utils.kubernetes.inspect import Wanted
from ..module_utils.kubernetes.kserve_cluster import URL, Question, read
from ..module_utils.kubernetes.options import CLUSTER, GPUS, KSERVE
from ..module_utils.kubernetes.sizing import Wanted as Gpus
from ..module_utils.module import run_info

OPTIONS = {
    **CLUSTER,
    **KSERVE,
    "permissions": {"type": "bool", "default": False},
    "runtime": {"type": "str", "default": ""},
    "replicas": {"type": "int", "default": 1},
    "gpus": {"type": "dict", "options": GPUS},
    "access": {"type": "str", "choices": [AUTO, POD, PROXY, SERVICE, URL]},
    "ingress": {"type": "str", "default": ""},
}


def main() -> None:
    module = AnsibleModule(OPTIONS, supports_check_mode=True)
    params = module.params

    def answer() -> dict[str, Any]:
        gpus = Gpus(**params["gpus"]) if params["gpus"] and params["gpus"]["count"] else None
        asked = Question(params["access"] or "", params["ingress"], params["runtime"])
        found = read(connect(params), params["name"], params["namespace"], Wanted(params["permissions"], gpus, params["replicas"]), asked)
        if params["access"]:
            # What was asked for is told.
            module.no_log_values.discard(params["api_key"])
        return {**found, "checking": module.check_mode}

    run_info(module, answer)


if __name__ == "__main__":
    main()
