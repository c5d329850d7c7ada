#!/usr/bin/python
# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: server_info
short_description: Read the state of Triton servers and their models
version_added: 0.1.0
author: serving.triton contributors (@serving-triton)
description:
  - Reads health, version, extensions and the repository index of every replica of a service; on request also each model's
    configuration, metadata and statistics.
  - Can wait until the service is live or ready, or until models are ready or gone, and says what is missing when that takes too long.
  - Works with other servers of the V2 inference protocol too. What a server does not offer is null, and C(unavailable) says why.
  - A server that does not answer is no failure of this module, it is RV(live=false). A TLS failure, or an answer that is not an
    inference server's, is a failure.
options:
  models:
    description:
      - Read only these models. All of the repository index when empty.
      - Servers without a repository API tell about the models named here only.
    type: list
    elements: str
    default: []
  config:
    description: Whether to read the configuration of each model that is ready, as the server completed it.
    type: bool
    default: false
  metadata:
    description: Whether to read the metadata (versions, platform, inputs and outputs) of each model that is ready.
    type: bool
    default: false
  statistics:
    description: Whether to read the inference statistics of each model version.
    type: bool
    default: false
  wait_for:
    description: Wait until everything given here holds on every replica.
    type: dict
    suboptions:
      live:
        description: Wait until the server is live.
        type: bool
        default: false
      ready:
        description:
          - Wait until the server is live and ready.
          - Triton may be ready with no model loaded. Wait for models rather than for this.
        type: bool
        default: false
      models_ready:
        description: Wait until these models are ready. V(name) means any version, V(name:version) one of them.
        type: list
        elements: str
        default: []
      models_gone:
        description: Wait until these models, as V(name) or V(name:version), are not loaded.
        type: list
        elements: str
        default: []
      timeout:
        description: Seconds to wait at most.
        type: float
        default: 60
      interval:
        description: Seconds between two looks.
        type: float
        default: 1
      looks:
        description:
          - How many looks in a row must find it so.
          - Where several servers share one address, each look is answered by one of them; many in a row have very likely met all.
        type: int
        default: 1
extends_documentation_fragment:
  - serving.triton.endpoint
  - serving.triton.endpoint.attributes
attributes:
  check_mode:
    description: Reads only, so check mode is the same.
    support: full
  diff_mode:
    description: Changes nothing.
    support: none
  idempotent:
    description: Changes nothing.
    support: full
seealso:
  - module: serving.triton.model
  - module: serving.triton.infer
"""

EXAMPLES = r"""
- name: Read what the server has loaded
  serving.triton.server_info:
    endpoint:
      http: http://127.0.0.1:8000
  register: server

- name: Wait for two models
  serving.triton.server_info:
    endpoint: "{{ triton_endpoint }}"
    wait_for:
      models_ready: [digits, "forest:2"]
      timeout: 300

- name: Read configuration and counters of one model
  serving.triton.server_info:
    endpoint: "{{ triton_endpoint }}"
    models: [digits]
    config: true
    statistics: true
"""

RETURN = r"""
live:
  description: Whether every replica says that it is live. Null when that could not be read.
  type: bool
  returned: success
  sample: true
ready:
  description: Whether every replica says that it is ready. Null when that could not be read.
  type: bool
  returned: success
  sample: true
server:
  description: Name, version and extensions of the first replica that answers, else null.
  type: dict
  returned: success
  sample: {name: triton, version: 2.51.0, extensions: [classification, sequence, model_repository, statistics]}
models:
  description:
    - One entry a model version, and one without version for a model that was never loaded. Null where there is no repository API.
    - RV(models[].state) is the worst that any replica reports; RV(models[].replicas) tells each one's.
    - C(config), C(metadata) and C(statistics) are there when asked for.
  type: list
  elements: dict
  returned: success
  contains:
    name:
      description: The model's name.
      type: str
      sample: digits
    version:
      description: The version.
      type: str
      sample: "1"
    state:
      description: READY, LOADING, UNLOADING, UNAVAILABLE, or empty when it is not loaded.
      type: str
      sample: READY
    reason:
      description: Why it is not ready, in Triton's words.
      type: str
      sample: ""
    replicas:
      description: The state on each replica.
      type: dict
      sample: {default: READY}
  sample: [{name: digits, version: "1", state: READY, reason: "", replicas: {default: READY}}]
replicas:
  description: The same for each replica, with its addresses, C(unavailable) (section to reason) and C(error).
  type: list
  elements: dict
  returned: success
  sample:
    - name: default
      http: http://127.0.0.1:8000
      grpc: grpc://127.0.0.1:8001
      metrics: http://127.0.0.1:8002/metrics
      live: true
      ready: true
      server: {name: triton, version: 2.51.0, extensions: [classification]}
      models: [{name: digits, version: "1", state: READY, reason: ""}]
      unavailable: {}
      error: ""
last_state:
  description: What was seen last, in the form of the result, when waiting took too long.
  type: dict
  returned: failure of O(wait_for)
  sample: {live: true, ready: false, models: []}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.module import run_info
from ..module_utils.server.arguments import endpoint_spec, read_endpoint
from ..module_utils.server.sdk import explain_missing


def argument_spec() -> dict[str, Any]:
    wait = {
        "live": {"type": "bool", "default": False},
        "ready": {"type": "bool", "default": False},
        "models_ready": {"type": "list", "elements": "str", "default": []},
        "models_gone": {"type": "list", "elements": "str", "default": []},
        "timeout": {"type": "float", "default": 60.0},
        "interval": {"type": "float", "default": 1.0},
        "looks": {"type": "int", "default": 1},
    }
    return {
        **endpoint_spec(),
        "models": {"type": "list", "elements": "str", "default": []},
        "config": {"type": "bool", "default": False},
        "metadata": {"type": "bool", "default": False},
        "statistics": {"type": "bool", "default": False},
        "wait_for": {"type": "dict", "options": wait},
    }


def read(params: dict[str, Any]) -> dict[str, Any]:
    # Imported here: options that are wrong are told without loading any of it.
    from ..module_utils.server.status import Condition, Sections, describe, wait_for
    from ..module_utils.server.status import read_endpoint as read_status

    endpoint, options = read_endpoint(params)
    wanted = params["wait_for"]
    if wanted:
        models = {key: tuple(wanted[key]) for key in ("models_ready", "models_gone")}
        wait_for(endpoint, Condition(**{**wanted, **models}), options)
    sections = Sections(tuple(params["models"]), params["config"], params["metadata"], params["statistics"])
    return describe(read_status(endpoint, sections, options))


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    with explain_missing(module):
        run_info(module, lambda: read(module.params))


if __name__ == "__main__":
    main()
