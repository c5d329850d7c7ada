#!/usr/bin/python
# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: container_engine
short_description: Teach a container engine about NVIDIA's runtime and CDI
version_added: 0.1.0
author: serving.triton contributors (@serving-triton)
description:
  - Merges single settings into the configuration of docker, containerd or CRI-O. Everything else in the file stays as it is.
  - Keeps a record of what it set. V(absent) undoes exactly that, byte by byte where nobody changed the file since.
  - The engine checks the new file before it takes the place of the old one, where it can (docker from 23 on, containerd).
  - Restarts nothing. It tells whether a restart is due, until the file RV(mark) is removed.
options:
  name:
    description: The engine.
    type: str
    choices: [docker, containerd, crio]
    required: true
  state:
    description: Whether the engine knows NVIDIA's runtime.
    type: str
    choices: [present, absent]
    default: present
  path:
    description:
      - Its configuration. Left out, C(/etc/docker/daemon.json), C(/etc/containerd/config.toml), or a drop-in of our own for CRI-O.
      - containerd's drop-ins are not used. One that speaks of the plugin for Kubernetes takes the place of its other settings.
    type: path
  record:
    description: Where the record is kept.
    type: path
    required: true
  program:
    description: The engine's program, which checks the new file. Left out, nothing checks it.
    type: path
  runtime:
    description: Path of NVIDIA's runtime.
    type: path
    default: /usr/bin/nvidia-container-runtime
  runtime_name:
    description: The name that containers ask for it by.
    type: str
    default: nvidia
  default:
    description: Whether it runs the containers that ask for none.
    type: bool
    default: false
  cdi:
    description: Whether the engine resolves names of CDI devices. CRI-O always does.
    type: bool
    default: true
attributes:
  check_mode:
    description: Predicts what would change without changing it.
    support: full
  diff_mode:
    description: Shows the file.
    support: full
  idempotent:
    description: A second run changes nothing.
    support: full
seealso:
  - module: serving.triton.gpu_info
"""

EXAMPLES = r"""
- name: Have docker resolve CDI names
  serving.triton.container_engine:
    name: docker
    record: /var/lib/serving-triton/engines/docker.json
  register: docker

- name: Restart it
  ansible.builtin.systemd_service:
    name: docker.service
    state: restarted
  when: docker.restart
"""

RETURN = r"""
actions:
  description: What was done, or would be done in check mode, one sentence each.
  type: list
  elements: str
  returned: success
  sample: [configure /etc/docker/daemon.json]
restart:
  description: Whether the engine has to be restarted, for this change or a former one.
  type: bool
  returned: success
  sample: true
mark:
  description: The file that tells so. Remove it after the restart.
  type: str
  returned: success
  sample: /var/lib/serving-triton/engines/docker.json.restart
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.gpu.engine_config import ENGINES, Wanted
from ..module_utils.gpu.engine_service import EngineService, Place
from ..module_utils.module import run_plan

PATHS = {
    "docker": "/etc/docker/daemon.json",
    "containerd": "/etc/containerd/config.toml",
    "crio": "/etc/crio/crio.conf.d/99-serving-triton-nvidia.conf",
}
OPTIONS = {
    "name": {"type": "str", "choices": list(ENGINES), "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "path": {"type": "path"},
    "record": {"type": "path", "required": True},
    "program": {"type": "path"},
    "runtime": {"type": "path", "default": "/usr/bin/nvidia-container-runtime"},
    "runtime_name": {"type": "str", "default": "nvidia"},
    "default": {"type": "bool", "default": False},
    "cdi": {"type": "bool", "default": True},
}


def build(module: AnsibleModule) -> EngineService:
    given = module.params
    place = Place(given["name"], given["path"] or PATHS[given["name"]], given["record"], given["program"] or "")
    wanted = Wanted(given["runtime"], given["runtime_name"], given["default"], given["cdi"]) if given["state"] == "present" else None
    return EngineService(place, wanted, module.atomic_move)


def main() -> None:
    module = AnsibleModule(OPTIONS, supports_check_mode=True)
    run_plan(module, lambda: build(module))


if __name__ == "__main__":
    main()
