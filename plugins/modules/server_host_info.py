#!/usr/bin/python
# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: server_host_info
short_description: What a host offers for a Triton server, and what stands against running one
version_added: 0.1.0
author: serving.triton contributors (@serving-triton)
description:
  - Looks at the platform, the Pythons, the ports, the model repository, files and free room of a host.
  - Something that stands against the server is no failure of this module. It is told in RV(problems), each with its remedy.
  - The role C(serving.triton.server_host) decides by it before it changes anything.
options:
  name:
    description: The server's name. A program that runs from below its folder, and the ports that it listens on, count as ours.
    type: str
    required: true
  prefix:
    description:
      - Absolute path of the folder below which the collection keeps its things on the host.
      - Empty means C(/opt/serving-triton) for root and C(~/.local/share/serving-triton) for another user.
    type: str
    default: ""
  user:
    description:
      - The system user that the server will run as. It need not exist yet. Only root can choose.
      - Empty means the connection's user.
    type: str
    default: ""
  python:
    description: The only Python to consider. Without it those of the system, of C(PATH) and of pyenv are looked at.
    type: path
  python_versions:
    description: The versions of Python that the server's python backend has a stub for. Empty leaves Python out.
    type: list
    elements: str
    default: []
  machine:
    description: The architecture that the server is built for, as C(uname -m) calls it. Empty leaves it out.
    type: str
    default: ""
  glibc:
    description: The oldest glibc that the server runs with. Empty leaves it out.
    type: str
    default: ""
  listeners:
    description: What the server will listen on.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: A name for messages, such as V(http).
        type: str
        required: true
      address:
        description: The address to listen on.
        type: str
        required: true
      port:
        description: The TCP port.
        type: int
        required: true
  repository:
    description: The model repository. A path is looked at, a URL is not.
    type: str
    default: ""
  files:
    description: Files that the server must be able to read.
    type: list
    elements: path
    default: []
  megabytes:
    description: The room that an installation needs. Looked at while there is none.
    type: int
    default: 0
extends_documentation_fragment:
  - serving.triton.promises.reads
"""

EXAMPLES = r"""
- name: Look at the host
  serving.triton.server_host_info:
    name: triton
    user: triton
    python_versions: ["3.9", "3.10", "3.11", "3.12"]
    machine: x86_64
    glibc: "2.35"
    listeners:
      - {name: http, address: 127.0.0.1, port: 8000}
    repository: /srv/models
  register: host

- name: Stop where something is in the way
  ansible.builtin.assert:
    that: host.problems | length == 0
    fail_msg: "{{ host.problems | map(attribute='message') | join(' ') }}"
"""

RETURN = r"""
prefix:
  description: The folder below which the collection keeps its things.
  type: str
  returned: success
  sample: /opt/serving-triton
folder:
  description: The server's folder.
  type: str
  returned: success
  sample: /opt/serving-triton/servers/triton
regions:
  description: The prefix of the server's regions in C(/dev/shm), which no other server has.
  type: str
  returned: success
  sample: triton-triton-39835378-
servers:
  description: Names of the servers below the prefix.
  type: list
  elements: str
  returned: success
  sample: [triton]
systemd:
  description: Whether systemd runs the host.
  type: bool
  returned: success
  sample: true
engines:
  description: The container engines of the host, of podman and docker.
  type: list
  elements: str
  returned: success
  sample: [podman]
root:
  description: Whether the connection's user is root.
  type: bool
  returned: success
  sample: true
user:
  description: The user that the server will run as.
  type: str
  returned: success
  sample: triton
uid:
  description: Its user id, -1 when it does not exist.
  type: int
  returned: success
  sample: 998
ports:
  description: By name, C(state) (V(free), V(ours) or V(taken)) and C(holder) of each listener.
  type: dict
  returned: success
  sample: {http: {address: 127.0.0.1, port: 8000, state: ours, holder: process 4711 (tritonserver)}}
python:
  description:
    - The Python to use, null when there is none. C(library) is its shared library.
    - C(packages) are Debian packages that root has to install first; C(download) those whose files an ordinary user can unpack.
  type: dict
  returned: success
  sample: {executable: /usr/bin/python3.11, version: "3.11", library: /usr/lib/libpython3.11.so.1.0, packages: [], download: []}
pythons:
  description: Every Python that was looked at, with the reason why it cannot be used.
  type: list
  elements: dict
  returned: success
  sample:
    - executable: /usr/bin/python3.13
      version: "3.13"
      library: ""
      packages: []
      download: []
      problem: this server has no stub for Python 3.13, only for 3.9, 3.10, 3.11, 3.12
packages:
  description: All Debian packages that root has to install first.
  type: list
  elements: str
  returned: success
  sample: [libpython3.11, python3.11-venv]
runtimes:
  description: The finished installations below RV(folder).
  type: list
  elements: str
  returned: success
  sample: [2.51-py3.11-1f0c9a3e]
all_runtimes:
  description: All installations below RV(folder), also broken ones.
  type: list
  elements: str
  returned: success
  sample: [2.51-py3.11-1f0c9a3e]
problems:
  description: What stands against the server.
  type: list
  elements: dict
  returned: success
  contains:
    kind:
      description: One of V(platform), V(python), V(port), V(repository), V(file), V(room).
      type: str
      sample: port
    where:
      description: What it is about.
      type: str
      sample: server_host_http_port
    what:
      description: What is wrong.
      type: str
      sample: port 8000 of 127.0.0.1 is taken by process 77 (nginx)
    remedy:
      description: What to do.
      type: str
      sample: Stop it, or choose another port.
    message:
      description: All of that in one text.
      type: str
      sample: "server_host_http_port: port 8000 of 127.0.0.1 is taken by process 77 (nginx). Stop it, or choose another port."
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.machine import Needs, inspect
from ..module_utils.module import run_info

LISTENER = {
    "name": {"type": "str", "required": True},
    "address": {"type": "str", "required": True},
    "port": {"type": "int", "required": True},
}
OPTIONS = {
    "name": {"type": "str", "required": True},
    "prefix": {"type": "str", "default": ""},
    "user": {"type": "str", "default": ""},
    "python": {"type": "path"},
    "python_versions": {"type": "list", "elements": "str", "default": []},
    "machine": {"type": "str", "default": ""},
    "glibc": {"type": "str", "default": ""},
    "listeners": {"type": "list", "elements": "dict", "options": LISTENER, "default": []},
    "repository": {"type": "str", "default": ""},
    "files": {"type": "list", "elements": "path", "default": []},
    "megabytes": {"type": "int", "default": 0},
}


def main() -> None:
    module = AnsibleModule(OPTIONS, supports_check_mode=True)
    given = dict(module.params)

    def read() -> dict[str, Any]:
        listeners = {each["name"]: (each["address"], each["port"]) for each in given.pop("listeners")}
        needs = Needs(**{**given, "python": given["python"] or "", "listeners": listeners})
        return inspect(needs)

    run_info(module, read)


if __name__ == "__main__":
    main()
