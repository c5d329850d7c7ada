# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""oss_bucket against the OSS stand-in, as Ansible runs it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support.ansible_runs import run_module
from support.oss_server import ACCESS_KEY, SECRET, Fault, OssServer
from support.oss_state import Multipart
from support.rules import collection

pytestmark = pytest.mark.integration
KEYS = {"OSS_ACCESS_KEY_ID": ACCESS_KEY, "OSS_ACCESS_KEY_SECRET": SECRET}


@pytest.fixture
def server() -> Iterator[OssServer]:
    with OssServer() as running:
        yield running


def run(server: OssServer, *, check: bool = False, **arguments: Any) -> dict[str, Any]:
    oss = {"endpoint": server.endpoint, "region": server.region}
    result = run_module("serving.triton.oss_bucket", {"name": "models", "oss": oss, **arguments}, check=check, diff=True, env=KEYS)
    assert SECRET not in str({key: value for key, value in result.items() if key != "invocation"})
    return result


def same_in_check_mode(server: OssServer, **arguments: Any) -> dict[str, Any]:
    """Runs in check mode, for real, and again: the first two say the same, the first and the last change nothing."""
    writes = len([each for each in server.log if each.method not in ("GET", "HEAD")])
    predicted = run(server, check=True, **arguments)
    assert writes == len([each for each in server.log if each.method not in ("GET", "HEAD")])
    done = run(server, **arguments)
    assert not done.get("failed"), done
    for key in ("changed", "actions", "diff"):
        assert predicted[key] == done[key]
    again = run(server, **arguments)
    assert again["changed"] is False
    assert again["actions"] == []
    assert again["diff"]["before"] == again["diff"]["after"]
    assert again["bucket"] == done["bucket"]
    return done


def test_a_bucket_lives_and_dies(server: OssServer) -> None:
    made = same_in_check_mode(server, storage_class="IA", redundancy_type="ZRS", tags={"team": "inference", "cost": 7})
    assert made["changed"] is True
    assert made["bucket"] == {
        "name": "models",
        "region": server.region,
        "endpoint": f"oss-{server.region}.aliyuncs.com",
        "internal_endpoint": f"oss-{server.region}-internal.aliyuncs.com",
        "storage_class": "IA",
        "redundancy_type": "ZRS",
        "acl": "private",
        "block_public_access": True,
        "versioning": "disabled",
        "encryption": "none",
        "kms_key_id": "",
        "tags": {"team": "inference", "cost": "7"},
    }
    bucket = server.buckets.all["models"]
    assert (bucket.acl, bucket.blocked, bucket.storage_class, bucket.redundancy) == ("private", True, "IA", "ZRS")
    assert bucket.tags == {"team": "inference", "cost": "7"}
    changed = same_in_check_mode(server, versioning="enabled", encryption="KMS", kms_key_id="key-1", tags={})
    assert changed["actions"] == ["set versioning to enabled", "set encryption to KMS", "set tags to none"]
    assert (bucket.versioning, bucket.encryption, bucket.kms_key, bucket.tags) == ("Enabled", "KMS", "key-1", {})
    opened = same_in_check_mode(server, acl="public-read", block_public_access=False, encryption="none", versioning="suspended")
    assert opened["bucket"]["acl"] == "public-read"
    assert (bucket.acl, bucket.blocked, bucket.encryption, bucket.versioning) == ("public-read", False, "", "Suspended")
    closed = same_in_check_mode(server)
    assert closed["actions"] == ["set acl to private", "block public access"]
    gone = same_in_check_mode(server, state="absent")
    assert gone["diff"]["after"] == {}
    assert "models" not in server.buckets.all


def test_a_bucket_that_holds_something_is_emptied_by_force_alone(server: OssServer) -> None:
    bucket = server.make("models", versioning="Enabled")
    for number in range(1500):
        server.buckets._write(bucket, f"m/{number % 1200}", b"x", "E", {})
    server.buckets._delete(bucket, "m/1", "")
    bucket.uploads["U"] = Multipart("m/large", {}, server.now())
    refused = run(server, state="absent")
    assert refused["failed"]
    assert "the bucket is not empty. Empty it first, or set force." in refused["msg"]
    few = run(server, state="absent", force=True, force_limit=1000)
    assert "holds more than 1000 objects" in few["msg"]
    assert len(bucket.objects) == 1200
    done = same_in_check_mode(server, state="absent", force=True)
    assert done["actions"] == ["delete 1502 objects, versions and unfinished uploads in models", "delete bucket models"]
    assert server.buckets.all == {}


def test_errors_are_told(server: OssServer) -> None:
    server.buckets.taken.add("models")
    assert "access is denied" in run(server)["msg"]
    server.buckets.taken.clear()
    assert "no name of a bucket" in run(server, name="Models")["msg"]
    assert "no name of a bucket" in run(server, name="models.example")["msg"]
    assert "while public access is blocked" in run(server, acl="public-read")["msg"]
    server.elsewhere["models"] = "oss-cn-beijing.aliyuncs.com"
    assert "Set the endpoint to oss-cn-beijing.aliyuncs.com" in run(server)["msg"]
    server.elsewhere.clear()
    server.faults.append(Fault("answer", "PUT", "publicAccessBlock", 403, "AccessDenied"))
    assert "access is denied" in run(server)["msg"]
    finished = run(server)
    assert finished["actions"] == ["block public access"]
    assert "cannot be changed to IA" in run(server, storage_class="IA")["msg"]


def documented(module: str) -> dict[str, Any]:
    options: dict[str, Any] = collection.documentation("module", (module,))[f"serving.triton.{module}"]["doc"]["options"]
    return options


def test_options_are_those_of_the_other_modules() -> None:
    mine, theirs = (documented(name) for name in ("oss_bucket", "model_repository"))
    for option in ("oss", "timeout", "attempts", "validate_certs", "ca_path"):
        assert mine[option] == theirs[option]
