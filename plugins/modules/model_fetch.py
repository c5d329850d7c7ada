#!/usr/bin/python
# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: model_fetch
short_description: Fetch a model into a folder of models
version_added: 0.1.0
author: serving.triton contributors (@serving-triton)
description:
  - Brings a model to the folder that M(serving.triton.model_repository) publishes from, laid out as Triton reads it, from a URL, from a
    file, a folder or an archive of this machine, or from a repository in any store.
  - A folder or an archive may be in Triton's own layout, an MLflow model with a flavour that a backend of Triton loads (C(onnx),
    C(tensorflow), C(lightgbm)), a Hugging Face snapshot that holds ONNX or a SavedModel, or hold one model file. What cannot be mapped is
    said.
  - Digests decide. A second run reads nothing from the network, and a file that was removed by hand is fetched again.
  - A file that was changed since it was fetched, or that was not fetched at all, is replaced with O(force) alone. Without it, it is an
    error that names the file.
  - A download that broke off goes on where it was. Nothing appears in O(dest) before everything is there and its digests are right.
notes:
  - What was fetched is remembered in C(.serving-triton-fetched.json) in O(dest), which is never published.
  - Archives are unpacked only if all that they hold is plain files and folders inside of them.
options:
  name:
    description: The model's name, which its folder gets.
    type: str
    required: true
  dest:
    description: The folder of models. It is made where it is missing.
    type: path
    required: true
  state:
    description:
      - V(present) fetches the model.
      - V(absent) removes its folder from O(dest), or that of its O(version).
    type: str
    choices: [present, absent]
    default: present
  url:
    description: URL of a model file or an archive (tar, also compressed, or zip), C(http) or C(https).
    type: str
  sha256:
    description: SHA-256 of what O(url) serves. Required with it; a wrong one is an error that tells both.
    type: str
  headers:
    description: Headers for O(url), such as a token. They are not sent to where it redirects.
    type: dict
  src:
    description: A model file, an archive or a folder on the machine where the module runs.
    type: path
  repository:
    description:
      - The path or URL of a repository that M(serving.triton.model_repository) published, in any store.
      - Only what its manifest lists is fetched, and each file must be as it says.
    type: str
  version:
    description:
      - The version's number, of the folder that is made for O(url) and O(src), V(1) when left out.
      - Of O(repository), the one version to fetch; all when left out.
    type: int
  member:
    description: The file or folder to take of an archive or a folder, where several could be meant.
    type: str
  file:
    description: The name of the model file, such as C(model.graphdef), where it cannot be told by the file's ending.
    type: str
  force:
    description: Replace files in O(dest) that were not fetched, or were changed since.
    type: bool
    default: false
  cache:
    description: Folder that keeps downloads by their digest. C(serving.triton/downloads) in the user's cache folder when left out.
    type: path
  progress_file:
    description: As O(serving.triton.model_repository#module:progress_file). The action of this module gives and reads one.
    type: path
requirements:
  - boto3 and botocore, for C(s3://)
  - alibabacloud-oss-v2, for C(oss://)
  - google-cloud-storage, for C(gs://)
  - azure-storage-blob, for C(as://)
extends_documentation_fragment:
  - serving.triton.promises.plans
  - serving.triton.stores
  - serving.triton.stores.oss
  - serving.triton.stores.calls
attributes:
  check_mode:
    support: full
    description: Tells what would be fetched, without downloading it.
  diff_mode:
    support: full
    description: Shows the files that are replaced, with their digests, and where the new ones come from.
seealso:
  - module: serving.triton.model_repository
"""

EXAMPLES = r"""
# Of Triton's own examples. Fill in the digest of a file that you looked at; a wrong one is told with the right one.
- name: Fetch DenseNet for the ONNX runtime
  serving.triton.model_fetch:
    name: densenet_onnx
    dest: /srv/build/models
    url: https://github.com/onnx/models/raw/main/validated/vision/classification/densenet-121/model/densenet-7.onnx
    sha256: "{{ densenet_sha256 }}"

- name: Fetch Inception v3 as a TensorFlow graph
  serving.triton.model_fetch:
    name: inception_graphdef
    dest: /srv/build/models
    url: https://storage.googleapis.com/download.tensorflow.org/models/inception_v3_2016_08_28_frozen.pb.tar.gz
    sha256: "{{ inception_sha256 }}"
    member: inception_v3_2016_08_28_frozen.pb

- name: Take a model of a Hugging Face snapshot
  serving.triton.model_fetch:
    name: embedder
    dest: /srv/build/models
    src: /srv/snapshots/all-MiniLM-L6-v2

- name: Take an MLflow model as version 3
  serving.triton.model_fetch:
    name: churn
    dest: /srv/build/models
    src: /srv/mlruns/7/artifacts/model
    version: 3

- name: Take a model from another environment
  serving.triton.model_fetch:
    name: digits
    dest: /srv/build/models
    repository: s3://models/staging
    s3:
      profile: reader

- name: Fetch with a token
  serving.triton.model_fetch:
    name: detector
    dest: /srv/build/models
    url: https://models.example.com/detector.onnx
    sha256: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
    headers:
      Authorization: "Bearer {{ models_token }}"
"""

RETURN = r"""
model:
  description: The model's folder.
  returned: success
  type: str
  sample: /srv/build/models/densenet_onnx
versions:
  description: The version folders that it has (in check mode, before the run).
  returned: success
  type: list
  elements: int
  sample: [1]
files:
  description: Path in the model's folder to SHA-256 of what is there (in check mode, before the run).
  returned: success
  type: dict
  sample: {1/model.onnx: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae}
actions:
  description: What was done (in check mode, would be done), in order.
  returned: success
  type: list
  elements: str
  sample: ["fetch model densenet_onnx from https://example.com/densenet-7.onnx"]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.serving.triton.plugins.module_utils.core.progress import Progress
from ansible_collections.serving.triton.plugins.module_utils.module import PlannedService, run_plan
from ansible_collections.serving.triton.plugins.module_utils.stores.options import store_spec
from ansible_collections.serving.triton.plugins.module_utils.stores.progress_file import progress_in

ORIGINS = ("url", "src", "repository")


def argument_spec() -> dict[str, Any]:
    return {
        "name": {"type": "str", "required": True},
        "dest": {"type": "path", "required": True},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "url": {"type": "str"},
        "sha256": {"type": "str"},
        "headers": {"type": "dict", "no_log": True},
        "src": {"type": "path"},
        "repository": {"type": "str"},
        "version": {"type": "int"},
        "member": {"type": "str"},
        "file": {"type": "str"},
        "force": {"type": "bool", "default": False},
        "cache": {"type": "path"},
        "progress_file": {"type": "path"},
        **store_spec(),
    }


def build(params: dict[str, Any], progress: Progress) -> PlannedService[Any]:
    # Not at the top: wrong options are told without it.
    from ansible_collections.serving.triton.plugins.module_utils.fetch.build import build_fetcher

    return build_fetcher(params, progress)


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(),
        mutually_exclusive=[ORIGINS],
        required_if=[("state", "present", ORIGINS, True)],
        required_together=[("url", "sha256")],
        supports_check_mode=True,
    )
    with progress_in(module.params["progress_file"]) as progress:
        run_plan(module, lambda: build(module.params, progress))


if __name__ == "__main__":
    main()
