# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What providers share: sources checked as they are read, calls side by side, and why a connection failed."""

from __future__ import annotations

import errno
import hashlib
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
import urllib3
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.serving.triton.plugins.module_utils.core.errors import InputError, TransientError, UnavailableError
from ansible_collections.serving.triton.plugins.module_utils.core.wait import Clock
from ansible_collections.serving.triton.plugins.module_utils.repository.publish import SourceFile
from ansible_collections.serving.triton.plugins.module_utils.stores.bucket import Upload
from ansible_collections.serving.triton.plugins.module_utils.stores.transfers import (
    Transfers,
    blocks,
    connection_error,
    content,
    cuts,
    held_part,
    ranges,
)


class StillClock(Clock):
    def __init__(self) -> None:
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def source(path: Path, data: bytes) -> SourceFile:
    path.write_bytes(data)
    return SourceFile(str(path), len(data), hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize("size", [0, 1, 9, 10, 11, 20, 25])
def test_blocks_are_the_file(size: int, tmp_path: Path) -> None:
    data = bytes(range(size))
    planned = source(tmp_path / "file", data)
    found = list(blocks(planned, 10))
    assert b"".join(block for _offset, block in found) == data
    assert [offset for offset, _block in found] == list(range(0, size, 10))
    assert content(Upload("key", planned)) == data
    assert content(Upload("key", data=data)) == data


@pytest.mark.parametrize("now", [b"", b"x" * 25, b"short", b"0" * 26])
def test_the_last_block_of_a_changed_file_never_comes(now: bytes, tmp_path: Path) -> None:
    planned = source(tmp_path / "file", b"0" * 25)
    Path(planned.path).write_bytes(now)
    got = []
    with pytest.raises(InputError, match="changed while it was published"):
        got.extend(offset for offset, _block in blocks(planned, 10))
    assert 20 not in got


def test_an_empty_file_that_grew_is_found(tmp_path: Path) -> None:
    planned = source(tmp_path / "file", b"")
    Path(planned.path).write_bytes(b"1")
    with pytest.raises(InputError, match="changed while it was published"):
        content(Upload("key", planned))


def test_an_error_of_who_takes_the_blocks_is_not_the_files(tmp_path: Path) -> None:
    def take() -> None:
        for _offset, _block in blocks(source(tmp_path / "file", b"1234"), 2):
            raise OSError("elsewhere")

    with pytest.raises(OSError, match="elsewhere"):
        take()


def test_failures_that_pass_are_tried_so_often() -> None:
    clock = StillClock()
    calls: list[int] = []

    def fail() -> None:
        calls.append(1)
        raise TransientError("503", where="gs://b", remedy="Wait.")

    with pytest.raises(UnavailableError, match=r"gs://b: 503\. Tried 4 times\. Wait\."):
        Transfers(4, 4, clock).retry(fail)
    assert len(calls) == 4
    assert len(clock.slept) == 3


@pytest.mark.parametrize(("concurrency", "most"), [(1, 1), (3, 3), (0, 16), (40, 40)])
def test_no_more_requests_are_under_way_than_were_asked_for(concurrency: int, most: int) -> None:
    transfers = Transfers(concurrency, 1)
    mutex, under_way, seen = threading.Lock(), [0], [0]

    def request(item: int) -> int:
        with mutex:
            under_way[0] += 1
            seen[0] = max(seen[0], under_way[0])
        # What a request asks for on its way waits for nobody.
        result = transfers.retry(lambda: item)
        with mutex:
            under_way[0] -= 1
        return result

    # Some providers have threads of their own besides.
    with ThreadPoolExecutor(60) as pool:
        assert list(pool.map(lambda item: transfers.retry(lambda: request(item)), range(500))) == list(range(500))
    assert transfers.each(request, range(50)) == list(range(50))
    assert (transfers.workers, seen[0] <= most) == (most, True)


@pytest.mark.parametrize(("status", "limit"), [(503, 4), (429, 4), (500, 8)])
def test_a_service_that_asks_to_slow_down_gets_fewer_requests(status: int, limit: int) -> None:
    transfers = Transfers(8, 3, StillClock())
    answers: list[Exception] = [TransientError("no", status=status)]

    def call() -> str:
        if answers:
            raise answers.pop()
        return "done"

    assert transfers.retry(call) == "done"
    assert transfers.gate.limit == limit


def test_the_first_failure_stops_what_has_not_begun() -> None:
    begun: list[int] = []
    gate = threading.Event()

    def call(item: int) -> int:
        begun.append(item)
        if item == 0:
            gate.set()
            raise InputError("the first")
        gate.wait(10)
        return item

    with pytest.raises(InputError, match="the first"):
        Transfers(1, 1).each(call, range(500))
    assert len(begun) < 500
    assert Transfers(1, 1).each(lambda item: item + 1, range(50)) == list(range(1, 51))


def test_chains_keep_their_order_and_stop() -> None:
    written: list[str] = []

    def write(upload: Upload, _moved: object) -> str:
        if upload.key == "b1":
            raise InputError("b1")
        written.append(upload.key)
        return f"stamp of {upload.key}"

    transfers = Transfers(1, 1)
    files: list[int] = []
    stamps = transfers.run([[Upload(f"a{n}") for n in range(9)], [Upload("c")]], write, lambda count, _size: files.append(count))
    assert stamps == {key: f"stamp of {key}" for key in [*(f"a{n}" for n in range(9)), "c"]}
    assert [key for key in written if key != "c"] == [f"a{n}" for n in range(9)]
    assert sum(files) == 10
    written.clear()
    with pytest.raises(InputError, match="b1"):
        transfers.run([[Upload("b0"), Upload("b1"), Upload("b2")]], write, lambda _count, _size: None)
    assert written == ["b0"]


@given(st.integers(0, 20_000), st.integers(1, 64))
def test_cuts_are_a_page_apart_and_few(count: int, most: int) -> None:
    keys = [f"{number:06d}" for number in range(count)]
    found = cuts(keys, 1000, most)
    assert found == sorted(set(found))
    assert len(found) < most
    assert len(found) <= count // 1000


def test_ranges_and_what_is_held(tmp_path: Path) -> None:
    assert list(ranges(3, 10, 4)) == [(3, 7), (7, 10)]
    assert list(ranges(10, 10, 4)) == []
    path = tmp_path / "file"
    assert held_part(str(path), 5) == 0
    path.write_bytes(b"123")
    assert held_part(str(path), 5) == 3
    assert held_part(str(path), 2) == 0
    assert path.read_bytes() == b""


def _nested(inner: BaseException) -> requests.ConnectionError:
    """As requests tells of it, with the URL in its text."""
    return requests.ConnectionError(urllib3.exceptions.MaxRetryError(None, "/container?sig=secret", inner))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (_nested(ConnectionRefusedError(errno.ECONNREFUSED, "refused")), "nothing listens there"),
        (_nested(ConnectionResetError(errno.ECONNRESET, "reset")), "the connection was reset"),
        (_nested(ConnectionResetError("closed without response")), "the connection was closed"),
        (_nested(socket.gaierror(socket.EAI_NONAME, "Name or service not known")), "its name is unknown"),
        (_nested(OSError(errno.ENETUNREACH, "no route")), "the network cannot be reached"),
        (requests.ReadTimeout("https://host/?sig=secret"), "it took too long"),
        (_nested(ssl.SSLError(1, "WRONG_VERSION_NUMBER")), "it does not speak TLS as expected"),
        (urllib3.exceptions.IncompleteRead(1, 2), "it sent less than it announced"),
        (requests.ConnectionError("https://host/?sig=secret"), "the connection broke"),
    ],
)
def test_why_a_connection_failed(error: BaseException, told: str) -> None:
    found = connection_error(error, "as://account/container", "https://host")
    assert isinstance(found, TransientError)
    assert found.what == f"https://host does not answer: {told}"
    assert "secret" not in str(found)


def test_a_certificate_that_is_refused_is_not_tried_again() -> None:
    inner = ssl.SSLCertVerificationError(1, "verify failed")
    inner.verify_message = "self-signed certificate"
    found = connection_error(_nested(inner), "gs://bucket", "https://host")
    assert isinstance(found, UnavailableError)
    assert "self-signed certificate" in str(found)
    assert "ca_path" in found.remedy
