#!/usr/bin/python
# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: model_repository_info
short_description: Read and lint a Triton model repository, or tell what is published in any store
version_added: 0.1.0
author: serving.triton contributors (@serving-triton)
description:
  - Reads a folder of models and tells each one's versions, backend, inputs, outputs, size and digests, and how much memory the
    models want.
  - Lints it, offline. C(config.pbtxt) is parsed with Triton's own schema, and the rules are those that real servers apply, so that what
    would fail on a server is found before anything is published. Python models are compiled, never executed.
  - An error is what a server refuses, hangs on or dies of, or what cannot be published. A warning works, but hardly as it was meant.
  - The rules are listed in the collection's C(docs/lint.md).
  - With O(repository) instead of O(path), tells what M(serving.triton.model_repository) published to any store, by whom and when, and
    where the store differs from that.
options:
  path:
    description:
      - The folder of models to read and lint, on the machine where the module runs, one folder in it for each model.
      - One of O(path) and O(repository) is required.
    type: path
  repository:
    description:
      - The path or URL of a published repository, as M(serving.triton.model_repository) takes it.
      - Models are not downloaded, so they are not linted.
    type: str
  models:
    description:
      - Tell about these models only. All when empty.
      - Ensembles are still checked against the whole repository.
    type: list
    elements: str
    default: []
  lint:
    description: Whether to lint. Without it only what cannot be read is an error.
    type: bool
    default: true
  ignore_rules:
    description: Rules whose findings are left out, by their id.
    type: list
    elements: str
    default: []
  strict:
    description:
      - Whether errors are a failure of the task.
      - With O(repository), these are files that are missing, changed or extra, and a publish that was not finished.
    type: bool
    default: false
  strict_warnings:
    description: Whether warnings are a failure of the task too. Only meant with O(strict=true).
    type: bool
    default: false
  digests:
    description:
      - Whether to read every file for its SHA-256.
      - With O(repository), whether to compare every file's content with its manifest, rather than its size and the store's stamp.
    type: bool
    default: false
  python_backends:
    description:
      - Backends that run as Python processes on the target, for RV(memory).
      - The role P(serving.triton.server_host#role) runs V(onnxruntime) and V(fil) so where it uses the runtime V(process).
    type: list
    elements: str
    default: [python]
requirements:
  - tritonclient, for O(path)
  - boto3 and botocore, for C(s3://)
  - alibabacloud-oss-v2, for C(oss://)
  - google-cloud-storage, for C(gs://)
  - azure-storage-blob, for C(as://)
extends_documentation_fragment:
  - serving.triton.promises.reads
  - serving.triton.stores
  - serving.triton.stores.oss
  - serving.triton.stores.calls
seealso:
  - module: serving.triton.model_repository
"""

EXAMPLES = r"""
- name: Lint a repository and fail on errors
  serving.triton.model_repository_info:
    path: /srv/build/models
    strict: true

- name: Be stricter about one model, but allow leftovers of editors
  serving.triton.model_repository_info:
    path: /srv/build/models
    models: [digits]
    strict: true
    strict_warnings: true
    ignore_rules: [junk-file]

- name: Read what a repository holds
  serving.triton.model_repository_info:
    path: /srv/triton/models
    lint: false
    digests: true
  register: repository

- name: Tell what is published in a bucket, and fail where somebody changed it by hand
  serving.triton.model_repository_info:
    repository: s3://models/production
    digests: true
    strict: true

- name: Tell how much shared memory a container needs
  ansible.builtin.debug:
    msg: "--shm-size={{ repository.memory.shm_bytes }}"
"""

RETURN = r"""
repository:
  description: The folder or store that was read.
  type: str
  returned: success
  sample: /srv/build/models
models:
  description: The models, by name.
  type: list
  elements: dict
  returned: success, and when O(strict) fails
  contains:
    name:
      description: The model's folder.
      type: str
      sample: digits
    versions:
      description: The numbers of its version folders.
      type: list
      elements: int
      sample: [1, 2]
    state:
      description:
        - V(published), V(pending) where a publish was not finished, or V(foreign) where somebody else made the model.
        - With O(repository) alone.
      type: str
      sample: published
    revision:
      description:
        - A text that changes with the content of a published model, as C(revisions) of M(serving.triton.model_repository) tells it.
        - With O(repository) alone.
      type: str
      sample: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
    served_versions:
      description: Those that its version policy serves.
      type: list
      elements: int
      sample: [2]
    backend:
      description: The backend, as Triton finds it; empty for an ensemble and where it cannot be told.
      type: str
      sample: onnxruntime
    platform:
      description: The platform, as Triton completes it.
      type: str
      sample: onnxruntime_onnx
    max_batch_size:
      description: The largest batch that C(config.pbtxt) declares, 0 for none.
      type: int
      sample: 32
    inputs:
      description: Inputs that C(config.pbtxt) declares, with the V2 protocol's data types; dims without the batch.
      type: list
      elements: dict
      sample: [{name: image, datatype: FP32, dims: [64], optional: false}]
    outputs:
      description: Outputs that C(config.pbtxt) declares.
      type: list
      elements: dict
      sample: [{name: scores, datatype: FP32, dims: [10], optional: false}]
    steps:
      description: The models of an ensemble's steps.
      type: list
      elements: str
      sample: []
    files:
      description: Number of files.
      type: int
      sample: 3
    bytes:
      description: Bytes of all files.
      type: int
      sample: 86016
    memory:
      description: As RV(memory), for this model.
      type: dict
      sample: {bytes: 43008, python_instances: 0, shm_bytes: 0}
    digests:
      description: Path in the model's folder to SHA-256, when O(digests=true). With O(repository), those of the manifest.
      type: dict
      sample: {config.pbtxt: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae}
findings:
  description: What the linter found, the gravest first.
  type: list
  elements: dict
  returned: with O(path), also when O(strict) fails
  contains:
    model:
      description: The model's folder; empty for the repository itself.
      type: str
      sample: digits
    file:
      description: The file or folder concerned, relative to the repository.
      type: str
      sample: digits/config.pbtxt
    rule:
      description: The rule's id.
      type: str
      sample: label-count
    severity:
      description: V(error), V(warning) or V(info).
      type: str
      sample: warning
    message:
      description: What is wrong.
      type: str
      sample: 9 labels for output scores of 10 elements
    remedy:
      description: What to do.
      type: str
      sample: Give one label a line for each class.
counts:
  description: Number of findings by severity.
  type: dict
  returned: with O(path), also when O(strict) fails
  sample: {error: 0, warning: 1, info: 0}
bytes:
  description: Bytes of all files of RV(models).
  type: int
  returned: success, and when O(strict) fails
  sample: 86016
memory:
  description:
    - What the served versions of RV(models) want on one CPU host.
    - C(bytes) of their files, C(python_instances) of O(python_backends), and C(shm_bytes), 64 MiB for each of those, which C(/dev/shm)
      must hold.
  type: dict
  returned: with O(path), also when O(strict) fails
  sample: {bytes: 43008, python_instances: 2, shm_bytes: 134217728}
published:
  description: Whether there is a manifest.
  type: bool
  returned: with O(repository), also when O(strict) fails
  sample: true
publisher:
  description: Who published last, as user and machine.
  type: str
  returned: with O(repository), also when O(strict) fails
  sample: ci@runner-7
time:
  description: When, ISO 8601.
  type: str
  returned: with O(repository), also when O(strict) fails
  sample: "2026-03-01T12:00:00+00:00"
pending:
  description: Models whose publish was not finished. The next publish finishes it.
  type: list
  elements: str
  returned: with O(repository), also when O(strict) fails
  sample: []
foreign:
  description: Models that were not published by this collection.
  type: list
  elements: str
  returned: with O(repository), also when O(strict) fails
  sample: []
drift:
  description:
    - Files of published models that differ from the manifest, each with C(model), C(file) and C(kind).
    - V(missing), V(changed), V(extra), or V(touched) for one of the same size that was written since and was not read.
  type: list
  elements: dict
  returned: with O(repository), also when O(strict) fails
  sample: [{model: digits, file: digits/config.pbtxt, kind: changed}]
locked_by:
  description: Who publishes just now, with C(user), C(host) and C(pid); empty for nobody.
  type: dict
  returned: with O(repository), also when O(strict) fails
  sample: {}
leftovers:
  description: What a broken publish left. The next publish removes it.
  type: list
  elements: str
  returned: with O(repository), also when O(strict) fails
  sample: []
notes:
  description: What the user should know, such as a manifest that cannot be read.
  type: list
  elements: str
  returned: with O(repository), also when O(strict) fails
  sample: []
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.serving.triton.plugins.module_utils.core.errors import InputError
from ansible_collections.serving.triton.plugins.module_utils.module import run_info
from ansible_collections.serving.triton.plugins.module_utils.repository.config import MissingLibraryError
from ansible_collections.serving.triton.plugins.module_utils.repository.describe import describe, total, verdict
from ansible_collections.serving.triton.plugins.module_utils.repository.digest import digest
from ansible_collections.serving.triton.plugins.module_utils.repository.layout import scan
from ansible_collections.serving.triton.plugins.module_utils.repository.lint import FolderReader, count, inspect, known_models, lint
from ansible_collections.serving.triton.plugins.module_utils.repository.subject import Subject
from ansible_collections.serving.triton.plugins.module_utils.stores.options import store_settings, store_spec


def argument_spec() -> dict[str, Any]:
    return {
        "path": {"type": "path"},
        "repository": {"type": "str"},
        "models": {"type": "list", "elements": "str", "default": []},
        "lint": {"type": "bool", "default": True},
        "ignore_rules": {"type": "list", "elements": "str", "default": []},
        "strict": {"type": "bool", "default": False},
        "strict_warnings": {"type": "bool", "default": False},
        "digests": {"type": "bool", "default": False},
        "python_backends": {"type": "list", "elements": "str", "default": ["python"]},
        **store_spec(),
    }


def read(params: dict[str, Any]) -> dict[str, Any]:
    """The module's answer. Raises InputError for findings that O(strict) forbids."""
    root = params["path"]
    repository = scan(root, strict=False)
    subjects = inspect(repository, FolderReader(root))
    names = known_models(params["models"], subjects)
    findings = lint(repository, subjects, params["models"], params["ignore_rules"]) if params["lint"] else []
    models = [_model(root, subjects[name], params) for name in names]
    counts = count(findings)
    result = {
        "models": models,
        "findings": [finding.as_dict() for finding in findings],
        "counts": counts,
        "bytes": sum(model["bytes"] for model in models),
        "memory": total(models),
    }
    refused = ["error", *(["warning"] if params["strict_warnings"] else [])] if params["strict"] else []
    if any(counts[severity] for severity in refused):
        raise InputError(verdict(findings, refused), where=root, **result)
    return {"repository": root, **result}


def _model(root: str, subject: Subject, params: dict[str, Any]) -> dict[str, Any]:
    described = describe(subject, params["python_backends"])
    if params["digests"]:
        described["digests"] = {path: digest(f"{root}/{subject.name}/{path}") for path in sorted(subject.files)}
    return described


def read_published(params: dict[str, Any]) -> dict[str, Any]:
    """The answer about a store. Raises InputError for what O(strict) forbids."""
    # Not at the top: to lint, none of them is needed.
    from ansible_collections.serving.triton.plugins.module_utils.repository.published import drift_verdict
    from ansible_collections.serving.triton.plugins.module_utils.stores.base import StoreOptions
    from ansible_collections.serving.triton.plugins.module_utils.stores.inspection import inspect_store
    from ansible_collections.serving.triton.plugins.module_utils.stores.registry import open_store

    store = open_store(params["repository"], StoreOptions(concurrency=0, **store_settings(params)))
    told = inspect_store(store, params["models"], digests=params["digests"])
    if params["strict"] and (problem := drift_verdict(told)):
        raise InputError(problem, where=store.url, **told)
    return {"repository": store.url, **told}


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(),
        mutually_exclusive=[("path", "repository")],
        required_one_of=[("path", "repository")],
        supports_check_mode=True,
    )
    try:
        run_info(module, lambda: read(module.params) if module.params["path"] else read_published(module.params))
    except MissingLibraryError as error:
        module.fail_json(msg=missing_required_lib(error.library), exception=error.trace)


if __name__ == "__main__":
    main()
