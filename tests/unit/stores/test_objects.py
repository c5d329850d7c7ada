# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The order in which a publish writes objects, who may write, and how few requests an idle run costs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from support.fakes import FakeClock
from support.memory_bucket import MemoryBucket
from support.memory_store import DiedError
from support.publish_sources import CONTENTS, file_of

from ansible_collections.serving.triton.plugins.module_utils.core.errors import ConflictError, InputError
from ansible_collections.serving.triton.plugins.module_utils.core.progress import Transfer
from ansible_collections.serving.triton.plugins.module_utils.repository.manifest import ModelTree
from ansible_collections.serving.triton.plugins.module_utils.repository.publish import Options, SourceFile
from ansible_collections.serving.triton.plugins.module_utils.repository.publish_steps import SETTLE_SECONDS
from ansible_collections.serving.triton.plugins.module_utils.stores.base import StoreOptions
from ansible_collections.serving.triton.plugins.module_utils.stores.bucket import PreconditionError
from ansible_collections.serving.triton.plugins.module_utils.stores.holder import REFRESH_SECONDS, STALE_SECONDS
from ansible_collections.serving.triton.plugins.module_utils.stores.object_lock import LEASE_SECONDS, LOCK_KEY
from ansible_collections.serving.triton.plugins.module_utils.stores.objects import KEEP, ObjectStore
from ansible_collections.serving.triton.plugins.module_utils.stores.publisher import LOAD_SECONDS, Manners, Publisher

MANIFEST = ".serving-triton.json"
LATEST = 'backend: "python"\n'
ALL = "version_policy: { all { } }\n"


def model(files: Mapping[str, str], **versions: Mapping[str, str]) -> ModelTree[SourceFile]:
    """model({"config.pbtxt": "a"}, v1={"model.py": "b"})"""
    numbered = {int(name[1:]): {path: file_of(text) for path, text in group.items()} for name, group in versions.items()}
    return ModelTree({path: file_of(text) for path, text in files.items()}, numbered)


V1 = model({"config.pbtxt": LATEST}, v1={"model.py": "a", "weights": "b"})
V2 = model({"config.pbtxt": LATEST}, v1={"model.py": "a", "weights": "b"}, v2={"model.py": "a", "weights": "content"})


class Place:
    def __init__(self, *, conditional: bool = True) -> None:
        self.bucket = MemoryBucket(CONTENTS, conditional=conditional)
        self.clock = FakeClock()
        self.seen: list[Transfer] = []

    def publisher(self, source: Mapping[str, ModelTree[SourceFile]] | None, delay: float | None = None, **chosen: Any) -> Publisher:
        options = Options(**chosen)
        store = ObjectStore(self.bucket, StoreOptions(list_all=options.verify != "manifest"), self.clock)
        return Publisher(store, source, options, Manners(removal_delay=delay, clock=self.clock, progress=self.seen.append))

    def publish(self, source: Mapping[str, ModelTree[SourceFile]] | None, **chosen: Any) -> list[str]:
        self.bucket.log.clear()
        self.bucket.requests.clear()
        publisher = self.publisher(source, **chosen)
        plan = publisher.plan(publisher.observe())
        if plan:
            publisher.apply(plan)
        return plan.describe()

    @property
    def written(self) -> list[str]:
        """What happened to models."""
        return [line for line in self.bucket.log if ".serving-triton" not in line]


@pytest.fixture
def place() -> Place:
    return Place()


# --- order


def test_the_model_file_and_the_configuration_of_a_new_model_come_last_and_together(place: Place) -> None:
    place.publish({"one": V1, "two": V1})
    assert place.written == [
        *("put one/1/weights", "put two/1/weights"),
        *("put one/1/model.py", "put one/config.pbtxt"),
        *("put two/1/model.py", "put two/config.pbtxt"),
    ]
    assert place.clock.naps == []


def test_the_pending_manifest_comes_before_everything_and_the_final_one_after_it(place: Place) -> None:
    place.publish({"one": V1})
    lines = [line for line in place.bucket.log if LOCK_KEY not in line]
    assert (lines[0], lines[-1], lines.count(f"put {MANIFEST}")) == (f"put {MANIFEST}", f"put {MANIFEST}", 2)


def test_a_version_comes_in_under_a_pin_and_the_old_configuration_comes_back(place: Place) -> None:
    place.publish({"one": V1})
    place.publish({"one": V2})
    assert place.written == ["put one/config.pbtxt", "put one/2/weights", "put one/2/model.py", "put one/config.pbtxt"]
    assert place.bucket.objects["one/config.pbtxt"].decode() == LATEST
    # Triton tells times in whole seconds, and a poll that read the configuration before the pin has to end.
    assert place.clock.naps == [1.0]
    assert place.publish({"one": V2}) == []


def test_the_pin_holds_what_is_served_also_where_somebody_else_put_it_there(place: Place) -> None:
    place.publish({"one": V1})
    place.bucket.put("one/7/model.py", b"theirs")
    pins: list[bytes] = []
    place.bucket.watch = lambda: pins.append(place.bucket.objects["one/config.pbtxt"])
    place.publish({"one": V2})
    assert any(b"[ 7 ]" in pin for pin in pins)
    assert not any(b"[ 1 ]" in pin for pin in pins)


def test_trust_in_the_manifest_does_not_put_a_version_over_somebody_elses(place: Place) -> None:
    place.publish({"one": V1})
    place.bucket.put("one/2/extra", b"theirs")
    with pytest.raises(ConflictError, match="one/2: there is a version of this number that we did not publish"):
        place.publish({"one": V2}, verify="manifest")
    place.publish({"one": V1, "two": V1}, verify="manifest")
    assert [each for each in place.bucket.requests if each == "list one/"] == [], "a model without news is trusted"
    # Older versions than are kept are no news either.
    place.publish({"one": model({"config.pbtxt": LATEST}, v3={"model.py": "a"})}, verify="manifest", keep_versions=1, delay=0)
    assert place.publish({"one": model({"config.pbtxt": LATEST}, v1={}, v3={"model.py": "a"})}, verify="manifest", keep_versions=1) == []
    assert place.bucket.requests == [f"read {MANIFEST}", "folders"]


def test_a_model_without_configuration_gets_one_while_a_version_comes_in(place: Place) -> None:
    before, after = model({}, v1={"model.onnx": "a"}), model({}, v1={"model.onnx": "a"}, v2={"model.onnx": "b"})
    place.publish({"one": before})
    place.publish({"one": after})
    assert place.written == ["put one/config.pbtxt", "put one/2/model.onnx", "delete one/config.pbtxt"]


def test_the_pin_that_a_killed_publish_left_goes(place: Place) -> None:
    before, after = model({}, v1={"model.onnx": "a"}), model({}, v1={"model.onnx": "a"}, v2={"model.onnx": "b"})
    place.publish({"one": before})
    place.bucket.fuse = 4
    with pytest.raises(DiedError):
        place.publish({"one": after})
    assert "specific { versions: [ 1 ] }" in place.bucket.objects["one/config.pbtxt"].decode()
    place.bucket.fuse = None
    del place.bucket.objects[LOCK_KEY]
    place.publish({"one": after})
    assert sorted(key for key in place.bucket.objects if "/" in key) == ["one/1/model.onnx", "one/2/model.onnx"]


def test_a_version_without_files_is_an_object_that_is_no_marker(place: Place) -> None:
    place.publish({"both": model({"config.pbtxt": LATEST}, v1={})})
    assert f"both/1/{KEEP}" in place.bucket.objects
    assert not [key for key in place.bucket.objects if key.endswith("/")]
    assert place.publish({"both": model({"config.pbtxt": LATEST}, v1={})}) == []


def test_a_removal_that_changes_what_is_served_is_made_visible_a_second_later(place: Place) -> None:
    several = model({"config.pbtxt": ALL}, v1={"model.py": "a"}, v2={"model.py": "b"})
    place.publish({"one": several})
    place.publish(None, models=("one",), version=1)
    assert place.written == ["delete one/1/model.py", "put one/config.pbtxt"]
    assert place.clock.naps == [1.0]


def test_a_removal_that_no_server_cares_about_touches_nothing(place: Place) -> None:
    place.publish({"one": V2})
    place.publish(None, models=("one",), version=1)
    assert place.written == ["delete one/1/model.py", "delete one/1/weights"]
    assert place.clock.naps == []


def test_a_model_goes_beginning_with_its_configuration(place: Place) -> None:
    place.publish({"one": V1, "two": V1})
    place.publish(None, models=("one",))
    assert place.written == ["delete one/config.pbtxt", "delete one/1/model.py", "delete one/1/weights"]


def test_progress_counts_files_and_bytes(place: Place) -> None:
    place.publish({"one": V1})
    size = sum(each.size for _unused, each in V1.items())
    assert place.seen[-1] == Transfer(3, 3, size, size)


# --- how little an idle run asks


def test_an_idle_run_reads_the_manifest_and_lists_once(place: Place) -> None:
    place.publish({"one": V1})
    assert place.publish({"one": V1}) == []
    assert place.bucket.requests == [f"read {MANIFEST}", "list "]
    assert place.publish({"one": V1}, verify="manifest") == []
    assert place.bucket.requests == [f"read {MANIFEST}", "folders"]


def test_drift_of_the_same_size_is_found_and_repaired(place: Place) -> None:
    place.publish({"one": V1})
    place.bucket.objects["one/1/weights"] = b"x"
    assert place.publish({"one": V1})[0] == "update model one (version 1 replaced)"
    assert place.bucket.objects["one/1/weights"] == b"b"


# --- one publisher at a time


def lock(place: Place, **owner: Any) -> None:
    place.bucket.put(LOCK_KEY, json.dumps({"token": "theirs", "host": "elsewhere", "user": 7, "pid": 1, **owner}).encode())


def test_a_held_lock_is_an_error_that_says_who(place: Place) -> None:
    lock(place)
    with pytest.raises(ConflictError, match=r"user 7, host elsewhere, pid 1") as error:
        place.publish({"one": V1})
    assert error.value.details["lock"] == f"memory://bucket/{LOCK_KEY}"
    assert place.written == []
    assert json.loads(place.bucket.objects[LOCK_KEY])["token"] == "theirs"


@pytest.mark.parametrize("conditional", [True, False])
def test_a_lock_that_was_left_is_taken_over_and_given_back(conditional: bool) -> None:
    place = Place(conditional=conditional)
    lock(place)
    place.bucket.ages[LOCK_KEY] = STALE_SECONDS + 1
    assert f"clean up what a broken publish left ({LOCK_KEY})" in place.publish({"one": V1})
    assert LOCK_KEY not in place.bucket.objects


def test_a_lock_that_appears_in_between_wins(place: Place) -> None:
    def put(key: str, data: bytes, *, if_absent: bool = False, if_stamp: str = "") -> str:
        lock_first, place.bucket.put = place.bucket.put, original  # type: ignore[method-assign]
        assert lock_first
        lock(place)
        return original(key, data, if_absent=if_absent, if_stamp=if_stamp)

    original = place.bucket.put
    place.bucket.put = put  # type: ignore[method-assign]
    with pytest.raises(ConflictError, match="somebody else publishes"):
        place.publish({"one": V1})
    assert place.written == []


def test_a_store_without_conditions_gets_a_lease_that_is_read_again() -> None:
    place = Place(conditional=False)
    place.publish({"one": V1})
    assert place.clock.naps == [LEASE_SECONDS]

    class Rival(FakeClock):
        def sleep(self, seconds: float) -> None:
            lock(place)

    place.clock = Rival()
    with pytest.raises(ConflictError, match="host elsewhere"):
        place.publish({"two": V1})
    assert "two/config.pbtxt" not in place.bucket.objects


def test_of_two_that_take_over_a_lock_without_a_condition_the_last_one_goes_on(place: Place) -> None:
    """OSS: both have seen the lock that was left, both have written it."""

    class Rival(FakeClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            lock(place)

    def leave() -> None:
        lock(place)
        place.bucket.ages[LOCK_KEY] = STALE_SECONDS + 1

    place.bucket.compares_stamps = False
    leave()
    place.publish({"one": V1})
    assert place.clock.naps == [LEASE_SECONDS]
    leave()
    place.clock = Rival()
    with pytest.raises(ConflictError, match="host elsewhere"):
        place.publish({"two": V1})
    assert place.clock.naps == [LEASE_SECONDS]
    assert json.loads(place.bucket.objects[LOCK_KEY])["token"] == "theirs"
    assert "two/config.pbtxt" not in place.bucket.objects


@pytest.mark.parametrize("conditional", [True, False])
def test_a_long_wait_gives_signs_of_life_and_ends_where_the_lock_is_gone(conditional: bool) -> None:
    """removal_delay may be longer than a lock without a sign of life holds."""
    place = Place(conditional=conditional)
    place.publish({"one": V1})

    class Watching(FakeClock):
        rival = False

        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            signs.append(place.bucket.log.count(f"put {LOCK_KEY}"))
            if self.rival and self.naps.count(REFRESH_SECONDS) == 2:
                lock(place)

    signs: list[int] = []
    place.clock = Watching()
    two = model({"config.pbtxt": LATEST}, v2={"model.py": "b"})
    place.publish({"one": two}, keep_versions=1, delay=100)
    assert place.clock.naps[-4:] == [30, 30, 30, 10]
    assert [number - signs[-4] for number in signs[-4:]] == [0, 1, 2, 3]
    place.clock.rival = True
    place.clock.naps.clear()
    with pytest.raises(ConflictError, match="somebody took the lock over"):
        place.publish({"one": model({"config.pbtxt": LATEST}, v3={"model.py": "a"})}, keep_versions=1, delay=1000)
    assert place.clock.naps.count(REFRESH_SECONDS) == 2
    assert {"one/2/model.py", "one/3/model.py"} <= set(place.bucket.objects)
    assert json.loads(place.bucket.objects[MANIFEST])["pending"] == ["one"]
    assert json.loads(place.bucket.objects[LOCK_KEY])["token"] == "theirs"


def test_a_manifest_that_somebody_else_wrote_under_our_lock_is_not_overwritten(place: Place) -> None:
    publisher = place.publisher({"one": V1})
    plan = publisher.plan(publisher.observe())
    theirs = b'{"schema": 1, "models": {}, "pending": []}'

    def meddle() -> None:
        if "put one/config.pbtxt" in place.bucket.log:
            place.bucket.objects[MANIFEST] = theirs

    place.bucket.watch = meddle
    with pytest.raises(ConflictError, match="published in the meantime"):
        publisher.apply(plan)
    assert place.bucket.objects[MANIFEST] == theirs


def test_a_lost_answer_to_a_conditional_write_is_no_conflict(place: Place) -> None:
    original = place.bucket.put

    def put(key: str, data: bytes, *, if_absent: bool = False, if_stamp: str = "") -> str:
        known = data == b"a condition that must not hold"
        stamp = original(key, data, if_absent=if_absent, if_stamp=if_stamp)
        if (if_absent or if_stamp) and not known:
            raise PreconditionError("seen again by the retry", where=key)
        return stamp

    place.bucket.put = put  # type: ignore[method-assign]
    assert place.publish({"one": V1})
    place.bucket.put = original  # type: ignore[method-assign]
    assert place.publish({"one": V1}) == []


# --- a load downloads every version, and fails when one goes meanwhile


def test_a_version_that_nobody_serves_goes_while_there_is_nothing_to_load(place: Place) -> None:
    place.publish({"one": V2})
    third = model({"config.pbtxt": LATEST}, v3={"model.py": "a", "weights": "b"})
    place.publish({"one": third}, keep_versions=2)
    assert place.written[:2] == ["delete one/1/model.py", "delete one/1/weights"]
    assert not [line for line in place.written[2:] if line.startswith("delete")]
    assert place.clock.naps == [SETTLE_SECONDS]


@pytest.mark.parametrize(("delay", "naps"), [(None, [LOAD_SECONDS]), (0, []), (7, [7])])
def test_a_version_that_is_served_goes_when_the_new_one_had_time_to_load(place: Place, delay: float | None, naps: list[float]) -> None:
    place.publish({"one": V1})
    second = model({"config.pbtxt": LATEST}, v2={"model.py": "a", "weights": "content"})
    place.publish({"one": second}, delay=delay, keep_versions=1)
    assert place.written[-2:] == ["delete one/1/model.py", "delete one/1/weights"]
    assert [nap for nap in place.clock.naps if nap != SETTLE_SECONDS] == naps


def test_what_nobody_loads_goes_at_once(place: Place) -> None:
    place.publish({"one": V2, "other": V1})
    place.publish({"one": V2}, prune=True, keep_versions=1)
    assert "delete other/config.pbtxt" in place.written
    assert "delete one/1/model.py" in place.written
    assert LOAD_SECONDS not in place.clock.naps


# --- what prune spares


def test_prune_does_not_take_the_last_model_unasked(place: Place) -> None:
    place.publish({"one": V1})
    with pytest.raises(InputError, match="prune would take away every model: one"):
        place.publish({}, prune=True)
    assert place.publish({}, prune=True, allow_empty=True)[0] == "remove model one"


def test_a_version_that_the_configuration_names_is_kept(place: Place) -> None:
    place.publish({"one": V1})
    later = model({"config.pbtxt": LATEST}, **{f"v{number}": {"model.py": "a", "weights": "b"} for number in (1, 2, 3)})
    place.publish({"one": later}, keep_versions=1, served={"one": frozenset({1})})
    assert sorted(key for key in place.bucket.objects if key.endswith("model.py")) == ["one/1/model.py", "one/3/model.py"]
