#!/usr/bin/python
# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The documentation of the action of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: doctor
short_description: Diagnose a Triton service, its cluster, or a machine with GPUs
description:
  - Asks the server, its models, its repository, its metrics and its Prometheus.
  - Looks at the GPUs of a machine, their driver, kernels, DKMS, Secure Boot, nouveau, container runtimes and CDI specifications.
  - Reports every finding with its remedy in one table for people and one JSON file for machines. All checks run, whatever the others find.
  - The task fails at its end when a check failed, so a playbook that runs it ends with a return code other than 0. Warnings do not fail it.
  - It changes nothing.
version_added: 0.1.0
author: serving.triton contributors (@serving-triton)
options:
  checks:
    description:
      - What to diagnose. V(service) is the server with what belongs to it, V(machine) what M(serving.triton.gpu_info) sees of the host.
      - A machine without an NVIDIA GPU is fine.
      - V(cluster) is the Kubernetes that the service runs on, by what O(cluster) tells.
    type: list
    elements: str
    choices: [service, machine, cluster]
    default: [service]
  cluster:
    description:
      - The fact C(triton_cluster), which the roles C(serving.triton.server_kubernetes) and C(serving.triton.server_kserve) set from
        C(cluster), their tasks for the doctor.
      - It is a result of M(serving.triton.server_kubernetes_info) or M(serving.triton.server_kserve_info) with C(permissions); one that
        failed is a finding.
    type: dict
    default: {}
  directory:
    description:
      - Folder on the controller for C(<inventory_hostname>.doctor.json). It is made with mode V(0700) when it is missing.
      - The folder C(serving.triton) in the user's folder for state (E(XDG_STATE_HOME), or C(~/.local/state)) when left out.
    type: path
  endpoint:
    description:
      - The endpoint, as the roles C(server_*) set it in the fact C(triton_endpoint).
      - Without it the service counts as not deployed.
    type: dict
    default: {}
  gpus:
    description: The GPUs that the service asks for. With it the check V(machine) holds O(image) against GPUs and driver.
    type: list
    elements: str
    default: []
  image:
    description:
      - The image of Triton that is to use O(gpus), its release, or the server's version.
      - For an image that is not NVIDIA's the machine alone is looked at.
    type: str
  prometheus:
    description: URL of the Prometheus that scrapes the service. Without it monitoring is not looked at.
    type: str
  repository:
    description:
      - The published model repository.
      - A path is linted, and the free room of its file system is looked at if mount facts are gathered.
      - The URL of a store is compared with what was published there, where the connection is local.
    type: str
  root:
    description: What the check V(machine) looks at in place of C(/), such as an image or a chroot, see M(serving.triton.gpu_info).
    type: path
    default: /
  server:
    description:
      - The fact C(triton_server). Where a platform runs the service, as PAI-EAS does, it tells what that says of it.
    type: dict
    default: {}
  src:
    description: The source of the models. With it, what waits to be published is a warning.
    type: path
  store:
    description: How to reach the store of O(repository), the options that M(serving.triton.model_repository) takes beside its URL.
    type: dict
    default: {}
  timeout:
    description: Seconds that each request may take.
    type: float
    default: 10
attributes:
  check_mode:
    description: In check mode no file is written.
    support: full
  diff_mode:
    description: It changes nothing, so there is nothing to show.
    support: none
  idempotent:
    description: It never reports a change.
    support: full
seealso:
  - module: serving.triton.gpu_info
  - module: serving.triton.server_info
  - module: serving.triton.model_repository_info
"""

EXAMPLES = r"""
---
- name: Diagnose
  serving.triton.doctor:
    endpoint: "{{ triton_endpoint }}"
    repository: /srv/triton/models
    prometheus: http://127.0.0.1:9090
    directory: /var/lib/awx/reports

- name: Diagnose a machine
  serving.triton.doctor:
    checks: [machine]
"""

RETURN = r"""
---
report:
  description: The verdict V(ok), V(warn) or V(fail), and the findings. C(kind) is V(service), or V(machine) or V(cluster) without one.
  returned: always
  type: dict
  sample:
    schema: 1
    service: local
    kind: service
    verdict: fail
    findings:
      - {check: server, status: ok, detail: tritonserver 2.51.0 is live, remedy: ""}
      - check: model digits
        status: fail
        detail: "version 1 is UNAVAILABLE on server: failed to load"
        remedy: Mend the model, publish it, and run serving.triton.deploy.
summary:
  description: The lines of the readable table.
  returned: always
  type: list
  elements: str
  sample: ["Triton service local: ok"]
"""
