#!/usr/bin/python
# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: release
short_description: Remember what served before a release, and take a repository back to it
version_added: 0.1.0
author: serving.triton contributors (@serving-triton)
description:
  - The steps of the playbooks C(serving.triton.release) and C(serving.triton.rollback) that concern the repository. They call it before
    and after M(serving.triton.model_repository) publishes and M(serving.triton.model) loads.
  - The repository's manifest keeps, for each model, which versions served before its last release, and the model's files outside of
    versions as they were. It does so before anything is published, so a run that dies is finished or undone by the next.
  - "Going back is one switch: the old configuration, with C(version_policy) set to the versions that served before."
  - What was withdrawn is marked there too. M(serving.triton.model_repository) does not publish it again, whoever
    runs it, and its version number stays taken; O(again) allows it once more. A newer version of the model is published as ever.
options:
  repository:
    description: The repository, as M(serving.triton.model_repository) takes it.
    type: str
    required: true
  state:
    description:
      - V(begun) remembers what serves now, unless a release of the model is open already.
      - V(done) ends the open releases of O(models) as proved.
      - V(withdrawn) switches O(models) back in the repository, to what served before or to O(to).
      - V(cleared) takes away from the repository what was withdrawn. Servers must not hold it any more. What somebody else put into it is
        an error that names it.
    type: str
    choices: [begun, done, withdrawn, cleared]
    required: true
  models:
    description: The models. Those whose release is open when empty, except for O(state=begun).
    type: list
    elements: str
    default: []
  to:
    description: With O(state=withdrawn), a model's name to the version to go back to.
    type: dict
    default: {}
  serving:
    description: With O(state=begun), the models of M(serving.triton.server_info); the versions that are ready are what serves.
    type: list
    elements: dict
    default: []
  again:
    description: With O(state=begun), models whose withdrawn versions may be published once more, with the same content.
    type: list
    elements: str
    default: []
  owner:
    description: User that owns the files that are written back. The user who runs this when left out.
    type: str
  group:
    description: Group that owns them. That of the user who runs this when left out.
    type: str
  mode:
    description: Mode of these files, as an octal string. V(0644) when left out.
    type: str
  reason:
    description: Why it is withdrawn, for those who meet it later.
    type: str
    default: ""
extends_documentation_fragment:
  - serving.triton.promises.plans
  - serving.triton.stores
  - serving.triton.stores.oss
  - serving.triton.stores.calls
attributes:
  diff_mode:
    support: full
    description: Shows the releases, and the versions that are published and withdrawn.
seealso:
  - module: serving.triton.model_repository
  - module: serving.triton.model
"""

EXAMPLES = r"""
- name: Remember what serves
  serving.triton.release:
    repository: /srv/triton/models
    state: begun
    models: [digits]

- name: Go back to version 3
  serving.triton.release:
    repository: /srv/triton/models
    state: withdrawn
    to: {digits: 3}
    reason: wrong on rotated images
"""

RETURN = r"""
releases:
  description: The models concerned, and all whose release is open.
  returned: success
  type: dict
  sample:
    digits: {state: withdrawn, served: [1], released: [], withdrawn: [2], reason: wrong answers}
open:
  description: Models whose release is neither done nor taken back to its end.
  returned: success
  type: list
  elements: str
  sample: [digits]
serving:
  description: What these models' configurations let a server load, as C(name:version).
  returned: success
  type: list
  elements: str
  sample: ["digits:1"]
leaving:
  description: What servers must not hold any more, as C(name:version).
  returned: success
  type: list
  elements: str
  sample: ["digits:2"]
revisions:
  description: As RV(serving.triton.model_repository#module:revisions), without new models that are withdrawn.
  returned: success
  type: dict
  sample: {digits: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae}
actions:
  description: What was done (in check mode, would be done), in order.
  returned: success
  type: list
  elements: str
  sample: ["take back digits (version 1 again)"]
"""

import getpass
import re
import socket
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.module import PlannedService, run_plan
from ..module_utils.stores.options import store_settings, store_spec


def argument_spec() -> dict[str, Any]:
    return {
        "repository": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["begun", "done", "withdrawn", "cleared"], "required": True},
        "models": {"type": "list", "elements": "str", "default": []},
        "to": {"type": "dict", "default": {}},
        "serving": {"type": "list", "elements": "dict", "default": []},
        "again": {"type": "list", "elements": "str", "default": []},
        "owner": {"type": "str"},
        "group": {"type": "str"},
        "mode": {"type": "str"},
        "reason": {"type": "str", "default": ""},
        **store_spec(),
    }


def ready(models: list[dict[str, Any]]) -> dict[str, tuple[int, ...]]:
    """Model → versions that are ready on every replica."""
    found: dict[str, tuple[int, ...]] = {}
    for each in models:
        if each.get("state") == "READY" and str(each.get("version", "")).isdigit():
            found[each["name"]] = (*found.get(each["name"], ()), int(each["version"]))
    return found


def build(params: dict[str, Any]) -> PlannedService[Any]:
    # Imported here: options that are wrong are told without loading any of it.
    from ..module_utils.core.errors import InputError
    from ..module_utils.repository.publish_source import check_names
    from ..module_utils.stores.base import StoreOptions
    from ..module_utils.stores.registry import open_store
    from ..module_utils.stores.releases import Releases, Wish

    check_names((*params["models"], *params["to"]))
    for name, version in params["to"].items():
        if not str(version).isdigit():
            raise InputError(f"{version!r} is no version", where=f"to.{name}", remedy="Give a number.")
    to = {name: int(version) for name, version in params["to"].items()}
    lists = {key: tuple(dict.fromkeys(params[key])) for key in ("models", "again")}
    wish = Wish(params["state"], to=to, serving=ready(params["serving"]), why=params["reason"], **lists)
    # Only the models concerned are listed.
    mode = params["mode"]
    if mode is not None and not re.fullmatch("0?[0-7]{3,4}", mode):
        raise InputError(f"{mode!r} is not an octal mode", where="mode", remedy='Give it quoted, such as "0644".')
    settings = store_settings(params)
    bits = None if mode is None else int(mode, 8)
    store = open_store(params["repository"], StoreOptions(params["owner"], params["group"], bits, list_all=False, **settings))
    return Releases(store, wish, f"{getpass.getuser()}@{socket.gethostname()}")


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    run_plan(module, lambda: build(module.params))


if __name__ == "__main__":
    main()
