# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The manifest: the same bytes for the same content, tolerant of damage, never trusted with paths."""

from __future__ import annotations

import dataclasses
import json

import pytest

from ansible_collections.serving.triton.plugins.module_utils.core.errors import InputError
from ansible_collections.serving.triton.plugins.module_utils.repository.manifest import FileRecord, Manifest, ModelTree, dump, parse

DIGEST = "ab" * 32
MODEL = ModelTree({"config.pbtxt": FileRecord(3, DIGEST, "7")}, {1: {"model.py": FileRecord(0, DIGEST)}, 2: {}})
MANIFEST = Manifest({"digits": MODEL}, ("digits",), True, "me@here", "2030-01-01T00:00:00+00:00")


def altered(**changes: object) -> bytes:
    return json.dumps({**json.loads(dump(MANIFEST)), **changes}).encode()


def with_path(path: str) -> bytes:
    return dump(MANIFEST).replace(b'"model.py"', json.dumps(path).encode())


def test_what_is_written_is_read_with_its_stamps_and_empty_versions() -> None:
    manifest, note = parse(dump(MANIFEST))
    assert manifest == MANIFEST
    assert manifest is not None
    assert manifest.models["digits"].flat() == MODEL.flat()
    assert manifest.models["digits"].files["config.pbtxt"].stamp == "7"
    assert (manifest.publisher, manifest.time, note) == ("me@here", "2030-01-01T00:00:00+00:00", "")


def test_the_same_content_gives_the_same_bytes() -> None:
    turned = ModelTree({"b": FileRecord(1, DIGEST), "a": FileRecord(1, DIGEST)}, {2: {}, 1: {}})
    ordered = ModelTree({"a": FileRecord(1, DIGEST), "b": FileRecord(1, DIGEST)}, {1: {}, 2: {}})
    assert dump(Manifest({"y": turned, "x": turned})) == dump(Manifest({"x": ordered, "y": ordered}))


def test_times_and_stamps_make_no_difference() -> None:
    later = dataclasses.replace(MANIFEST, time="2031-01-01T00:00:00+00:00", publisher="you@there")
    assert later == MANIFEST
    assert FileRecord(1, DIGEST, "1") == FileRecord(1, DIGEST, "2")


def test_no_manifest_is_no_note() -> None:
    assert parse(None) == (None, "")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"{}",
        dump(MANIFEST)[:-40],
        altered(models=[]),
        altered(models={"digits": {}}),
        altered(pending=[1]),
        altered(models={"../etc": {"files": {}, "versions": {}}}),
        altered(pending=["../etc"]),
        altered(models={".hidden": {"files": {}, "versions": {}}}),
        altered(models={"a/b": {"files": {}, "versions": {}}}),
        altered(models={"m": {"files": {}, "versions": {"01": {}}}}),
        with_path("../../etc/passwd"),
        with_path("/etc/passwd"),
        with_path("a//b"),
        with_path("a/./b"),
        with_path("a b"),
        dump(MANIFEST).replace(DIGEST.encode(), b"short"),
    ],
)
def test_a_damaged_or_hostile_manifest_counts_as_missing_and_says_so(raw: bytes) -> None:
    manifest, note = parse(raw)
    assert manifest is None
    assert "is damaged" in note


@pytest.mark.parametrize("schema", [2, "1", None])
def test_another_schema_is_an_error(schema: object) -> None:
    with pytest.raises(InputError, match="the manifest has schema") as failure:
        parse(altered(schema=schema))
    assert "newer" in failure.value.remedy
