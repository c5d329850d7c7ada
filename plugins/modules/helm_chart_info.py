#!/usr/bin/python
# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: helm_chart_info
short_description: Fetch a Helm chart to a folder of its own, and look at it
version_added: 0.1.0
author: serving.triton contributors (@serving-triton)
description:
  - Has Helm fetch a chart, with a bounded time and number of tries, and reads what it is and which custom resource definitions it brings.
  - Credentials are handed to Helm in files that only the user may read. M(kubernetes.core.helm_pull) gives them on the command line.
  - The folder RV(folder) stays. Whoever calls this removes it.
options:
  chart:
    description: Name of the chart in O(repository), or C(oci://registry/path/chart), or the path of a folder or an archive.
    type: str
    required: true
  repository:
    description: URL of the chart's repository.
    type: str
    default: ""
  version:
    description: Version of the chart. The newest one when empty; of no meaning for a path.
    type: str
    default: ""
  username:
    description: Name for the repository, or for the registry of C(oci://).
    type: str
    default: ""
  password:
    description: Its password.
    type: str
    default: ""
  ca_cert:
    description: PEM file of the authorities that the repository's certificate is checked against, in place of the system's.
    type: path
  helm:
    description: Helm, as a path or a name on C(PATH).
    type: str
    default: helm
requirements:
  - PyYAML
attributes:
  check_mode:
    description: Changes nothing but its own folder, so check mode is the same.
    support: full
  diff_mode:
    description: Changes nothing.
    support: none
  idempotent:
    description: Changes nothing.
    support: full
"""

EXAMPLES = r"""
- name: Look at a chart
  serving.triton.helm_chart_info:
    chart: metrics-server
    repository: https://kubernetes-sigs.github.io/metrics-server
    version: 3.13.1
  register: chart
"""

RETURN = r"""
path:
  description: The chart's archive, or its path as it was given.
  type: str
  returned: success
  sample: /tmp/helm-chart-x1y2/metrics-server-3.13.1.tgz
folder:
  description: The folder of what was fetched.
  type: str
  returned: success
  sample: /tmp/helm-chart-x1y2
name:
  description: The chart's name.
  type: str
  returned: success
  sample: metrics-server
version:
  description: The chart's version.
  type: str
  returned: success
  sample: 3.13.1
app_version:
  description: The version of what it installs.
  type: str
  returned: success
  sample: 0.8.1
definitions:
  description: Names of the custom resource definitions of the chart's folders C(crds).
  type: list
  elements: str
  returned: success
  sample: [prometheuses.monitoring.coreos.com]
definitions_file:
  description: JSON file with these definitions, in RV(folder).
  type: str
  returned: success
  sample: /tmp/helm-chart-x1y2/definitions.json
"""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.core.errors import ServingError
from ..module_utils.kubernetes.helm_chart import Source, definitions, fetch, metadata, missing_yaml, runner
from ..module_utils.module import run_info

OPTIONS = {
    "chart": {"type": "str", "required": True},
    "repository": {"type": "str", "default": ""},
    "version": {"type": "str", "default": ""},
    "username": {"type": "str", "default": ""},
    "password": {"type": "str", "default": "", "no_log": True},
    "ca_cert": {"type": "path"},
    "helm": {"type": "str", "default": "helm"},
}


def look(source: Source, helm: str) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(prefix="helm-chart-"))
    run = runner(helm)
    try:
        path = fetch(source, folder, run)
        about = metadata(path, run)
        found = definitions(path)
    except ServingError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    kept = folder / "definitions.json"
    kept.write_text(json.dumps(found), encoding="utf-8")
    return {
        "path": str(path),
        "folder": str(folder),
        "name": str(about.get("name", "")),
        "version": str(about.get("version", "")),
        "app_version": str(about.get("appVersion") or ""),
        "definitions": [str(each["metadata"]["name"]) for each in found],
        "definitions_file": str(kept),
    }


def main() -> None:
    module = AnsibleModule(OPTIONS, supports_check_mode=True)
    params = {**module.params, "ca_cert": module.params["ca_cert"] or ""}

    def read() -> dict[str, Any]:
        missing = missing_yaml()
        if missing:
            raise missing
        helm = params.pop("helm")
        return look(Source(**params), helm)

    run_info(module, read)


if __name__ == "__main__":
    main()
