#!/usr/bin/python
# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: model_repository
short_description: Publish models to a repository that Triton servers read
version_added: 0.1.0
author: serving.triton contributors (@serving-triton)
description:
  - Publishes a folder of models to the repository that Triton servers read, so that no server, polling or not, ever sees half a version.
  - A published version is immutable. A file that differs in one is an error that offers the next version number, unless O(force=true).
    A model's other files, such as C(config.pbtxt) and labels, may change.
  - A manifest, C(.serving-triton.json) in the repository, records what was published. It is written last; what it does not list
    belongs to
    somebody else and is never touched.
  - What is missing or was changed by hand is found and repaired. A publish that was killed is finished, and its leftovers are removed,
    by the
    next one. One publisher works at a time.
notes:
  - Content waits in a hidden folder beside the repository, so the publisher should be allowed to write to the repository's parent
    folder, and
    the repository should be a folder in a mounted file system, not the mount point. Where that cannot be, content waits as hidden
    plain files
    in the repository, which Triton does not see, and a folder C(serving-triton-publishing) is there for the moment of each
    switch. A server that starts in just that moment with C(--exit-on-error) does not start.
  - A new version together with a new C(config.pbtxt) is switched in one step as far as servers can tell. Several other files of a
    model that
    change at once (labels, O(force) of a version) are exchanged in one step on local file systems; on NFS and CephFS, which cannot
    exchange
    folders, they change one after the other within milliseconds, and a version overwritten by O(force) is missing for that long.
  - Servers in poll mode load what was published by themselves. Others are told by M(serving.triton.model).
options:
  repository:
    description:
      - "Where to publish: the absolute path of a folder (a local disk, NFS, CephFS, a mounted volume), its C(file://) URL, or the URL of an
        object store, as Triton takes it."
      - C(s3://BUCKET/PREFIX) for AWS, C(s3://https://HOST:PORT/BUCKET/PREFIX) for MinIO, Ceph and others, see O(s3).
      - C(oss://BUCKET/PREFIX) for Alibaba Cloud, see O(oss). Triton reads it by its S3-compatible endpoint.
      - C(gs://BUCKET/PREFIX) for Google Cloud, see O(gcs).
      - C(as://ACCOUNT/CONTAINER/PREFIX) for Azure, see O(azure).
      - A folder is made where it does not exist; a bucket must exist. Nothing outside of the folder or prefix is touched.
    type: str
    required: true
  src:
    description:
      - "The folder to publish, on the machine where the module runs: one folder for each model. Required for O(state=present)."
      - Folders with a leading dot, C(__pycache__) and files beside the models are not published.
    type: path
  state:
    description:
      - V(present) publishes O(src).
      - V(absent) takes away O(models), or their O(version), or without O(models) everything that was published, with the manifest and,
        if it was
        made by a publish and is empty then, the folder.
    type: str
    choices: [present, absent]
    default: present
  models:
    description: Publish, prune or take away only these models. All when empty.
    type: list
    elements: str
    default: []
  version:
    description: Publish or take away only this version of O(models). A model's other files are published too.
    type: int
  keep_versions:
    description: Keep only so many of the newest versions of each model; older ones are not published, and removed if they were. V(0)
      keeps all. Versions that a C(config.pbtxt) of O(src) names in its C(version_policy) are kept beside them.
    type: int
    default: 0
  prune:
    description:
      - Remove models and versions that were published, by whomever with this module, and are not in O(src) any more.
      - Where several sources share a repository, limit it with O(models).
    type: bool
    default: false
  force:
    description:
      - Overwrite versions that are published with other content, and models and versions that somebody else made.
      - With O(state=absent), and for models that O(prune) takes away, remove versions and files that somebody else put into them. Without
        it they are an error that names them, and nothing is taken away.
      - Servers that load just then may see the new content under the old version number.
    type: bool
    default: false
  adopt:
    description:
      - Take over models of the same name that somebody else made. Their versions must hold what O(src) holds, their other files are
        replaced.
    type: bool
    default: false
  verify:
    description:
      - How to look at what is published already.
      - V(manifest) trusts the manifest, and lists only models that get a version or go; V(list) compares names, sizes and times and
        reads the files that differ in time; V(digest) reads all files.
    type: str
    choices: [manifest, list, digest]
    default: list
  lint:
    description:
      - Whether to lint the models that are about to be published and to refuse those with errors, before anything is changed.
      - What is published already is not linted again.
    type: bool
    default: true
  ignore_rules:
    description: Rules of the linter to leave out, by their id as M(serving.triton.model_repository_info) tells it.
    type: list
    elements: str
    default: []
  removal_delay:
    description:
      - Seconds to wait, after everything new is in place, before old versions and models are taken away.
      - A server that is loading a version at the moment of its removal fails to load it, and Triton's python backend then hangs for good.
        Where O(keep_versions=1) or O(prune) meets servers that poll or start at any time, give longer than a load takes.
      - A load from an object store downloads every version of a model, and fails when one of them goes meanwhile. There, versions that no
        server takes go before anything new comes; where a version is served until the new one is, 30 seconds are waited by default. Servers
        that load when they are told to (explicit mode) need no such pause, V(0).
      - In a folder nothing is waited for by default.
    type: float
  owner:
    description: User that owns what is published, by name or number. The publishing user when left out.
    type: str
  group:
    description: Group that owns what is published, by name or number. That of the publishing user when left out.
    type: str
  mode:
    description: Mode of published files, as an octal string. V(0644) for new files when left out, whatever the umask; set it to keep
      all files at it.
    type: raw
  directory_mode:
    description: Mode of new folders, as an octal string. V(0755) when left out, whatever the umask.
    type: raw
  allow_empty:
    description: Whether O(prune) may take away every model because O(src) is empty. Refused otherwise, since such a source is mostly the
      wrong one.
    type: bool
    default: false
  concurrency:
    description: Files that are read, hashed and transferred at the same time. V(0) leaves it to the store, which begins small and goes up.
    type: int
    default: 0
  digest_cache:
    description:
      - File that remembers digests of unchanged source files between runs. It holds no secret and may be removed at any time.
      - C(serving.triton/digests.json) in the user's cache folder when left out; empty for no cache.
    type: path
  progress_file:
    description:
      - File on the target that tells how far a long transfer is, as JSON with C(files), C(all_files), C(bytes), C(all_bytes), C(elapsed)
        seconds and C(started), the seconds since 1970. It is there while the module runs.
      - The action of this module gives and reads one, so that the playbook's output tells every few seconds how far a long publish is.
    type: path
requirements:
  - tritonclient, for O(lint=true)
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
  diff_mode:
    support: full
    description: Shows the files of the models that change with their digests, before and after.
seealso:
  - module: serving.triton.model_repository_info
  - module: serving.triton.model
  - module: serving.triton.release
"""

EXAMPLES = r"""
- name: Publish models
  serving.triton.model_repository:
    src: /srv/build/models
    repository: /srv/triton/models

- name: Publish two models, keep three versions of each
  serving.triton.model_repository:
    src: /srv/build/models
    repository: /mnt/nfs/triton/models
    models: [digits, forest]
    keep_versions: 3
    owner: triton
    group: triton

- name: Make the repository hold what the source holds, and nothing else of ours
  serving.triton.model_repository:
    src: /srv/build/models
    repository: /srv/triton/models
    prune: true

- name: Publish to S3 with a profile of ~/.aws/config
  serving.triton.model_repository:
    src: /srv/build/models
    repository: s3://models/production
    s3:
      profile: publisher
      region: eu-central-1
      encryption: aws:kms

- name: Publish from a pod, as the role of its service account (IRSA)
  serving.triton.model_repository:
    src: /srv/build/models
    repository: s3://models/production
    s3:
      role_arn: arn:aws:iam::123456789012:role/publisher
      web_identity_token_file: /var/run/secrets/eks.amazonaws.com/serviceaccount/token

- name: Publish to MinIO or Ceph, with a key from Ansible Vault
  serving.triton.model_repository:
    src: /srv/build/models
    repository: s3://https://minio.example.com:9000/models/production
    ca_path: /etc/ssl/private-ca.pem
    s3:
      access_key: "{{ publisher_key }}"
      secret_key: "{{ publisher_secret }}"

- name: Publish to Alibaba Cloud OSS, inside of its region
  serving.triton.model_repository:
    src: /srv/build/models
    repository: oss://models/production
    oss:
      region: cn-hangzhou
      internal: true

- name: Publish to Google Cloud Storage
  serving.triton.model_repository:
    src: /srv/build/models
    repository: gs://models/production
    gcs:
      credentials_file: /etc/publisher/service-account.json

- name: Publish to Azure Blob Storage
  serving.triton.model_repository:
    src: /srv/build/models
    repository: as://account/models/production
    azure:
      account_key: "{{ storage_account_key }}"

- name: Take one version away
  serving.triton.model_repository:
    repository: /srv/triton/models
    models: [digits]
    version: 2
    state: absent

- name: Take away everything that was published
  serving.triton.model_repository:
    repository: /srv/triton/models
    state: absent
"""

RETURN = r"""
models:
  description:
    - The models of O(src), or those taken away. C(state) is new, changed, unchanged or removed; C(versions) are the published ones
      afterwards,
      C(changed_versions) those added or replaced by this run.
  returned: success
  type: list
  elements: dict
  sample: [{name: digits, versions: [1, 2], changed_versions: [2], state: changed}]
changed_models:
  description: Models that a server must load, or load again.
  returned: success
  type: list
  elements: str
  sample: [digits]
removed_models:
  description: Models that were taken away.
  returned: success
  type: list
  elements: str
  sample: []
held_models:
  description:
    - Models that are left as they are, since a release went back from what O(src) holds of them, and why.
    - See M(serving.triton.release).
  returned: success
  type: dict
  sample: {digits: version 3 was withdrawn (wrong answers)}
revisions:
  description:
    - For every model that is published, a text that changes with its content.
    - Hand it to M(serving.triton.model) as O(serving.triton.model#module:published).
  returned: success
  type: dict
  sample: {digits: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae}
repository:
  description: The repository, as servers on this machine read it.
  returned: success
  type: str
  sample: /srv/triton/models
manifest:
  description: The manifest's place. Empty when nothing is published any more.
  returned: success
  type: str
  sample: /srv/triton/models/.serving-triton.json
bytes:
  description: Bytes transferred.
  returned: success
  type: int
  sample: 1048576
actions:
  description: What was done (in check mode, would be done), in order.
  returned: success
  type: list
  elements: str
  sample: ["update model digits (version 2 added, config.pbtxt written)", "write .serving-triton.json"]
notes:
  description: What the user should know and this run could not mend, such as a damaged version that the source does not hold.
  returned: success
  type: list
  elements: str
  sample: []
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.serving.triton.plugins.module_utils.core.progress import Progress
from ansible_collections.serving.triton.plugins.module_utils.module import PlannedService, run_plan
from ansible_collections.serving.triton.plugins.module_utils.repository.config import MissingLibraryError
from ansible_collections.serving.triton.plugins.module_utils.stores.options import store_spec
from ansible_collections.serving.triton.plugins.module_utils.stores.progress_file import progress_in


def argument_spec() -> dict[str, Any]:
    return {
        "repository": {"type": "str", "required": True},
        "src": {"type": "path"},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "models": {"type": "list", "elements": "str", "default": []},
        "version": {"type": "int"},
        "keep_versions": {"type": "int", "default": 0},
        "prune": {"type": "bool", "default": False},
        "force": {"type": "bool", "default": False},
        "adopt": {"type": "bool", "default": False},
        "verify": {"type": "str", "choices": ["manifest", "list", "digest"], "default": "list"},
        "lint": {"type": "bool", "default": True},
        "ignore_rules": {"type": "list", "elements": "str", "default": []},
        "removal_delay": {"type": "float"},
        "owner": {"type": "str"},
        "group": {"type": "str"},
        "mode": {"type": "raw"},
        "directory_mode": {"type": "raw"},
        "allow_empty": {"type": "bool", "default": False},
        "concurrency": {"type": "int", "default": 0},
        "digest_cache": {"type": "path"},
        "progress_file": {"type": "path"},
        **store_spec(),
    }


def build(params: dict[str, Any], progress: Progress = lambda _state: None) -> PlannedService[Any]:
    # Not at the top: wrong options are told without it.
    from ansible_collections.serving.triton.plugins.module_utils.stores.build import build_publisher

    return build_publisher(params, progress)


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(),
        required_if=[("state", "present", ["src"])],
        required_by={"version": ["models"]},
        supports_check_mode=True,
    )
    try:
        with progress_in(module.params["progress_file"]) as progress:
            run_plan(module, lambda: build(module.params, progress))
    except MissingLibraryError as error:
        module.fail_json(msg=f"{missing_required_lib(error.library)} Or set lint to false.", exception=error.trace)


if __name__ == "__main__":
    main()
