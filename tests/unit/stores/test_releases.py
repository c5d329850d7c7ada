# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whatever a release published, the way back leads to what served before, also when runs die on it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from support.fakes import FakeClock
from support.memory_bucket import MemoryBucket
from support.memory_store import DiedError, MemoryStore
from support.publish_sources import Source, file_of

from ansible_collections.serving.triton.plugins.module_utils.core.errors import ConflictError, InputError
from ansible_collections.serving.triton.plugins.module_utils.repository.manifest import Manifest, ModelTree, parse
from ansible_collections.serving.triton.plugins.module_utils.repository.publish import Options, report
from ansible_collections.serving.triton.plugins.module_utils.stores.base import StoreOptions
from ansible_collections.serving.triton.plugins.module_utils.stores.object_lock import LOCK_KEY
from ansible_collections.serving.triton.plugins.module_utils.stores.objects import ObjectStore
from ansible_collections.serving.triton.plugins.module_utils.stores.publisher import Manners, Publisher
from ansible_collections.serving.triton.plugins.module_utils.stores.releases import Releases, Wish

OLD, NEW = 'backend: "python"\n', 'backend: "python"\nmax_batch_size: 8\n'
PINNED = f"{OLD}version_policy {{ specific {{ versions: [ 1 ] }} }}\n"


def model(config: str | None, *versions: int, **more: str) -> ModelTree[Any]:
    files = {f"{name}.txt": file_of(text) for name, text in more.items()}
    config_file = {} if config is None else {"config.pbtxt": file_of(config)}
    return ModelTree({**files, **config_file}, {number: {"model.py": file_of(f"code {number}")} for number in versions})


TEXTS = [OLD, NEW, PINNED, "a", "b", *(f"code {number}" for number in range(9))]
BEFORE = {"m": model(OLD, 1, labels="a"), "other": model(OLD, 1)}
AFTER = {"m": model(NEW, 1, 2, names="b"), "other": model(OLD, 1), "new": model(OLD, 1)}


class Bench:
    """A store, and what is done with it."""

    def __init__(self) -> None:
        self.store = MemoryStore({file_of(text).sha256: text.encode() for text in TEXTS})

    def publish(self, source: Source, **options: Any) -> dict[str, Any]:
        publisher = Publisher(self.store, source, Options(**options), Manners(clock=FakeClock()))
        plan = publisher.plan(publisher.observe())
        if plan:
            publisher.apply(plan)
        return report(plan)

    def do(self, state: str, *models: str, check: bool = False, **more: Any) -> dict[str, Any]:
        service = Releases(self.store, Wish(state, models, **more), clock=FakeClock())
        seen = service.observe()
        plan = service.plan(seen)
        if plan and not check:
            service.apply(plan)
        return {"actions": plan.describe(), "diff": plan.diff(), **service.result(seen, plan, not check)}

    def text(self, key: str) -> str:
        return self.store.objects[key].decode()

    def held(self, name: str = "") -> list[str]:
        return sorted(
            key for key in self.store.objects if key.startswith(f"{name}/" if name else "") and "/" in key and ".serving" not in key
        )

    @property
    def manifest(self) -> Manifest:
        return parse(self.store.read_manifest())[0] or Manifest()

    def states(self) -> dict[str, str]:
        return {name: each.state for name, each in self.manifest.releases.items()}


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.publish(BEFORE)
    return bench


def went_back(bench: Bench) -> None:
    assert bench.held() == ["m/1/model.py", "m/config.pbtxt", "m/labels.txt", "other/1/model.py", "other/config.pbtxt"]
    assert bench.text("m/config.pbtxt") == PINNED
    assert bench.states() == {"m": "cleared", "new": "cleared"}
    assert bench.manifest.pending == ()
    assert bench.publish(AFTER)["held_models"].keys() == {"m", "new"}
    assert bench.publish(AFTER)["changed_models"] == []
    assert bench.do("withdrawn")["actions"] == bench.do("cleared")["actions"] == []


def test_a_failed_release_leads_back(bench: Bench) -> None:
    assert bench.do("begun", "m", "new", check=True)["actions"] == bench.do("begun", "m", "new")["actions"] != []
    bench.publish(AFTER)
    wanted = bench.do("begun", "m", "new")
    assert wanted["actions"] == []
    assert wanted["serving"] == ["m:2", "new:1"]
    back = bench.do("withdrawn", why="wrong answers")
    assert back["serving"] == ["m:1"]
    assert back["leaving"] == ["m:2", "new:1"]
    assert back["revisions"].keys() == {"m", "other"}
    assert "m/2/model.py" in bench.held(), "servers may hold it still"
    assert bench.do("cleared", check=True)["actions"] == ["remove m 2", "remove new 1"]
    assert bench.do("cleared", "new")["open"] == ["m"]
    bench.do("cleared")
    went_back(bench)
    assert "wrong answers" in bench.publish(AFTER)["held_models"]["m"]


def everything(bench: Bench, fail: Callable[[], None]) -> None:
    bench.do("begun", "m", "new")
    bench.publish(AFTER)
    fail()
    bench.do("withdrawn", why="x")
    bench.do("cleared")


@pytest.mark.parametrize("fuse", range(1, 24))
def test_a_way_back_that_dies_is_gone_to_its_end_by_the_next(bench: Bench, fuse: int) -> None:
    def fail() -> None:
        bench.store.fuse = fuse

    with contextlib.suppress(DiedError):
        everything(bench, fail)
    bench.store.fuse = None
    bench.do("withdrawn", why="x")
    bench.do("cleared")
    went_back(bench)


@pytest.mark.parametrize("fuse", range(1, 12))
def test_a_publish_that_dies_in_a_release_is_finished_or_undone(bench: Bench, fuse: int) -> None:
    bench.do("begun", "m", "new")
    bench.store.fuse = fuse
    with contextlib.suppress(DiedError):
        bench.publish(AFTER)
    bench.store.fuse = None
    assert bench.do("begun", "m", "new")["actions"] == [], "what served before is known"
    bench.publish(AFTER)
    bench.do("withdrawn", why="x")
    bench.do("cleared")
    went_back(bench)


class BucketBench(Bench):
    """The same over an object store."""

    def __init__(self) -> None:
        self.bucket = MemoryBucket({file_of(text).sha256: text.encode() for text in TEXTS})

    @property
    def store(self) -> ObjectStore:  # type: ignore[override]
        """A new one each time: another run asks."""
        return ObjectStore(self.bucket, StoreOptions(list_all=False), FakeClock())

    def text(self, key: str) -> str:
        return self.bucket.objects[key].decode()

    def held(self, name: str = "") -> list[str]:
        return sorted(key for key in self.bucket.objects if key.startswith(f"{name}/" if name else "") and "/" in key)


def died(bench: Bench, fuse: int, act: Callable[[], object]) -> bool:
    """Whether it died on its way; a lock that it left is too old."""
    what = bench.bucket if isinstance(bench, BucketBench) else bench.store
    what.fuse = fuse
    try:
        act()
        return False
    except DiedError:
        return True
    finally:
        what.fuse = None
        if isinstance(bench, BucketBench):
            bench.bucket.objects.pop(LOCK_KEY, None)


@pytest.mark.parametrize("again", [0, 3, 5])
@pytest.mark.parametrize("fuse", range(1, 12))
@pytest.mark.parametrize("kind", [Bench, BucketBench])
def test_a_publish_that_dies_is_undone_though_nobody_publishes_again(kind: type[Bench], fuse: int, again: int) -> None:
    """again: where the way back dies too, for the first time."""
    bench = kind()
    bench.publish(BEFORE)
    bench.do("begun", "m", "new")
    cut = died(bench, fuse, lambda: bench.publish(AFTER))
    if again:
        died(bench, again, lambda: bench.do("withdrawn", "m", "new", why="x"))
    back = bench.do("withdrawn", "m", "new", why="x")
    assert back["serving"] == ["m:1"]
    arrived = [each for each in ("m:2", "new:1") if f"{each.replace(':', '/')}/model.py" in bench.held()]
    assert back["leaving"] == arrived
    bench.do("cleared")
    # What a publish left outside of versions cannot be told from somebody else's.
    left = {"m/names.txt"} if cut else set()
    assert set(bench.held()) - left == {"m/1/model.py", "m/config.pbtxt", "m/labels.txt", "other/1/model.py", "other/config.pbtxt"}
    assert bench.text("m/config.pbtxt") in ((OLD, PINNED) if cut else (PINNED,))
    assert bench.text("m/labels.txt") == "a"
    assert bench.states() == {"m": "cleared", "new": "cleared"}
    assert bench.manifest.pending == ()
    assert {each.split(":")[0] for each in arrived} <= bench.publish(AFTER)["held_models"].keys()
    bench.do("begun", "m", "new", again=("m", "new"))
    bench.publish(AFTER)
    assert bench.do("begun", "m", "new")["serving"] == ["m:2", "new:1"]


def test_the_pin_that_a_publish_left_is_not_withdrawn(bench: Bench) -> None:
    bench.do("begun", "m")
    assert died(bench, 2, lambda: bench.publish({"m": AFTER["m"]}))
    assert bench.text("m/config.pbtxt") == PINNED
    assert bench.do("withdrawn", why="x")["open"] == []
    assert (bench.manifest.withdrawn, bench.manifest.pending) == ({}, ())
    assert bench.publish({"m": model(PINNED, 1, labels="a")})["held_models"] == {}


def test_the_files_of_an_unfinished_publish_are_not_trusted_after_a_way_back(bench: Bench) -> None:
    """Without a release nobody knows what they were: they are told apart from what was recorded, and mended by the next publish."""
    source = {"m": model(NEW, 1, 2, labels="b")}
    assert died(bench, 4, lambda: bench.publish(source))
    assert bench.text("m/labels.txt") == "b"
    bench.do("withdrawn", to={"m": 1}, why="x")
    bench.do("cleared")
    assert bench.manifest.pending == ()
    assert bench.publish({"m": BEFORE["m"]})["changed_models"] == ["m"]
    assert (bench.text("m/labels.txt"), bench.text("m/config.pbtxt")) == ("a", OLD)


def test_nothing_leads_back_to_a_version_that_a_publish_was_taking_away(bench: Bench) -> None:
    bench.do("begun", "m")
    assert died(bench, 6, lambda: bench.publish({"m": model(NEW, 2)}, prune=True))
    assert bench.held("m") == ["m/2/model.py", "m/config.pbtxt"]
    with pytest.raises(InputError, match=r"version 1 is not published \(published: none\)"):
        bench.do("withdrawn", why="x")


@pytest.mark.parametrize(
    ("key", "named"),
    [("new/7/x", "new/7: we did not publish this version"), ("new/note", "new/note: we did"), ("m/2/note", "m/2/note: we did")],
)
def test_what_somebody_put_into_what_was_withdrawn_is_not_taken_away_with_it(bench: Bench, key: str, named: str) -> None:
    bench.do("begun", "m", "new")
    bench.publish(AFTER)
    bench.store.put(key, b"theirs")
    bench.store.put("m/note", b"theirs")
    bench.do("withdrawn", why="x")
    with pytest.raises(ConflictError, match=named):
        bench.do("cleared")
    assert key in bench.held()
    bench.store.delete(key)
    bench.do("cleared")
    assert bench.states() == {"m": "cleared", "new": "cleared"}
    assert "m/note" in bench.held()


def test_what_never_was_published_needs_no_way_back(bench: Bench) -> None:
    bench.do("begun", "m", "new")
    before = {key: each for key, each in bench.store.objects.items() if "/" in key}
    back = bench.do("withdrawn", why="the disk is full")
    assert back["leaving"] == back["open"] == []
    assert {key: each for key, each in bench.store.objects.items() if "/" in key} == before
    assert bench.publish(BEFORE)["held_models"] == {}


def test_a_rollback_by_hand_goes_one_release_back_and_stays_there(bench: Bench) -> None:
    bench.do("begun", "m")
    bench.publish({"m": AFTER["m"]})
    assert bench.do("done", "m")["releases"]["m"]["released"] == [2]
    assert bench.do("done", "m")["actions"] == []
    bench.do("withdrawn", "m", why="slow")
    bench.do("cleared")
    assert bench.text("m/config.pbtxt") == PINNED
    assert bench.text("m/labels.txt") == "a"
    assert bench.do("withdrawn", "m", why="slow")["actions"] == []
    # The next version is published as ever; what was withdrawn stays away.
    bench.do("begun", "m")
    bench.publish({"m": model(NEW, 1, 2, 3)})
    assert bench.do("begun", "m")["serving"] == ["m:3"]
    assert [key for key in bench.held("m") if key.startswith("m/2")] == []
    assert bench.do("done", "m")["releases"]["m"]["served"] == [1]


def test_a_rollback_by_hand_goes_to_a_version(bench: Bench) -> None:
    bench.publish({"m": model(OLD, 1, 2, 3, labels="a")})
    with pytest.raises(InputError, match="version 7 is not published"):
        bench.do("withdrawn", to={"m": 7})
    assert bench.do("withdrawn", to={"m": 1})["leaving"] == ["m:3"]
    bench.do("cleared")
    assert [key for key in bench.held("m") if key.endswith("model.py")] == ["m/1/model.py", "m/2/model.py"]
    assert bench.do("withdrawn", to={"m": 1})["actions"] == []
    assert bench.do("withdrawn", to={"m": 2})["serving"] == ["m:2"]


def test_without_a_release_the_next_older_version_is_taken(bench: Bench) -> None:
    bench.publish({"m": model(OLD, 1, 2, 3, labels="a")})
    assert bench.do("withdrawn", "m")["serving"] == ["m:2"]
    with pytest.raises(InputError, match="nothing is known to have served before version 1"):
        bench.do("withdrawn", "other")
    with pytest.raises(InputError, match="nobody is not published"):
        bench.do("withdrawn", "nobody")


def test_what_serves_is_what_the_server_says(bench: Bench) -> None:
    """Version 2 was published, and never loaded."""
    bench.publish({"m": model(NEW, 1, 2, labels="a")})
    assert bench.do("begun", "m", serving={"m": (1,)})["releases"]["m"]["served"] == [1]
    assert bench.do("withdrawn", why="x")["leaving"] == ["m:2"]


def test_a_configuration_alone_can_be_withdrawn(bench: Bench) -> None:
    bench.do("begun", "m")
    bench.publish({"m": model(NEW, 1, labels="a")})
    assert bench.do("withdrawn", why="does not load")["open"] == []
    assert bench.text("m/config.pbtxt") == PINNED
    assert bench.publish({"m": model(NEW, 1, labels="a")})["held_models"] == {"m": "its configuration was withdrawn (does not load)"}
    assert bench.publish({"m": model(OLD, 1, labels="a")})["changed_models"] == ["m"]


def test_a_model_without_a_configuration_is_pinned_too(bench: Bench) -> None:
    bench.publish({"bare": model(None, 1)})
    bench.do("begun", "bare")
    bench.publish({"bare": model(NEW, 1, 2)})
    bench.do("withdrawn", why="x")
    assert bench.text("bare/config.pbtxt") == "version_policy { specific { versions: [ 1 ] } }\n"


def test_it_may_be_tried_again_by_consent(bench: Bench) -> None:
    bench.do("begun", "m")
    bench.publish({"m": AFTER["m"]})
    bench.do("withdrawn", why="a timeout")
    bench.do("cleared")
    assert bench.do("begun", "m", again=("m",))["actions"] == ["begin release of m (version 1 before)", "allow m again"]
    assert bench.publish({"m": AFTER["m"]})["changed_models"] == ["m"]
    assert bench.manifest.withdrawn == {}
    assert bench.do("begun", "m")["serving"] == ["m:2"]
