#!/usr/bin/python
# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The documentation of the action of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: report
short_description: Write and show the report of a Triton service
description:
  - Composes one report from the facts that the roles of this collection set (the server, its endpoint, the published models,
    what was verified with which latencies, monitoring) and writes it as JSON on the controller.
  - A readable summary is shown at the end of the run by the callback P(serving.triton.summary#callback), or at once where that
    callback is not enabled.
  - The report holds no secret, the endpoint's headers are left out.
version_added: 0.1.0
author: serving.triton contributors (@serving-triton)
options:
  directory:
    description:
      - Folder on the controller for C(<inventory_hostname>.json). It is made with mode V(0700) when it is missing.
      - The folder C(serving.triton) in the user's folder for state (E(XDG_STATE_HOME), or C(~/.local/state)) when left out.
    type: path
  state:
    description:
      - V(present) writes and shows the report.
      - V(absent) removes the service's report and the doctor's from the folder, and the folder when it is empty then.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    description: In check mode the report is shown, and no file is written.
    support: full
  diff_mode:
    description: A report is a record of a run, there is no earlier state to compare it with.
    support: none
  idempotent:
    description: A report never counts as a change. Removing one does, once.
    support: full
"""

EXAMPLES = r"""
---
- name: Report
  serving.triton.report:
    directory: /var/lib/awx/reports
"""

RETURN = r"""
---
report:
  description: The report as it was written.
  returned: when state is present
  type: dict
  sample:
    schema: 1
    service: local
    target: host
    endpoint: {http: "http://127.0.0.1:8000", grpc: "grpc://127.0.0.1:8001", metrics: "http://127.0.0.1:8002/metrics"}
actions:
  description: What was removed.
  returned: when state is absent
  type: list
  elements: str
  sample: [remove /var/lib/awx/reports/local.json]
summary:
  description: The lines of the readable summary.
  returned: when state is present
  type: list
  elements: str
  sample: ["Triton service local (host, process, tritonserver 2.51.0)", "  HTTP        http://127.0.0.1:8000"]
"""
