# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Digests are right, remembered only while they are certain to hold, and the cache never gets in the way."""

from __future__ import annotations

import hashlib
import json
import os
import time
import tracemalloc

import pytest

from ansible_collections.serving.triton.plugins.module_utils.core.errors import InputError
from ansible_collections.serving.triton.plugins.module_utils.repository import digest as subject
from ansible_collections.serving.triton.plugins.module_utils.repository.digest import BLOCK_SIZE, DigestCache, digest


def later() -> int:
    """A clock that is far enough ahead for a file written just now to be old."""
    return time.time_ns() + 10 * subject.RACY_NS


@pytest.mark.parametrize("size", [0, 1, BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 1, 3 * BLOCK_SIZE + 7])
def test_digest_is_sha256_of_the_content(tmp_path, size):
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)
    assert digest(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_memory_is_bounded_by_the_block(tmp_path):
    with open(tmp_path / "large", "wb") as file:
        file.truncate(64 * BLOCK_SIZE)
    tracemalloc.start()
    digest(tmp_path / "large")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * BLOCK_SIZE


def test_a_missing_file_is_an_input_error(tmp_path):
    for call in (digest, DigestCache().digest):
        with pytest.raises(InputError, match="cannot be read") as caught:
            call(tmp_path / "missing")
        assert caught.value.where == str(tmp_path / "missing")


def test_an_unchanged_file_is_read_once_across_runs(tmp_path):
    (tmp_path / "file").write_text("content")
    first = DigestCache(tmp_path / "cache", now_ns=later)
    value = first.digest(tmp_path / "file")
    assert first.digest(tmp_path / "file", os.stat(tmp_path / "file")) == value
    assert (first.hits, first.misses) == (1, 1)
    assert first.save()

    second = DigestCache(tmp_path / "cache", now_ns=later)
    assert second.digest(tmp_path / "file") == value == digest(tmp_path / "file")
    assert (second.hits, second.misses) == (1, 0)
    assert os.stat(tmp_path / "cache").st_mode & 0o777 == 0o600
    assert sorted(os.listdir(tmp_path)) == ["cache", "file"]


def test_a_changed_file_of_equal_size_and_mtime_is_read_again(tmp_path):
    file = tmp_path / "file"
    file.write_text("aaaa")
    cache = DigestCache(now_ns=later)
    cache.digest(file)
    status = file.stat()
    file.write_text("bbbb")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert cache.digest(file) == hashlib.sha256(b"bbbb").hexdigest()


def test_a_file_that_changed_just_now_is_not_remembered(tmp_path):
    (tmp_path / "file").write_text("content")
    cache = DigestCache()
    cache.digest(tmp_path / "file")
    cache.digest(tmp_path / "file")
    assert cache.hits == 0


def test_a_file_that_changes_while_it_is_read_is_not_remembered(tmp_path):
    file = tmp_path / "file"
    file.write_text("old")
    before = file.stat()
    file.write_text("newer")
    cache = DigestCache(now_ns=later)
    cache.digest(file, before)
    assert cache.digest(file) == hashlib.sha256(b"newer").hexdigest()
    assert cache.hits == 0


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        '{"format": 0, "files": {}}',
        '{"format": 1, "files": {"1:1": [1]}}',
        '{"format": 1, "files": {"1:1": [1,1,1,"x"]}}',
        "\xff",
    ],
)
def test_a_damaged_cache_counts_as_empty_and_is_replaced(tmp_path, content):
    (tmp_path / "file").write_text("content")
    (tmp_path / "cache").write_text(content, encoding="latin-1")
    cache = DigestCache(tmp_path / "cache", now_ns=later)
    assert cache.digest(tmp_path / "file") == hashlib.sha256(b"content").hexdigest()
    assert cache.save()
    assert json.loads((tmp_path / "cache").read_text())["format"] == 1


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path):
    (tmp_path / "file").write_text("content")
    cache = DigestCache(tmp_path / "file" / "cache", now_ns=later)
    cache.digest(tmp_path / "file")
    assert cache.save() is False


def test_the_cache_is_bounded_and_keeps_what_was_used(tmp_path, monkeypatch):
    monkeypatch.setattr(subject, "MAX_ENTRIES", 2)
    names = [tmp_path / f"file{number}" for number in range(3)]
    for name in names:
        name.write_text(name.name)
    for used in (names[:2], names[2:]):
        cache = DigestCache(tmp_path / "cache", now_ns=later)
        for name in used:
            cache.digest(name)
        cache.save()
    assert len(json.loads((tmp_path / "cache").read_text())["files"]) == 2
    cache = DigestCache(tmp_path / "cache", now_ns=later)
    cache.digest(names[2])
    assert cache.hits == 1
