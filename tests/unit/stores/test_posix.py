# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The POSIX store's own promises: modes, the lock, leftovers, and errors that leave the repository as it was."""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from support.fakes import FakeClock

from ansible_collections.serving.triton.plugins.module_utils.core.errors import ConflictError, InputError, ServingError
from ansible_collections.serving.triton.plugins.module_utils.core.progress import Transfer
from ansible_collections.serving.triton.plugins.module_utils.core.wait import Clock
from ansible_collections.serving.triton.plugins.module_utils.repository.digest import DigestCache
from ansible_collections.serving.triton.plugins.module_utils.repository.manifest import Manifest
from ansible_collections.serving.triton.plugins.module_utils.repository.publish import Options
from ansible_collections.serving.triton.plugins.module_utils.repository.publish_source import read_source
from ansible_collections.serving.triton.plugins.module_utils.repository.publish_steps import SETTLE_SECONDS, Step
from ansible_collections.serving.triton.plugins.module_utils.stores.base import StoreOptions
from ansible_collections.serving.triton.plugins.module_utils.stores.holder import STALE_SECONDS
from ansible_collections.serving.triton.plugins.module_utils.stores.posix import files as posix_files
from ansible_collections.serving.triton.plugins.module_utils.stores.posix import store as posix
from ansible_collections.serving.triton.plugins.module_utils.stores.publisher import Manners, Publisher
from ansible_collections.serving.triton.plugins.module_utils.stores.registry import open_store

LOCK = ".serving-triton.lock"
WORKSPACE = ".models.serving-triton"


class Place:
    """A source with one model, and a repository beside it."""

    def __init__(self, home: Path) -> None:
        self.home, self.source, self.root = home, home / "source", home / "models"
        self.write("digits/config.pbtxt", "")
        self.write("digits/1/model.py", "one")

    def write(self, path: str, text: str) -> None:
        (self.source / path).parent.mkdir(parents=True, exist_ok=True)
        (self.source / path).write_text(text)

    def publisher(self, store: StoreOptions | None = None, manners: Manners | None = None, **chosen: Any) -> Publisher:
        desired = None if chosen.pop("absent", False) else read_source(str(self.source), (), DigestCache())
        return Publisher(
            open_store(str(self.root), store or StoreOptions()), desired, Options(**chosen), manners or Manners(clock=FakeClock())
        )

    def publish(self, store: StoreOptions | None = None, manners: Manners | None = None, **chosen: Any) -> list[str]:
        publisher = self.publisher(store, manners, **chosen)
        plan = publisher.plan(publisher.observe())
        if plan:
            publisher.apply(plan)
        return plan.describe()

    def held(self) -> dict[str, bytes]:
        return {str(path.relative_to(self.home)): path.read_bytes() for path in self.home.rglob("*") if path.is_file()}

    def lock(self, **owner: Any) -> None:
        self.root.mkdir(exist_ok=True)
        (self.root / LOCK).write_text(json.dumps({"token": "t", "user": 1, "host": "elsewhere", "pid": 1, **owner}))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def open_umask() -> Iterator[None]:
    old = os.umask(0o077)
    yield
    os.umask(old)


def modes(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): f"{stat.S_IMODE(path.stat().st_mode):o}" for path in [root, *root.rglob("*")]}


def test_modes_do_not_depend_on_the_umask(place: Place, open_umask: None) -> None:
    place.publish()
    assert modes(place.root) == {
        ".": "755",
        ".serving-triton.json": "644",
        "digits": "755",
        "digits/1": "755",
        "digits/1/model.py": "644",
        "digits/config.pbtxt": "644",
    }


def test_a_mode_that_is_asked_for_is_kept(place: Place) -> None:
    place.publish()
    private = StoreOptions(file_mode=0o600, directory_mode=0o700)
    assert place.publish(private)[0] == "update model digits (owner and mode set)"
    assert modes(place.root)["digits/1/model.py"] == "600"
    assert place.publish(private) == []
    assert place.publish() == []


def owners(root: Path) -> dict[str, tuple[int, int]]:
    return {str(path.relative_to(root)): (path.lstat().st_uid, path.lstat().st_gid) for path in [root, *root.rglob("*")]}


def test_an_owner_by_name_or_number(place: Place) -> None:
    """As root somebody else's; others can only name themselves."""
    uid, gid = (4711, 4712) if os.getuid() == 0 else (os.getuid(), os.getgid())
    place.publish()
    chosen = StoreOptions(owner=str(uid), group=str(gid))
    assert place.publish(chosen)[:1] == (["update model digits (owner and mode set)"] if os.getuid() == 0 else [])
    assert owners(place.root)["digits/1/model.py"] == owners(place.root)["digits/config.pbtxt"] == (uid, gid)
    place.write("more/1/model.py", "x")
    place.write("digits/2/model.py", "two")
    place.write("digits/labels.txt", "two")
    place.publish(chosen)
    there = owners(place.root)
    assert {there[path] for path in ("more", "more/1", "more/1/model.py", "digits/2", "digits/labels.txt", ".serving-triton.json")} == {
        (uid, gid)
    }
    assert place.publish(chosen) == []
    with pytest.raises(InputError, match="no such account: nobody-of-that-name"):
        place.publish(StoreOptions(owner="nobody-of-that-name"))


def test_attributes_are_given_to_what_is_ours_alone(place: Place) -> None:
    place.publish(StoreOptions(file_mode=0o644))
    secret = place.home / "secret"
    secret.write_text("s")
    for path in (secret, place.root / "digits/1/model.py", place.root / "digits/theirs"):
        path.touch()
        path.chmod(0o600)
    (place.root / "digits/link").symlink_to(secret)
    assert place.publish(StoreOptions(file_mode=0o644))[0] == "update model digits (owner and mode set)"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (secret, place.root / "digits/theirs")] == [0o600, 0o600]
    assert modes(place.root)["digits/1/model.py"] == "644"
    assert place.publish(StoreOptions(file_mode=0o644)) == []


def test_nothing_is_read_or_written_through_a_link(place: Place) -> None:
    """Whoever owns the repository may have planted it, for a publisher that may read and write more."""
    place.publish()
    secret = place.home / "elsewhere"
    (secret / "1").mkdir(parents=True)
    (secret / "config.pbtxt").write_text("secret")
    secret.chmod(0o700)
    before = {path: path.lstat().st_mode for path in [secret, *secret.rglob("*")]}
    store = open_store(str(place.root), StoreOptions(file_mode=0o666, directory_mode=0o777))
    config = place.root / "digits/config.pbtxt"
    config.unlink()
    config.symlink_to(secret / "config.pbtxt")
    with pytest.raises(ServingError, match="a link is in the way"):
        store.read_text("digits/config.pbtxt")
    config.unlink()
    os.mkfifo(config)
    with pytest.raises(ServingError, match="it is no regular file"):
        store.read_text("digits/config.pbtxt")
    (place.root / "digits").rename(place.home / "aside")
    (place.root / "digits").symlink_to(secret)
    for act in (
        lambda: store.read_text("digits/config.pbtxt"),
        lambda: store.digest("digits/config.pbtxt"),
        lambda: store.set_attributes(["digits/config.pbtxt"]),
        lambda: store.run([[Step("put_text", "digits/config.pbtxt", text=b"theirs")]]),
        lambda: store.run([[Step("put_text", "digits/1/config.pbtxt", text=b"theirs")]]),
        lambda: store.run([[Step("drop_file", "digits/config.pbtxt")]]),
        lambda: store.run([[Step("drop_tree", "digits/1")]]),
    ):
        with pytest.raises(ServingError, match=r"a link is in the way|a part of the path is not a folder"):
            act()
    place.write("digits/labels.txt", "more")
    place.write("digits/other.txt", "more")
    with pytest.raises(ServingError, match="a link is in the way"):
        place.publish()
    assert {path: path.lstat().st_mode for path in [secret, *secret.rglob("*")]} == before
    assert (secret / "config.pbtxt").read_text() == "secret"


def test_attributes_are_not_given_through_a_link(place: Place) -> None:
    secret = place.home / "secret"
    secret.mkdir(mode=0o700)
    (place.home / "link").symlink_to(secret)
    with pytest.raises(OSError, match="Not a directory"):
        posix_files.Attributes(directory_mode=0o777).give(place.home / "link", folder=True)
    assert stat.S_IMODE(secret.stat().st_mode) == 0o700


@pytest.mark.parametrize("url", ["ftp://host/models", "hdfs://b", "FTP://b"])
def test_a_scheme_without_a_store_is_told_with_those_that_have_one(url: str) -> None:
    with pytest.raises(InputError, match=r"no store serves \w+:// yet; supported are a path and as://, file://, gs://, oss://, s3://"):
        open_store(url, StoreOptions())


def test_a_file_url_is_a_path(place: Place) -> None:
    place.publish()
    assert open_store(f"file://{place.root}", StoreOptions()).names(Manifest()) == {"digits"}


def test_paths_that_cannot_work_are_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="not absolute"):
        open_store("models", StoreOptions())
    with pytest.raises(InputError, match="not a folder"):
        open_store(str(tmp_path / "file"), StoreOptions())


# --- one publisher at a time


def test_a_second_publisher_is_told_who_the_first_is(place: Place) -> None:
    place.lock(host="builder", pid=4711)
    before = place.held()
    with pytest.raises(ConflictError, match=r"somebody else publishes to this repository \(user 1, host builder, pid 4711\)"):
        place.publish()
    assert place.held() == before


def test_a_lock_of_a_dead_process_of_this_machine_is_taken_over(place: Place) -> None:
    with open_store(str(place.root), StoreOptions()).publishing():
        owner = json.loads((place.root / LOCK).read_text())
    assert owner["host"] == socket.gethostname()
    place.lock(**{**owner, "started": "1"})
    assert place.publish()[-2:] == [f"clean up what a broken publish left ({LOCK})", "write .serving-triton.json"]
    assert place.publish() == []


def test_a_lock_without_a_sign_of_life_is_taken_over(place: Place) -> None:
    place.lock()
    os.utime(place.root / LOCK, (time.time() - STALE_SECONDS - 1,) * 2)
    assert place.publish()


def test_an_own_lock_holds_while_we_live(place: Place) -> None:
    with open_store(str(place.root), StoreOptions()).publishing(), pytest.raises(ConflictError, match=f"pid {os.getpid()}"):
        place.publish()
    assert place.publish()


def test_a_lock_that_is_taken_over_while_it_waits_ends_a_publish(place: Place) -> None:
    signs: list[float] = []

    class Rival(FakeClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            signs.append(time.time() - (place.root / LOCK).stat().st_mtime)
            os.utime(place.root / LOCK, (time.time() - STALE_SECONDS,) * 2)
            if len(signs) == 3:
                (place.root / LOCK).unlink()
                place.lock()
                (place.home / WORKSPACE).mkdir(exist_ok=True)
                (place.home / WORKSPACE / "theirs").touch()

    place.publish()
    place.write("digits/2/model.py", "two")
    with pytest.raises(ConflictError, match="somebody took the lock over"):
        place.publish(manners=Manners(removal_delay=1000, clock=Rival()), keep_versions=1)
    assert len(signs) == 3
    assert max(signs) < STALE_SECONDS / 2
    assert (place.root / "digits/1/model.py").exists()
    assert json.loads((place.root / LOCK).read_text())["host"] == "elsewhere"
    assert (place.home / WORKSPACE / "theirs").exists()


def test_a_publish_between_plan_and_apply_is_noticed(place: Place) -> None:
    publisher = place.publisher()
    plan = publisher.plan(publisher.observe())
    place.publish()
    with pytest.raises(ConflictError, match="published in the meantime"):
        publisher.apply(plan)


# --- what a killed publish leaves


def test_leftovers_are_found_and_removed(place: Place) -> None:
    place.publish()
    (place.home / WORKSPACE / "d1").mkdir(parents=True)
    (place.root / ".serving-triton.7").touch()
    (place.root / "serving-triton-publishing").mkdir()
    assert place.publish() == [f"clean up what a broken publish left (.serving-triton.7, serving-triton-publishing, {WORKSPACE})"]
    assert sorted(path.name for path in place.root.iterdir()) == [".serving-triton.json", "digits"]
    assert place.publish() == []


def test_leftovers_are_not_touched_while_somebody_publishes(place: Place) -> None:
    place.publish()
    place.lock()
    (place.root / ".serving-triton.7").touch()
    assert place.publish() == []


# --- failures before and in the middle


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the file system is full. Free space"),
        (errno.EDQUOT, "the quota is used up"),
        (errno.EROFS, "mounted read-only"),
        (errno.EACCES, "permission denied. Publish as the repository's owner"),
        (errno.EFBIG, "larger than the file system"),
        (errno.EIO, "input/output error"),
        (errno.ESTALE, "network file system lost its handle"),
    ],
)
def test_a_copy_that_fails_leaves_everything_as_it_was(place: Place, number: int, words: str) -> None:
    place.publish()
    place.write("digits/2/model.py", "two")
    place.write("more/1/model.py", "x")
    before = place.held()
    broken = mock.patch.object(posix_files, "_write", side_effect=OSError(number, os.strerror(number)))
    with broken, pytest.raises(ServingError, match=words):
        place.publish()
    assert place.held() == before
    assert place.publish()


def test_space_is_looked_at_before_anything_is_copied(place: Place) -> None:
    full = os.statvfs_result((4096, 4096, 1000, 2, 2, 1000, 500, 500, 0, 255))
    before = place.held()
    copying = mock.patch.object(posix, "copy_checked", side_effect=AssertionError("copied"))
    told = pytest.raises(ServingError, match="has 8 KiB free, this needs")
    with mock.patch.object(os, "statvfs", return_value=full), copying, told as failure:
        place.publish()
    assert failure.value.details["errno"] == "ENOSPC"
    assert place.held() == before


def test_a_source_that_changes_meanwhile_is_noticed(place: Place) -> None:
    publisher = place.publisher()
    plan = publisher.plan(publisher.observe())
    place.write("digits/1/model.py", "two")
    with pytest.raises(InputError, match="changed while it was published"):
        publisher.apply(plan)
    assert not place.root.exists()
    assert place.publish()


def test_a_folder_that_appears_meanwhile_is_not_overwritten(place: Place) -> None:
    publisher = place.publisher()
    plan = publisher.plan(publisher.observe())
    (place.root / "digits").mkdir(parents=True)
    (place.root / "digits" / "theirs").write_text("theirs")
    with pytest.raises(ServingError, match="something else appeared there"):
        publisher.apply(plan)
    assert (place.root / "digits" / "theirs").read_text() == "theirs"


# --- the rest


def test_large_files_are_copied_in_bounded_memory(place: Place) -> None:
    (place.source / "digits/1/weights").write_bytes(os.urandom(5_000_001))
    seen: list[Transfer] = []
    place.publish(manners=Manners(progress=seen.append))
    assert (place.root / "digits/1/weights").read_bytes() == (place.source / "digits/1/weights").read_bytes()
    assert seen[-1] == Transfer(3, 3, 5_000_004, 5_000_004)
    assert max(later.bytes - earlier.bytes for earlier, later in zip(seen, seen[1:])) <= posix_files.BLOCK_SIZE


def test_a_folder_that_we_made_goes_with_the_last_model(place: Place) -> None:
    place.publish()
    place.publish(absent=True)
    assert not place.root.exists()


def test_a_folder_that_was_there_stays(place: Place) -> None:
    place.root.mkdir()
    place.publish()
    place.publish(absent=True)
    assert list(place.root.iterdir()) == []


def test_bytecode_that_servers_leave_is_no_drift_and_goes_with_its_version(place: Place) -> None:
    place.write("digits/2/model.py", "two")
    place.publish()
    for number in (1, 2):
        (place.root / f"digits/{number}/__pycache__").mkdir()
        (place.root / f"digits/{number}/__pycache__/model.pyc").touch()
    assert place.publish() == []
    assert place.publish(keep_versions=1)
    assert not (place.root / "digits/1").exists()


def test_a_link_in_the_place_of_a_file_is_replaced_and_not_followed(place: Place) -> None:
    place.publish()
    outside = place.home / "outside"
    outside.write_text("one")
    (place.root / "digits/1/model.py").unlink()
    (place.root / "digits/1/model.py").symlink_to(outside)
    assert place.publish()[0] == "update model digits (version 1 replaced)"
    assert not (place.root / "digits/1/model.py").is_symlink()
    assert outside.read_text() == "one"


def test_removals_wait_when_asked_to(place: Place) -> None:
    naps: list[tuple[float, bool]] = []

    class Watching(Clock):
        def sleep(self, seconds: float) -> None:
            naps.append((seconds, (place.root / "digits/2").exists() and (place.root / "digits/1").exists()))

    place.publish()
    place.write("digits/2/model.py", "two")
    place.publish(manners=Manners(removal_delay=30, clock=Watching()), keep_versions=1)
    assert naps == [(30, True)]
    assert not (place.root / "digits/1").exists()


def test_a_poll_that_read_the_old_configuration_has_time_to_list_the_versions(place: Place) -> None:
    naps: list[tuple[float, str, bool]] = []

    class Watching(Clock):
        def sleep(self, seconds: float) -> None:
            naps.append((seconds, (place.root / "digits/config.pbtxt").read_text().strip(), (place.root / "digits/2").exists()))

    place.publish()
    place.write("digits/2/model.py", "two")
    place.write("digits/config.pbtxt", "max_batch_size: 2")
    place.publish(manners=Manners(clock=Watching()))
    assert naps == [(SETTLE_SECONDS, "version_policy { specific { versions: [ 1 ] } }", False)]
    assert (place.root / "digits/config.pbtxt").read_text() == "max_batch_size: 2"
    place.write("digits/3/model.py", "three")
    place.publish(manners=Manners(clock=Watching()))
    assert len(naps) == 1
