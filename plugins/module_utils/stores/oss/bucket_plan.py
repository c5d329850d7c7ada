# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What takes a bucket of OSS to its wanted state. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from ...core.errors import ConflictError, InputError
from ...core.plan import Action, Plan

_FIXED = {"storage_class": "storage class", "redundancy_type": "redundancy type"}


@dataclass(frozen=True)
class BucketState:
    """A bucket as it is. versioning: disabled (it never was on), enabled or suspended. encryption: none, AES256 or KMS."""

    storage_class: str = "Standard"
    redundancy_type: str = "LRS"
    acl: str = "private"
    block_public_access: bool = False
    versioning: str = "disabled"
    encryption: str = "none"
    kms_key_id: str = ""
    tags: Mapping[str, str] | None = None

    def shown(self) -> dict[str, Any]:
        """For diffs and results."""
        return {**asdict(self), "tags": dict(self.tags or {})}


@dataclass(frozen=True)
class Observed:
    """state: None where there is no bucket. objects: versions, delete markers and unfinished uploads; counted for a removal only.

    place: what OSS tells of where the bucket is.
    """

    state: BucketState | None = None
    objects: int = 0
    place: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Wanted:
    """None: as it is, or as OSS makes it."""

    storage_class: str | None = None
    redundancy_type: str | None = None
    acl: str = "private"
    block_public_access: bool = True
    versioning: str | None = None
    encryption: str | None = None
    kms_key_id: str | None = None
    tags: Mapping[str, str] | None = None

    def check(self) -> None:
        """Raises InputError for what contradicts itself."""
        if self.acl != "private" and self.block_public_access:
            remedy = "Set block_public_access to false, or leave acl at private."
            raise InputError(f"{self.acl} is not possible while public access is blocked", where="acl", remedy=remedy)
        if self.kms_key_id and self.encryption != "KMS":
            raise InputError("a key needs encryption KMS", where="kms_key_id", remedy="Set encryption to KMS.")


def plan_present(name: str, actual: BucketState | None, wanted: Wanted) -> Plan:
    """Raises ConflictError for what OSS cannot change in a bucket that is there."""
    after = _after(actual or BucketState(), wanted)
    if actual is not None:
        for attribute, words in _FIXED.items():
            if getattr(after, attribute) != getattr(actual, attribute):
                what = f"its {words} is {getattr(actual, attribute)}, which cannot be changed to {getattr(after, attribute)}"
                raise ConflictError(what, where=name, remedy=f"Leave {attribute} out, or use another bucket.")
    actions = [] if actual else [_create(name, after)]
    actions += _settings(actual, after)
    return Plan(tuple(actions), actual.shown() if actual else {}, after.shown())


def plan_absent(name: str, observed: Observed, *, force: bool, limit: int) -> Plan:
    """Raises ConflictError where what the bucket holds forbids it."""
    if observed.state is None:
        return Plan(before={}, after={})
    actions = []
    if observed.objects:
        if not force:
            raise ConflictError("the bucket is not empty", where=name, remedy="Empty it first, or set force.")
        if observed.objects > limit:
            what = f"the bucket holds more than {limit} objects and versions"
            raise ConflictError(what, where=name, remedy="Give a higher force_limit, if all of them may go.")
        actions.append(Action("delete", f"{observed.objects} objects, versions and unfinished uploads in {name}", {"set": "empty"}))
    actions.append(Action("delete", f"bucket {name}", {"set": "delete"}))
    return Plan(tuple(actions), observed.state.shown(), {})


def _after(actual: BucketState, wanted: Wanted) -> BucketState:
    given = {key: value for key, value in asdict(wanted).items() if value is not None}
    if given.get("encryption", actual.encryption) != "KMS":
        given["kms_key_id"] = ""
    if given.get("versioning") == "suspended" and actual.versioning == "disabled":
        # It keeps no versions as it is, and OSS checks conditions of writes only in a bucket that never had any.
        del given["versioning"]
    return replace(actual, **given)


def _create(name: str, after: BucketState) -> Action:
    text = f"bucket {name} ({after.storage_class}, {after.redundancy_type})"
    return Action("create", text, {"set": "create", "storage_class": after.storage_class, "redundancy_type": after.redundancy_type})


def _settings(actual: BucketState | None, after: BucketState) -> list[Action]:
    """In an order that OSS accepts: it refuses a public ACL while public access is blocked."""
    fresh = BucketState(block_public_access=not after.block_public_access)
    before = actual or fresh
    actions = []
    # What a new bucket blocks depends on the account, so it is always said.
    if after.block_public_access != before.block_public_access:
        verb = "block" if after.block_public_access else "allow"
        actions.append(Action(verb, "public access", {"set": "block_public_access", "value": after.block_public_access}))
    if after.acl != before.acl:
        place = 0 if after.acl == "private" else len(actions)
        actions.insert(place, Action("set", f"acl to {after.acl}", {"set": "acl", "value": after.acl}))
    if after.versioning != before.versioning:
        actions.append(Action("set", f"versioning to {after.versioning}", {"set": "versioning", "value": after.versioning}))
    if (after.encryption, after.kms_key_id) != (before.encryption, before.kms_key_id):
        value = (after.encryption, after.kms_key_id)
        actions.append(Action("set", f"encryption to {after.encryption}", {"set": "encryption", "value": value}))
    if dict(after.tags or {}) != dict(before.tags or {}):
        actions.append(
            Action("set", f"tags to {', '.join(sorted(after.tags or {})) or 'none'}", {"set": "tags", "value": dict(after.tags or {})})
        )
    return actions
