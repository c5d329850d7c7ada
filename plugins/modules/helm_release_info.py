#!/usr/bin/python
# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: helm_release_info
short_description: What is there of a Helm release, and whether this collection made it
version_added: 0.1.0
author: serving.triton contributors (@serving-triton)
description:
  - Reads the namespace, the history and the chart of a Helm release of any chart. Values are not read.
  - The role C(serving.triton.helm_release) decides by it. M(kubernetes.core.helm_info) knows nothing of the namespace.
options:
  name:
    description: Name of the Helm release, of any chart.
    type: str
    required: true
  together:
    description: Releases of the namespace that the same run has removed already, or would have, so that they are not C(others).
    type: list
    elements: str
    default: []
  lock_timeout:
    description: Seconds that a Helm which is at work on the release is waited for.
    type: float
    default: 0
extends_documentation_fragment:
  - serving.triton.promises.reads
  - serving.triton.cluster.unkeyed
  - serving.triton.cluster
  - serving.triton.cluster.connection
  - serving.triton.cluster.attributes
"""

EXAMPLES = r"""
- name: Look at an addon
  serving.triton.helm_release_info:
    name: metrics-server
    namespace: kube-system
  register: addon
"""

RETURN = r"""
server:
  description: URL of the API server.
  type: str
  returned: success
  sample: https://10.0.0.1:6443
namespace:
  description:
    - Whether the namespace C(exists), its C(labels), and whether it is C(ours), made by this collection.
    - Then C(others) is what it holds besides the release, and the kinds that may not be listed.
  type: dict
  returned: success
  sample: {exists: true, ours: true, others: [release grafana], labels: {app.kubernetes.io/managed-by: serving.triton}}
release:
  description:
    - C(status) and C(revision) of the release as Helm keeps them, V(absent) and 0 without one; C(chart), C(version) and C(app_version) of
      that revision's chart.
    - C(deployed) is the last revision that was deployed, or what a rollback that was killed goes to, and C(before) the one before; 0 for
      none.
  type: dict
  returned: success
  sample: {status: deployed, revision: 3, deployed: 3, before: 2, chart: metrics-server, version: 3.13.1, app_version: 0.8.1}
missing:
  description: Workloads of the last revision that the namespace has no more.
  type: list
  elements: str
  returned: success
  sample: [Deployment metrics-server]
ours:
  description: Whether the role C(serving.triton.helm_release) made it.
  type: bool
  returned: success
  sample: true
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.kubernetes.cluster import connect
from ..module_utils.kubernetes.helm_release import look
from ..module_utils.kubernetes.options import CLUSTER, SERVICE
from ..module_utils.kubernetes.revisions import wait_for_helm
from ..module_utils.kubernetes.service import Release
from ..module_utils.module import run_info

OPTIONS = {
    **CLUSTER,
    **SERVICE,
    "together": {"type": "list", "elements": "str", "default": []},
    "lock_timeout": {"type": "float", "default": 0},
}


def main() -> None:
    module = AnsibleModule(OPTIONS, supports_check_mode=True)
    params = module.params

    def read() -> dict[str, Any]:
        cluster = connect(params)
        release = Release(params["name"], params["namespace"])
        wait_for_helm(cluster, release, params["lock_timeout"])
        return look(cluster, release, params["together"])

    run_info(module, read)


if __name__ == "__main__":
    main()
