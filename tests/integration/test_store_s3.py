# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is S3's own: what it costs, what the server checks, servers that differ, credentials, large files that are taken up again."""

from __future__ import annotations

import json
import random
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from support import s3_server as s3
from support.certificates import make_certificates
from support.fault_proxy import FaultPlan, fault_proxy
from support.store_contract import Publishing

from ansible_collections.serving.triton.plugins.module_utils.core.errors import ConflictError, ServingError
from ansible_collections.serving.triton.plugins.module_utils.core.wait import Clock

pytestmark = pytest.mark.skipif(
    bool(s3.ENDPOINT), reason="needs a server that tells what it was asked; the contract suite uses the real one"
)


@pytest.fixture(scope="module")
def server() -> Iterator[s3.S3Server]:
    with s3.s3_server() as server:
        yield server


@pytest.fixture
def store(server: s3.S3Server) -> Iterator[s3.S3UnderTest]:
    """A place of its own, which no request may leave."""
    place = s3.S3UnderTest(s3.observer(server.endpoint), server.endpoint, f"models-{random.randrange(16**8):08x}", server)
    server.settings(prefix=f"{s3.BUCKET}/{place.prefix}/", ignore_conditions=False, unquoted_if_match=False, clock_offset=0)
    yield place
    assert all(each.startswith(f"{s3.BUCKET}/{place.prefix}/") for each in server.state()["touched"])


@pytest.fixture
def publishing(store: s3.S3UnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Publishing:
    pauses_of(0.02, monkeypatch)
    return Publishing(store, tmp_path)


def pauses_of(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most: nothing polls the server that would need the longer ones."""
    monkeypatch.setattr(Clock, "sleep", lambda _clock, wanted: time.sleep(min(wanted, seconds)))


def given(publishing: Publishing, **s3_options: Any) -> dict[str, Any]:
    """The module's option s3, with these on top of the test's."""
    return {**publishing.store.module_options["s3"], **s3_options}


# --- the server checks


def test_the_server_checks_what_s3_checks(server: s3.S3Server, store: s3.S3UnderTest) -> None:
    ours = s3.observer(server.endpoint, pair=s3.PUBLISHER)
    key = {"Bucket": s3.BUCKET, "Key": f"{store.prefix}/a"}
    stamp = ours.put_object(**key, Body=b"1", IfNoneMatch="*")["ETag"]
    refused: list[tuple[Any, dict[str, Any]]] = [
        (ours, {**key, "IfNoneMatch": "*"}),
        (ours, {**key, "IfMatch": '"0"'}),
        (ours, {**key, "ContentMD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}),
        (ours, {**key, "ChecksumCRC32": "AAAAAA=="}),
        (ours, {**key, "ChecksumCRC32C": "AAAAAA=="}),
        (ours, {**key, "Key": "elsewhere"}),
        (s3.observer(server.endpoint, pair=(s3.PUBLISHER[0], "wrong")), key),
        (s3.observer(server.endpoint, pair=("AKIAUNKNOWN", "wrong")), key),
        (s3.observer(server.endpoint, pair=s3.TEMPORARY[:2]), key),
    ]
    codes = []
    for client, request in refused:
        with pytest.raises(ClientError) as caught:
            client.put_object(**request, Body=b"2")
        codes.append(caught.value.response["Error"]["Code"])
    assert codes == [
        "PreconditionFailed", "PreconditionFailed", "BadDigest", "BadDigest", "BadDigest", "AccessDenied", "SignatureDoesNotMatch",
        "InvalidAccessKeyId", "InvalidToken",
    ]  # fmt: skip
    assert store.get("a") == b"1"
    ours.put_object(**key, Body=b"123456789", IfMatch=stamp, ChecksumCRC32C="4waSgw==")
    server.settings(clock_offset=1000, prefix="")
    with pytest.raises(ClientError, match="RequestTimeTooSkewed"):
        ours.get_object(**key)
    server.settings(clock_offset=0)


# --- what it costs


def test_an_idle_run_costs_the_manifest_and_the_lists(publishing: Publishing, server: s3.S3Server) -> None:
    count = 1200
    publishing.add("alpha", **{f"part{number:04}": "x" for number in range(count)})
    publishing.publish()
    first = server.counts()
    # The lock and the proof that conditions hold, the manifest before and after.
    assert count < first.pop("PutObject") <= len(publishing.wanted()) + 4
    assert set(first) <= {"GetObject", "ListObjectsV2", "DeleteObjects", "DeleteObject"}
    server.settings()
    assert not publishing.publish()["changed"]
    assert server.counts() == {"GetObject": 1, "ListObjectsV2": 2}
    server.settings()
    assert not publishing.publish(verify="manifest")["changed"]
    assert server.counts() == {"GetObject": 1, "ListObjectsV2": 1}
    publishing.add("alpha", config="# other\n")
    server.settings()
    publishing.publish()
    assert server.counts()["PutObject"] <= 1 + 4


# --- servers that differ


@pytest.mark.parametrize("checksum", ["auto", "md5", "crc32"])
def test_every_body_that_is_sent_is_checked_by_the_server(publishing: Publishing, server: s3.S3Server, checksum: str) -> None:
    publishing.add("alpha")
    (publishing.source / "alpha" / "1" / "weights").write_bytes(random.Random(1).randbytes(18 << 20))
    publishing.publish(s3=given(publishing, checksum=checksum))
    assert publishing.is_settled()
    # The second write of a lock proves that conditions hold: it is refused by moto, not by a check.
    assert server.state()["refused"] == []


def test_etags_without_quotes_as_ceph_wants_them(publishing: Publishing, server: s3.S3Server) -> None:
    server.settings(unquoted_if_match=True)
    for version in (1, 2):
        publishing.add("alpha", version)
        publishing.publish()
    assert publishing.is_settled()


def test_a_server_that_ignores_conditions_gets_a_lease(
    publishing: Publishing, server: s3.S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.settings(ignore_conditions=True)
    pauses_of(0.5, monkeypatch)
    rivals = [Publishing(publishing.store, publishing.home / str(number)) for number in range(2)]
    results: list[Any] = [None, None]

    def compete(number: int) -> None:
        rivals[number].add("alpha", config=f"# {number}\n", rival=str(number))
        try:
            results[number] = rivals[number].publish()
        except ServingError as error:
            results[number] = error

    threads = [threading.Thread(target=compete, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    winners = [number for number, result in enumerate(results) if isinstance(result, dict)]
    assert len(winners) == 1, results
    assert isinstance(results[1 - winners[0]], ConflictError)
    assert rivals[winners[0]].is_settled()


def test_a_clock_that_is_wrong_is_named_and_no_obstacle(publishing: Publishing, server: s3.S3Server) -> None:
    server.settings(clock_offset=3600)
    publishing.add("alpha")
    notes = publishing.publish()["notes"]
    # The server tells its time in whole seconds.
    assert any(re.search(r"clock differs .* by -(3599|3600) s", note) for note in notes), notes
    server.settings(clock_offset=0)
    assert publishing.is_settled()


def test_https_with_an_authority_of_ones_own(tmp_path: Path, publishing: Publishing) -> None:
    certificates = make_certificates(tmp_path)
    with s3.s3_server(certificates) as server:
        store = s3.S3UnderTest(s3.observer(server.endpoint, server.ca), server.endpoint, "models", server)
        secure = Publishing(store, tmp_path / "secure")
        secure.add("alpha")
        (secure.source / "alpha" / "1" / "weights").write_bytes(random.Random(1).randbytes(18 << 20))
        with pytest.raises(ServingError, match="certificate") as caught:
            secure.publish(ca_path=None, attempts=2)
        assert caught.value.remedy
        secure.publish()
        assert secure.is_settled()
        assert server.state()["refused"] == []


# --- credentials


def test_temporary_credentials_of_the_environment(publishing: Publishing, monkeypatch: pytest.MonkeyPatch) -> None:
    key, secret, token = s3.TEMPORARY
    for name, value in (("ACCESS_KEY_ID", key), ("SECRET_ACCESS_KEY", secret), ("SESSION_TOKEN", token), ("REGION", s3.REGION)):
        monkeypatch.setenv(f"AWS_{name}", value)
    publishing.add("alpha")
    publishing.publish(s3={})
    assert publishing.is_settled()
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of-yesterday")
    with pytest.raises(ServingError) as caught:
        publishing.publish(s3={}, attempts=2)
    assert caught.value.remedy
    assert "of-yesterday" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "url", "words"),
    [
        ({"secret_key": "wrong-canary"}, "", "secret"),
        ({"access_key": "AKIAUNKNOWN"}, "", "access key"),
        ({}, "/no-such-bucket/models", "bucket"),
    ],
)
def test_what_cannot_work_is_told(publishing: Publishing, server: s3.S3Server, options: dict[str, str], url: str, words: str) -> None:
    server.settings(prefix="")
    publishing.add("alpha")
    repository = f"s3://{server.endpoint}{url}" if url else publishing.store.url
    failed = publishing.run(s3=given(publishing, **options), repository=repository)
    assert failed["failed"]
    assert words in failed["msg"].lower(), failed["msg"]
    assert failed["remedy"]
    assert "canary" not in json.dumps(failed)
    server.settings()


# --- what objects carry


def test_class_tags_and_encryption_of_objects(publishing: Publishing, store: s3.S3UnderTest, server: s3.S3Server) -> None:
    publishing.add("alpha")
    publishing.publish(s3=given(publishing, storage_class="STANDARD_IA", tags={"team": "vision + more/2"}, encryption="AES256"))
    key = {"Bucket": s3.BUCKET, "Key": f"{store.prefix}/alpha/1/weights"}
    client = s3.observer(server.endpoint)
    head = client.head_object(**key)
    assert (head["StorageClass"], head["ServerSideEncryption"]) == ("STANDARD_IA", "AES256")
    assert client.get_object_tagging(**key)["TagSet"] == [{"Key": "team", "Value": "vision + more/2"}]
    assert publishing.is_settled()


# --- large files


def test_a_broken_upload_is_taken_up_where_it_ended(publishing: Publishing, store: s3.S3UnderTest, server: s3.S3Server) -> None:
    publishing.add("alpha")
    (publishing.source / "alpha" / "1" / "weights").write_bytes(random.Random(1).randbytes(68 << 20))
    with fault_proxy(server.endpoint, FaultPlan(1, share=1, slow_seconds=0.3, kinds=["slow"])) as url:
        slow = Publishing(store.through(url), publishing.home)
        process = slow.start(concurrency=1)
        wait_for(process, lambda: server.counts().get("UploadPart", 0) >= 3)
        process.kill()
        process.communicate()
    assert len(server.state()["uploads"]) == 1
    server.settings()
    publishing.publish()
    counts = server.counts()
    assert 0 < counts["UploadPart"] <= 5 - 2
    assert counts["CompleteMultipartUpload"] == 1
    assert server.state()["uploads"] == []
    assert publishing.is_settled()


def wait_for(process: subprocess.Popen[bytes], condition: Any) -> None:
    for _unused in range(3000):
        if condition():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    raise AssertionError("it did not come to that")
