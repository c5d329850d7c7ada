# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What may be published: names, links, kinds of files, places."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from ansible_collections.serving.triton.plugins.module_utils.core.errors import InputError
from ansible_collections.serving.triton.plugins.module_utils.repository.digest import DigestCache
from ansible_collections.serving.triton.plugins.module_utils.repository.publish_source import check_apart, check_names, read_source

A = hashlib.sha256(b"a").hexdigest()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    (root / "digits" / "1").mkdir(parents=True)
    (root / "digits" / "1" / "model.py").write_text("a")
    (root / "digits" / "config.pbtxt").write_text("bb")
    return root


def read(root: Path, *models: str) -> dict[str, dict[str, tuple[int, str]]]:
    found = read_source(str(root), models, DigestCache())
    return {name: {path: (each.size, each.sha256) for path, each in tree.items()} for name, tree in found.items()}


def test_files_come_with_sizes_and_digests(source: Path) -> None:
    assert read(source) == {"digits": {"1/model.py": (1, A), "config.pbtxt": (2, hashlib.sha256(b"bb").hexdigest())}}


def test_versions_without_files_are_versions(source: Path) -> None:
    (source / "ensemble" / "3").mkdir(parents=True)
    assert read_source(str(source), ["ensemble"], DigestCache())["ensemble"].versions == {3: {}}


def test_what_belongs_to_no_model_is_left_out(source: Path) -> None:
    for path in (".git/config", "digits/1/__pycache__/model.pyc", "digits/.nfs0001"):
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_text("x")
    (source / "README.md").write_text("x")
    assert set(read(source)) == {"digits"}
    assert set(read(source)["digits"]) == {"1/model.py", "config.pbtxt"}


@pytest.mark.parametrize("name", ["my model", "modèle", "a+b", "a=b", "-@", "a\nb"])
def test_unsafe_names_are_refused_wherever_they_are(source: Path, name: str) -> None:
    (source / "digits" / "1" / name).write_text("x")
    with pytest.raises(InputError, match="other characters than letters, digits") as failure:
        read(source)
    assert failure.value.details["problems"][0]["path"] == f"digits/1/{name}"
    (source / "digits" / "1" / name).unlink()
    (source / name).mkdir()
    with pytest.raises(InputError, match="the model's name has other characters"):
        read(source)


@pytest.mark.parametrize("name", ["..", "../digits", "a/b", "/etc", "", ".hidden", "a b", "."])
def test_what_is_no_model_name_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="cannot be a model's name"):
        check_names([name])


def test_every_problem_is_told(source: Path) -> None:
    for number in range(15):
        (source / "digits" / f"bad {number:02}").write_text("x")
    with pytest.raises(InputError, match="and 5 more") as failure:
        read(source)
    assert len(failure.value.details["problems"]) == 15


@pytest.mark.parametrize("place", ["digits/1/weights", "digits/labels.txt", "linked"])
@pytest.mark.parametrize("target", ["../../../../../../../../../etc", "/", "/etc/passwd", "OUTSIDE"])
def test_a_link_out_of_the_source_is_refused(source: Path, tmp_path: Path, place: str, target: str) -> None:
    outside = tmp_path / "source-of-others"
    outside.mkdir()
    (source / place).symlink_to(str(outside) if target == "OUTSIDE" else target)
    with pytest.raises(InputError, match="link out of the source") as failure:
        read(source)
    assert failure.value.details["problems"][0]["path"] == place


def test_a_link_inside_of_the_source_is_published_as_what_it_leads_to(source: Path) -> None:
    (source / "digits" / "2").mkdir()
    (source / "digits" / "2" / "model.py").symlink_to("../1/model.py")
    assert read(source)["digits"]["2/model.py"] == (1, A)


def test_a_pipe_is_refused_rather_than_waited_for(source: Path) -> None:
    os.mkfifo(source / "digits" / "1" / "pipe")
    with pytest.raises(InputError, match="digits/1/pipe: it is not a regular file"):
        read(source)


def test_a_model_that_is_not_there_is_told_with_the_nearest_name(source: Path) -> None:
    with pytest.raises(InputError, match="no model digit") as failure:
        read(source, "digit")
    assert failure.value.remedy == "Did you mean digits?"


def test_an_empty_source_does_not_remove_everything(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no model"):
        read(tmp_path)


def test_a_missing_source_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read(tmp_path / "nowhere")


@pytest.mark.parametrize(("one", "two"), [("a", "a"), ("a", "a/b"), ("a/b", "a"), ("a", "link"), ("a/./b/..", "a")])
def test_source_and_repository_lie_apart(tmp_path: Path, one: str, two: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to("a")
    with pytest.raises(InputError, match="the source"):
        check_apart(str(tmp_path / one), str(tmp_path / two))


def test_neighbours_with_like_names_lie_apart(tmp_path: Path) -> None:
    check_apart(str(tmp_path / "models"), str(tmp_path / "models2"))
