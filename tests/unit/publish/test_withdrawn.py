# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a release went back from is not published again, whoever publishes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import pytest

from ansible_collections.serving.triton.plugins.module_utils.core.errors import ConflictError
from ansible_collections.serving.triton.plugins.module_utils.repository.manifest import (
    FileRecord,
    Manifest,
    ModelTree,
    Release,
    Withdrawn,
    dump,
    parse,
)
from ansible_collections.serving.triton.plugins.module_utils.repository.publish import (
    Observed,
    Options,
    SourceFile,
    plan_absent,
    plan_present,
    report,
)
from ansible_collections.serving.triton.plugins.module_utils.repository.withdrawn import content, select


def file(text: str) -> SourceFile:
    return SourceFile("/src", len(text), hashlib.sha256(text.encode()).hexdigest())


def tree(config: str, **versions: str) -> ModelTree[SourceFile]:
    return ModelTree({"config.pbtxt": file(config)}, {int(number[1:]): {"model.py": file(text)} for number, text in versions.items()})


def recorded(source: ModelTree[SourceFile]) -> ModelTree[FileRecord]:
    def records(files: Mapping[str, SourceFile]) -> dict[str, FileRecord]:
        return {path: FileRecord(each.size, each.sha256, "s") for path, each in files.items()}

    return ModelTree(records(source.files), {number: records(files) for number, files in source.versions.items()})


BAD = tree("new", v1="one", v2="bad")
MARK = Withdrawn({2: content(BAD.versions[2])}, why="wrong answers")
REPOSITORY = Manifest({"m": recorded(tree("pinned", v1="one"))}, withdrawn={"m": (MARK,)})


def observed(manifest: Manifest = REPOSITORY) -> Observed:
    return Observed(manifest, names=frozenset(manifest.models))


def test_a_manifest_keeps_what_was_withdrawn() -> None:
    marks = (MARK, Withdrawn(files="abc", why="config", again=True))
    assert parse(dump(Manifest(withdrawn={"m": marks})))[0] == Manifest(withdrawn={"m": marks})


def test_a_manifest_keeps_releases() -> None:
    release = Release("done", (1,), (1,), {"config.pbtxt": "text"}, (2,), (), "")
    assert parse(dump(Manifest(releases={"m": release})))[0] == Manifest(releases={"m": release})


def test_a_withdrawn_version_is_not_published_again() -> None:
    plan = plan_present({"m": BAD}, observed(), Options())
    assert not plan
    assert plan.manifest == REPOSITORY
    assert report(plan)["held_models"] == {"m": "version 2 was withdrawn (wrong answers)"}
    assert report(plan)["models"] == [{"name": "m", "versions": [1], "changed_versions": [], "state": "unchanged"}]
    assert plan.notes == ("m stays as it is: version 2 was withdrawn (wrong answers)",)


def test_other_models_go_on_and_prune_leaves_a_held_one() -> None:
    plan = plan_present({"m": BAD, "other": tree("c", v1="x")}, observed(), Options(prune=True))
    assert [change.name for change in plan.changes] == ["other"]
    assert plan.manifest is not None
    assert plan.manifest.withdrawn == {"m": (MARK,)}


def test_a_newer_version_ends_it_and_leaves_the_withdrawn_one_out() -> None:
    plan = plan_present({"m": tree("new", v1="one", v2="bad", v3="good")}, observed(), Options())
    [change] = plan.changes
    assert change.changed_versions == [3]
    assert plan.manifest is not None
    assert plan.manifest.withdrawn == {"m": (MARK,)}, "its number stays taken"
    assert "m/2 is left out" in plan.notes[0]


def test_a_source_without_it_is_published_as_ever() -> None:
    [change] = plan_present({"m": tree("old", v1="one")}, observed(), Options()).changes
    assert list(change.files) == ["config.pbtxt"]


def test_it_may_come_back_by_consent_with_the_same_content_only() -> None:
    again = {"m": (Withdrawn(MARK.versions, why="", again=True),)}
    assert select({"m": BAD}, again).trees == {"m": BAD}
    assert select({"m": BAD}, again).left == {}
    with pytest.raises(ConflictError, match="publish this as version 3"):
        select({"m": tree("new", v1="one", v2="mended")}, again)
    assert select({"m": BAD}, {"m": (MARK,)}, force=True).trees == {"m": BAD}


def test_a_withdrawn_configuration_is_not_published_again() -> None:
    source = tree("bad", v1="one")
    marks = {"m": (Withdrawn(files=content(source.files), why="it does not load"),)}
    assert select({"m": source}, marks).held == {"m": "its configuration was withdrawn (it does not load)"}
    assert select({"m": tree("good", v1="one")}, marks).held == {}


def test_a_model_that_is_taken_away_is_forgotten() -> None:
    manifest = Manifest({**REPOSITORY.models, "n": ModelTree()}, withdrawn=REPOSITORY.withdrawn)
    left = plan_absent(Observed(manifest, names=frozenset("mn"), trees={"m": ModelTree()}), Options(models=("m",)))
    assert left.manifest is not None
    assert left.manifest.withdrawn == {}


def test_what_was_begun_with_a_held_model_stays_begun() -> None:
    plan = plan_present({"m": BAD}, observed(Manifest(REPOSITORY.models, ("m",), withdrawn=REPOSITORY.withdrawn)), Options())
    assert plan.manifest is not None
    assert plan.manifest.pending == ("m",)
