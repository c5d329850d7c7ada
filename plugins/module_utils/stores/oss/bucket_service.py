# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A bucket of OSS: observe, plan, apply. What the module oss_bucket hands to `module.run_plan`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from ...core.errors import InputError, ServingError, UnavailableError
from ...core.plan import Plan
from ..base import StoreOptions
from .bucket_plan import BucketState, Observed, Wanted, plan_absent, plan_present
from .client import OssClient
from .place import locate

_PAGE = 1000


class BucketService:
    """wanted: None to remove the bucket. limit: the most objects and versions that a removal may delete."""

    def __init__(self, name: str, wanted: Wanted | None, options: StoreOptions, *, force: bool = False, limit: int = 0) -> None:
        if wanted is not None:
            wanted.check()
        self._name, self._wanted, self._force, self._limit = name, wanted, force, limit
        place = locate(name, options.providers.get("oss") or {})
        if place.bucket != name:
            raise InputError(
                f"{name!r} is no name of a bucket", where="name", remedy="Give the name alone, and the endpoint in oss.endpoint."
            )
        self._client = OssClient(place, options)
        self._models = self._client.models

    def _call(self, operation: str, kind: str, **arguments: Any) -> Any:
        request = getattr(self._models, kind)(bucket=self._name, **arguments)
        return self._client.call(operation, request, self._name)

    # --- reading

    def observe(self) -> Observed:
        try:
            found = self._call("get_bucket_info", "GetBucketInfoRequest").bucket_info
        except ServingError as error:
            if error.details.get("code") != "NoSuchBucket":
                raise
            return Observed()
        rule = found.sse_rule
        algorithm = rule.sse_algorithm if rule and rule.sse_algorithm not in (None, "", "None") else "none"
        state = BucketState(
            found.storage_class or "Standard",
            found.data_redundancy_type or "LRS",
            found.acl or "private",
            bool(found.block_public_access),
            (found.versioning or "disabled").lower(),
            algorithm,
            (rule.kms_master_key_id or "") if algorithm == "KMS" else "",
            self._tags(),
        )
        place = {
            "region": (found.location or "").removeprefix("oss-"),
            "endpoint": found.extranet_endpoint or "",
            "internal_endpoint": found.intranet_endpoint or "",
        }
        return Observed(state, 0 if self._wanted else self._count(), place)

    def _tags(self) -> dict[str, str]:
        if self._wanted is None or self._wanted.tags is None:
            # Not asked for what nobody needs: reading tags is a permission of its own.
            return {}
        found = self._call("get_bucket_tags", "GetBucketTagsRequest").tagging
        return {each.key: each.value or "" for each in (found.tag_set.tags if found and found.tag_set else None) or []}

    def _count(self) -> int:
        """Everything that hinders a removal, at most one more than may be deleted."""
        count, key, version = len(self._uploads()), None, None
        while count <= self._limit:
            page = self._versions(key_marker=key, version_id_marker=version)
            count += len(page.version or []) + len(page.delete_marker or [])
            if not page.is_truncated:
                break
            key, version = page.next_key_marker, page.next_version_id_marker
        return min(count, self._limit + 1)

    def _versions(self, **more: Any) -> Any:
        return self._call("list_object_versions", "ListObjectVersionsRequest", max_keys=_PAGE, **more)

    def _uploads(self) -> list[Any]:
        return self._call("list_multipart_uploads", "ListMultipartUploadsRequest", max_uploads=_PAGE).uploads or []

    # --- the plan

    def plan(self, actual: Observed) -> Plan:
        if self._wanted is None:
            return plan_absent(self._name, actual, force=self._force, limit=self._limit)
        return plan_present(self._name, actual.state, self._wanted)

    def apply(self, plan: Plan) -> None:
        settings: Mapping[str, Callable[[Mapping[str, Any]], object]] = {
            "create": self._create,
            "empty": lambda _data: self._empty(),
            "delete": lambda _data: self._call("delete_bucket", "DeleteBucketRequest"),
            "block_public_access": self._block,
            "acl": lambda data: self._call("put_bucket_acl", "PutBucketAclRequest", acl=data["value"]),
            "versioning": self._version,
            "encryption": self._encrypt,
            "tags": self._tag,
        }
        for action in plan:
            settings[action.data["set"]](action.data)

    def result(self, actual: Observed, plan: Plan, applied: bool) -> dict[str, Any]:
        state = cast(dict[str, Any], plan.after if plan else actual.state.shown() if actual.state else {})
        if not state:
            return {"bucket": {}}
        place = actual.place or (self.observe().place if applied else None) or {"region": self._client.place.region}
        return {"bucket": {"name": self._name, **place, **state}}

    # --- changes

    def _create(self, data: Mapping[str, Any]) -> None:
        settings = self._models.CreateBucketConfiguration(storage_class=data["storage_class"], data_redundancy_type=data["redundancy_type"])
        self._call("put_bucket", "PutBucketRequest", acl="private", create_bucket_configuration=settings)

    def _block(self, data: Mapping[str, Any]) -> None:
        block = self._models.PublicAccessBlockConfiguration(block_public_access=data["value"])
        self._call("put_bucket_public_access_block", "PutBucketPublicAccessBlockRequest", public_access_block_configuration=block)

    def _version(self, data: Mapping[str, Any]) -> None:
        status = self._models.VersioningConfiguration(status=data["value"].capitalize())
        self._call("put_bucket_versioning", "PutBucketVersioningRequest", versioning_configuration=status)

    def _encrypt(self, data: Mapping[str, Any]) -> None:
        algorithm, key = data["value"]
        if algorithm == "none":
            self._call("delete_bucket_encryption", "DeleteBucketEncryptionRequest")
            return
        default = self._models.ApplyServerSideEncryptionByDefault(sse_algorithm=algorithm, kms_master_key_id=key or None)
        rule = self._models.ServerSideEncryptionRule(apply_server_side_encryption_by_default=default)
        self._call("put_bucket_encryption", "PutBucketEncryptionRequest", server_side_encryption_rule=rule)

    def _tag(self, data: Mapping[str, Any]) -> None:
        if not data["value"]:
            self._call("delete_bucket_tags", "DeleteBucketTagsRequest")
            return
        tags = [self._models.Tag(key=key, value=value) for key, value in sorted(data["value"].items())]
        tagging = self._models.Tagging(tag_set=self._models.TagSet(tags=tags))
        self._call("put_bucket_tags", "PutBucketTagsRequest", tagging=tagging)

    def _empty(self) -> None:
        # As many rounds as what was counted takes, and a few for what others write meanwhile.
        for _unused in range(self._limit // _PAGE + 3):
            for each in self._uploads():
                self._call("abort_multipart_upload", "AbortMultipartUploadRequest", key=each.key, upload_id=each.upload_id)
            page = self._versions()
            found = [self._models.DeleteObject(key=each.key, version_id=each.version_id) for each in self._all(page)]
            if found:
                self._call("delete_multiple_objects", "DeleteMultipleObjectsRequest", objects=found, quiet=False)
            elif not self._uploads():
                return
        remedy = "Stop what writes to it, and look whether a retention policy protects objects."
        raise UnavailableError("the bucket does not become empty", where=self._name, remedy=remedy)

    def _all(self, page: Any) -> list[Any]:
        return [*(page.version or []), *(page.delete_marker or [])]
