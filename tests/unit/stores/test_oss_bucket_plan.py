# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a bucket of OSS is changed to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.serving.triton.plugins.module_utils.core.errors import ConflictError, InputError
from ansible_collections.serving.triton.plugins.module_utils.stores.oss.bucket_plan import (
    BucketState,
    Observed,
    Wanted,
    plan_absent,
    plan_present,
)

PRIVATE = BucketState(block_public_access=True)


def test_a_new_bucket_is_private_and_says_so() -> None:
    plan = plan_present("b", None, Wanted())
    assert plan.describe() == ["create bucket b (Standard, LRS)", "block public access"]
    assert plan.diff()["before"] == {}
    assert plan.diff()["after"]["acl"] == "private"
    assert plan.diff()["after"]["block_public_access"] is True


def test_a_new_bucket_gets_everything_that_is_given() -> None:
    wanted = Wanted("IA", "ZRS", "public-read", False, "enabled", "KMS", "key", {"a": "1", "b": "2"})
    assert plan_present("b", None, wanted).describe() == [
        "create bucket b (IA, ZRS)",
        "allow public access",
        "set acl to public-read",
        "set versioning to enabled",
        "set encryption to KMS",
        "set tags to a, b",
    ]


@pytest.mark.parametrize(
    ("actual", "wanted", "actions"),
    [
        (PRIVATE, Wanted(), []),
        (PRIVATE, Wanted(storage_class="Standard", redundancy_type="LRS", encryption="none", tags={}), []),
        (replace(PRIVATE, storage_class="IA", versioning="enabled", encryption="KMS", kms_key_id="k"), Wanted(), []),
        (replace(PRIVATE, acl="public-read", block_public_access=False), Wanted(), ["set acl to private", "block public access"]),
        (PRIVATE, Wanted(acl="public-read", block_public_access=False), ["allow public access", "set acl to public-read"]),
        (PRIVATE, Wanted(versioning="suspended"), []),
        (replace(PRIVATE, versioning="enabled"), Wanted(versioning="suspended"), ["set versioning to suspended"]),
        (replace(PRIVATE, versioning="suspended"), Wanted(versioning="enabled"), ["set versioning to enabled"]),
        (replace(PRIVATE, encryption="KMS", kms_key_id="k"), Wanted(encryption="AES256"), ["set encryption to AES256"]),
        (replace(PRIVATE, encryption="KMS", kms_key_id="k"), Wanted(encryption="none"), ["set encryption to none"]),
        (replace(PRIVATE, encryption="KMS", kms_key_id="k"), Wanted(encryption="KMS", kms_key_id="l"), ["set encryption to KMS"]),
        (replace(PRIVATE, tags={"a": "1"}), Wanted(tags={"a": "2"}), ["set tags to a"]),
        (replace(PRIVATE, tags={"a": "1"}), Wanted(tags={}), ["set tags to none"]),
    ],
)
def test_only_what_differs_is_changed(actual: BucketState, wanted: Wanted, actions: list[str]) -> None:
    plan = plan_present("b", actual, wanted)
    assert plan.describe() == actions
    after = BucketState(**plan.after) if actions else actual
    assert not plan_present("b", after, wanted)


@pytest.mark.parametrize("wanted", [Wanted(storage_class="IA"), Wanted(redundancy_type="ZRS")])
def test_what_oss_cannot_change_is_refused(wanted: Wanted) -> None:
    with pytest.raises(ConflictError, match="cannot be changed"):
        plan_present("b", PRIVATE, wanted)


@pytest.mark.parametrize("wanted", [Wanted(acl="public-read"), Wanted(kms_key_id="k"), Wanted(encryption="AES256", kms_key_id="k")])
def test_a_contradiction_is_refused(wanted: Wanted) -> None:
    with pytest.raises(InputError):
        wanted.check()


def test_a_bucket_that_holds_something_is_removed_by_force_within_a_limit() -> None:
    assert not plan_absent("b", Observed(), force=False, limit=10)
    assert plan_absent("b", Observed(PRIVATE), force=False, limit=10).describe() == ["delete bucket b"]
    with pytest.raises(ConflictError, match="not empty"):
        plan_absent("b", Observed(PRIVATE, 3), force=False, limit=10)
    with pytest.raises(ConflictError, match="more than 10 objects"):
        plan_absent("b", Observed(PRIVATE, 11), force=True, limit=10)
    plan = plan_absent("b", Observed(PRIVATE, 10), force=True, limit=10)
    assert plan.describe() == ["delete 10 objects, versions and unfinished uploads in b", "delete bucket b"]
    assert plan.diff()["after"] == {}
