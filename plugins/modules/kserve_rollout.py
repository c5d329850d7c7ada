#!/usr/bin/python
# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: kserve_rollout
short_description: Wait until KServe serves an InferenceService, and tell why it does not
version_added: 0.1.0
author: serving.triton contributors (@serving-triton)
description:
  - Waits until KServe has taken up what the InferenceService asks for, its pods are ready, none of the former is left (V(RawDeployment)) or
    requests reach the new revision (V(Serverless)), and the InferenceService is ready.
  - A failure tells which conditions are not true and what KServe says of the model, and, for each pod that is not ready, what its
    containers wait for or ended with, those that copy the models included, which models failed and why, the last warnings and the last
    lines of the log.
options:
  name:
    description: Name of the InferenceService.
    type: str
    required: true
  namespace:
    description: Its namespace.
    type: str
    required: true
  pods:
    description:
      - The annotation C(serving.triton/pods) of the pods that are wanted, as the filter P(serving.triton.kserve_manifests#filter) tells it.
      - KServe does not tell which generation of an InferenceService it has seen.
    type: str
    required: true
  replicas:
    description: Replicas that have to be there at least. Not waited for in mode V(Serverless).
    type: int
    default: 1
  canary_percent:
    description: Percent of the requests that the new revision has to get. All of them when left out.
    type: int
  timeout:
    description: Seconds that the whole rollout may take.
    type: float
    default: 900
  patience:
    description:
      - Seconds that a pod or KServe may be in trouble before the rollout counts as failed.
      - A pod that no node takes is waited for until O(timeout), since nodes may be added.
    type: float
    default: 30
  progress_file:
    description:
      - File that tells how far a long wait is, as JSON with C(text), C(elapsed) seconds and C(started), the seconds since 1970. It is there
        while the module runs.
      - The action of this module gives and reads one, so that the playbook's output tells every few seconds how far the rollout is.
    type: path
extends_documentation_fragment:
  - serving.triton.promises.reads
  - serving.triton.cluster.connection
  - serving.triton.cluster.attributes
"""

EXAMPLES = r"""
- name: Wait for the rollout
  serving.triton.kserve_rollout:
    name: vision
    namespace: inference
    pods: 9f86d08188
    timeout: 1200
"""

RETURN = r"""
rollout:
  description: How far it is, in words.
  type: str
  returned: success
  sample: 3 of 3 replicas are ready
replicas:
  description: The pods, as RV(serving.triton.server_kserve_info#module:replicas).
  type: list
  elements: dict
  returned: success
  sample: [{name: vision-predictor-6d5c-x2x8v, address: 10.244.1.7, node: gpu-1, ready: true, ports: {http: 8080}, restarts: 0}]
trouble:
  description: What is in the way, a text each.
  type: list
  elements: str
  returned: failure
  sample: ["condition PredictorReady is False", "pod vision-predictor-6d5c-x2x8v: container storage-initializer ended with 1 (Error)"]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.kubernetes.cluster import connect
from ..module_utils.kubernetes.kserve_cluster import release_of
from ..module_utils.kubernetes.kserve_rollout import Goal, wait
from ..module_utils.kubernetes.options import CLUSTER, KSERVE
from ..module_utils.kubernetes.service import Patience, Waiting, replicas
from ..module_utils.module import run_info
from ..module_utils.stores.progress_file import progress_in

OPTIONS = {
    **CLUSTER,
    **KSERVE,
    "pods": {"type": "str", "required": True},
    "replicas": {"type": "int", "default": 1},
    "canary_percent": {"type": "int"},
    "timeout": {"type": "float", "default": 900},
    "patience": {"type": "float", "default": 30},
    "progress_file": {"type": "path"},
}


def main() -> None:
    module = AnsibleModule(OPTIONS, supports_check_mode=True)
    params = module.params

    def read() -> dict[str, Any]:
        goal = Goal(params["name"], params["namespace"], params["pods"], params["replicas"], params["canary_percent"])
        patience = Patience(params["timeout"], params["patience"])
        with progress_in(params["progress_file"]) as tell:
            made, verdict = wait(Waiting(connect(params), release_of(goal.name, goal.namespace), patience, tell), goal)
        return {"rollout": verdict.text, "replicas": replicas(made.observed.pods, made.release)}

    run_info(module, read)


if __name__ == "__main__":
    main()
