# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The protocol of buckets, over gs:// and as://, each against what stands in for its cloud."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support import store_contract
from support.wire import Wire

from ansible_collections.serving.triton.plugins.module_utils.core.errors import InputError, ServingError, UnavailableError
from ansible_collections.serving.triton.plugins.module_utils.core.wait import Clock
from ansible_collections.serving.triton.plugins.module_utils.repository.publish import SourceFile
from ansible_collections.serving.triton.plugins.module_utils.stores.azure import bucket as azure
from ansible_collections.serving.triton.plugins.module_utils.stores.base import StoreOptions
from ansible_collections.serving.triton.plugins.module_utils.stores.bucket import Bucket, PreconditionError, Upload
from ansible_collections.serving.triton.plugins.module_utils.stores.gcs import bucket as gcs
from ansible_collections.serving.triton.plugins.module_utils.stores.registry import BUCKETS

MIB = 1 << 20


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between attempts spare a real service; here they would only take time."""
    monkeypatch.setattr(Clock, "sleep", lambda _clock, seconds: time.sleep(min(seconds, 0.02)))


@dataclass
class Place:
    """store: past our own code. bucket: ours. open: another one of ours, with other options or another URL."""

    store: store_contract.StoreUnderTest
    bucket: Bucket
    open: Callable[..., Bucket]
    moved: list[tuple[int, int]] = field(default_factory=list)

    def note(self, files: int, size: int) -> None:
        self.moved.append((files, size))


def _opener(store: store_contract.StoreUnderTest) -> Callable[..., Bucket]:
    def opened(url: str = "", **settings: Any) -> Bucket:
        scheme, rest = (url or store.url).split("://", 1)
        return BUCKETS[scheme](rest, StoreOptions(providers=store.module_options, **{"timeout": 10.0, "attempts": 3, **settings}))

    return opened


@contextmanager
def _place(name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    with store_contract.store_under_test(name) as store:
        for variable, value in store.environment.items():
            monkeypatch.setenv(variable, value)
        opened = _opener(store)
        yield Place(store, opened(), opened)


@pytest.fixture(params=["gcs", "azure"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    with _place(request.param, monkeypatch) as found:
        yield found


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    return Wire(monkeypatch)


def source(path: Path, data: bytes) -> SourceFile:
    path.write_bytes(data)
    return SourceFile(str(path), len(data), hashlib.sha256(data).hexdigest())


def test_stamps_are_the_same_wherever_they_are_told(place: Place, tmp_path: Path) -> None:
    put = place.bucket.put("m/config.pbtxt", b"name: 'm'")
    large = Upload("m/1/large", source(tmp_path / "large", os.urandom(5 * MIB)))
    small = Upload("m/1/small", source(tmp_path / "small", b"weights"))
    stamps = {"m/config.pbtxt": put, **place.bucket.upload([[large], [small]], place.note)}
    assert {each.key: each.stamp for each in place.bucket.list()} == stamps
    assert {each.key: each.size for each in place.bucket.list("m/1/")} == {"m/1/large": 5 * MIB, "m/1/small": 7}
    for key, stamp in stamps.items():
        found = place.bucket.read(key)
        assert found is not None
        assert found.stamp == stamp
        assert 0 <= found.age < 60
    assert place.bucket.put("m/config.pbtxt", b"name: 'm'") != put
    assert [sum(column) for column in zip(*place.moved)] == [2, 5 * MIB + 7]


def test_lists_come_in_pages_and_cut_and_sorted(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gcs, "PAGE", 3)
    monkeypatch.setattr(azure, "PAGE", 3)
    keys = [*(f"m{number}/{version}/ä b" for number in range(5) for version in (1, 2)), "other", "zoo/config.pbtxt"]
    place.bucket.upload([[Upload(key)] for key in keys], place.note)
    assert [each.key for each in place.bucket.list()] == sorted(keys)
    assert [each.key for each in place.bucket.list("", keys)] == sorted(keys)
    assert [each.key for each in place.bucket.list("m1/", keys)] == ["m1/1/ä b", "m1/2/ä b"]
    assert place.bucket.folders() == {*(f"m{number}" for number in range(5)), "zoo"}


def test_nothing_beside_the_prefix_is_seen(place: Place) -> None:
    place.store.at("elsewhere").put("m/config.pbtxt", b"")
    place.store.at(f"{place.store.url.rpartition('/')[2]}-2").put("m/config.pbtxt", b"")
    assert place.bucket.list() == []
    assert place.bucket.folders() == frozenset()
    assert place.bucket.read("m/config.pbtxt") is None


def test_folder_markers_of_others_are_listed(place: Place) -> None:
    place.store.put("m/2/", b"")
    assert [each.key for each in place.bucket.list()] == ["m/2/"]
    place.bucket.delete(["m/2/"])
    assert place.bucket.list() == []


def test_conditions_hold(place: Place) -> None:
    first = place.bucket.put("lock", b"1", if_absent=True)
    with pytest.raises(PreconditionError):
        place.bucket.put("lock", b"2", if_absent=True)
    second = place.bucket.put("lock", b"2", if_stamp=first)
    with pytest.raises(PreconditionError):
        place.bucket.put("lock", b"3", if_stamp=first)
    place.bucket.delete(["lock"])
    with pytest.raises(PreconditionError):
        place.bucket.put("lock", b"3", if_stamp=second)
    assert place.store.keys() == set()


def test_what_is_damaged_on_its_way_is_sent_again(place: Place, wire: Wire, tmp_path: Path) -> None:
    small, large = os.urandom(200_000), os.urandom(9 * MIB)
    chain = [Upload("m/1/small", source(tmp_path / "small", small)), Upload("m/1/large", source(tmp_path / "large", large))]
    wire.damage("small|uploadType=multipart")
    wire.damage("comp=block&|upload_id=")
    place.bucket.upload([chain], place.note)
    assert place.store.get("m/1/small") == small
    assert place.store.get("m/1/large") == large


def test_a_connection_that_breaks_is_used_again(place: Place, wire: Wire) -> None:
    wire.break_off(".", 2)
    place.bucket.put("m/config.pbtxt", b"1")
    wire.break_off(".", 2)
    assert len(place.bucket.list()) == 1
    wire.break_off(".", 2)
    place.bucket.delete(["m/config.pbtxt"])
    assert place.store.keys() == set()


def test_a_source_that_changes_makes_no_object(place: Place, tmp_path: Path) -> None:
    for name, size in (("small", 1000), ("large", 9 * MIB)):
        planned = source(tmp_path / name, os.urandom(size))
        for changed in (b"x" * size, b"x" * (size + 1), b""):
            Path(planned.path).write_bytes(changed)
            with pytest.raises(InputError, match="changed while it was published"):
                place.bucket.upload([[Upload(f"m/1/{name}", planned)]], place.note)
        Path(planned.path).unlink()
        with pytest.raises(InputError, match="No such file"):
            place.bucket.upload([[Upload(f"m/1/{name}", planned)]], place.note)
    assert place.store.keys() == set()


def test_a_chain_ends_where_it_breaks(place: Place, tmp_path: Path) -> None:
    gone = SourceFile(str(tmp_path / "gone"), 1, "0" * 64)
    with pytest.raises(InputError):
        place.bucket.upload([[Upload("m/1/a"), Upload("m/1/b", gone), Upload("m/1/c")]], place.note)
    assert place.store.keys() == {"m/1/a"}


def test_downloads_are_taken_up(place: Place, tmp_path: Path) -> None:
    data = os.urandom(9 * MIB + 1)
    place.store.put("m/1/large", data)
    path = tmp_path / "large"
    path.write_bytes(data[:MIB])
    place.bucket.download("m/1/large", str(path), place.note)
    assert path.read_bytes() == data
    assert [sum(column) for column in zip(*place.moved)] == [1, 8 * MIB + 1]
    place.bucket.download("m/1/large", str(path), place.note)
    path.write_bytes(data + b"more")
    place.bucket.download("m/1/large", str(path), place.note)
    assert path.read_bytes() == data
    assert place.bucket.digest("m/1/large") == hashlib.sha256(data).hexdigest()
    place.store.put("m/1/empty", b"")
    place.bucket.download("m/1/empty", str(tmp_path / "empty"), place.note)
    assert (tmp_path / "empty").read_bytes() == b""
    with pytest.raises(UnavailableError, match=r"no such"):
        place.bucket.digest("m/1/missing")


def test_many_objects_go_at_once_and_missing_ones_are_fine(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(azure, "BATCH", 4)
    keys = [f"m/1/file-{number}" for number in range(10)]
    place.bucket.upload([[Upload(key)] for key in keys], place.note)
    place.bucket.delete([*keys[:9], "m/1/missing"])
    assert place.store.keys() == {keys[9]}
    place.bucket.delete(["m/1/missing"])
    place.bucket.delete([])


def test_a_bucket_that_is_not_there_is_named(place: Place) -> None:
    container = place.store.url.split("/")[-2]
    missing = place.open(place.store.url.replace(container, f"{container}x"))
    calls: list[Callable[[], Any]] = [
        lambda: missing.read("m"), missing.list, missing.folders, lambda: missing.put("m", b""),
        lambda: missing.upload([[Upload("m")]], place.note),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(UnavailableError, match=r"no such (bucket|container).*Create the"):
            call()


def test_who_is_not_there_is_asked_within_bounds(place: Place, wire: Wire) -> None:
    place.bucket.list()
    wire.log.clear()
    wire.break_off(".", 3)
    with pytest.raises(ServingError, match=r"127\.0\.0\.1.*Tried 3 times") as failure:
        place.bucket.list()
    assert len(wire.log) == 3
    # An SDK's text holds the URL, and that may hold a signature.
    assert "broken on the way" not in str(failure.value)
    assert not any(secret in str(failure.value) for secret in place.store.secrets)
