#!/usr/bin/python
# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: model
short_description: Load and unload models on every replica of a Triton service
version_added: 0.1.0
author: serving.triton contributors (@serving-triton)
description:
  - Loads, unloads or reloads models through Triton's repository API, on every replica of the endpoint in parallel, and waits
    until each replica's index says so.
  - Nothing is sent to a replica whose index already shows the desired state.
  - Every replica is asked before any is changed. One that is away, that refuses control (model control mode none or poll, or a
    restricted API), or that does not know a model, fails the task while all is as it was.
  - When a load fails on one replica the others are still changed, and the failure names replica, model and Triton's reason. After a failed
    reload Triton goes on serving the version that served before.
options:
  name:
    description: The model. Use O(names) for several.
    type: str
  names:
    description: The models.
    type: list
    elements: str
  state:
    description:
      - V(loaded) loads what is not ready.
      - V(unloaded) unloads what is loaded or loading. A model that the server does not know is unloaded already.
      - V(reloaded) always loads again, so that Triton takes up changed files. Triton itself skips a model whose files have not changed.
    type: str
    choices: [loaded, unloaded, reloaded]
    default: loaded
  versions:
    description:
      - With O(state=loaded) and O(state=reloaded), the versions that must be ready afterwards. The model is loaded when one of them is not.
      - Which versions Triton loads is decided by the version policy in the model's configuration.
      - Any ready version is enough when this is empty.
    type: list
    elements: str
    default: []
  config:
    description:
      - Load with this configuration instead of the one in the repository. It replaces the whole configuration, so give all of it.
      - With O(state=loaded) the model is loaded again when its configuration on a server differs from this in any key given here.
    type: dict
  published:
    description:
      - Instead of O(name), everything that the service has to serve, as a mapping of a model's name to a text that changes
        with its content, such as RV(serving.triton.model_repository#module:revisions).
      - With O(names), only these are looked at; of them, those that are not published are unloaded.
      - A model is loaded when it is not ready, or when O(record) has another text for it. A model in O(record) that is not published any
        more is unloaded.
    type: dict
  record:
    description:
      - File on the host where this module runs that keeps what was loaded last. Required with O(published).
      - It is written when every replica serves, so a run that failed midway is made good by the next.
    type: path
  started:
    description:
      - With O(published), whether the servers were started in this run, after the models were published. They have loaded them already
        then, so only what is not ready is loaded.
    type: bool
    default: false
  unload_dependents:
    description: With O(state=unloaded) on an ensemble, whether to unload the models that were loaded for it too.
    type: bool
    default: false
  wait_timeout:
    description: Seconds that a load or an unload may take.
    type: float
    default: 300
  interval:
    description: Seconds between two looks at the index.
    type: float
    default: 0.2
extends_documentation_fragment:
  - serving.triton.endpoint
  - serving.triton.endpoint.attributes
attributes:
  check_mode:
    description:
      - Asks every server whether it would allow the change, and changes nothing.
      - A model that a server does not know is no failure in check mode, since a task before this one may be about to publish it.
    support: full
  diff_mode:
    description: Shows the state on each replica.
    support: full
  idempotent:
    description: Except for O(state=reloaded), which always reloads.
    support: partial
seealso:
  - module: serving.triton.model_repository
  - module: serving.triton.server_info
"""

EXAMPLES = r"""
- name: Load two models on every replica
  serving.triton.model:
    endpoint: "{{ triton_endpoint }}"
    names: [digits, forest]

- name: Take up a new version
  serving.triton.model:
    endpoint: "{{ triton_endpoint }}"
    name: digits
    versions: ["3"]

- name: Serve what is published, and only that
  serving.triton.model:
    endpoint: "{{ triton_endpoint }}"
    published: "{{ triton_published.revisions }}"
    record: /var/lib/triton/loaded.json

- name: Unload an ensemble and what was loaded for it
  serving.triton.model:
    endpoint: "{{ triton_endpoint }}"
    name: digits_ensemble
    state: unloaded
    unload_dependents: true
"""

RETURN = r"""
actions:
  description: What was done, or would be done in check mode, one sentence each.
  type: list
  elements: str
  returned: success
  sample: [load digits on replica-0, load digits on replica-1]
replicas:
  description:
    - Each replica with its addresses, and for each model the action taken (empty for none), the state and the versions that are ready.
    - When the task fails, C(failed) holds each replica's models that failed, with the reason.
  type: list
  elements: dict
  returned: always
  sample:
    - name: default
      http: http://127.0.0.1:8000
      grpc: grpc://127.0.0.1:8001
      metrics: http://127.0.0.1:8002/metrics
      models: [{name: digits, action: load, state: READY, versions: ["1"]}]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.module import PlannedService, run_plan
from ..module_utils.server.arguments import endpoint_spec, read_endpoint
from ..module_utils.server.sdk import explain_missing


def argument_spec() -> dict[str, Any]:
    return {
        **endpoint_spec(),
        "name": {"type": "str"},
        "names": {"type": "list", "elements": "str"},
        "state": {"type": "str", "choices": ["loaded", "unloaded", "reloaded"], "default": "loaded"},
        "versions": {"type": "list", "elements": "str", "default": []},
        "config": {"type": "dict"},
        "published": {"type": "dict"},
        "record": {"type": "path"},
        "started": {"type": "bool", "default": False},
        "unload_dependents": {"type": "bool", "default": False},
        "wait_timeout": {"type": "float", "default": 300.0},
        "interval": {"type": "float", "default": 0.2},
    }


def build(params: dict[str, Any], check: bool) -> PlannedService[Any]:
    # Imported here: options that are wrong are told without loading any of it.
    from ..module_utils.core.errors import InputError
    from ..module_utils.server.models import Desired, ModelService
    from ..module_utils.server.record import Published, RecordedService

    endpoint, options = read_endpoint(params)
    published = params["published"]
    names = tuple(dict.fromkeys(params["names"] or (published if params["name"] is None else [params["name"]]) or ()))
    for name in names:
        if not name.strip() or "/" in name:
            raise InputError(f"{name!r} is not a model's name", where="names", remedy="Give the name of the model's folder.")
    if params["state"] == "unloaded" and (params["versions"] or params["config"]):
        raise InputError("versions and config mean nothing for state unloaded", where="state", remedy="Remove them.")
    desired = Desired(
        names,
        params["state"],
        tuple(params["versions"]),
        params["config"],
        params["unload_dependents"],
        params["wait_timeout"],
        params["interval"],
    )
    if published is None:
        return ModelService(endpoint, desired, options, check=check)
    if params["state"] != "loaded" or params["versions"] or params["config"]:
        raise InputError("state, versions and config mean nothing with published", where="published", remedy="Remove them.")
    wanted = Published(published, params["record"], params["started"], tuple(params["names"] or ()))
    return RecordedService(endpoint, desired, options, wanted, check=check)


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(),
        mutually_exclusive=[("name", "names"), ("name", "published")],
        required_one_of=[("name", "names", "published")],
        required_together=[("published", "record")],
        supports_check_mode=True,
    )
    with explain_missing(module):
        run_plan(module, lambda: build(module.params, module.check_mode))


if __name__ == "__main__":
    main()
