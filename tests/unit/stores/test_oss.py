# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The OSS store against the stand-in: objects, conditions, parts, breaks, and what errors say."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from support.oss_server import ACCESS_KEY, SECRET, TEMPORARY_KEY, TEMPORARY_SECRET, TOKEN, Fault, OssServer

from ansible_collections.serving.triton.plugins.module_utils.core.errors import InputError, ServingError, TransientError, UnavailableError
from ansible_collections.serving.triton.plugins.module_utils.core.wait import Clock, RetryPolicy
from ansible_collections.serving.triton.plugins.module_utils.repository.publish import SourceFile
from ansible_collections.serving.triton.plugins.module_utils.stores.base import StoreOptions
from ansible_collections.serving.triton.plugins.module_utils.stores.bucket import Listed, PreconditionError, Upload
from ansible_collections.serving.triton.plugins.module_utils.stores.oss import upload as oss_upload
from ansible_collections.serving.triton.plugins.module_utils.stores.oss.bucket import OssBucket, open_bucket
from ansible_collections.serving.triton.plugins.module_utils.stores.oss.client import OssClient, credentials, load_sdk
from ansible_collections.serving.triton.plugins.module_utils.stores.oss.place import locate

MIB = 1 << 20
# Sizes of the tests: what is sent whole from memory, in parts, and a part.
SMALL, SPLIT, PART = 64 << 10, 512 << 10, 128 << 10


def ignore(_files: int, _bytes: int) -> None:
    """Counts nothing."""


class Instant(Clock):
    def sleep(self, seconds: float) -> None:
        """Takes no time."""


@pytest.fixture
def server() -> Iterator[OssServer]:
    with OssServer() as running:
        running.make("models")
        yield running


def connect(server: OssServer, rest: str = "models/triton", attempts: int = 4, **given: Any) -> OssBucket:
    options = StoreOptions(providers={"oss": server.options(**given)}, attempts=attempts, timeout=10)
    quick = RetryPolicy(attempts=attempts, base=0.001)
    return OssBucket(OssClient(locate(rest, options.providers["oss"]), options, quick), options, Instant())


@pytest.fixture(autouse=True)
def _small_sizes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything a sixty-fourth of its size, so that the tests are quick."""
    if "real_sizes" not in request.fixturenames:
        monkeypatch.setattr(oss_upload, "MULTIPART_SIZE", SPLIT)
        monkeypatch.setattr(oss_upload, "_IN_MEMORY", SMALL)
        monkeypatch.setattr(oss_upload, "part_size", lambda _size: PART)


@pytest.fixture
def real_sizes() -> None:
    """The sizes as they are."""


@pytest.fixture
def bucket(server: OssServer) -> OssBucket:
    return connect(server)


@pytest.fixture
def source(tmp_path: Path) -> Callable[[str, int], SourceFile]:
    def make(name: str, size: int) -> SourceFile:
        data = os.urandom(min(size, MIB)) * (size // MIB + 1)
        (tmp_path / name).write_bytes(data[:size])
        return SourceFile(str(tmp_path / name), size, hashlib.sha256(data[:size]).hexdigest())

    return make


# --- objects


@pytest.mark.parametrize("version", ["v1", "v4"])
def test_objects_are_written_listed_read_and_deleted(server: OssServer, version: str) -> None:
    bucket = connect(server, "models/a prefix/+~'x", signature_version=version)
    stamps = {key: bucket.put(key, key.encode()) for key in ("m/1/model.onnx", "m/config.pbtxt", ".manifest", "n/é =+&.txt")}
    assert bucket.list() == [Listed(key, len(key.encode()), stamps[key]) for key in sorted(stamps)]
    assert [each.key for each in bucket.list("m/")] == ["m/1/model.onnx", "m/config.pbtxt"]
    assert bucket.folders() == {"m", "n"}
    found = bucket.read("m/config.pbtxt")
    assert found is not None
    assert (found.data, found.stamp) == (b"m/config.pbtxt", stamps["m/config.pbtxt"])
    assert found.age < 60
    assert bucket.digest("n/é =+&.txt") == hashlib.sha256("n/é =+&.txt".encode()).hexdigest()
    bucket.delete([*stamps, "was/never/there"])
    assert bucket.list() == []
    assert bucket.read("m/config.pbtxt") is None
    assert bucket.folders() == frozenset()


def test_an_age_goes_by_the_clock_of_oss(server: OssServer, bucket: OssBucket) -> None:
    bucket.put("lock", b"x")
    server.skew = 600
    found = bucket.read("lock")
    assert found is not None
    assert 590 <= found.age <= 660


def test_nothing_outside_of_the_prefix_is_seen_or_touched(server: OssServer, bucket: OssBucket) -> None:
    others = connect(server, "models/triton-other")
    others.put("m/1/x", b"theirs")
    bucket.put("m/1/x", b"ours")
    assert [each.key for each in bucket.list()] == ["m/1/x"]
    bucket.delete(["m/1/x"])
    assert [each.key for each in others.list()] == ["m/1/x"]
    assert bucket.url == "oss://models/triton"


def test_a_whole_bucket_is_a_repository_too(server: OssServer) -> None:
    bucket = connect(server, "models")
    bucket.put("m/x", b"")
    assert (bucket.url, [each.key for each in bucket.list()]) == ("oss://models", ["m/x"])


def test_long_lists_come_in_pages_and_side_by_side(server: OssServer, bucket: OssBucket) -> None:
    keys = [f"m{number // 10:03}/{number:04}" for number in range(2500)]
    bucket.upload([[Upload(key, data=b"x")] for key in keys], ignore)
    assert [each.key for each in bucket.list()] == keys
    for expected in (keys, keys[:1100], [*keys, "zzz"], sorted([*keys, *(f"m001/x{number}" for number in range(990))])):
        before = len(server.log)
        assert [each.key for each in bucket.list("", expected)] == keys
        assert len(server.log) - before <= 5
    bucket.delete(keys)
    assert bucket.list() == []


# --- conditions


def test_an_object_that_is_there_is_not_overwritten_under_condition(bucket: OssBucket) -> None:
    stamp = bucket.put("lock", b"mine", if_absent=True)
    with pytest.raises(PreconditionError, match="oss://models/triton/lock: the object is there already"):
        bucket.put("lock", b"yours", if_absent=True)
    with pytest.raises(PreconditionError, match="has changed"):
        bucket.put("lock", b"yours", if_stamp="0" * 32)
    with pytest.raises(PreconditionError, match="has changed"):
        bucket.put("nothing", b"yours", if_stamp=stamp)
    bucket.put("lock", b"mine again", if_stamp=stamp)
    assert (found := bucket.read("lock")) is not None
    assert found.data == b"mine again"


def test_where_versions_are_kept_the_condition_holds_all_the_same(server: OssServer) -> None:
    server.make("versioned", versioning="Enabled")
    bucket = connect(server, "versioned/triton")
    for _unused in range(2):
        stamp = bucket.put("lock", b"mine", if_absent=True)
        with pytest.raises(PreconditionError, match="there already"):
            bucket.put("lock", b"yours", if_absent=True)
        found = bucket.read("lock")
        assert found is not None
        assert (found.data, found.stamp) == (b"mine", stamp)
        bucket.delete(["lock"])
        assert bucket.read("lock") is None


@pytest.mark.parametrize("versioning", ["", "Enabled"])
def test_of_many_at_once_one_is_first(server: OssServer, versioning: str) -> None:
    server.make("raced", versioning=versioning)
    bucket = connect(server, "raced/triton")

    def take(number: int) -> int | None:
        try:
            bucket.put("lock", b"%d" % number, if_absent=True)
        except PreconditionError:
            return None
        return number

    with ThreadPoolExecutor(8) as pool:
        for _unused in range(5):
            winners = [number for number in pool.map(take, range(8)) if number is not None]
            assert len(winners) == 1
            assert (found := bucket.read("lock")) is not None
            assert found.data == b"%d" % winners[0]
            bucket.delete(["lock"])


def test_where_versions_are_suspended_the_condition_is_ignored_openly(server: OssServer) -> None:
    server.make("suspended", versioning="Suspended")
    bucket = connect(server, "suspended/triton")
    bucket.put("lock", b"mine", if_absent=True)
    bucket.put("lock", b"yours", if_absent=True)
    assert (found := bucket.read("lock")) is not None
    assert found.data == b"yours"


def test_a_lost_answer_to_a_conditional_write_is_no_conflict(server: OssServer, bucket: OssBucket) -> None:
    server.faults.append(Fault("lost", "PUT", "lock"))
    stamp = bucket.put("lock", b"mine", if_absent=True)
    assert (found := bucket.read("lock")) is not None
    assert (found.data, found.stamp) == (b"mine", stamp)
    server.faults.append(Fault("reset", "PUT", "lock"))
    with pytest.raises(PreconditionError):
        bucket.put("lock", b"yours", if_absent=True)


# --- uploads


@pytest.mark.parametrize("size", [0, 1, SMALL, SMALL + 1, SPLIT - 1, SPLIT, SPLIT + 1, 10 * PART + 7])
def test_files_of_any_size_arrive(
    server: OssServer, bucket: OssBucket, source: Callable[[str, int], SourceFile], tmp_path: Path, size: int
) -> None:
    file = source("model", size)
    counted: list[tuple[int, int]] = []
    stamps = bucket.upload([[Upload("m/1/model", file)]], lambda files, count: counted.append((files, count)))
    assert bucket.list() == [Listed("m/1/model", size, stamps["m/1/model"])]
    assert (sum(files for files, _count in counted), sum(count for _files, count in counted)) == (1, size)
    assert bucket.digest("m/1/model") == file.sha256
    bucket.download("m/1/model", str(tmp_path / "back"), ignore)
    assert (tmp_path / "back").read_bytes() == Path(file.path).read_bytes()
    puts = [each.size for each in server.requests("PUT")]
    parts, rest = divmod(size, PART)
    assert sorted(puts) == ([size] if size < SPLIT else sorted([PART] * parts + [rest] * bool(rest)))


def test_large_files_go_in_parts_of_8_mib(
    server: OssServer, bucket: OssBucket, source: Callable[[str, int], SourceFile], real_sizes: None
) -> None:
    file = source("model", 17 * MIB)
    bucket.upload([[Upload("model", file)], [Upload("other", source("other", 15 * MIB))]], ignore)
    assert sorted(each.size for each in server.requests("PUT")) == [MIB, 8 * MIB, 8 * MIB, 15 * MIB]
    assert bucket.digest("model") == file.sha256


def test_parts_grow_where_there_would_be_too_many(real_sizes: None) -> None:
    assert oss_upload.part_size(16 * MIB) == 8 * MIB
    assert oss_upload.part_size(80_000 * MIB) == 8 * MIB
    assert oss_upload.part_size(80_001 * MIB) == 9 * MIB
    assert -(-5_000_000 * MIB // oss_upload.part_size(5_000_000 * MIB)) <= 10_000


def test_a_chain_is_written_in_order_and_its_failure_stops_what_has_not_begun(server: OssServer, bucket: OssBucket) -> None:
    server.faults.append(Fault(method="PUT", part="m/2", status=403, code="AccessDenied"))
    with pytest.raises(UnavailableError, match="access is denied"):
        bucket.upload([[Upload(f"m/{number}", data=b"x") for number in range(5)]], ignore)
    assert [each.key for each in bucket.list()] == ["m/0", "m/1"]
    assert [each.key for each in server.requests("PUT")] == ["triton/m/0", "triton/m/1", "triton/m/2"]


def test_objects_carry_what_the_options_say(server: OssServer, source: Callable[[str, int], SourceFile]) -> None:
    bucket = connect(server, storage_class="IA", encryption="KMS", kms_key_id="key-1")
    bucket.upload([[Upload("small", data=b"x"), Upload("large", source("model", SPLIT))]], ignore)
    bucket.put("manifest", b"{}")
    for key in ("small", "large", "manifest"):
        kept = server.buckets.all["models"].objects[f"triton/{key}"][-1].headers
        assert kept["x-oss-storage-class"] == "IA"
        assert kept["x-oss-server-side-encryption"] == "KMS"
        assert kept["x-oss-server-side-encryption-key-id"] == "key-1"


@pytest.mark.parametrize("size", [1000, 2 * SMALL, SPLIT])
def test_a_file_that_changed_is_an_error_and_nothing_is_written(
    bucket: OssBucket, source: Callable[[str, int], SourceFile], size: int
) -> None:
    file = source("model", size)
    # Its content is random: another first byte is made of the one that it has.
    other = bytes([Path(file.path).read_bytes()[0] ^ 1])
    for change in (other, b"x" * (size + 1)):
        Path(file.path).write_bytes(change + Path(file.path).read_bytes()[len(change) : size])
        with pytest.raises(InputError, match="changed while it was published"):
            bucket.upload([[Upload("m", file)]], ignore)
    Path(file.path).unlink()
    with pytest.raises(InputError, match="cannot be read"):
        bucket.upload([[Upload("m", file)]], ignore)
    assert bucket.list() == []


def test_a_file_that_shrinks_while_it_is_sent_is_told(
    server: OssServer, bucket: OssBucket, source: Callable[[str, int], SourceFile]
) -> None:
    file = source("model", SPLIT)
    real = server.buckets.handle

    def shrink(request: Any, body: bytes) -> Any:
        if "uploads" in request.query and request.method == "POST":
            os.truncate(file.path, 1000)
        return real(request, body)

    with mock.patch.object(server.buckets, "handle", shrink), pytest.raises(InputError, match="changed while it was published"):
        bucket.upload([[Upload("m", file)]], ignore)


def test_a_broken_upload_goes_on_where_it_ended(server: OssServer, source: Callable[[str, int], SourceFile]) -> None:
    file = source("model", 5 * PART)
    bucket = connect(server, attempts=1)
    server.faults.append(Fault(method="PUT", part="partNumber=2", status=403, code="AccessDenied"))
    with pytest.raises(UnavailableError):
        bucket.upload([[Upload("model", file)]], ignore)
    (unfinished,) = server.buckets.all["models"].uploads.values()
    there = len(unfinished.parts)
    assert 1 <= there < 5
    server.log.clear()
    counted: list[int] = []
    bucket.upload([[Upload("model", file)]], lambda _files, size: counted.append(size))
    assert len(server.requests("PUT")) == 5 - there
    assert sum(counted) == 5 * PART
    assert bucket.digest("model") == file.sha256
    assert not server.buckets.all["models"].uploads


def test_an_upload_of_other_content_is_given_up(server: OssServer, source: Callable[[str, int], SourceFile]) -> None:
    bucket = connect(server, attempts=1)
    server.faults.append(Fault(method="POST", part="uploadId=", status=403, code="AccessDenied"))
    with pytest.raises(UnavailableError):
        bucket.upload([[Upload("model", source("old", SPLIT))]], ignore)
    new = source("new", SPLIT)
    bucket.upload([[Upload("model", new)]], ignore)
    assert bucket.digest("model") == new.sha256
    assert not server.buckets.all["models"].uploads


@pytest.mark.parametrize(("status", "limit"), [(503, 2), (429, 2), (500, 4)])
def test_oss_that_asks_to_slow_down_gets_fewer_requests(server: OssServer, bucket: OssBucket, status: int, limit: int) -> None:
    gate = bucket._client.transfers.gate
    assert gate.limit == 4, "as StoreOptions says"
    server.faults.append(Fault(status=status))
    bucket.put("a", b"1")
    assert gate.limit == limit


def test_a_lost_answer_to_the_last_request_of_an_upload_is_no_failure(
    server: OssServer, bucket: OssBucket, source: Callable[[str, int], SourceFile]
) -> None:
    file = source("model", SPLIT)
    server.faults.append(Fault("lost", "POST", "uploadId="))
    stamps = bucket.upload([[Upload("model", file)]], ignore)
    assert bucket.list() == [Listed("model", SPLIT, stamps["model"])]


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=503),
        Fault(status=500, code="InternalError", times=2),
        Fault(status=503, code="QpsLimitExceeded", headers={"Retry-After": "0"}),
        Fault(status=429, code="TooManyRequests"),
        Fault("reset", times=2),
        Fault("lost"),
        Fault("truncate"),
        Fault("damage"),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}",
)
def test_failures_that_pass_are_outlived(
    server: OssServer, bucket: OssBucket, source: Callable[[str, int], SourceFile], tmp_path: Path, fault: Fault
) -> None:
    files = {"small": source("small", 10), "whole": source("whole", 3 * SMALL), "parts": source("parts", SPLIT + 1)}
    for method in ("PUT", "POST", "GET"):
        server.faults.append(Fault(fault.kind, method, "", fault.status, fault.code, fault.times, fault.headers))
    bucket.upload([[Upload(key, file)] for key, file in files.items()], ignore)
    for key, file in files.items():
        server.faults.append(Fault(fault.kind, "GET", "", fault.status, fault.code, fault.times, fault.headers))
        assert bucket.digest(key) == file.sha256
        server.faults.append(Fault(fault.kind, "GET", "", fault.status, fault.code, fault.times, fault.headers))
        bucket.download(key, str(tmp_path / "back"), ignore)
        assert (tmp_path / "back").read_bytes() == Path(file.path).read_bytes()
        (tmp_path / "back").unlink()
    assert {each.key for each in bucket.list()} == set(files)


# --- downloads


def test_a_download_goes_on_behind_what_is_there(
    server: OssServer, bucket: OssBucket, source: Callable[[str, int], SourceFile], tmp_path: Path
) -> None:
    file = source("model", 3 * MIB)
    bucket.upload([[Upload("model", file)]], ignore)
    target = tmp_path / "back"
    target.write_bytes(Path(file.path).read_bytes()[: 2 * MIB])
    counted: list[int] = []
    bucket.download("model", str(target), lambda _files, size: counted.append(size))
    assert target.read_bytes() == Path(file.path).read_bytes()
    assert sum(counted) == MIB
    # Whole already, of other content, and longer than the object.
    for content in (target.read_bytes(), b"x" * MIB, target.read_bytes() + b"x"):
        target.write_bytes(content)
        bucket.download("model", str(target), ignore)
        assert target.read_bytes() == Path(file.path).read_bytes()
    with pytest.raises(UnavailableError, match="does not exist"):
        bucket.download("nothing", str(target), ignore)
    with pytest.raises(UnavailableError, match="No such file or directory") as error:
        bucket.download("model", str(tmp_path / "no folder" / "back"), ignore)
    assert error.value.where == str(tmp_path / "no folder" / "back")
    with pytest.raises(UnavailableError, match="a part of the path is not a folder"):
        bucket.download("model", str(target / "back"), ignore)


# --- errors and credentials


def refused(server: OssServer, rest: str = "models/triton", **given: Any) -> ServingError:
    with pytest.raises(ServingError) as caught:
        connect(server, rest, attempts=2, **given).list()
    assert SECRET not in str(caught.value)
    return caught.value


def test_errors_say_what_to_do(server: OssServer) -> None:
    assert "the bucket does not exist. Correct its name" in str(refused(server, "nobody-has-it/x"))
    assert "the secret is not the one" in str(refused(server, access_key_secret="wrong"))
    assert "is not known to OSS" in str(refused(server, access_key_id="wrong"))
    assert "security token is not valid" in str(
        refused(server, access_key_id=TEMPORARY_KEY, access_key_secret=TEMPORARY_SECRET, security_token="wrong")
    )
    assert "signing region" in str(refused(server, region="cn-elsewhere"))
    server.elsewhere["models"] = "oss-cn-beijing.aliyuncs.com"
    error = refused(server)
    assert isinstance(error, InputError)
    assert "another region" in error.what
    assert "oss-cn-beijing.aliyuncs.com" in error.remedy
    assert error.details["code"] == "AccessDenied"


@pytest.mark.parametrize(("skew", "words"), [(3600, "s behind OSS's"), (-3600, "s ahead of OSS's")])
def test_a_wrong_clock_is_named(server: OssServer, skew: float, words: str) -> None:
    server.skew = skew
    error = refused(server)
    assert "this machine's clock is wrong" in error.what
    assert words in error.what
    assert len(server.log) == 1


def test_a_failure_that_does_not_pass_is_told_after_the_attempts(server: OssServer) -> None:
    server.faults.append(Fault(times=99))
    error = refused(server)
    assert isinstance(error, TransientError)
    assert "503 ServiceUnavailable" in error.what
    assert len(server.log) == 2


def test_nobody_at_the_endpoint_is_told() -> None:
    with OssServer() as server:
        options = server.options()
    bucket = open_bucket("models/x", StoreOptions(providers={"oss": options}, attempts=1, timeout=2))
    with pytest.raises(TransientError, match="does not answer: nothing listens there"):
        bucket.list()


def test_temporary_credentials_work_in_both_versions(server: OssServer) -> None:
    keys = {"access_key_id": TEMPORARY_KEY, "access_key_secret": TEMPORARY_SECRET, "security_token": TOKEN}
    for version in ("v1", "v4"):
        assert connect(server, signature_version=version, **keys).list() == []


@pytest.mark.parametrize(
    "environment",
    [
        {"OSS_ACCESS_KEY_ID": "a", "OSS_ACCESS_KEY_SECRET": "b", "OSS_SESSION_TOKEN": "c", "ALIBABA_CLOUD_ACCESS_KEY_ID": "x"},
        {"ALIBABA_CLOUD_ACCESS_KEY_ID": "a", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "b", "ALIBABA_CLOUD_SECURITY_TOKEN": "c"},
    ],
)
def test_credentials_come_from_the_environment(environment: dict[str, str]) -> None:
    found = credentials({}, load_sdk(), environment).get_credentials()
    assert (found.access_key_id, found.access_key_secret, found.security_token) == ("a", "b", "c")
    given = credentials({"access_key_id": "y", "access_key_secret": "z"}, load_sdk(), environment).get_credentials()
    assert (given.access_key_id, given.access_key_secret, given.security_token) == ("y", "z", None)
    with pytest.raises(UnavailableError, match="half of an AccessKey"):
        credentials({"access_key_id": "y"}, load_sdk(), environment)


def test_credentials_come_from_a_named_profile(server: OssServer, tmp_path: Path) -> None:
    profile = {"name": "models", "mode": "AK", "access_key_id": ACCESS_KEY, "access_key_secret": SECRET}
    (tmp_path / ".aliyun").mkdir()
    (tmp_path / ".aliyun" / "config.json").write_text(json.dumps({"current": "other", "profiles": [profile]}))
    with mock.patch("alibabacloud_credentials.utils.auth_constant.HOME", str(tmp_path)):
        bucket = connect(server, access_key_id=None, access_key_secret=None, profile="models")
        assert bucket.list() == []


def test_where_there_are_no_credentials_that_is_told(
    server: OssServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in os.environ if name.startswith(("OSS_", "ALIBABA_CLOUD_"))]:
        monkeypatch.delenv(name)
    utils = "alibabacloud_credentials.utils"
    monkeypatch.setattr(f"{utils}.auth_constant.HOME", str(tmp_path))
    # Read by the library when it is imported; a test asks no machine's metadata.
    monkeypatch.setattr(f"{utils}.auth_util.environment_ecs_metadata_disabled", "true")
    error = refused(server, access_key_id=None, access_key_secret=None)
    assert str(error).startswith("oss://models/triton: no credentials for OSS were found. Give access_key_id")
    assert "config.json" in error.details["looked_at"]
    assert capfd.readouterr().err == ""
    assert server.log == []


def test_a_missing_library_is_named() -> None:
    with (
        mock.patch.dict("sys.modules", {"alibabacloud_oss_v2": None}),
        pytest.raises(UnavailableError, match="pip install alibabacloud-oss-v2"),
    ):
        open_bucket("models/x", StoreOptions(providers={"oss": {"region": "cn-shanghai"}}))
    with (
        mock.patch.dict("sys.modules", {"alibabacloud_credentials.client": None}),
        pytest.raises(UnavailableError, match="alibabacloud-credentials, which looks for others, is not installed"),
    ):
        credentials({}, load_sdk(), {})
