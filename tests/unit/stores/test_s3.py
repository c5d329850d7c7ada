# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a bucket of S3 does when its server throttles, breaks, moves, or knows less than S3: against a scripted one."""

from __future__ import annotations

import errno
import hashlib
import re
import socket
import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path

import pytest
from support import scripted_http
from support.fakes import FakeClock
from support.scripted_http import Scripted, Step, raw, reply, reset, scripted, then_close

from ansible_collections.serving.triton.plugins.module_utils.core.errors import InputError, ServingError, TransientError, UnavailableError
from ansible_collections.serving.triton.plugins.module_utils.repository.publish import SourceFile
from ansible_collections.serving.triton.plugins.module_utils.stores.base import StoreOptions
from ansible_collections.serving.triton.plugins.module_utils.stores.bucket import PreconditionError, Upload
from ansible_collections.serving.triton.plugins.module_utils.stores.gate import Gate
from ansible_collections.serving.triton.plugins.module_utils.stores.s3 import fetch
from ansible_collections.serving.triton.plugins.module_utils.stores.s3.bucket import S3Bucket, open_bucket
from ansible_collections.serving.triton.plugins.module_utils.stores.s3.parts import PART_SIZE
from ansible_collections.serving.triton.plugins.module_utils.stores.s3.workers import Crew, gather

KEYS = {"access_key": "AKID", "secret_key": "topsecret", "session_token": "toptoken"}
EMPTY = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"


def fail(status: int, code: str = "", more: str = "", headers: str = "") -> Step:
    return reply(status, f"<Error><Code>{code}</Code><Message>m</Message>{more}</Error>", headers=headers)


def stored(etag: str = "s") -> Step:
    return reply(200, headers=f'ETag: "{etag}"\r\n')


def bucket_at(server: Scripted, clock: FakeClock | None = None, **options: object) -> S3Bucket:
    given = StoreOptions(providers={"s3": {**KEYS, **options}}, concurrency=4, attempts=3, timeout=5)
    return open_bucket(f"{server.url}/bkt/pre", given, clock or FakeClock())


def source(path: Path, data: bytes) -> SourceFile:
    path.write_bytes(data)
    return SourceFile(str(path), len(data), hashlib.sha256(data).hexdigest())


def ignore(_files: int, _size: int) -> None:
    pass


@pytest.mark.parametrize(
    "failure",
    [
        fail(503, "SlowDown"),
        fail(429),
        fail(500, "InternalError"),
        fail(502),
        fail(504),
        fail(400, "RequestTimeout"),
        fail(409, "OperationAborted"),
        reset,
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"),
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"),
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nab"),
        raw(b"SSH-2.0-OpenSSH\r\n\r\n"),
        raw(b""),
        reply(200, "<html>the proxy's page</html>"),
    ],
)
def test_what_may_pass_is_tried_again(failure: Step) -> None:
    clock = FakeClock()
    with scripted(failure, reply(200, EMPTY)) as server:
        assert bucket_at(server, clock).list() == []
    assert len(server.requests) == 2
    assert len(clock.naps) == 1


@pytest.mark.parametrize(
    ("failure", "requests", "said"),
    [
        (fail(500), 3, "server failed"),
        (reset, 3, "connection broke"),
        (fail(503, "SlowDown"), 6, "slow down"),
        (fail(404, "NoSuchBucket"), 1, "bucket does not exist"),
        (fail(403, "AccessDenied"), 1, "access is denied"),
        (fail(403, "InvalidAccessKeyId"), 1, "access key"),
        (fail(403, "SignatureDoesNotMatch"), 1, "secret key is wrong"),
        (fail(400, "KMS.NotFoundException"), 1, "encryption key"),
        (fail(301, "PermanentRedirect"), 1, "another region"),
        (fail(400, "ExpiredToken"), 1, "expired"),
        (fail(418), 1, "refuses the request"),
    ],
)
def test_what_stays_is_told_without_secrets(failure: Step, requests: int, said: str) -> None:
    with scripted(failure) as server, pytest.raises(ServingError) as caught:
        bucket_at(server).list()
    text = str(caught.value)
    assert said in text
    assert caught.value.remedy
    assert server.url in text
    assert not re.search("topsecret|toptoken|Signature=", text + repr(caught.value.details))
    assert len(server.requests) == requests


def test_nothing_listening_is_told() -> None:
    with scripted(reset) as server:
        pass
    with pytest.raises(TransientError, match="nothing listens"):
        bucket_at(server).list()


def test_no_answer_is_told() -> None:
    with scripted(scripted_http.hang) as server:
        bucket = open_bucket(f"{server.url}/bkt", StoreOptions(providers={"s3": KEYS}, attempts=1, timeout=0.2))
        with pytest.raises(TransientError, match="no answer in time"):
            bucket.list()


def test_the_server_says_how_long_to_wait() -> None:
    clock = FakeClock()
    with scripted(fail(503, "SlowDown", headers="Retry-After: 7\r\n"), reply(200, EMPTY)) as server:
        bucket_at(server, clock).list()
    assert clock.naps[0] >= 7


def test_a_connection_that_idled_away_costs_no_attempt() -> None:
    clock = FakeClock()
    with scripted(then_close(reply(200, EMPTY)), reply(200, EMPTY)) as server:
        bucket = bucket_at(server, clock)
        bucket.list()
        time.sleep(0.05)
        bucket.list()
    assert not clock.naps
    assert server.connections == 2


def test_a_wrong_clock_is_set_right_once_and_told() -> None:
    ahead = formatdate(time.time() + 7200, usegmt=True)
    skewed = fail(403, "RequestTimeTooSkewed", headers=f"Date: {ahead}\r\n")
    with scripted(skewed, reply(200, EMPTY)) as server:
        bucket = bucket_at(server)
        bucket.list()
    first, second = (re.search(rb"x-amz-date: (\S+)", request).group(1) for request in server.requests)  # type: ignore[union-attr]
    assert second > first
    assert "clock" in bucket.notes[0]
    with scripted(skewed) as server, pytest.raises(UnavailableError, match="clock"):
        bucket_at(server).list()
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "moved",
    [
        fail(301, "PermanentRedirect", headers="x-amz-bucket-region: eu-west-9\r\n"),
        fail(400, "AuthorizationHeaderMalformed", "<Region>eu-west-9</Region>"),
        fail(307, "TemporaryRedirect", headers="x-amz-bucket-region: eu-west-9\r\n"),
    ],
)
def test_the_bucket_is_followed_to_its_region_once(moved: Step) -> None:
    with scripted(moved, reply(200, EMPTY)) as server:
        bucket = bucket_at(server)
        bucket.list()
        bucket.list()
    assert [b"/eu-west-9/s3/" in request for request in server.requests] == [False, True, True]
    with scripted(moved) as server, pytest.raises(UnavailableError):
        bucket_at(server).list()


# --- objects


def test_a_condition_that_the_server_does_not_know_is_ignored() -> None:
    with scripted(fail(501, "NotImplemented"), stored()) as server:
        assert bucket_at(server).put("k", b"x", if_absent=True) == "s"
    assert [b"if-none-match" in request for request in server.requests] == [True, False]


@pytest.mark.parametrize(("status", "code"), [(412, "PreconditionFailed"), (409, "ConditionalRequestConflict")])
def test_a_condition_that_does_not_hold_is_told(status: int, code: str) -> None:
    other = reply(200, "other", headers='ETag: "o"\r\n')
    with scripted(fail(status, code), other) as server, pytest.raises(PreconditionError):
        bucket_at(server).put("k", b"x", if_absent=True)
    with scripted(fail(404, "NoSuchKey")) as server, pytest.raises(PreconditionError):
        bucket_at(server).put("k", b"x", if_stamp="o")


def test_ceph_compares_stamps_with_their_quotes() -> None:
    with scripted(fail(412), reply(200, "x", headers='ETag: "o"\r\n'), stored()) as server:
        assert bucket_at(server).put("k", b"y", if_stamp="o") == "s"
    assert b'if-match: "o"\r\n' in server.requests[0]
    assert b"if-match: o\r\n" in server.requests[2]


def test_what_a_lost_attempt_wrote_is_ours() -> None:
    there = reply(200, "mine", headers='ETag: "o"\r\n')
    with scripted(reset, fail(412), there) as server:
        assert bucket_at(server).put("k", b"mine", if_absent=True) == "o"
    with scripted(fail(412), there) as server, pytest.raises(PreconditionError):
        bucket_at(server).put("k", b"mine", if_absent=True)


def test_reading_tells_stamp_and_age() -> None:
    times = f"Date: {formatdate(1000, usegmt=True)}\r\nLast-Modified: {formatdate(940, usegmt=True)}\r\n"
    with scripted(reply(200, "x", headers=f'ETag: "o"\r\n{times}'), fail(404, "NoSuchKey")) as server:
        bucket = bucket_at(server)
        found = bucket.read("k")
        assert bucket.read("k") is None
    assert found is not None
    assert (found.data, found.stamp, found.age) == (b"x", "o", 60)


def test_a_download_goes_on_where_it_broke(tmp_path: Path) -> None:
    head = b'ETag: "o"\r\n\r\n'
    with scripted(
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n" + head + b"0123"),
        raw(b"HTTP/1.1 206 Partial\r\nContent-Length: 6\r\nContent-Range: bytes 4-9/10\r\n" + head + b"456789"),
    ) as server:
        bucket_at(server).download("k", str(tmp_path / "file"), ignore)
    assert (tmp_path / "file").read_bytes() == b"0123456789"
    assert b"range: bytes=4-\r\n" in server.requests[1]
    assert b'if-match: "o"\r\n' in server.requests[1]


def test_a_download_takes_up_a_file_and_copes_without_ranges(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123")
    size = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
    with scripted(size, reply(200, "0123456789")) as server:
        bucket_at(server).download("k", str(tmp_path / "file"), ignore)
    assert server.lines == ["HEAD /bkt/pre/k", "GET /bkt/pre/k"]
    assert (tmp_path / "file").read_bytes() == b"0123456789"


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted(reply(200, "x")) as server, pytest.raises(UnavailableError, match="No such file or directory"):
        bucket_at(server).download("k", str(tmp_path / "missing" / "file"), ignore)

    def full(_handle: int, _block: memoryview) -> int:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(fetch, "_write", full)
    with scripted(reply(200, "x")) as server, pytest.raises(UnavailableError, match="the quota is used up") as error:
        bucket_at(server).download("k", str(tmp_path / "file"), ignore)
    assert error.value.where == str(tmp_path / "file")
    assert error.value.details["errno"] == "EDQUOT"


@pytest.mark.parametrize("size", [10, 300 << 10, 17 << 20])
def test_a_source_that_changed_is_told(tmp_path: Path, size: int) -> None:
    planned = source(tmp_path / "file", b"a" * size)
    (tmp_path / "file").write_bytes(b"a" * (size - 1) + b"b")
    begun = reply(200, "<R><UploadId>u</UploadId></R>")
    uploads = reply(200, "<R><IsTruncated>false</IsTruncated></R>")
    with scripted(uploads, begun, stored()) as server, pytest.raises(InputError, match="changed"):
        bucket_at(server).upload([[Upload("k", planned)]], ignore)
    # Nothing became visible, and the parts were removed.
    assert [line.split()[0] for line in server.lines] == ([] if size < 16 << 20 else ["GET", "POST", "PUT", "PUT", "DELETE"])


def test_a_source_that_vanished_is_told() -> None:
    with scripted(stored()) as server, pytest.raises(InputError, match="cannot be read"):
        bucket_at(server).upload([[Upload("k", SourceFile("/nonexistent", 1, ""))]], ignore)


def test_chains_keep_their_order_and_end_at_the_first_failure() -> None:
    chain = [Upload(name, data=b"x") for name in "abc"]
    with scripted(stored(), fail(403, "AccessDenied"), stored()) as server, pytest.raises(UnavailableError):
        bucket_at(server).upload([chain], ignore)
    assert server.lines == ["PUT /bkt/pre/a", "PUT /bkt/pre/b"]


def test_an_unfinished_upload_is_taken_up(tmp_path: Path) -> None:
    first, second = b"a" * (16 << 20), b"b" * 100
    planned = source(tmp_path / "file", first + second)
    kept = hashlib.md5(first, usedforsecurity=False).hexdigest()
    uploads = "<R><IsTruncated>false</IsTruncated><Upload><Key>pre/k</Key><UploadId>u</UploadId><Initiated>1</Initiated></Upload></R>"
    parts = f'<R><IsTruncated>false</IsTruncated><Part><PartNumber>1</PartNumber><Size>{len(first)}</Size><ETag>"{kept}"</ETag></Part></R>'
    done = reply(200, "<R><ETag>&quot;e-2&quot;</ETag></R>")
    moved: list[int] = []
    with scripted(reply(200, uploads), reply(200, parts), stored("p2"), done) as server:
        stamps = bucket_at(server).upload([[Upload("k", planned)]], lambda _files, size: moved.append(size))
    assert stamps == {"k": "e-2"}
    assert [line.split("?")[0] for line in server.lines[2:]] == ["PUT /bkt/pre/k", "POST /bkt/pre/k"]
    assert kept.encode() in server.requests[3]
    assert sum(moved) == planned.size


def test_what_cannot_be_taken_up_is_given_up(tmp_path: Path) -> None:
    """Under KMS an ETag does not tell a part's content."""
    large = source(tmp_path / "f", b"x" * (PART_SIZE + 1))
    left = "<Upload><Key>pre/k</Key><UploadId>{}</UploadId><Initiated>1</Initiated></Upload>"
    uploads = f"<R><IsTruncated>false</IsTruncated>{left.format('old')}{left.format('older')}</R>"
    begun = reply(200, "<R><UploadId>new</UploadId></R>")
    with scripted(reply(200, uploads), reply(204), reply(204), begun, fail(503, "SlowDown")) as server, pytest.raises(TransientError):
        bucket_at(server, encryption="aws:kms").upload([[Upload("k", large)]], ignore)
    assert server.lines[1:3] == ["DELETE /bkt/pre/k?uploadId=old", "DELETE /bkt/pre/k?uploadId=older"]
    assert server.lines[3] == "POST /bkt/pre/k?uploads="
    assert server.lines[-1] == "DELETE /bkt/pre/k?uploadId=new"
    with scripted(reply(200, "<R/>"), begun, fail(503, "SlowDown")) as server, pytest.raises(TransientError):
        bucket_at(server).upload([[Upload("k", large)]], ignore)
    assert not [line for line in server.lines if line.startswith("DELETE")], "the parts stay"


def test_a_completion_whose_answer_was_lost_is_found(tmp_path: Path) -> None:
    planned = source(tmp_path / "file", b"a" * ((16 << 20) + 1))
    begun = reply(200, "<R><UploadId>u</UploadId></R>")
    there = raw(f'HTTP/1.1 200 OK\r\nContent-Length: {planned.size}\r\nETag: "e-2"\r\n\r\n'.encode())
    steps = [reply(200, "<R/>"), begun, stored("1"), stored("2"), reset, fail(404, "NoSuchUpload"), there]
    with scripted(*steps) as server:
        assert bucket_at(server).upload([[Upload("k", planned)]], ignore) == {"k": "e-2"}


@pytest.mark.parametrize("code", ["InternalError", "TooManyRequests", "OperationAborted"])
def test_a_completion_that_fails_within_a_good_answer_is_made_again(tmp_path: Path, code: str) -> None:
    planned = source(tmp_path / "file", b"a" * ((16 << 20) + 1))
    steps = [reply(200, "<R/>"), reply(200, "<R><UploadId>u</UploadId></R>"), stored("1"), stored("2")]
    with scripted(*steps, fail(200, code), reply(200, '<R><ETag>"e-2"</ETag></R>')) as server:
        assert bucket_at(server).upload([[Upload("k", planned)]], ignore) == {"k": "e-2"}


@pytest.mark.parametrize("code", ["InternalError", "ThrottlingException", "OperationAborted"])
def test_deletes_are_checked_one_by_one(code: str) -> None:
    def error(key: str, code: str) -> str:
        return f"<Error><Key>pre/{key}</Key><Code>{code}</Code><Message/></Error>"

    passing = reply(200, f"<DeleteResult>{error('b', code)}{error('c', 'NoSuchKey')}</DeleteResult>")
    with scripted(passing, reply(200, "<DeleteResult/>")) as server:
        bucket_at(server).delete(["a", "b", "c"])
    assert b"pre/a" not in server.requests[1]
    assert b"<Key>pre/b</Key>" in server.requests[1]
    with scripted(reply(200, f"<R>{error('a', 'AccessDenied')}</R>")) as server, pytest.raises(UnavailableError, match="pre/a"):
        bucket_at(server).delete(["a"])


def test_a_server_without_batches_deletes_one_by_one() -> None:
    with scripted(fail(501, "NotImplemented"), reply(204)) as server:
        bucket_at(server).delete(["a", "b"])
    assert sorted(server.lines[1:]) == ["DELETE /bkt/pre/a", "DELETE /bkt/pre/b"]


def test_headers_of_the_options_are_sent(tmp_path: Path) -> None:
    with scripted(stored()) as server:
        bucket_at(server, encryption="AES256", requester_pays=True, tags={"a": "b"}).put("k", b"x")
    request = server.requests[0]
    wanted = [b"x-amz-server-side-encryption: AES256", b"x-amz-request-payer: requester", b"x-amz-tagging: a=b", b"content-md5: "]
    assert [header for header in wanted if header not in request] == []
    assert b"UNSIGNED" not in request


# --- how many at once


def test_the_gate_halves_when_throttled_and_grows_slowly() -> None:
    times = iter([10.0, 10.0, 10.5, 12.0, 12.0])
    gate = Gate(8, lambda: next(times))
    for throttled in (True, True, True):
        gate.enter()
        gate.leave(throttled)
    assert gate.limit == 2
    for _each in range(3):
        gate.enter()
        gate.leave()
    assert 2 <= gate.limit <= 4


def test_a_crew_ends_at_the_first_error_and_results_keep_their_order() -> None:
    assert gather(lambda number: number * 2, list(range(50)), 8) == list(range(0, 100, 2))
    done: list[int] = []

    def work(number: int) -> None:
        if number == 3:
            raise InputError("no")
        done.append(number)

    ticks: Callable[[], None] = lambda: None  # noqa: E731
    with pytest.raises(InputError):
        Crew(work, range(1000), 1).run(ticks)
    assert done == [0, 1, 2]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_nobody_foresaw_is_not_lost() -> None:
    def work(_number: int) -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError):
        Crew(work, range(3), 2).run()


def test_expired_keys_are_renewed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "credentials").write_text("[mine]\naws_access_key_id=A\naws_secret_access_key=b\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    options = StoreOptions(providers={"s3": {"profile": "mine"}}, attempts=3)
    with scripted(fail(400, "ExpiredToken"), reply(200, EMPTY)) as server:
        assert open_bucket(f"{server.url}/bkt", options, FakeClock()).list() == []
    with scripted(fail(400, "ExpiredToken")) as server, pytest.raises(UnavailableError, match="expired"):
        open_bucket(f"{server.url}/bkt", options, FakeClock()).list()
    assert len(server.requests) == 2


def test_a_listing_in_ranges_is_whole_whatever_is_there() -> None:
    """Each range begins after a key that was expected, and ends with the next one."""
    keys = sorted(f"m{number:04}/config.pbtxt" for number in range(2500))
    pages = {
        "": keys[:1000],
        keys[998]: keys[999:1999],
        keys[1997]: keys[1998:],
    }

    def answer(connection: socket.socket, request: bytes) -> bool:
        found = re.search(rb"start-after=pre%2F([^& ]*)", request)
        after = found.group(1).decode().replace("%2F", "/") if found else ""
        listed = "".join(
            f"<Contents><Key>pre/{key}</Key><LastModified>x</LastModified><ETag>e</ETag><Size>1</Size></Contents>" for key in pages[after]
        )
        more = str(pages[after][-1] != keys[-1]).lower()
        return reply(200, f"<ListBucketResult><IsTruncated>{more}</IsTruncated>{listed}</ListBucketResult>")(connection, request)

    with scripted(answer) as server:
        assert [each.key for each in bucket_at(server).list("", keys)] == keys
    assert len(server.requests) == 3
