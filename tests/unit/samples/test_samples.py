# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The sample models are what their script builds, are right without any Triton, and are small."""

from __future__ import annotations

import hashlib
import shutil
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from support import build_samples

FILES = build_samples.FILES
SAMPLES = FILES / "samples"
GOLDEN = FILES / "golden"
ADD_SUB = {"simple": np.int32, "simple_int8": np.int8, "simple_string": object}


def requests(model: str) -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = yaml.safe_load((GOLDEN / f"{model}.yml").read_text())["requests"]
    return loaded


def tensor(given: dict[str, Any], dtype: Any) -> np.ndarray:
    """The array that a golden input describes."""
    if "npy" in given:
        return np.load(GOLDEN / given["npy"], allow_pickle=False)
    return np.array(given["values"], dtype=dtype).reshape(given["shape"])


def test_digests_fit_every_committed_file() -> None:
    lines = (FILES / "SHA256SUMS").read_text().splitlines()
    listed = {path: digest for digest, path in (line.split("  ") for line in lines)}
    there = {path.relative_to(FILES).as_posix(): path for path in build_samples.shipped(FILES)}
    assert listed.keys() == there.keys()
    assert listed == {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in there.items()}


def test_all_together_stay_below_200_kilobytes() -> None:
    assert sum(path.stat().st_size for path in FILES.rglob("*") if path.is_file()) < 200_000


def test_the_script_builds_what_is_committed() -> None:
    assert build_samples.check() == []


def zero_weights(data: bytes) -> bytes:
    model = onnx.load_model_from_string(data)
    for weight in model.graph.initializer:
        weight.raw_data = bytes(len(weight.raw_data))
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("path", "damage", "complaint"),
    [
        ("samples/digits/1/model.onnx", zero_weights, "digits: accuracy"),
        ("golden/digits.npy", lambda data: data[:-4] + b"\0\0\x80\x3f", "golden/digits.npy"),
        ("golden/forest.yml", lambda data: data.replace(b"0.99", b"0.89", 1), "golden/forest.yml"),
        ("samples/digits/labels.txt", lambda data: data + b"ten\n", "SHA256SUMS"),
    ],
)
def test_check_tells_what_does_not_fit(tmp_path: Path, path: str, damage: Any, complaint: str) -> None:
    copy = tmp_path / "files"
    shutil.copytree(FILES, copy)
    (copy / path).write_bytes(damage((copy / path).read_bytes()))
    assert any(line.startswith(complaint) for line in build_samples.check(copy)), complaint


def test_no_row_was_both_trained_on_and_held_out() -> None:
    for data in (build_samples.digits(), build_samples.biopsies()):
        train = {row.tobytes() for row in data.train}
        assert len(data.train) > len(data.held_out) > build_samples.GOLDEN_ROWS
        assert not [row for row in data.held_out if row.tobytes() in train]


def test_preprocessing_is_what_makes_poor_scans_readable() -> None:
    model = (SAMPLES / "digits/1/model.onnx").read_bytes()
    data = build_samples.digits()
    scans = build_samples.scan(data.held_out, build_samples.HELD_OUT_SCAN)
    with_it = build_samples.accuracy(build_samples.run_digits(model, build_samples.prepare(scans)), data.held_out_labels)
    plain = (scans.reshape(len(scans), -1) / 255).astype(np.float32)
    without = build_samples.accuracy(build_samples.run_digits(model, plain), data.held_out_labels)
    assert with_it >= 0.95
    assert without < 0.8


def test_preparing_centres_the_ink_and_loses_none() -> None:
    pixels = np.full((2, 8, 8), 60, np.uint8)
    pixels[0, 0:2, 0:3] = 200
    image, blank = build_samples.prepare(pixels).reshape(2, 8, 8)
    assert image.sum() == 6
    rows, columns = np.nonzero(image)
    assert abs(rows.mean() - 3.5) <= 0.5
    assert abs(columns.mean() - 3.5) <= 0.5
    assert not blank.any()


@pytest.mark.parametrize("path", sorted(SAMPLES.rglob("*.onnx")), ids=lambda path: path.parents[1].name)
def test_graphs_suit_old_runtimes_and_their_configuration(path: Path) -> None:
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version <= 8
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 13)]
    config = (path.parents[1] / "config.pbtxt").read_text()
    for each in (*model.graph.input, *model.graph.output):
        assert f'"{each.name}"' in config


@pytest.mark.parametrize("model", ADD_SUB)
def test_golden_sums_and_differences_hold_in_onnxruntime(model: str) -> None:
    for request in requests(model):
        given = {each["name"]: tensor(each, ADD_SUB[model]) for each in request["inputs"]}
        answers = build_samples.run_onnx((SAMPLES / model / "1/model.onnx").read_bytes(), given)
        for expected, answer in zip(request["expect"], answers):
            np.testing.assert_array_equal(answer, tensor({"shape": expected["shape"], "values": expected["values"]}, ADD_SUB[model]))


@pytest.mark.parametrize("model", ["digits", "digits_pipeline", "forest"])
def test_golden_labels_reach_their_floor_without_triton(model: str) -> None:
    folder = "digits" if model == "digits_pipeline" else model
    labels = (SAMPLES / folder / "labels.txt").read_text().split()
    checked = 0
    for request in requests(model):
        rows = tensor(request["inputs"][0], np.float32 if model == "forest" else np.uint8)
        answers = answer(model, rows)
        for expected in request["expect"]:
            if "values" in expected:
                np.testing.assert_allclose(answers, expected["values"], atol=expected["tolerance"])
            if "top" in expected:
                assert answers.argmax(axis=1)[:, None].tolist() == expected["top"]
            if "labels" in expected:
                named = [labels[index] for index in answers.argmax(axis=1)]
                right = sum(one == other for one, other in zip(named, expected["labels"]))
                assert len(named) == len(expected["labels"]) == build_samples.GOLDEN_ROWS
                assert right / len(named) >= expected["accuracy"] >= 0.9
                checked += 1
    assert checked


def answer(model: str, rows: np.ndarray) -> np.ndarray:
    if model == "forest":
        return build_samples.run_forest((SAMPLES / "forest/1/model.txt").read_bytes(), rows)
    images = build_samples.prepare(rows) if model == "digits_pipeline" else rows
    return build_samples.run_digits((SAMPLES / "digits/1/model.onnx").read_bytes(), images)


# --- the stateful models, driven as Triton drives them


class Tensor:
    def __init__(self, name: str, array: np.ndarray) -> None:
        self.name, self.array = name, array

    def as_numpy(self) -> np.ndarray:
        return self.array


def python_model(monkeypatch: pytest.MonkeyPatch, name: str) -> Any:
    """An initialized instance of a python model, over stand-ins for the classes that exist inside of Triton's stub only."""
    stub = types.ModuleType("triton_python_backend_utils")
    stub.Tensor = Tensor  # type: ignore[attr-defined]
    stub.InferenceResponse = lambda tensors: tensors  # type: ignore[attr-defined]
    stub.get_input_tensor_by_name = lambda request, tensor: Tensor(tensor, request[tensor])  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", stub)
    space: dict[str, Any] = {"__name__": name}
    exec(compile((SAMPLES / name / "1/model.py").read_text(), f"{name}/1/model.py", "exec"), space)
    model = space["TritonPythonModel"]()
    if hasattr(model, "initialize"):
        model.initialize({})
    return model


def ask(model: Any, value: int, *, start: bool = False, end: bool = False, ready: bool = True, sequence: int = 7) -> int:
    controls = {"START": start, "END": end, "READY": ready, "CORRID": sequence}
    request = {name: np.array([[int(given)]], np.int64) for name, given in controls.items()}
    [[output]] = model.execute([{**request, "INPUT": np.array([[value]], np.int32)}])
    assert output.name == "OUTPUT"
    assert output.array.dtype == np.int32
    assert output.array.shape == (1, 1)
    return int(output.array[0, 0])


@pytest.mark.parametrize(("name", "added"), [("simple_sequence", 0), ("simple_dyna_sequence", 7)])
def test_sequences_sum_up(monkeypatch: pytest.MonkeyPatch, name: str, added: int) -> None:
    model = python_model(monkeypatch, name)
    assert [ask(model, 11, start=True), ask(model, 7), ask(model, 5, end=True)] == [11, 18, 23 + added]
    assert ask(model, 3, start=True) == 3, "an ended sequence starts anew"
    assert ask(model, 100, start=True, sequence=8) == 100
    assert ask(model, 1) == 4, "the other sequence did not disturb this one"
    assert ask(model, 50, ready=False) == 0
    assert ask(model, 1) == 5, "a slot that is not ready adds nothing"
    assert ask(model, 2147483647) == 2147483652 - 2**32


def test_sequences_that_never_end_are_forgotten_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    model = python_model(monkeypatch, "simple_sequence")
    for sequence in range(1, 1100):
        ask(model, 1, start=True, sequence=sequence)
    assert len(model._sums) == 1024
    assert ask(model, 1, sequence=1099) == 2


def test_preparing_answers_every_request_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    model = python_model(monkeypatch, "digits_preprocess")
    [case] = requests("digits_preprocess")
    pixels = tensor(case["inputs"][0], np.uint8)
    answers = model.execute([{"pixels": pixels[:1]}, {"pixels": pixels[1:]}])
    together = np.concatenate([each.array for [each] in answers])
    np.testing.assert_allclose(together, case["expect"][0]["values"], atol=case["expect"][0]["tolerance"])
