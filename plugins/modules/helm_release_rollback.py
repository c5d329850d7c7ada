#!/usr/bin/python
# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: helm_release_rollback
short_description: Take a Helm release back to one of its revisions, or away
version_added: 0.1.0
author: serving.triton contributors (@serving-triton)
description:
  - Has Helm go back to a revision of a release of any chart, or uninstall the release. A pending revision, which a killed Helm left, is no
    hindrance.
  - Credentials are handed to Helm in the environment of its own process. A task's C(environment) would show them on a command line.
  - Does not wait for the rollout, see M(serving.triton.kubernetes_rollout).
options:
  name:
    description: Name of the Helm release, of any chart.
    type: str
    required: true
  revision:
    description: Number of the revision to go back to. With V(0) the release is uninstalled.
    type: int
    required: true
  helm:
    description: Helm, as a path or a name on C(PATH).
    type: str
    default: helm
  timeout:
    description: Seconds that Helm waits, for hooks and for what it uninstalls to be gone.
    type: int
    default: 300
extends_documentation_fragment:
  - serving.triton.promises.plans
  - serving.triton.cluster.unkeyed
  - serving.triton.cluster
  - serving.triton.cluster.connection
  - serving.triton.cluster.attributes
attributes:
  diff_mode:
    description: Shows the revisions, not what is in them.
    support: full
"""

EXAMPLES = r"""
- name: Go back to what was deployed before
  serving.triton.helm_release_rollback:
    name: vision
    namespace: inference
    revision: 3
"""

RETURN = r"""
actions:
  description: What was done, or would be done in check mode, one sentence each.
  type: list
  elements: str
  returned: success
  sample: [roll back inference/vision to revision 3]
leftover:
  description:
    - Where Helm refused to go back, what the last revision has and the wanted one has not, by C(apiVersion), C(kind) and C(metadata).
    - Helm stops at an object that it was to remove and which is gone, or the other way round. Without these objects it goes back.
  type: list
  elements: dict
  returned: failure
  sample: [{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: vision}}]
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.kubernetes.cluster import connect
from ..module_utils.kubernetes.helm_rollback import HelmRollback, helm
from ..module_utils.kubernetes.options import CLUSTER, SERVICE
from ..module_utils.kubernetes.service import Release
from ..module_utils.module import run_plan

OPTIONS = {
    **CLUSTER,
    **SERVICE,
    "revision": {"type": "int", "required": True},
    "helm": {"type": "str", "default": "helm"},
    "timeout": {"type": "int", "default": 300},
}


def main() -> None:
    module = AnsibleModule(OPTIONS, supports_check_mode=True)
    params = module.params

    def build() -> HelmRollback:
        run = helm(params["helm"], params["timeout"], params)
        return HelmRollback(connect(params), Release(params["name"], params["namespace"]), params["revision"], run)

    run_plan(module, build)


if __name__ == "__main__":
    main()
