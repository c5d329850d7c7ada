# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is told of a published repository, by objects and by files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.fakes import FakeClock
from support.memory_bucket import MemoryBucket
from support.memory_store import DiedError
from support.publish_sources import CONTENTS, file_of

from ansible_collections.serving.triton.plugins.module_utils.core.errors import InputError
from ansible_collections.serving.triton.plugins.module_utils.repository.manifest import ModelTree
from ansible_collections.serving.triton.plugins.module_utils.repository.publish import Options, SourceFile
from ansible_collections.serving.triton.plugins.module_utils.repository.published import drift_verdict
from ansible_collections.serving.triton.plugins.module_utils.stores.base import StoreOptions
from ansible_collections.serving.triton.plugins.module_utils.stores.holder import myself
from ansible_collections.serving.triton.plugins.module_utils.stores.inspection import inspect_store
from ansible_collections.serving.triton.plugins.module_utils.stores.object_lock import LOCK_KEY
from ansible_collections.serving.triton.plugins.module_utils.stores.objects import ObjectStore
from ansible_collections.serving.triton.plugins.module_utils.stores.publisher import Manners, Publisher
from ansible_collections.serving.triton.plugins.modules import model_repository, model_repository_info

SOURCE: dict[str, ModelTree[SourceFile]] = {
    "one": ModelTree({"config.pbtxt": file_of("a")}, {1: {"model.py": file_of("b")}, 2: {"model.py": file_of("a")}}),
    "two": ModelTree({}, {1: {"model.py": file_of("content")}}),
}


@pytest.fixture
def bucket() -> MemoryBucket:
    return MemoryBucket(CONTENTS)


def publish(bucket: MemoryBucket) -> None:
    publisher = Publisher(ObjectStore(bucket, StoreOptions(), FakeClock()), SOURCE, Options(), Manners("ci@runner", clock=FakeClock()))
    publisher.apply(publisher.plan(publisher.observe()))


def look(bucket: MemoryBucket, *models: str, digests: bool = False) -> dict[str, Any]:
    return inspect_store(ObjectStore(bucket, StoreOptions(), FakeClock()), models, digests=digests)


def test_nothing_is_published(bucket: MemoryBucket) -> None:
    told = look(bucket)
    assert not told["published"]
    assert told["models"] == []
    assert drift_verdict(told) == ""


def test_models_and_their_publisher_are_told(bucket: MemoryBucket) -> None:
    publish(bucket)
    bucket.objects["other/1/model.py"] = b"theirs"
    told = look(bucket)
    assert told["published"]
    assert told["publisher"] == "ci@runner"
    assert told["time"]
    states = [(each["name"], each["state"], each["versions"], each["files"], each["bytes"]) for each in told["models"]]
    assert states == [("one", "published", [1, 2], 3, 3), ("other", "foreign", [1], 1, 6), ("two", "published", [1], 1, 7)]
    assert told["bytes"] == 16
    assert told["foreign"] == ["other"]
    assert (told["drift"], told["pending"], told["locked_by"], told["leftovers"], told["notes"]) == ([], [], {}, [], [])
    assert [each["name"] for each in look(bucket, "two")["models"]] == ["two"]


def test_every_kind_of_drift_is_told(bucket: MemoryBucket) -> None:
    publish(bucket)
    del bucket.objects["one/1/model.py"]
    bucket.objects["one/2/model.py"] = b"longer"
    bucket.objects["one/config.pbtxt"] = b"x"
    bucket.objects["two/notes.txt"] = b""
    kinds = {each["file"]: each["kind"] for each in look(bucket)["drift"]}
    assert kinds == {"one/1/model.py": "missing", "one/2/model.py": "changed", "one/config.pbtxt": "touched", "two/notes.txt": "extra"}
    told = look(bucket, digests=True)
    assert {each["file"]: each["kind"] for each in told["drift"]}["one/config.pbtxt"] == "changed"
    assert "one/1/model.py is missing" in drift_verdict(told)
    assert told["models"][1]["digests"] == {"1/model.py": file_of("content").sha256}


def test_what_was_only_written_again_is_no_drift_by_content(bucket: MemoryBucket, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(bucket)
    monkeypatch.setattr(bucket, "_stamp", lambda key: f"another of {key}")
    told = look(bucket)
    assert {each["kind"] for each in told["drift"]} == {"touched"}
    assert drift_verdict(told) == ""
    assert look(bucket, digests=True)["drift"] == []


def test_an_unfinished_publish_is_told(bucket: MemoryBucket) -> None:
    bucket.fuse = 4
    with pytest.raises(DiedError):
        publish(bucket)
    told = look(bucket)
    assert told["pending"] == ["one", "two"]
    assert told["drift"] == []
    assert "the publish of one was not finished" in drift_verdict(told)


def test_who_publishes_just_now_is_told(bucket: MemoryBucket) -> None:
    publish(bucket)
    me = myself()
    bucket.objects[LOCK_KEY], bucket.ages[LOCK_KEY] = json.dumps(me).encode(), 0
    assert look(bucket)["locked_by"] == {key: me[key] for key in ("user", "host", "pid")}


def test_a_model_that_is_not_there_is_an_error(bucket: MemoryBucket) -> None:
    publish(bucket)
    with pytest.raises(InputError, match="no model three") as caught:
        look(bucket, "three")
    assert "one, two" in caught.value.remedy


@pytest.fixture
def ask(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Publishes a folder with the module's own code; returns what tells about it."""
    model = tmp_path / "source" / "digits"
    (model / "1").mkdir(parents=True)
    (model / "1" / "model.onnx").write_text("weights")
    (model / "2").mkdir()
    spec = {name: each.get("default") for name, each in model_repository.argument_spec().items()}
    options = {"src": str(tmp_path / "source"), "repository": str(tmp_path / "models"), "lint": False, "digest_cache": ""}
    publisher = model_repository.build({**spec, **options})
    publisher.apply(publisher.plan(publisher.observe()))
    given = {name: each.get("default") for name, each in model_repository_info.argument_spec().items()}
    return lambda **more: model_repository_info.read_published({**given, "repository": str(tmp_path / "models"), **more})


def test_a_folder_is_told_too(ask: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    told = ask(strict=True, digests=True)
    assert told["repository"] == str(tmp_path / "models")
    assert [(each["name"], each["versions"], each["bytes"]) for each in told["models"]] == [("digits", [1, 2], 7)]
    (tmp_path / "models" / "digits" / "1" / "model.onnx").write_text("Weights")
    (tmp_path / "models" / "digits" / "2").rmdir()
    assert {each["file"]: each["kind"] for each in ask(digests=True)["drift"]} == {"digits/1/model.onnx": "changed", "digits/2/": "missing"}
    with pytest.raises(InputError, match="not as it was published") as caught:
        ask(digests=True, strict=True)
    assert len(caught.value.details["drift"]) == 2
