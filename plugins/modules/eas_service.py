#!/usr/bin/python
# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: eas_service
short_description: Deploy Triton, or any service, on Alibaba PAI-EAS
version_added: 0.1.0
author: serving.triton contributors (@serving-triton)
description:
  - Creates, updates, scales, rolls back, releases, starts, stops and deletes a service of Alibaba Cloud's Elastic Algorithm Service.
  - The service is described by EAS's own JSON, in O(config) or O(config_file), by typed options such as O(triton_repository) and
    O(instances), or by both; the options lie over the JSON.
  - What was not given is never compared, so what EAS or others added to the service is no change.
  - Only a changed number of instances scales the service, without a rolling update.
options:
  name:
    description:
      - The service. Not needed where the configuration names it.
      - Its name has 3 to 63 lower case letters, digits and underscores.
    type: str
  state:
    description:
      - V(present) creates the service or updates it, and leaves one that was stopped as it is.
      - V(started) also starts it, V(stopped) stops it, V(restarted) restarts its instances, which is a change each time.
      - V(started), V(stopped) and V(restarted) need no configuration; with one, they create or update the service first.
      - V(absent) deletes it, with the instances and versions it has.
    type: str
    choices: [present, absent, started, stopped, restarted]
    default: present
  config:
    description: The service's JSON as a mapping. Both the current form and the older one, with C(name) at the top, are understood.
    type: dict
  config_file:
    description:
      - File with the service's JSON on the machine where the module runs, such as C(triton.config).
      - Comments and commas before a closing bracket are understood.
    type: path
  update:
    description:
      - V(merge) changes the keys that are given and keeps all others.
      - V(replace) makes the configuration what is given, so that keys that are there and not given go, beside those that EAS itself adds.
        The number of instances and the O(revision) stay where they are not given. It needs O(backend=openapi).
    type: str
    choices: [merge, replace]
    default: merge
  processor:
    description:
      - A built-in processor of EAS. V(triton) when O(triton_repository) or O(triton_options) is given without O(image).
    type: str
  image:
    description:
      - A container image, such as V(eas-registry-vpc.cn-shanghai.cr.aliyuncs.com/pai-eas/tritonserver:23.11-py3), instead of a processor.
      - With O(triton_repository), the repository is mounted at C(/models) and C(tritonserver) is run on it.
    type: str
  triton_repository:
    description:
      - The model repository, C(oss://bucket/prefix), as M(serving.triton.model_repository) publishes it.
      - A whole bucket is refused, since EAS mounts a folder of it only.
    type: str
  triton_options:
    description:
      - Options of tritonserver in its own names, such as C(log-verbose). Lists repeat an option.
      - An option that the processor V(triton) is not documented to accept is told as a warning.
    type: dict
  command:
    description: What to run in O(image), instead of C(tritonserver) with O(triton_options).
    type: str
  port:
    description:
      - Where the server in O(image) listens. EAS itself uses 8080 and 9090.
      - 8000, or 8001 with O(grpc), when left out.
    type: int
  grpc:
    description: Whether the service is reached over gRPC instead of HTTP. EAS forwards one protocol for each service.
    type: bool
  instances:
    description: Number of instances. Not compared while an autoscaler is on.
    type: int
  cpu:
    description: Processor cores of an instance.
    type: float
  memory:
    description: Memory of an instance, in MB.
    type: int
  gpu:
    description: GPUs of an instance.
    type: int
  gpu_memory:
    description: Memory of a shared GPU for an instance, in GB.
    type: int
  gpu_core_percentage:
    description: Share of a shared GPU's processor for an instance, in percent. Needs O(gpu_memory).
    type: int
  shm_size:
    description: Shared memory of an instance, in GB. Python models of several instances need more than the default of 64 MB.
    type: int
  resource:
    description: Dedicated resource group, C(eas-r-...) or the id of a resource quota. Excludes O(instance_types).
    type: str
  instance_types:
    description: Types of ECS instances of the public resource group, such as V(ecs.gn6i-c4g1.xlarge), the preferred one first.
    type: list
    elements: str
  workspace_id:
    description: Workspace of PAI that the service belongs to.
    type: str
  group:
    description: Service group, whose members share an entry for traffic, for a canary release.
    type: str
  keepalive:
    description: The longest time that a request may take, in milliseconds (C(rpc.keepalive)).
    type: int
  rpc:
    description: More settings of C(metadata.rpc), such as C(worker_threads).
    type: dict
  mounts:
    description: Storage to mount. Each has O(mounts[].oss), or O(mounts[].nfs_server) and O(mounts[].nfs_path).
    type: list
    elements: dict
    suboptions:
      mount_path:
        description: Where it is mounted in the instance.
        type: str
        required: true
      oss:
        description: A folder, C(oss://bucket/prefix/).
        type: str
      nfs_server:
        description: Host of an NFS or NAS server.
        type: str
      nfs_path:
        description: Path on O(mounts[].nfs_server).
        type: str
      read_only:
        description: Whether nothing can be written to it.
        type: bool
        default: true
  env:
    description:
      - Environment of the server, in the container of O(image) or of the processor.
      - Results and diffs show the names alone, since EAS does not tell which values are secret.
    type: dict
  secret_env:
    description: As O(env), for values that are secret. They are masked in messages and in the invocation, too.
    type: dict
  labels:
    description: Labels of the service. With O(update=replace) others are removed.
    type: dict
  autoscaler:
    description: Scales the service by load. O(instances) is then the number at its creation only.
    type: dict
    suboptions:
      min:
        description: Fewest instances.
        type: int
        required: true
      max:
        description: Most instances.
        type: int
        required: true
      strategies:
        description: When to scale; the one that wants most instances counts.
        type: list
        elements: dict
        required: true
        suboptions:
          metric:
            description: What to look at, such as V(qps), V(cpu) or V(gpu[util]).
            type: str
            required: true
          threshold:
            description: The value for one instance to keep to.
            type: float
            required: true
  network:
    description: VPC that the instances are connected to.
    type: dict
    suboptions:
      vpc_id:
        description: The VPC.
        type: str
      vswitch_id:
        description: The vSwitch in it.
        type: str
      security_group_id:
        description: The security group.
        type: str
  rolling:
    description: How a rolling update goes.
    type: dict
    suboptions:
      max_surge:
        description: How many instances more than wanted there may be, as a number or a percentage such as V(20%).
        type: raw
      max_unavailable:
        description: How many instances fewer than wanted there may be.
        type: raw
  token:
    description: Token that callers of the service give. EAS makes one when left out.
    type: str
  registry_auth:
    description: Base64 of C(user:password) for the registry of O(image).
    type: str
  revision:
    description:
      - Any text that changes with what the instances are to read when they start, such as a digest of what was published. EAS replaces the
        instances one by one when it changes.
      - Kept as the environment variable C(SERVING_TRITON_REVISION) of the server. The one that is there stays when left out.
    type: str
  version:
    description:
      - Roll back to this version of the service. RV(versions) tells them. EAS takes older ones than the one in use alone.
      - Excludes every option that describes the configuration.
    type: int
  weight:
    description: The service's weight in its group's traffic, from -1 to 1000. Needs O(backend=openapi).
    type: int
  traffic_state:
    description: Whether the service gets traffic of its group, V(grouping), or not, V(standalone). Needs O(backend=openapi).
    type: str
    choices: [standalone, grouping]
  safety_lock:
    description:
      - What EAS is to refuse, V(dangerous) operations such as stopping and deleting, V(all) changes, or V(none).
      - Needs O(backend=openapi).
    type: str
    choices: [none, dangerous, all]
  lift_lock:
    description:
      - Whether a safety lock that is in the way is lifted. Without it the task fails before anything is changed.
      - The lock is put back at the end, where the service is still there.
    type: bool
    default: false
  wait:
    description:
      - Whether to wait until the service is running with all its instances, and stays so on two looks, or is stopped, or gone.
      - Waiting ends at once where the service fails.
    type: bool
    default: true
  wait_timeout:
    description: The longest wait, in seconds. When it is over, events, diagnosis and the last lines of the log are told.
    type: float
    default: 1800.0
  wait_interval:
    description: Seconds between two looks.
    type: float
    default: 5.0
  wait_gateway:
    description:
      - Whether to wait, too, until the address of the service answers. EAS's gateway may not know a service that just runs.
      - Needs that the address of O(access) is reached from where the module runs.
    type: bool
    default: false
  progress_file:
    description:
      - File that tells how far a long wait is, as JSON with C(text), C(elapsed) seconds and C(started), the seconds since 1970. It is there
        while the module runs.
      - The action of this module gives and reads one, so that the playbook's output tells every few seconds how far the service is.
    type: path
requirements:
  - alibabacloud_eas20210701 and alibabacloud-credentials, for O(backend=openapi)
  - eascmd, for O(backend=eascmd); alibabacloud-credentials where neither options nor the environment hold an AccessKey
extends_documentation_fragment:
  - serving.triton.eas
  - serving.triton.eas.shown
  - serving.triton.eas.attributes
attributes:
  check_mode:
    description: Predicts what would change without changing it.
    support: full
  diff_mode:
    description: Shows the keys of the configuration that change, and the service's state. Secrets are masked.
    support: full
  idempotent:
    description: A second run changes nothing, but with O(state=restarted).
    support: partial
seealso:
  - module: serving.triton.eas_service_info
  - module: serving.triton.model_repository
  - module: serving.triton.infer
"""

EXAMPLES = r"""
- name: Triton on the models of a folder in OSS, with keys from the environment
  serving.triton.eas_service:
    name: digits
    region: cn-shanghai
    triton_repository: oss://acme-models/triton
    instances: 1
    cpu: 4
    gpu: 1
    memory: 10000
    resource: eas-r-asdasdasd
    keepalive: 3000
    return_token: true
  register: service
  no_log: true

- name: Ask it over the gateway
  serving.triton.server_info:
    endpoint: "{{ service.triton_endpoint }}"

- name: The same service from a file, by the command line client
  serving.triton.eas_service:
    backend: eascmd
    endpoint: pai-eas.cn-shanghai.aliyuncs.com
    config_file: triton.config

- name: Have its instances read the repository again, one after the other, when it has changed
  serving.triton.eas_service:
    name: digits
    region: cn-shanghai
    revision: "{{ published.revisions | to_json(sort_keys=true) | hash('sha256') }}"

- name: Scale it
  serving.triton.eas_service:
    name: digits
    region: cn-shanghai
    instances: 3

- name: Roll back
  serving.triton.eas_service:
    name: digits
    region: cn-shanghai
    version: 1

- name: A tritonserver image on the public resource group, scaled by load
  serving.triton.eas_service:
    name: digits_canary
    region: cn-shanghai
    group: digits
    image: eas-registry-vpc.cn-shanghai.cr.aliyuncs.com/pai-eas/tritonserver:23.11-py3
    triton_repository: oss://acme-models/triton
    triton_options:
      model-control-mode: poll
    instance_types: [ecs.gn6i-c4g1.xlarge]
    autoscaler:
      min: 1
      max: 4
      strategies:
        - metric: qps
          threshold: 50
    weight: 10
    traffic_state: grouping

- name: Remove it
  serving.triton.eas_service:
    name: digits
    region: cn-shanghai
    state: absent
"""

RETURN = r"""
actions:
  description: What was done, or would be done in check mode, one sentence each.
  type: list
  elements: str
  returned: success
  sample: [scale digits from 1 to 3 instances]
backend:
  description: What was used to talk to EAS.
  type: str
  returned: success
  sample: openapi
backend_reason:
  description: Why O(backend=auto) took it.
  type: str
  returned: success
  sample: alibabacloud_eas20210701 7.0.0 is installed
name:
  description: The service's name.
  type: str
  returned: success, and where it is there and cannot be brought to what is wanted
  sample: digits
status:
  description: EAS's word for the service's state afterwards, C(Absent) where there is none. In check mode, the one that would be reached.
  type: str
  returned: success
  sample: Running
service:
  description: The service as it is afterwards; empty where there is none.
  type: dict
  returned: success
  sample:
    name: digits
    region: cn-shanghai
    status: Running
    message: Service is running
    instances: {total: 1, running: 1, pending: 0}
    weight: 0
    safety_lock: none
    traffic_state: ""
    labels: {team: inference}
    resource: eas-r-asdasdasd
    image: ""
    created: "2026-03-01 10:00:00"
    updated: "2026-03-01 10:00:00"
config:
  description: The service's configuration afterwards, in canonical form, with what EAS added. Secrets and values of variables are masked.
  type: dict
  returned: success
  sample:
    metadata: {name: digits, instance: 1, cpu: 4, gpu: 1, memory: 10000, resource: eas-r-asdasdasd, rpc: {keepalive: 3000}}
    processor: triton
    processor_params: ["--model-repository=oss://acme-models/triton"]
revision:
  description: What O(revision) the service has; empty for none.
  type: str
  returned: success
  sample: 2c26b46b68ffc68f
versions:
  description: The service's version in use, and the newest. 0 where it is not known, as in check mode for a service that is to be updated.
  type: dict
  returned: success
  sample: {current: 1, latest: 1}
endpoints:
  description: Addresses of the service; empty for one that it does not have.
  type: dict
  returned: success
  sample:
    internet: http://1828488879222746.cn-shanghai.pai-eas.aliyuncs.com/api/predict/digits
    intranet: http://1828488879222746.vpc.cn-shanghai.pai-eas.aliyuncs.com/api/predict/digits
token:
  description: The service's token, masked unless O(return_token) is set. Empty where there is none.
  type: str
  returned: success
  sample: "********"
triton_endpoint:
  description:
    - What M(serving.triton.server_info), M(serving.triton.model) and M(serving.triton.infer) take as C(endpoint).
    - Empty where there is no service.
    - The header holds the token as it is, over gRPC after C(Bearer); it is masked unless O(return_token) is set.
    - C(metrics) is empty, since EAS's gateway forwards the service's own port alone.
  type: dict
  returned: success
  sample:
    http: http://1828488879222746.cn-shanghai.pai-eas.aliyuncs.com/api/predict/digits
    grpc: ""
    metrics: ""
    headers: {Authorization: "********"}
    binary: false
    replicas: []
last_state:
  description: The service as it was seen last, when it failed or waiting took too long, with its C(events), C(diagnosis) and C(logs).
  type: dict
  returned: failure to reach the state
  sample:
    status: Waiting
    message: Waiting for instances
    instances: {total: 1, running: 0, pending: 1}
    events: ["2026-03-01T10:00:00 Warning FailedScheduling: Insufficient GPU"]
    diagnosis: ["Insufficient resources: use another instance type"]
    logs: ["E0301 10:00:00 failed to load model digits"]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.eas.options import service_spec
from ..module_utils.module import PlannedService, run_plan
from ..module_utils.stores.progress_file import progress_in


class Module(AnsibleModule):
    """Ansible writes the call into the system's log before anything else can mask what a configuration hides in it."""

    def _log_invocation(self) -> None:
        from ..module_utils.core.redaction import Redactor
        from ..module_utils.eas.wanted import secrets_in

        given = self.params["config"]
        self.params["config"] = Redactor(secrets_in(given or {})).value(given)
        try:
            super()._log_invocation()
        finally:
            self.params["config"] = given


def build(module: AnsibleModule, tell: Any) -> PlannedService[Any]:
    # Imported here: options that are wrong are told without loading any of it.
    from ..module_utils.eas.build import build_service
    from ..module_utils.eas.wanted import secrets_in, secrets_of

    params = module.params
    # What a configuration hides in it is masked in the invocation, too. Ansible would mask a variable's "1" in every number of the result.
    module.no_log_values.difference_update(map(str, (params["secret_env"] or {}).values()))
    module.no_log_values.update(secrets_of(params), secrets_in(params["config"] or {}))
    # A token that is asked for is told.
    if params["return_token"]:
        module.no_log_values.difference_update({params["token"], (params["config"] or {}).get("token")})
    return build_service(params, tell, module.warn, check_mode=module.check_mode)


def main() -> None:
    module = Module(argument_spec=service_spec(), supports_check_mode=True)
    with progress_in(module.params["progress_file"]) as tell:
        run_plan(module, lambda: build(module, tell))


if __name__ == "__main__":
    main()
