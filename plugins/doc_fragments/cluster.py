# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The documentation of the options that the modules for Kubernetes share: module_utils/kubernetes/options.py."""

from __future__ import annotations


class ModuleDocFragment:
    # Of a release of the chart.
    DOCUMENTATION = r"""
options:
  name:
    description: Name of the Helm release of this collection's chart.
    type: str
    required: true
  namespace:
    description: Its namespace.
    type: str
    required: true
  key_header:
    description: The header of the restricted APIs. The key itself is read from the Secret that the pods mount.
    type: str
    default: triton-key
"""

    # Before the one above, for modules that send no requests to Triton.
    UNKEYED = r"""
options:
  key_header:
    description: Of no use here. It is taken so that one C(module_defaults) entry serves the whole group.
    type: str
    default: triton-key
"""

    CONNECTION = r"""
options:
  kubeconfig:
    description:
      - The kubeconfig.
      - E(KUBECONFIG), then C(~/.kube/config), then the account of the pod that this runs in, when left out.
    type: path
  context:
    description: A context of the kubeconfig. Its current one when left out.
    type: str
  host:
    description: URL of the API server, in place of the kubeconfig's.
    type: str
  api_key:
    description: A bearer token, in place of the kubeconfig's credentials.
    type: str
  ca_cert:
    description: PEM file of the authorities that the API server's certificate is checked against.
    type: path
  validate_certs:
    description: Whether to check the API server's certificate. As the kubeconfig says when left out.
    type: bool
requirements:
  - kubernetes >= 24.2
"""

    # Of what is asked about a cluster.
    LOOK = r"""
options:
  permissions:
    description: Whether to ask which of the permissions that the role needs are lacking.
    type: bool
    default: false
  replicas:
    description: Number of replicas that the service is to have, for the count of spare GPUs.
    type: int
    default: 1
  gpus:
    description: What a replica asks of a node. Without it free GPUs are not counted.
    type: dict
    suboptions:
      resource:
        description: Name of the resource.
        type: str
        default: nvidia.com/gpu
      count:
        description: GPUs of one replica.
        type: int
        default: 1
      selector:
        description: Labels that the nodes must have.
        type: dict
        default: {}
      tolerations:
        description: The pods' tolerations, as Kubernetes has them.
        type: list
        elements: dict
        default: []
"""

    ATTRIBUTES = r"""
attributes:
  action_group:
    description: Use C(group/serving.triton.kubernetes) in C(module_defaults) to set options for every module of the group.
    support: full
    membership:
      - serving.triton.kubernetes
"""
