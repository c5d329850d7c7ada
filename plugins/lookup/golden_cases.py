# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The lookup golden_cases."""

from __future__ import annotations

DOCUMENTATION = r"""
name: golden_cases
short_description: Read the golden cases of models
version_added: 0.1.0
author: serving.triton contributors (@serving-triton)
description:
  - Reads a folder on the controller that holds one file C(<model>.yml) a model, each with a list C(requests).
  - A request is an element of the option O(serving.triton.infer#module:requests) of M(serving.triton.infer).
  - Relative paths of C(.npy) files and images start at the folder; one that is missing is an error. Hand the folder to the module as
    O(serving.triton.infer#module:base_dir).
options:
  _terms:
    description: The folder. Empty means no golden cases.
    type: list
    elements: str
    required: true
seealso:
  - module: serving.triton.infer
"""

EXAMPLES = r"""
- name: Ask the golden requests of one model
  serving.triton.infer:
    endpoint: "{{ triton_endpoint }}"
    base_dir: /srv/golden
    requests: "{{ lookup('serving.triton.golden_cases', '/srv/golden').digits }}"
"""

RETURN = r"""
_raw:
  description: For each folder a mapping of a model's name to its requests.
  type: list
  elements: dict
  sample:
    - simple:
        - model: simple
          inputs: [{name: INPUT0, datatype: INT32, shape: [1, 2], values: [1, 2]}]
          expect: [{output: OUTPUT0, values: [2, 3]}]
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

from ansible_collections.serving.triton.plugins.module_utils.core.errors import InputError
from ansible_collections.serving.triton.plugins.module_utils.server.verification import files_of

SUFFIXES = (".yml", ".yaml")
_FORM = "Write a list `requests` as module serving.triton.infer takes it."


def read_cases(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Model → requests. Raises InputError that names the file and what is wrong in it."""
    if not folder.is_dir():
        raise InputError(
            "the folder of golden cases does not exist", where=str(folder), remedy="Give a folder of <model>.yml files, or leave it empty."
        )
    cases: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix in SUFFIXES and not path.name.startswith("."):
            if path.stem in cases:
                raise InputError("the model has two files of golden cases", where=str(path), remedy="Keep one.")
            cases[path.stem] = _read(path)
    return cases


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"cannot be read: {error}", where=str(path), remedy=_FORM) from error
    requests = document.get("requests") if isinstance(document, Mapping) else None
    if not isinstance(requests, list) or not requests:
        raise InputError("holds no requests", where=str(path), remedy=_FORM)
    return [_request(request, path, f"{path}: requests[{number}]") for number, request in enumerate(requests)]


def _request(request: Any, path: Path, where: str) -> dict[str, Any]:
    if not isinstance(request, Mapping):
        raise InputError("is no mapping", where=where, remedy=_FORM)
    if request.get("model", path.stem) != path.stem:
        raise InputError(f"asks {request['model']!r}, not the model that the file is named after", where=where, remedy="Move it.")
    for tensor in request.get("inputs") or []:
        _check_files(tensor, path.parent, where)
    return {**request, "model": path.stem}


def _check_files(tensor: Any, folder: Path, where: str) -> None:
    if not isinstance(tensor, Mapping):
        raise InputError("an input is no mapping", where=where, remedy=_FORM)
    for name in files_of(tensor):
        # An absolute path is of the machine that runs the module.
        if not Path(name).is_absolute() and not (folder / name).is_file():
            raise InputError(f"the file {folder / name} does not exist", where=where, remedy="Correct its name.")


class LookupModule(LookupBase):
    """Ansible's entry."""

    def run(self, terms: list[Any], _variables: Mapping[str, Any] | None = None, **_options: Any) -> list[dict[str, Any]]:
        try:
            return [read_cases(Path(str(term)).expanduser()) if term else {} for term in terms]
        except InputError as error:
            raise AnsibleLookupError(str(error)) from error
