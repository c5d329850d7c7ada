# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A repository's folder is read as Triton reads it, links are known, and what cannot be read is explained."""

from __future__ import annotations

import os

import pytest

from ansible_collections.serving.triton.plugins.module_utils.core.errors import InputError
from ansible_collections.serving.triton.plugins.module_utils.repository.layout import Link, glance, scan


def put(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)


def test_models_versions_and_files(tmp_path):
    put(
        tmp_path,
        "a/config.pbtxt",
        "a/labels.txt",
        "a/1/model.onnx",
        "a/10/model.onnx/x/y",
        "a/01/z",
        "a/warmup/w",
        "b/0/model.py",
        "README.md",
    )
    (tmp_path / "a" / "2").mkdir()
    found = scan(tmp_path)
    assert sorted(found.models) == ["a", "b"]
    model = found.models["a"]
    assert {number: [file.path for file in files] for number, files in model.versions.items()} == {
        1: ["a/1/model.onnx"],
        2: [],
        10: ["a/10/model.onnx/x/y"],
    }
    assert [file.path for file in model.files] == ["a/01/z", "a/config.pbtxt", "a/labels.txt", "a/warmup/w"]
    assert model.folders == ("a/01", "a/1", "a/10", "a/10/model.onnx", "a/10/model.onnx/x", "a/2", "a/warmup")
    assert model.size == sum(len(file.path) for file in model.all_files)
    assert list(found.models["b"].versions) == [0]
    assert [file.name for file in found.strays] == ["README.md"]
    assert model.files[1].mtime_ns == os.stat(tmp_path / "a/config.pbtxt").st_mtime_ns


def test_our_own_files_are_not_shown(tmp_path):
    put(tmp_path, ".serving-triton.json", ".serving-triton.lock", ".serving-triton.1/a/1/x", "a/1/x")
    found = scan(tmp_path)
    assert (list(found.models), found.strays) == (["a"], ())


def test_links_are_followed_and_known(tmp_path):
    put(tmp_path / "r", "a/1/x", "a/weights")
    put(tmp_path, "out/1/y", "r-beside")
    os.symlink("../weights", tmp_path / "r/a/1/inside")
    os.symlink(tmp_path / "r-beside", tmp_path / "r/a/1/outside")
    os.symlink(tmp_path / "out", tmp_path / "r/b")
    os.symlink("/etc/hostname", tmp_path / "r/stray")
    found = scan(tmp_path / "r")
    assert found.models["a"].links == (
        Link("a/1/inside", "../weights"),
        Link("a/1/outside", str(tmp_path / "r-beside"), escapes=True),
    )
    assert found.models["b"].links == (Link("b", str(tmp_path / "out"), escapes=True),)
    assert found.links == (Link("stray", "/etc/hostname", escapes=True),)
    assert [(file.path, file.is_link) for file in found.models["a"].versions[1]] == [
        ("a/1/inside", True),
        ("a/1/outside", True),
        ("a/1/x", False),
    ]


@pytest.mark.parametrize(
    ("place", "target", "why"), [("a/1/l", "nowhere", "leads nowhere"), ("a/1/l", "..", "leads back"), ("l", ".", "leads back")]
)
def test_a_link_that_cannot_be_followed(tmp_path, place, target, why):
    put(tmp_path, "a/1/x")
    os.symlink(target, tmp_path / place)
    with pytest.raises(InputError, match=why) as caught:
        scan(tmp_path)
    assert caught.value.where == str(tmp_path / place)
    found = scan(tmp_path, strict=False)
    links = [*found.links, *found.models["a"].links]
    assert [link.path for link in links] == [place]
    assert why in links[0].broken
    assert [file.path for file in found.models["a"].all_files] == ["a/1/x"]


@pytest.mark.parametrize(("name", "what"), [("missing", "does not exist"), ("file", "is not a folder")])
def test_a_repository_that_is_none(tmp_path, name, what):
    put(tmp_path, "file")
    with pytest.raises(InputError, match=what) as caught:
        scan(tmp_path / name)
    assert caught.value.remedy


def test_a_folder_that_cannot_be_read(tmp_path, monkeypatch):
    put(tmp_path, "a/1/x")
    read = os.scandir

    def refuse(folder):
        if str(folder).endswith("/a"):
            raise PermissionError(13, "Permission denied")
        return read(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match="cannot be read: Permission denied") as caught:
        scan(tmp_path)
    assert caught.value.where == str(tmp_path / "a")


def test_a_glance_reads_the_models_that_are_asked_for(tmp_path):
    put(tmp_path, "good/1/x")
    put(tmp_path, "bad/1/x")
    os.symlink("nowhere", tmp_path / "bad" / "1" / "link")
    seen = glance(tmp_path)
    assert list(seen.models) == ["bad", "good"]
    assert seen.models["good"] == scan(tmp_path, strict=False).models["good"]
    with pytest.raises(InputError, match="leads nowhere"):
        seen.models["bad"]
