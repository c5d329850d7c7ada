#!/usr/bin/python
# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: oss_bucket
short_description: Manage a bucket of Alibaba Cloud OSS for model repositories
version_added: 0.1.0
author: serving.triton contributors (@serving-triton)
description:
  - Makes a bucket that is private, blocks public access to it, and sets its versioning, encryption and tags; or removes it.
  - What is not given stays as it is.
requirements:
  - alibabacloud-oss-v2
  - alibabacloud-credentials, for roles and profiles
options:
  name:
    description: The bucket. Its name is unique in all of OSS.
    type: str
    required: true
  state:
    description:
      - V(present) makes the bucket and sets what is given.
      - V(absent) removes it. A bucket that holds anything is refused unless O(force) is set.
    type: str
    choices: [present, absent]
    default: present
  storage_class:
    description: Storage class of a new bucket. A bucket that is there cannot be changed. V(Standard) for a new one when left out.
    type: str
    choices: [Standard, IA, Archive, ColdArchive, DeepColdArchive]
  redundancy_type:
    description:
      - Whether a new bucket lies in one zone, V(LRS), or in several, V(ZRS). A bucket that is there cannot be changed. V(LRS) for a new one
        when left out.
    type: str
    choices: [LRS, ZRS]
  acl:
    description: Who may read and write beside the account. Anything but V(private) needs O(block_public_access=false).
    type: str
    choices: [private, public-read, public-read-write]
    default: private
  block_public_access:
    description: Whether OSS refuses every ACL and policy that would make the bucket or its objects public.
    type: bool
    default: true
  versioning:
    description:
      - V(enabled) keeps what is overwritten and deleted. V(suspended) keeps no more of it.
      - A bucket that never kept versions keeps none, so V(suspended) leaves it as it is.
      - A repository needs no versioning, and the lock of publishers is strictest without it, since OSS checks conditions of writes
        only in a bucket that never kept versions.
    type: str
    choices: [enabled, suspended]
  encryption:
    description: How OSS encrypts objects that are written without a wish of their own.
    type: str
    choices: [none, AES256, KMS]
  kms_key_id:
    description: Key for O(encryption=KMS). OSS's own key for the account when left out.
    type: str
  tags:
    description: The bucket's tags; others are removed. An empty mapping removes all.
    type: dict
  force:
    description: With O(state=absent), whether to delete all objects, all their versions and unfinished uploads first.
    type: bool
    default: false
  force_limit:
    description:
      - The most objects and versions that O(force) may delete. Where there are more the task fails before anything is deleted.
    type: int
    default: 10000
extends_documentation_fragment:
  - serving.triton.promises.plans
  - serving.triton.stores.oss
  - serving.triton.stores.calls
attributes:
  diff_mode:
    description: Shows the settings of the bucket.
    support: full
notes:
  - The bucket's region comes from O(oss.region) or O(oss.endpoint), as for C(oss://) repositories.
seealso:
  - module: serving.triton.model_repository
"""

EXAMPLES = r"""
- name: A private bucket for models, with keys from the environment
  serving.triton.oss_bucket:
    name: acme-models
    oss:
      region: cn-shanghai
    tags:
      team: inference

- name: Publish to it
  serving.triton.model_repository:
    repository: oss://acme-models/triton
    src: models
    oss:
      region: cn-shanghai

- name: Remove it with all that it holds
  serving.triton.oss_bucket:
    name: acme-models
    state: absent
    force: true
    oss:
      region: cn-shanghai
"""

RETURN = r"""
actions:
  description: What was done, or would be done in check mode, one sentence each.
  type: list
  elements: str
  returned: success
  sample: ["create bucket acme-models (Standard, LRS)", block public access]
bucket:
  description: The bucket as it is afterwards, empty where there is none. Tags are told when O(tags) is given.
  type: dict
  returned: success
  sample:
    name: acme-models
    region: cn-shanghai
    endpoint: oss-cn-shanghai.aliyuncs.com
    internal_endpoint: oss-cn-shanghai-internal.aliyuncs.com
    storage_class: Standard
    redundancy_type: LRS
    acl: private
    block_public_access: true
    versioning: disabled
    encryption: none
    kms_key_id: ""
    tags: {team: inference}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.module import PlannedService, run_plan
from ..module_utils.stores.options import store_settings, store_spec

SHARED = ("oss", "timeout", "attempts", "validate_certs", "ca_path")


def argument_spec() -> dict[str, Any]:
    shared = store_spec()
    return {
        "name": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "storage_class": {"type": "str", "choices": ["Standard", "IA", "Archive", "ColdArchive", "DeepColdArchive"]},
        "redundancy_type": {"type": "str", "choices": ["LRS", "ZRS"]},
        "acl": {"type": "str", "choices": ["private", "public-read", "public-read-write"], "default": "private"},
        "block_public_access": {"type": "bool", "default": True},
        "versioning": {"type": "str", "choices": ["enabled", "suspended"]},
        "encryption": {"type": "str", "choices": ["none", "AES256", "KMS"]},
        "kms_key_id": {"type": "str", "no_log": False},
        "tags": {"type": "dict"},
        "force": {"type": "bool", "default": False},
        "force_limit": {"type": "int", "default": 10000},
        **{name: shared[name] for name in SHARED},
    }


def build(params: dict[str, Any]) -> PlannedService[Any]:
    # Imported here: options that are wrong are told without loading any of it.
    from ..module_utils.stores.base import StoreOptions
    from ..module_utils.stores.oss.bucket_plan import Wanted
    from ..module_utils.stores.oss.bucket_service import BucketService

    tags = None if params["tags"] is None else {str(key): str(value) for key, value in params["tags"].items()}
    settings = ("storage_class", "redundancy_type", "acl", "block_public_access", "versioning", "encryption", "kms_key_id")
    wanted = Wanted(**{name: params[name] for name in settings}, tags=tags) if params["state"] == "present" else None
    options = StoreOptions(**store_settings({"s3": None, "gcs": None, "azure": None, **params}))
    return BucketService(params["name"], wanted, options, force=params["force"], limit=params["force_limit"])


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    run_plan(module, lambda: build(module.params))


if __name__ == "__main__":
    main()
