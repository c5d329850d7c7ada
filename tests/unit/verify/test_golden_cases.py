# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Golden cases are read as they are, and what is wrong in a file is told with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.errors import AnsibleLookupError
from support import build_samples

from ansible_collections.serving.triton.plugins.lookup.golden_cases import LookupModule, read_cases
from ansible_collections.serving.triton.plugins.module_utils.core.errors import InputError


def write(folder: Path, text: str, name: str = "m.yml") -> Path:
    (folder / name).write_text(text)
    return folder


def test_requests_come_as_they_are_with_their_model(tmp_path: Path) -> None:
    for name in ("a.npy", "cat.png", "dog.png"):
        (tmp_path / name).touch()
    text = """
requests:
  - inputs: [{name: A, npy: a.npy}, {name: B, npy: /elsewhere/a.npy}, {name: C, values: [1]}]
  - model: m
    synthetic: true
  - inputs: [{name: D, image: {path: [cat.png, dog.png], scaling: vgg}}]
"""
    first, second, third = read_cases(write(tmp_path, text))["m"]
    assert first == {
        "model": "m",
        "inputs": [{"name": "A", "npy": "a.npy"}, {"name": "B", "npy": "/elsewhere/a.npy"}, {"name": "C", "values": [1]}],
    }
    assert second == {"model": "m", "synthetic": True}
    assert third["inputs"][0]["image"] == {"path": ["cat.png", "dog.png"], "scaling": "vgg"}


def test_only_yaml_files_are_cases(tmp_path: Path) -> None:
    for name in ("notes.txt", ".hidden.yml", "b.npy"):
        (tmp_path / name).write_text("requests: 1")
    assert read_cases(write(tmp_path, "requests: [{inputs: []}]", "x.yaml")) == {"x": [{"model": "x", "inputs": []}]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("requests: [", r"m\.yml: cannot be read"),
        ("[1, 2]", r"m\.yml: holds no requests"),
        ("requests: []", r"m\.yml: holds no requests"),
        ("requests: [3]", r"m\.yml: requests\[0\]: is no mapping"),
        ("requests: [{model: other, inputs: []}]", r"requests\[0\]: asks 'other'"),
        ("requests: [{inputs: []}, {inputs: [1]}]", r"requests\[1\]: an input is no mapping"),
        ("requests: [{inputs: [{name: A, image: {path: [no.png]}}]}]", r"requests\[0\]: the file .*/no\.png does not exist"),
        ("requests: [{inputs: [{name: A, npy: no.npy}]}]", r"requests\[0\]: the file .*/no\.npy does not exist"),
        ("requests: [{inputs: [{name: A, image: {path: no.png}}]}]", r"requests\[0\]: the file .*/no\.png does not exist"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_cases(write(tmp_path, text))


def test_two_files_of_one_model_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "requests: [{inputs: []}]", "m.yaml")
    with pytest.raises(InputError, match="two files"):
        read_cases(write(tmp_path, "requests: [{inputs: []}]"))


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "m.yml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read"):
        read_cases(tmp_path)


def test_the_lookup_answers_one_mapping_a_folder(tmp_path: Path) -> None:
    lookup = LookupModule()
    [empty, samples] = lookup.run(["", str(build_samples.FILES / "golden")], {})
    assert empty == {}
    assert len(samples["simple_sequence"]) == 14
    with pytest.raises(AnsibleLookupError, match="does not exist"):
        lookup.run([str(tmp_path / "missing")], {})
