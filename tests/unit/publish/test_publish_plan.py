# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a plan refuses, takes over, keeps and removes."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import pytest
from support.fakes import FakeClock
from support.memory_store import DiedError, MemoryStore
from support.publish_sources import CONTENTS, file_of

from ansible_collections.serving.triton.plugins.module_utils.core.errors import ConflictError, InputError
from ansible_collections.serving.triton.plugins.module_utils.repository.layout import MANIFEST_FILE
from ansible_collections.serving.triton.plugins.module_utils.repository.manifest import ModelTree, parse
from ansible_collections.serving.triton.plugins.module_utils.repository.publish import Options, SourceFile
from ansible_collections.serving.triton.plugins.module_utils.stores.publisher import Manners, Publisher

Files = dict[str, str]


def model(files: Files, **versions: Files) -> ModelTree[SourceFile]:
    """model({"config.pbtxt": "a"}, v1={"model.py": "b"})"""
    numbered = {int(name[1:]): {path: file_of(text) for path, text in group.items()} for name, group in versions.items()}
    return ModelTree({path: file_of(text) for path, text in files.items()}, numbered)


DIGITS = model({"config.pbtxt": "a"}, v1={"model.py": "a", "weights": "b"})


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(CONTENTS)


def run(store: MemoryStore, source: dict[str, ModelTree[SourceFile]] | None, **chosen: Any) -> dict[str, Any]:
    publisher = Publisher(store, source, Options(**chosen), Manners(clock=FakeClock()))
    seen = publisher.observe()
    plan = publisher.plan(seen)
    if plan:
        publisher.apply(plan)
    return {"changed": bool(plan), "actions": plan.describe(), "diff": plan.diff(), **publisher.result(seen, plan, bool(plan))}


def by_hand(store: MemoryStore, **objects: str) -> None:
    """by_hand(store, m__1__x="text") puts m/1/x."""
    for key, text in objects.items():
        store.put(key.replace("__", "/"), text.encode())


def test_the_result_tells_models_versions_and_bytes(store: MemoryStore) -> None:
    result = run(store, {"digits": DIGITS, "other": model({}, v1={})})
    assert result["models"] == [
        {"name": "digits", "versions": [1], "changed_versions": [1], "state": "new"},
        {"name": "other", "versions": [1], "changed_versions": [1], "state": "new"},
    ]
    assert (result["changed_models"], result["removed_models"], result["bytes"]) == (["digits", "other"], [], 3)
    assert result["manifest"].endswith(MANIFEST_FILE)
    assert result["actions"][-1] == f"write {MANIFEST_FILE}"
    assert "digits/1/model.py  sha256:" in result["diff"]["after"]
    again = run(store, {"digits": DIGITS, "other": model({}, v1={})})
    assert (again["changed"], again["bytes"], again["changed_models"], again["models"][0]["state"]) == (False, 0, [], "unchanged")


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (model({}, v1={"model.py": "b", "weights": "b"}), "model.py"),
        (model({}, v1={"model.py": "a"}), "weights"),
        (model({}, v1={"model.py": "a", "weights": "b", "more": "a"}), "more"),
    ],
)
def test_a_published_version_is_immutable(store: MemoryStore, changed: ModelTree[SourceFile], named: str) -> None:
    run(store, {"digits": DIGITS})
    before = dict(store.objects)
    with pytest.raises(ConflictError, match=f"digits/1: version 1 is published and its files differ: {named}; publish them as version 2"):
        run(store, {"digits": changed})
    assert store.objects == before
    assert run(store, {"digits": changed}, force=True)["models"][0]["changed_versions"] == [1]
    assert not run(store, {"digits": changed})["changed"]


def test_all_conflicts_are_told_at_once(store: MemoryStore) -> None:
    source = {f"m{number}": DIGITS for number in range(15)}
    run(store, source)
    with pytest.raises(ConflictError, match=r"m0/1: .*and 5 more") as failure:
        run(store, {name: model({}, v1={"model.py": "b"}) for name in source})
    assert len(failure.value.details["conflicts"]) == 15


def test_files_outside_of_versions_may_change(store: MemoryStore) -> None:
    run(store, {"digits": DIGITS})
    result = run(store, {"digits": dataclasses.replace(DIGITS, files={"labels.txt": file_of("b")})})
    assert result["actions"][0] == "update model digits (labels.txt written, config.pbtxt removed)"
    assert (result["changed_models"], result["models"][0]["changed_versions"]) == (["digits"], [])
    assert "digits/config.pbtxt" not in store.objects


def test_a_model_of_somebody_else_is_left_alone(store: MemoryStore) -> None:
    by_hand(store, digits__1__model="theirs", foreign__1__x="theirs")
    with pytest.raises(ConflictError, match="digits: there is a model of this name that we did not publish"):
        run(store, {"digits": DIGITS})
    run(store, {"other": DIGITS})
    run(store, {"more": DIGITS}, prune=True)
    assert {"digits/1/model", "foreign/1/x"} <= set(store.objects)
    with pytest.raises(ConflictError, match="foreign: we did not publish this model"):
        run(store, None, models=("foreign",))
    run(store, None)
    assert set(store.objects) == {"digits/1/model", "foreign/1/x"}


def test_a_model_is_adopted_where_its_versions_are_the_same(store: MemoryStore) -> None:
    by_hand(store, **{"digits__1__model.py": "a", "digits__1__weights": "b", "digits__config.pbtxt": "old"})
    result = run(store, {"digits": DIGITS}, adopt=True)
    assert result["actions"][0] == "update model digits (config.pbtxt written)"
    assert not run(store, {"digits": DIGITS})["changed"]


def test_a_model_is_not_adopted_where_its_versions_differ(store: MemoryStore) -> None:
    by_hand(store, **{"digits__1__model.py": "other"})
    with pytest.raises(ConflictError, match="digits/1: there is a version of this number that we did not publish"):
        run(store, {"digits": DIGITS}, adopt=True)
    assert run(store, {"digits": DIGITS}, force=True)["changed"]


def test_a_version_of_somebody_else_in_our_model_is_left_alone(store: MemoryStore) -> None:
    run(store, {"digits": DIGITS})
    by_hand(store, digits__7__x="theirs")
    assert not run(store, {"digits": DIGITS}, prune=True, keep_versions=1)["changed"]
    with pytest.raises(ConflictError, match="digits/7: there is a version of this number"):
        run(store, {"digits": model({"config.pbtxt": "a"}, v7={"model.py": "a"})})
    with pytest.raises(ConflictError, match="digits/7: we did not publish this version"):
        run(store, None)
    run(store, None, force=True)
    assert store.objects == {}


@pytest.mark.parametrize(
    ("key", "named"),
    [
        ("digits__7__x", "digits/7: we did not publish this version"),
        ("digits__note", "digits/note: we did not publish this file"),
        ("digits__1__note", "digits/1/note: we did not publish this file"),
        ("digits__more__note", "digits/more/note: we did not publish this file"),
    ],
)
@pytest.mark.parametrize("verify", ["manifest", "list"])
def test_what_somebody_put_into_our_models_is_not_removed_with_them(store: MemoryStore, key: str, named: str, verify: str) -> None:
    run(store, {"digits": DIGITS, "other": DIGITS})
    by_hand(store, **{key: "theirs"})
    before = dict(store.objects)
    for source, options in (({"other": DIGITS}, {"prune": True, "verify": verify}), (None, {"models": ("digits",)}), (None, {})):
        with pytest.raises(ConflictError, match=f"{named}. Move it to another place, or set force to remove it too."):
            run(store, source, **options)
        assert store.objects == before
    assert run(store, {"other": DIGITS}, prune=True, verify=verify, force=True)["removed_models"] == ["digits"]
    assert run(store, None, models=("other",))["removed_models"] == ["other"]


def test_what_somebody_put_into_a_version_of_ours_is_not_removed_with_it(store: MemoryStore) -> None:
    run(store, {"digits": model({"config.pbtxt": "a"}, v1={"x": "a"}, v2={"x": "a"})})
    by_hand(store, digits__1__note="theirs", digits__2__folder__="")
    with pytest.raises(ConflictError, match="digits/1/note: we did not publish this file"):
        run(store, None, models=("digits",), version=1)
    assert run(store, None, models=("digits",), version=2)["models"][0]["versions"] == [1]


def pending(store: MemoryStore) -> tuple[str, ...]:
    manifest, _note = parse(store.read_manifest())
    return manifest.pending if manifest else ()


@pytest.mark.parametrize("fuse", range(2, 8))
@pytest.mark.parametrize(
    ("source", "options"),
    [
        ({"other": model({}, v3={"x": "b"}), "third": DIGITS}, {}),
        ({"other": model({}, v3={"x": "b"})}, {"prune": True, "models": ("other", "third")}),
        (None, {"models": ("other",)}),
        (None, {"models": ("other",), "version": 1}),
    ],
)
def test_a_killed_publish_is_finished_after_other_models_were_changed(
    store: MemoryStore, fuse: int, source: dict[str, ModelTree[SourceFile]] | None, options: dict[str, Any]
) -> None:
    two = model({"config.pbtxt": "b"}, v1={"model.py": "a", "weights": "b"}, v2={"model.py": "b", "weights": "b"})
    run(store, {"digits": DIGITS, "other": model({}, v1={"x": "a"}, v2={"x": "a"}), "third": DIGITS})
    store.fuse = fuse
    with contextlib.suppress(DiedError):
        run(store, {"digits": two, "new": DIGITS})
    store.fuse = None
    begun = pending(store)
    assert begun in ((), ("digits", "new"))
    store.reads.clear()
    run(store, source, **options)
    assert not [key for key in store.reads if key.startswith(("digits", "new"))], "nobody asked for them"
    assert pending(store) == begun
    run(store, {"digits": two, "new": DIGITS})
    assert pending(store) == ()
    assert store.objects["digits/config.pbtxt"] == b"b"
    assert {"digits/2/model.py", "new/config.pbtxt"} <= set(store.objects)


def test_a_version_that_is_taken_away_does_not_end_what_was_begun(store: MemoryStore) -> None:
    run(store, {"digits": DIGITS})
    two = model({"config.pbtxt": "b"}, v1={"model.py": "a", "weights": "b"}, v2={"model.py": "b"})
    store.fuse = 3
    with pytest.raises(DiedError):
        run(store, {"digits": two})
    store.fuse = None
    assert "digits/2/model.py" in store.objects
    run(store, None, models=("digits",), version=1)
    run(store, {"digits": two})
    assert (pending(store), store.objects["digits/config.pbtxt"]) == ((), b"b")


def test_what_a_killed_publish_left_goes_with_its_model(store: MemoryStore) -> None:
    run(store, {"other": DIGITS})
    store.fuse = 2
    with pytest.raises(DiedError):
        run(store, {"digits": DIGITS})
    store.fuse = None
    assert "digits/1/weights" in store.objects
    assert run(store, {"other": DIGITS}, prune=True)["removed_models"] == ["digits"]


@pytest.mark.parametrize("verify", ["list", "digest"])
def test_what_was_removed_by_hand_is_repaired(store: MemoryStore, verify: str) -> None:
    run(store, {"digits": DIGITS})
    store.delete("digits/1/weights")
    assert run(store, {"digits": DIGITS}, verify=verify)["actions"][0] == "update model digits (version 1 replaced)"
    assert store.objects["digits/1/weights"] == b"b"


@pytest.mark.parametrize("verify", ["list", "digest"])
def test_what_was_changed_by_hand_is_repaired(store: MemoryStore, verify: str) -> None:
    run(store, {"digits": DIGITS})
    by_hand(store, digits__1__weights="X")
    by_hand(store, **{"digits__config.pbtxt": "Y"})
    result = run(store, {"digits": DIGITS}, verify=verify)
    assert result["actions"][0] == "update model digits (version 1 replaced, config.pbtxt written)"
    assert store.objects["digits/1/weights"] == b"b"


def test_only_files_whose_stamp_changed_are_read(store: MemoryStore) -> None:
    run(store, {"digits": DIGITS})
    assert not run(store, {"digits": DIGITS})["changed"]
    assert store.reads == []
    by_hand(store, digits__1__weights="b")
    assert not run(store, {"digits": DIGITS})["changed"]
    assert store.reads == ["digits/1/weights"]
    run(store, {"digits": DIGITS}, verify="digest")
    assert len(store.reads) == 4


def test_trust_in_the_manifest_reads_nothing_else(store: MemoryStore) -> None:
    run(store, {"digits": DIGITS})
    store.delete("digits/1/weights")
    assert not run(store, {"digits": DIGITS}, verify="manifest")["changed"]


def test_damage_that_the_source_cannot_mend_is_told(store: MemoryStore) -> None:
    run(store, {"digits": DIGITS})
    store.delete("digits/1/weights")
    result = run(store, {"digits": model({"config.pbtxt": "a"}, v2={"model.py": "a"})})
    assert result["notes"] == ["digits/1 is damaged (weights) and this run has nothing to repair it with"]


def test_a_damaged_manifest_is_told_and_nothing_is_overwritten(store: MemoryStore) -> None:
    run(store, {"digits": DIGITS})
    store.objects[MANIFEST_FILE] = b"{"
    with pytest.raises(ConflictError, match="digits"):
        run(store, {"digits": DIGITS})
    result = run(store, {"digits": DIGITS}, adopt=True)
    assert "is damaged" in result["notes"][0]
    assert result["actions"] == [f"write {MANIFEST_FILE}"]


def test_prune_respects_the_chosen_models(store: MemoryStore) -> None:
    run(store, {"a": DIGITS, "b": DIGITS, "c": DIGITS})
    result = run(store, {"a": DIGITS}, prune=True, models=("a", "b"))
    assert result["removed_models"] == ["b"]
    assert run(store, {"a": DIGITS}, prune=True)["removed_models"] == ["c"]


def test_versions_are_kept_unless_pruned_or_too_many(store: MemoryStore) -> None:
    run(store, {"m": model({}, v1={"x": "a"}, v2={"x": "a"}, v3={"x": "a"})})
    later = {"m": model({}, v4={"x": "a"})}
    assert run(store, later)["models"][0]["versions"] == [1, 2, 3, 4]
    assert run(store, later, keep_versions=2)["models"][0]["versions"] == [3, 4]
    assert run(store, later, prune=True)["models"][0]["versions"] == [4]


def test_one_version_is_published_alone(store: MemoryStore) -> None:
    source = {"m": model({"config.pbtxt": "a"}, v1={"x": "a"}, v2={"x": "a"})}
    assert run(store, source, models=("m",), version=2)["models"][0]["versions"] == [2]
    assert run(store, source)["models"][0]["changed_versions"] == [1]


def test_one_version_is_taken_away(store: MemoryStore) -> None:
    run(store, {"m": model({"config.pbtxt": "a"}, v1={"x": "a"}, v2={"x": "a"})})
    result = run(store, None, models=("m",), version=1)
    assert result["models"] == [{"name": "m", "versions": [2], "changed_versions": [], "state": "changed"}]
    assert not run(store, None, models=("m",), version=1)["changed"]
    with pytest.raises(InputError, match="the model's only version"):
        run(store, None, models=("m",), version=2)


def test_models_are_taken_away_and_then_everything(store: MemoryStore) -> None:
    run(store, {"a": DIGITS, "b": DIGITS})
    assert run(store, None, models=("a",))["removed_models"] == ["a"]
    assert not run(store, None, models=("a",))["changed"]
    result = run(store, None)
    assert result["actions"] == ["remove model b", f"remove {MANIFEST_FILE}"]
    assert (store.objects, result["manifest"]) == ({}, "")
    assert not run(store, None)["changed"]
