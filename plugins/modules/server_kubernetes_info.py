#!/usr/bin/python
# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: server_kubernetes_info
short_description: What a cluster offers for Triton, and what is there of a release of the chart
version_added: 0.1.0
author: serving.triton contributors (@serving-triton)
description:
  - Reads the version of a cluster, permissions, the namespace, the history of a Helm release, its replicas and Services, and free GPUs.
  - The role C(serving.triton.server_kubernetes) decides by it before it changes anything.
options:
  monitoring:
    description: Whether to read by which labels the Prometheus operator's Prometheus and Grafana take objects of the namespace.
    type: bool
    default: false
  lock_timeout:
    description: Seconds that a Helm which is at work on the release is waited for.
    type: float
    default: 0
  access:
    description:
      - The way in that RV(endpoint) is to tell. Its headers are secret and are shown, so give the task C(no_log).
      - V(pod) is the replicas' own addresses. V(proxy) leads to each replica through the API server, over HTTP alone.
      - V(auto) is V(pod) where a replica's address answers, else V(proxy).
      - V(service), V(nodeport) and V(loadbalancer) are one address for all replicas, behind which models cannot be loaded on each.
    type: str
    choices: [auto, pod, proxy, service, nodeport, loadbalancer]
  grpc_tls:
    description: Whether the replicas' gRPC is encrypted.
    type: bool
    default: false
extends_documentation_fragment:
  - serving.triton.promises.reads
  - serving.triton.cluster
  - serving.triton.cluster.connection
  - serving.triton.cluster.look
  - serving.triton.cluster.attributes
"""

EXAMPLES = r"""
- name: Look at the cluster
  serving.triton.server_kubernetes_info:
    name: vision
    namespace: inference
    kubeconfig: ~/.kube/config
    permissions: true
    gpus: {count: 1}
  register: cluster

- name: Stop without permission
  ansible.builtin.assert:
    that: cluster.denied | length == 0
    fail_msg: "These are lacking: {{ cluster.denied | join(', ') }}."
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
kinds:
  description: The kinds of the Prometheus operator that the cluster knows.
  type: list
  elements: str
  returned: success
  sample: [PodMonitor, PrometheusRule, ServiceMonitor]
monitoring:
  description:
    - For C(service_monitor), C(rule) and C(dashboard) the C(labels) that are wanted, C(by) whom, and the C(problem) where nobody does.
    - Empty where the cluster has no Prometheus operator, or where that may not be read.
  type: dict
  returned: with O(monitoring)
  sample:
    service_monitor: {labels: {release: prometheus}, by: Prometheus monitoring/prometheus, problem: ""}
    rule: {labels: {release: prometheus}, by: Prometheus monitoring/prometheus, problem: ""}
    dashboard: {labels: {grafana_dashboard: "1"}, by: Grafana monitoring/grafana, problem: ""}
denied:
  description: The permissions that are lacking, with O(permissions).
  type: list
  elements: str
  returned: success
  sample: [create deployments.apps in inference]
namespace:
  description:
    - Whether the namespace C(exists), and whether it is C(ours), made by this collection.
    - Then C(others) is what it holds besides the release, and the kinds that may not be listed.
  type: dict
  returned: success
  sample: {exists: true, ours: true, others: [release speech]}
release:
  description:
    - C(status) and C(revision) of the release as Helm keeps them, V(absent) and 0 without one, and the name of that revision's C(chart).
    - C(deployed) is the last revision that was deployed, 0 for none; while only pods of a former one are ready, that one. C(before) is the
      one before the last that was deployed.
  type: dict
  returned: success
  sample: {status: deployed, revision: 3, deployed: 3, before: 2, chart: triton}
secrets:
  description: Names of the Secrets that the role has made for the release, the oldest first.
  type: list
  elements: str
  returned: success
  sample: [vision-store-2c26b46b]
deployment:
  description:
    - Its C(name), C(uid), C(generation), C(replicas), C(ready) ones and C(image); empty without one.
    - C(secrets) are those that its pods refer to, C(annotations) the pods'.
  type: dict
  returned: success
  sample:
    name: vision
    uid: 1f0c9a3e
    generation: 2
    replicas: 3
    ready: 3
    image: nvcr.io/nvidia/tritonserver:24.10-py3
    secrets: [vision-secrets-2c26b46b68]
    annotations: {serving.triton/models: 9f86d081884c7d65}
rollout:
  description: How far its rollout is, in words.
  type: str
  returned: success
  sample: 3 of 3 replicas are ready
replicas:
  description:
    - The pods that are there to stay, by name; C(ready) are those to which the EndpointSlices of the release's Services send requests.
    - Where these may not be read, or there are none, they are those that say so themselves.
  type: list
  elements: dict
  returned: success
  sample:
    - name: vision-6d5c-x2x8v
      address: 10.244.1.7
      node: gpu-1
      ready: true
      ports: {http: 8000, grpc: 8001, metrics: 8002}
      restarts: 0
pods_answer:
  description: Whether the pods' addresses are reached from the machine that runs this module.
  type: bool
  returned: success
  sample: true
services:
  description: The release's Services, without the headless one.
  type: list
  elements: dict
  returned: success
  sample:
    - name: vision
      type: LoadBalancer
      address: 10.96.0.7
      balancer: 203.0.113.7
      ports: {http: 8000, grpc: 8001}
      node_ports: {http: 31000, grpc: 31001}
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
  description: What the roles call C(triton_endpoint), with the key of the restricted APIs; empty while no replica is ready.
  type: dict
  returned: with O(access)
  sample:
    http: http://10.244.1.7:8000
    grpc: grpc://10.244.1.7:8001
    metrics: http://10.244.1.7:8002/metrics
    headers: {triton-key: VALUE_SPECIFIED_IN_NO_LOG_PARAMETER}
    replicas:
      - name: vision-6d5c-x2x8v
        http: http://10.244.1.7:8000
        grpc: grpc://10.244.1.7:8001
        metrics: http://10.244.1.7:8002/metrics
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.kubernetes.access import WAYS
from ..module_utils.kubernetes.cluster import connect
from ..module_utils.kubernetes.inspect import Wanted, inspect
from ..module_utils.kubernetes.options import CLUSTER, GPUS, SERVICE
from ..module_utils.kubernetes.service import Release
from ..module_utils.kubernetes.sizing import Wanted as Gpus
from ..module_utils.module import run_info

OPTIONS = {
    **CLUSTER,
    **SERVICE,
    "permissions": {"type": "bool", "default": False},
    "replicas": {"type": "int", "default": 1},
    "gpus": {"type": "dict", "options": GPUS},
    "monitoring": {"type": "bool", "default": False},
    "lock_timeout": {"type": "float", "default": 0},
    "access": {"type": "str", "choices": list(WAYS)},
    "grpc_tls": {"type": "bool", "default": False},
}


def main() -> None:
    module = AnsibleModule(OPTIONS, supports_check_mode=True)
    params = module.params

    def read() -> dict[str, Any]:
        cluster = connect(params)
        gpus = Gpus(**params["gpus"]) if params["gpus"] and params["gpus"]["count"] else None
        release = Release(params["name"], params["namespace"], params["key_header"])
        ways = {"access": params["access"] or "", "grpc_tls": params["grpc_tls"]}
        more = {name: params[name] for name in ("replicas", "permissions", "monitoring", "lock_timeout")}
        wanted = Wanted(gpus=gpus, **ways, **more)
        found = inspect(cluster, release, wanted)
        if params["access"]:
            # What was asked for is told.
            module.no_log_values.discard(params["api_key"])
        return found

    run_info(module, read)


if __name__ == "__main__":
    main()
