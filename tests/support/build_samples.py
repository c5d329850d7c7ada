# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Builds the artefacts of the sample models: trains them, exports them, and writes their golden cases and the digests.

    python tests/support/build_samples.py            build in place
    python tests/support/build_samples.py --check    build elsewhere and compare with what is committed

It stands here and not in the role because it needs the test environment (scikit-learn, lightgbm, onnx), which no user of the
collection installs. config.pbtxt, labels, model.py and the golden cases of simple* are written by hand and stay as they are.

Every seed is fixed and every library runs on one thread, but numeric libraries differ between machines in the last bits. So
--check compares meaning: predictions agree and accuracy stays above its floor. Equality to the byte is reported, not demanded.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import importlib.util
import math
import os
import sys
import tempfile
import textwrap
import types
import warnings
from dataclasses import dataclass
from pathlib import Path

# Set before numpy loads its BLAS: the sums of several threads differ from run to run.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import lightgbm
import numpy as np
import onnx
import onnxruntime
import yaml
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

FILES = Path(__file__).resolve().parents[2] / "roles" / "model_repository" / "files"
DIGESTS = "SHA256SUMS"
SEED = 20240
HELD_OUT_SHARE = 0.25
GOLDEN_ROWS = 40
# Seeds of `scan`; none is used twice.
TRAINING_SCANS = (1, 2, 3, 4)
HELD_OUT_SCAN = 5
GOLDEN_SCAN = 6
# Old enough for the onnxruntime of tritonserver 2.39.
OPSET = 13
IR_VERSION = 8
# Characters; of the golden cases.
LINE = 140
AGREEMENT = 0.99
# Shares of the held-out rows whose most probable class must be right.
ACCURACY = {"digits": 0.95, "digits_pipeline": 0.95, "forest": 0.95}
# Fewer rows: one more or less wrong must not decide.
GOLDEN_ACCURACY = {"digits": 0.95, "digits_pipeline": 0.95, "forest": 0.92}


@dataclass(frozen=True)
class Split:
    """Rows and labels; those held out are never seen in training."""

    train: np.ndarray
    train_labels: np.ndarray
    held_out: np.ndarray
    held_out_labels: np.ndarray


def split(rows: np.ndarray, labels: np.ndarray) -> Split:
    train, held_out, train_labels, held_out_labels = train_test_split(
        rows, labels, test_size=HELD_OUT_SHARE, random_state=SEED, stratify=labels
    )
    return Split(train, train_labels, held_out, held_out_labels)


@functools.cache
def digits() -> Split:
    """scikit-learn's handwritten digits as a scanner gives them: UINT8 [n, 8, 8], 255 is the darkest ink."""
    images, labels = load_digits(return_X_y=True)
    return split(np.round(images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8), labels)


@functools.cache
def biopsies() -> Split:
    """scikit-learn's breast cancer set: FP32 [n, 30], 0 is malignant and 1 is benign."""
    rows, labels = load_breast_cancer(return_X_y=True)
    return split(rows.astype(np.float32), labels)


def scan(pixels: np.ndarray, seed: int) -> np.ndarray:
    """The same digits from a poor scanner: grey paper, pale ink, grain."""
    random = np.random.default_rng(seed)
    paper = random.uniform(20, 90, (len(pixels), 1, 1))
    ink = random.uniform(0.3, 0.6, (len(pixels), 1, 1))
    grain = random.normal(0, 2.5, pixels.shape)
    return np.clip(np.round(paper + ink * pixels + grain), 0, 255).astype(np.uint8)


def prepare(pixels: np.ndarray) -> np.ndarray:
    """What the sample model digits_preprocess does, by its own code."""
    return _preprocess_model().prepare(pixels)


@functools.cache
def _preprocess_model() -> types.ModuleType:
    # Triton's stub offers this module inside the server only; `prepare` does without it.
    sys.modules.setdefault("triton_python_backend_utils", types.ModuleType("triton_python_backend_utils"))
    path = FILES / "samples" / "digits_preprocess" / "1" / "model.py"
    spec = importlib.util.spec_from_file_location("digits_preprocess", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def graph(name: str, nodes: list, inputs: list, outputs: list, initializers: tuple = ()) -> bytes:
    """A checked ONNX model, serialized."""
    model = helper.make_model(
        helper.make_graph(nodes, name, inputs, outputs, list(initializers)),
        producer_name="serving.triton",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def add_sub(name: str, data_type: int, work_type: int | None = None) -> bytes:
    """OUTPUT0 = INPUT0 + INPUT1, OUTPUT1 = INPUT0 - INPUT1, computed in `work_type` where the tensors hold another."""

    def value(tensor: str):
        return helper.make_tensor_value_info(tensor, data_type, ["batch", 16])

    nodes = []
    if work_type is None:
        nodes = [helper.make_node("Add", ["INPUT0", "INPUT1"], ["OUTPUT0"]), helper.make_node("Sub", ["INPUT0", "INPUT1"], ["OUTPUT1"])]
    else:
        nodes = [helper.make_node("Cast", [f"INPUT{i}"], [f"in{i}"], to=work_type) for i in (0, 1)]
        nodes += [helper.make_node("Add", ["in0", "in1"], ["out0"]), helper.make_node("Sub", ["in0", "in1"], ["out1"])]
        nodes += [helper.make_node("Cast", [f"out{i}"], [f"OUTPUT{i}"], to=data_type) for i in (0, 1)]
    return graph(name, nodes, [value("INPUT0"), value("INPUT1")], [value("OUTPUT0"), value("OUTPUT1")])


def digit_classifier() -> bytes:
    """A perceptron with one hidden layer, trained on clean and on badly scanned digits, with the softmax in the graph."""
    data = digits()
    pixels = np.concatenate([data.train, *(scan(data.train, seed) for seed in TRAINING_SCANS)])
    labels = np.tile(data.train_labels, 1 + len(TRAINING_SCANS))
    network = MLPClassifier((64,), alpha=0.01, batch_size=128, max_iter=80, n_iter_no_change=80, tol=0, random_state=SEED)
    with warnings.catch_warnings():
        # 80 rounds are the plan, not a failure to converge.
        warnings.simplefilter("ignore", ConvergenceWarning)
        network.fit(prepare(pixels), labels)
    weights = [layer.astype(np.float32) for layer in network.coefs_]
    biases = [layer.astype(np.float32) for layer in network.intercepts_]
    constants = {"weight0": weights[0], "bias0": biases[0], "weight1": weights[1], "bias1": biases[1]}
    nodes = [
        helper.make_node("Gemm", ["image", "weight0", "bias0"], ["sums"]),
        helper.make_node("Relu", ["sums"], ["hidden"]),
        helper.make_node("Gemm", ["hidden", "weight1", "bias1"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
    ]
    return graph(
        "digits",
        nodes,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 64])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 10])],
        tuple(numpy_helper.from_array(array, name) for name, array in constants.items()),
    )


def forest() -> bytes:
    """Gradient-boosted trees in LightGBM's text form."""
    data = biopsies()
    parameters = {
        "objective": "binary",
        "num_leaves": 7,
        "learning_rate": 0.15,
        "min_data_in_leaf": 10,
        "feature_fraction": 0.6,
        "seed": SEED,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbosity": -1,
    }
    booster = lightgbm.train(parameters, lightgbm.Dataset(data.train, data.train_labels), num_boost_round=40)
    return booster.model_to_string().encode()


@functools.cache
def artefacts() -> dict[str, bytes]:
    """Path below samples/ → content."""
    return {
        "simple/1/model.onnx": add_sub("simple", TensorProto.INT32),
        "simple_int8/1/model.onnx": add_sub("simple_int8", TensorProto.INT8, TensorProto.INT32),
        "simple_string/1/model.onnx": add_sub("simple_string", TensorProto.STRING, TensorProto.INT32),
        "digits/1/model.onnx": digit_classifier(),
        "forest/1/model.txt": forest(),
    }


def run_onnx(model: bytes, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, inputs)


def run_digits(model: bytes, images: np.ndarray) -> np.ndarray:
    """Scores [n, 10]."""
    return run_onnx(model, {"image": images})[0]


def run_forest(model: bytes, rows: np.ndarray) -> np.ndarray:
    """Probabilities [n, 2] of malignant and benign."""
    benign = lightgbm.Booster(model_str=model.decode()).predict(rows, num_threads=1)
    return np.stack([1 - benign, benign], axis=1)


def predictions(files: dict[str, bytes]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Per trained model the answers to every held-out row, and the right labels."""
    pixels, labels = digits().held_out, digits().held_out_labels
    scanned = prepare(scan(pixels, HELD_OUT_SCAN))
    return {
        "digits": (run_digits(files["digits/1/model.onnx"], prepare(pixels)), labels),
        "digits_pipeline": (run_digits(files["digits/1/model.onnx"], scanned), labels),
        "forest": (run_forest(files["forest/1/model.txt"], biopsies().held_out), biopsies().held_out_labels),
    }


def golden(files: dict[str, bytes]) -> dict[str, bytes]:
    """Path below golden/ → content: the first held-out rows, with their true labels and what the model must answer."""
    pixels, labels = digits().held_out[:GOLDEN_ROWS], digits().held_out_labels[:GOLDEN_ROWS]
    names = (FILES / "samples" / "digits" / "labels.txt").read_text().split()
    words = [names[label] for label in labels]
    images = prepare(pixels)
    rows, classes = biopsies().held_out[:GOLDEN_ROWS], biopsies().held_out_labels[:GOLDEN_ROWS]
    outcome = [["malignant", "benign"][label] for label in classes]
    return {
        "digits.npy": npy(images),
        "digits_scanned.npy": npy(scan(pixels, GOLDEN_SCAN)),
        "forest.npy": npy(rows),
        "digits.yml": cases("digits", [digits_case(run_digits(files["digits/1/model.onnx"], images), words)]),
        "digits_preprocess.yml": cases("digits_preprocess", [preprocess_case(pixels[:4], images[:4])]),
        "digits_pipeline.yml": cases("digits_pipeline", pipeline_cases(pixels, words)),
        "forest.yml": cases("forest", forest_cases(rows, run_forest(files["forest/1/model.txt"], rows), outcome)),
    }


def npy(array: np.ndarray) -> bytes:
    with tempfile.TemporaryFile() as file:
        np.save(file, array, allow_pickle=False)
        file.seek(0)
        return file.read()


def digits_case(scores: np.ndarray, words: list[str]) -> dict:
    top = [[int(i) for i in row] for row in np.argsort(-scores, axis=1)[:, :1]]
    return {
        "model": "digits",
        "inputs": [{"name": "image", "datatype": "FP32", "shape": [GOLDEN_ROWS, 64], "npy": "digits.npy"}],
        "outputs": ["scores"],
        "classes": 1,
        "expect": [{"output": "scores", "top": top, "labels": words, "accuracy": GOLDEN_ACCURACY["digits"]}],
    }


def preprocess_case(pixels: np.ndarray, images: np.ndarray) -> dict:
    expected = {"output": "image", "datatype": "FP32", "shape": list(images.shape), "values": numbers(images), "tolerance": 0.00001}
    return {"model": "digits_preprocess", "inputs": [raw(pixels)], "expect": [expected]}


def raw(pixels: np.ndarray) -> dict:
    """The input `pixels`, one picture a line."""
    return {"name": "pixels", "datatype": "UINT8", "shape": list(pixels.shape), "values": pixels.reshape(len(pixels), -1).tolist()}


def pipeline_cases(pixels: np.ndarray, words: list[str]) -> list[dict]:
    scanned = {"name": "pixels", "datatype": "UINT8", "shape": [GOLDEN_ROWS, 8, 8], "npy": "digits_scanned.npy"}
    expected = {"output": "scores", "labels": words, "accuracy": GOLDEN_ACCURACY["digits_pipeline"]}
    return [{"model": "digits_pipeline", "inputs": [one], "classes": 1, "expect": [expected]} for one in (raw(pixels), scanned)]


def forest_cases(rows: np.ndarray, probabilities: np.ndarray, outcome: list[str]) -> list[dict]:
    """FIL computes in 32 bits: its probabilities differ from LightGBM's by less than 1e-5."""
    inputs = {"name": "input__0", "datatype": "FP32", "shape": list(rows.shape)}
    exact = {"output": "output__0", "datatype": "FP32", "shape": list(probabilities.shape), "values": numbers(probabilities)}
    labels = {"output": "output__0", "labels": outcome, "accuracy": GOLDEN_ACCURACY["forest"]}
    return [
        {"model": "forest", "inputs": [inputs | {"values": numbers(rows)}], "expect": [exact | {"tolerance": 0.0001}]},
        {"model": "forest", "inputs": [inputs | {"npy": "forest.npy"}], "classes": 1, "expect": [labels]},
    ]


def numbers(array: np.ndarray) -> list[list[float]]:
    """Rows of the shortest numbers that are the same in 32 bits."""
    return [[float(str(value)) for value in row] for row in array.astype(np.float32)]


class Compact(yaml.SafeDumper):
    """Short lists of plain values in flow style, everything else in indented block style."""

    def ignore_aliases(self, data: object) -> bool:
        return True

    def represent_sequence(self, tag, sequence, flow_style=None):
        nested = any(isinstance(item, (dict, list)) for item in sequence)
        short = "{" not in str(sequence) and len(str(sequence)) < 300
        return super().represent_sequence(tag, sequence, flow_style=short or not nested)

    def increase_indent(self, flow=False, indentless=False):
        return super().increase_indent(flow, indentless=False)


def cases(model: str, requests: list[dict]) -> bytes:
    head = f"---\n# Inputs for {model} that no training saw, and what it must answer. Written by tests/support/build_samples.py.\n"
    body = yaml.dump({"requests": requests}, Dumper=Compact, sort_keys=False, width=math.inf)
    return (head + "".join(wrapped(line) + "\n" for line in body.splitlines())).encode()


def wrapped(line: str) -> str:
    """A list on one line, broken so that each further line starts below its first item."""
    start = line.find("[") + 1
    return line if len(line) <= LINE else textwrap.fill(line, LINE, subsequent_indent=" " * start, break_long_words=False)


def write(root: Path, files: dict[str, bytes], cases_: dict[str, bytes]) -> None:
    for folder, contents in (("samples", files), ("golden", cases_)):
        for path, content in contents.items():
            (root / folder / path).parent.mkdir(parents=True, exist_ok=True)
            (root / folder / path).write_bytes(content)


def digest_lines(root: Path) -> str:
    """The sample models and golden cases in the form that `sha256sum --check` reads."""
    return "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(root).as_posix()}\n" for path in shipped(root))


def shipped(root: Path) -> list[Path]:
    """The files of the sample models and golden cases, without what a Python leaves beside them."""
    found = (path for folder in ("samples", "golden") for path in (root / folder).rglob("*"))
    return sorted(path for path in found if path.is_file() and path.parent.name != "__pycache__")


def accuracy(answers: np.ndarray, labels: np.ndarray) -> float:
    return float((answers.argmax(axis=1) == labels).mean())


def problems(committed: dict[str, bytes], rebuilt: dict[str, bytes]) -> list[str]:
    """What distinguishes the committed models from those that the script builds, and what falls below its floor."""
    found = []
    new = predictions(rebuilt)
    for model, (answers, labels) in predictions(committed).items():
        share = float((answers.argmax(axis=1) == new[model][0].argmax(axis=1)).mean())
        reached = accuracy(answers, labels)
        print(f"{model}: {len(labels)} held-out rows, accuracy {reached:.4f} (floor {ACCURACY[model]}), agreement {share:.4f}")
        if share < AGREEMENT:
            found.append(f"{model}: only {share:.4f} of its predictions agree with a rebuild, {AGREEMENT} are needed")
        if reached < ACCURACY[model]:
            found.append(f"{model}: accuracy {reached:.4f} is below its floor {ACCURACY[model]}")
    return found


def check(root: Path = FILES) -> list[str]:
    """Compares what is committed with a rebuild. Empty when all is well."""
    rebuilt = artefacts()
    committed = {path: (root / "samples" / path).read_bytes() for path in rebuilt}
    new_golden = golden(committed)
    same = [path for path, content in rebuilt.items() if committed[path] == content]
    print(f"Equal to the byte: {', '.join(same) or 'none'}")
    found = problems(committed, rebuilt)
    stale = [path for path, new in new_golden.items() if not same_case(root, path, new)]
    found += [f"golden/{path}: does not follow from the committed models" for path in stale]
    if (root / DIGESTS).read_text() != digest_lines(root):
        found.append(f"{DIGESTS}: does not fit the files")
    return found


def same_case(root: Path, path: str, new: bytes) -> bool:
    """Whether a committed golden case is what the script makes, apart from the last digits of its numbers."""
    old = (root / "golden" / path).read_bytes()
    if path.endswith(".npy"):
        return old == new
    return close(yaml.safe_load(old), yaml.safe_load(new))


def close(one: object, other: object) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(close(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(close, one, other))
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return abs(one - other) <= 1e-5 * max(1, abs(one))
    return one == other


def main() -> int:
    parser = argparse.ArgumentParser(description="Builds the artefacts of the sample models.")
    parser.add_argument("--check", action="store_true", help="compare with what is committed, change nothing")
    if parser.parse_args().check:
        found = check()
        print("\n".join(found) or "The committed samples are what this script builds.")
        return 1 if found else 0
    files = artefacts()
    write(FILES, files, golden(files))
    (FILES / DIGESTS).write_text(digest_lines(FILES))
    print(f"Wrote {len(files)} models, {len(digest_lines(FILES).splitlines())} files in all.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
