#!/usr/bin/python
# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: eas_service_info
short_description: Read services of Alibaba PAI-EAS
version_added: 0.1.0
author: serving.triton contributors (@serving-triton)
description:
  - Tells the services of a region, by name, label or status, with their configurations and addresses; on request also their instances,
    versions, events and logs.
options:
  names:
    description: Only these services. One that does not exist is no failure, it is missing in RV(services). All when empty.
    type: list
    elements: str
    default: []
  labels:
    description: Only services that carry all of these labels.
    type: dict
  statuses:
    description: Only services in one of these states, in EAS's words, such as V(Running) or V(Failed).
    type: list
    elements: str
    default: []
  instances:
    description: Whether to read each service's instances.
    type: bool
    default: false
  versions:
    description: Whether to read each service's versions. EAS tells their number alone over O(backend=eascmd).
    type: bool
    default: false
  events:
    description: Whether to read each service's events and diagnosis. Needs O(backend=openapi).
    type: bool
    default: false
  logs:
    description: Whether to read the last lines of each service's log. Needs O(backend=openapi).
    type: bool
    default: false
  log_lines:
    description: The most lines of a log.
    type: int
    default: 100
requirements:
  - alibabacloud_eas20210701 and alibabacloud-credentials, for O(backend=openapi)
  - eascmd, for O(backend=eascmd); alibabacloud-credentials where neither options nor the environment hold an AccessKey
extends_documentation_fragment:
  - serving.triton.promises.reads
  - serving.triton.eas
  - serving.triton.eas.shown
  - serving.triton.eas.attributes
seealso:
  - module: serving.triton.eas_service
"""

EXAMPLES = r"""
- name: What is wrong with the services that do not run
  serving.triton.eas_service_info:
    region: cn-shanghai
    statuses: [Failed, Waiting]
    events: true
    logs: true
  register: broken

- name: The versions that a service can be rolled back to
  serving.triton.eas_service_info:
    region: cn-shanghai
    names: [digits]
    versions: true
"""

RETURN = r"""
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
services:
  description:
    - The services, by name. C(instances_info), C(versions_info), C(events), C(diagnosis) and C(logs) are there when asked for.
  type: list
  elements: dict
  returned: success
  contains:
    name:
      description: The service's name.
      type: str
      sample: digits
    status:
      description: EAS's word for its state.
      type: str
      sample: Running
    service:
      description: As RV(serving.triton.eas_service#module:service).
      type: dict
      sample: {name: digits, region: cn-shanghai, status: Running, instances: {total: 1, running: 1, pending: 0}}
    config:
      description: As RV(serving.triton.eas_service#module:config).
      type: dict
      sample: {metadata: {name: digits, instance: 1}, processor: triton}
    revision:
      description: As RV(serving.triton.eas_service#module:revision).
      type: str
      sample: 2c26b46b68ffc68f
    versions:
      description: As RV(serving.triton.eas_service#module:versions).
      type: dict
      sample: {current: 1, latest: 2}
    endpoints:
      description: As RV(serving.triton.eas_service#module:endpoints).
      type: dict
      sample: {internet: "http://1828488879222746.cn-shanghai.pai-eas.aliyuncs.com/api/predict/digits", intranet: ""}
    token:
      description: As RV(serving.triton.eas_service#module:token).
      type: str
      sample: "********"
    triton_endpoint:
      description: As RV(serving.triton.eas_service#module:triton_endpoint).
      type: dict
      sample: {http: "http://1828488879222746.cn-shanghai.pai-eas.aliyuncs.com/api/predict/digits", headers: {Authorization: "********"}}
    instances_info:
      description: The instances.
      type: list
      sample: [{name: digits-69cf5dd6c7-5abcd, status: Running, ready: true, restarts: 0, reason: "", host: 10.224.0.1, ip: 10.240.0.1}]
    versions_info:
      description: The versions, the newest first.
      type: list
      sample: [{version: 2, created: "2026-03-02 10:00:00", message: "", current: true}]
    events:
      description: The latest events, one line each.
      type: list
      sample: ["2026-03-01T10:00:00 Normal Created: service is created"]
    diagnosis:
      description: What EAS finds wrong, and its advice, one line each.
      type: list
      sample: []
    logs:
      description: The last lines of the log.
      type: list
      sample: ["I0301 10:00:00 Started HTTPService at 0.0.0.0:8000"]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.eas.options import info_spec
from ..module_utils.module import run_info


def read(params: dict[str, Any]) -> dict[str, Any]:
    # Imported here: options that are wrong are told without loading any of it.
    from ..module_utils.eas.info import read_services

    return read_services(params)


def main() -> None:
    module = AnsibleModule(argument_spec=info_spec(), supports_check_mode=True)
    run_info(module, lambda: read(module.params))


if __name__ == "__main__":
    main()
