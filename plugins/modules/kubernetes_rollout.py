#!/usr/bin/python
# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: kubernetes_rollout
short_description: Wait for the rollout of a Helm release, and tell why it fails
version_added: 0.1.0
author: serving.triton contributors (@serving-triton)
description:
  - Waits until every replica of a release of this collection's chart is of the newest template and ready, and none of the former is left;
    with O(scope) also of other charts' Deployments, DaemonSets and StatefulSets.
  - A failure tells, for each pod that is not ready, what its containers wait for or ended with, which models failed and why, the last
    warnings among its events and the last lines of its log.
options:
  scope:
    description:
      - V(triton) is a release of this collection's chart, whose replicas are also asked for their models.
      - V(release) is every Deployment, DaemonSet and StatefulSet that Helm made for the release in O(namespace), or those in O(workloads).
    type: str
    choices: [triton, release]
    default: triton
  workloads:
    description:
      - With O(scope=release), what to wait for in place of all that Helm made, for example what an operator makes.
      - One that is not there yet is waited for, too.
    type: list
    elements: dict
    default: []
    suboptions:
      kind:
        description: Its kind.
        type: str
        choices: [Deployment, DaemonSet, StatefulSet]
        required: true
      name:
        description: Its name in O(namespace).
        type: str
        required: true
  timeout:
    description: Seconds that the whole rollout may take.
    type: float
    default: 900
  patience:
    description:
      - Seconds that a pod may be in trouble, such as C(CrashLoopBackOff), C(ImagePullBackOff) or models that failed to load, before the
        rollout counts as failed.
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
  - serving.triton.cluster
  - serving.triton.cluster.connection
  - serving.triton.cluster.attributes
"""

EXAMPLES = r"""
- name: Wait for the rollout
  serving.triton.kubernetes_rollout:
    name: vision
    namespace: inference
    timeout: 1200

- name: Wait for an addon
  serving.triton.kubernetes_rollout:
    name: metrics-server
    namespace: kube-system
    scope: release
"""

RETURN = r"""
rollout:
  description: How far it is, in words.
  type: str
  returned: success
  sample: 3 of 3 replicas are ready
replicas:
  description: The pods, as RV(serving.triton.server_kubernetes_info#module:replicas).
  type: list
  elements: dict
  returned: with O(scope=triton)
  sample: [{name: vision-6d5c-x2x8v, address: 10.244.1.7, node: gpu-1, ready: true, ports: {http: 8000}, restarts: 0}]
trouble:
  description: What keeps pods from being ready, a text each.
  type: list
  elements: str
  returned: failure
  sample: ["pod vision-6d5c-x2x8v: model digits 1: failed to load 'digits': ..."]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.kubernetes.cluster import connect
from ..module_utils.kubernetes.options import CLUSTER, SERVICE
from ..module_utils.kubernetes.rollout import PLURALS
from ..module_utils.kubernetes.service import Patience, Release, Waiting, replicas, wait, wait_for_workloads
from ..module_utils.module import run_info
from ..module_utils.stores.progress_file import progress_in

WORKLOAD = {"kind": {"type": "str", "choices": list(PLURALS), "required": True}, "name": {"type": "str", "required": True}}
OPTIONS = {
    **CLUSTER,
    **SERVICE,
    "scope": {"type": "str", "choices": ["triton", "release"], "default": "triton"},
    "workloads": {"type": "list", "elements": "dict", "options": WORKLOAD, "default": []},
    "timeout": {"type": "float", "default": 900},
    "patience": {"type": "float", "default": 30},
    "progress_file": {"type": "path"},
}


def main() -> None:
    module = AnsibleModule(OPTIONS, supports_check_mode=True)
    params = module.params

    def read() -> dict[str, Any]:
        release = Release(params["name"], params["namespace"], params["key_header"])
        patience = Patience(params["timeout"], params["patience"])
        with progress_in(params["progress_file"]) as tell:
            waiting = Waiting(connect(params), release, patience, tell)
            if params["scope"] == "release":
                wanted = [(each["kind"], each["name"]) for each in params["workloads"]]
                return {"rollout": wait_for_workloads(waiting, wanted).text}
            seen, verdict = wait(waiting)
        return {"rollout": verdict.text, "replicas": replicas(seen.pods, release)}

    run_info(module, read)


if __name__ == "__main__":
    main()
