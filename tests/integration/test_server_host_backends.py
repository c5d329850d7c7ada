# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The python-based backends onnxruntime and fil of the role server_host, on every real server: stock repositories, right answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from support.tritonserver import TritonServer
from tritonclient import http
from tritonclient.utils import InferenceServerException

BACKENDS = Path(__file__).resolve().parents[2] / "roles" / "server_host" / "files" / "backends"
Array = NDArray[Any]
FLOAT, HALF, TEXT, BOOL = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.STRING, TensorProto.BOOL


def tensor(name: str, kind: int, shape: Sequence[int | str]) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def add_sub(kind: int, shape: Sequence[int | str]) -> Any:
    nodes = [helper.make_node("Add", ["A", "B"], ["S"]), helper.make_node("Sub", ["A", "B"], ["D"])]
    return helper.make_graph(
        nodes, "g", [tensor("A", kind, shape), tensor("B", kind, shape)], [tensor("S", kind, shape), tensor("D", kind, shape)]
    )


def io(name: str, kind: str, dims: str, more: str = "") -> str:
    return f'{{ name: "{name}" data_type: TYPE_{kind} dims: [ {dims} ] {more} }}'


def config_of(kind: str, dims: str, more: str = "") -> str:
    """The configuration of an add_sub model. more: within each tensor."""
    ins, outs = ([io(name, kind, dims, more) for name in names] for names in ("AB", "SD"))
    return f'backend: "onnxruntime"\nmax_batch_size: 8\ninput [ {", ".join(ins)} ]\noutput [ {", ".join(outs)} ]\n'


def write_onnx(root: Path, name: str, graph: Any, config: str | None) -> None:
    folder = root / name / "1"
    folder.mkdir(parents=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(folder / "model.onnx"))
    if config is not None:
        (root / name / "config.pbtxt").write_text(config)


def write_fil(root: Path, name: str, booster: lightgbm.Booster, columns: int, **parameters: str) -> None:
    folder = root / name / "1"
    folder.mkdir(parents=True)
    booster.save_model(str(folder / "model.txt"))
    values = {"model_type": "lightgbm", "threshold": "0.5", "storage_type": "AUTO", "algo": "ALGO_AUTO", **parameters}
    listed = "".join(f'parameters {{ key: "{key}" value: {{ string_value: "{value}" }} }}\n' for key, value in values.items())
    (root / name / "config.pbtxt").write_text(
        f'backend: "fil"\nmax_batch_size: 8192\ninput [ {io("input__0", "FP32", str(booster.num_feature()))} ]\n'
        f"output [ {io('output__0', 'FP32', str(columns))} ]\ninstance_group [ {{ kind: KIND_AUTO }} ]\ndynamic_batching {{}}\n{listed}"
    )


class Forests:
    """Forests trained on scikit-learn's data sets, what they were trained on, and what LightGBM itself answers."""

    def __init__(self, root: Path) -> None:
        self.rows: dict[str, Array] = {}
        self.answers: dict[str, Array] = {}
        binary = self._train("binary", load_breast_cancer)
        write_fil(root, "binary_class", binary, 1, output_class="true")
        write_fil(root, "binary_proba", binary, 2, output_class="true", predict_proba="true")
        write_fil(root, "binary_strict", binary, 1, is_classifier="true", threshold="0.9")
        several = self._train("multiclass", load_iris, num_class=3)
        write_fil(root, "several_class", several, 1, output_class="true")
        write_fil(root, "several_proba", several, 3, output_class="true", predict_proba="true")
        write_fil(root, "regression", self._train("regression", load_diabetes), 1, output_class="false")
        write_fil(root, "broken_columns", binary, 7, output_class="true")

    def _train(self, objective: str, load: Any, **more: int) -> lightgbm.Booster:
        rows, labels = load(return_X_y=True)
        settings = {"objective": objective, "verbose": -1, "num_threads": 1, **more}
        booster = lightgbm.train(settings, lightgbm.Dataset(rows, labels), 10)
        self.rows[objective], self.answers[objective] = rows.astype(np.float32), np.asarray(booster.predict(rows))
        return booster


def write_models(root: Path) -> Forests:
    write_onnx(root, "bare", add_sub(FLOAT, ["n", 4]), None)
    write_onnx(root, "bare_fixed", add_sub(FLOAT, [2, 4]), None)
    batching = "dynamic_batching { max_queue_delay_microseconds: 50000 }\ninstance_group [ { kind: KIND_CPU count: 1 } ]\n"
    threads = 'parameters { key: "intra_op_thread_count" value: { string_value: "1" } }\n'
    write_onnx(root, "half", add_sub(HALF, ["n", 4]), config_of("FP16", "4") + batching + threads)
    write_onnx(root, "reshaped", add_sub(FLOAT, ["n", 2, 2]), config_of("FP32", "4", "reshape: { shape: [ 2, 2 ] }"))
    text = helper.make_graph(
        [helper.make_node("Identity", ["T"], ["U"])], "g", [tensor("T", TEXT, ["n", 2])], [tensor("U", TEXT, ["n", 2])]
    )
    platform = f'platform: "onnxruntime_onnx"\nmax_batch_size: 4\ninput [ {io("T", "STRING", "2")} ]\noutput [ {io("U", "STRING", "2")} ]\n'
    write_onnx(root, "text", text, platform)
    scalar = f'backend: "onnxruntime"\ninput [ {io("A", "FP32", "1")}, {io("B", "FP32", "1")} ]\noutput [ {io("S", "FP32", "1")} ]\n'
    write_onnx(root, "scalar", add_sub(FLOAT, []), scalar)
    where = helper.make_graph(
        [helper.make_node("Where", ["START", "X", "NO"], ["Y"])], "g",
        [tensor("X", FLOAT, ["n", 1]), tensor("START", BOOL, ["n", 1])], [tensor("Y", FLOAT, ["n", 1])],
        [helper.make_tensor("NO", FLOAT, [1], [-1.0])],
    )  # fmt: skip
    control = 'control_input [ { name: "START" control [ { kind: CONTROL_SEQUENCE_START bool_false_true: [ false, true ] } ] } ]'
    sequence = f"sequence_batching {{ max_sequence_idle_microseconds: 5000000 {control} }}\n"
    ends = f"input [ {io('X', 'FP32', '1')} ]\noutput [ {io('Y', 'FP32', '1')} ]\n"
    write_onnx(root, "sequence", where, f'backend: "onnxruntime"\nmax_batch_size: 4\n{ends}{sequence}')
    write_onnx(root, "broken_dims", add_sub(FLOAT, ["n", 4]), config_of("FP32", "5"))
    return Forests(root)


class Served:
    def __init__(self, server: TritonServer, forests: Forests) -> None:
        self.client = http.InferenceServerClient(server.http.removeprefix("http://"), concurrency=8)
        self.forests = forests

    def ask(self, model: str, wait: bool = True, **tensors: Array) -> Any:
        kinds = {"f": "FP32", "e": "FP16", "O": "BYTES"}
        inputs = []
        for name, array in tensors.items():
            kind = kinds[array.dtype.char]
            inputs.append(http.InferInput(name, list(array.shape), kind).set_data_from_numpy(array))
        pending = self.client.async_infer(model, inputs)
        return pending.get_result() if wait else pending

    def forest(self, model: str, rows: Array) -> Array:
        answer: Array = self.ask(model, input__0=rows).as_numpy("output__0")
        return answer

    def reason(self, model: str) -> str:
        index = {entry["name"]: entry for entry in self.client.get_model_repository_index()}
        assert index[model]["state"] == "UNAVAILABLE"
        return str(index[model]["reason"])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Forests]:
    root = tmp_path_factory.mktemp("backends")
    return root, write_models(root)


@pytest.fixture(scope="module")
def served(triton_version: str, models: tuple[Path, Forests]) -> Iterator[Served]:
    root, forests = models
    options = {"load-model": ["*"], "exit-on-error": False}
    with TritonServer(root, triton_version, mode="explicit", options=options, backends=BACKENDS) as server:
        yield Served(server, forests)


A = np.arange(8, dtype=np.float32).reshape(2, 4)


@pytest.mark.parametrize(("model", "kind"), [("bare", "float32"), ("bare_fixed", "float32"), ("half", "float16"), ("reshaped", "float32")])
def test_onnx_models_answer(served: Served, model: str, kind: str) -> None:
    given = A.astype(kind)
    answer = served.ask(model, A=given, B=given)
    np.testing.assert_array_equal(answer.as_numpy("S"), given * 2)
    np.testing.assert_array_equal(answer.as_numpy("D"), given * 0)


def test_a_model_without_configuration_is_completed(served: Served) -> None:
    """As Triton's own backend does: names, types, shapes, and batches up to 4 where every first dimension is free."""
    bare, fixed = (served.client.get_model_config(name) for name in ("bare", "bare_fixed"))
    assert (bare["max_batch_size"], fixed["max_batch_size"]) == (4, 0)
    assert "dynamic_batching" in bare
    assert "dynamic_batching" not in fixed
    assert [(each["name"], each["data_type"], each["dims"]) for each in bare["input"]] == [("A", "TYPE_FP32", [4]), ("B", "TYPE_FP32", [4])]
    assert [each["dims"] for each in fixed["output"]] == [[2, 4], [2, 4]]


def test_strings_and_scalars(served: Served) -> None:
    text = np.array([["ünïcode", ""]], dtype=object)
    assert [each.decode() for each in served.ask("text", T=text).as_numpy("U").ravel()] == ["ünïcode", ""]
    one = np.ones(1, dtype=np.float32)
    np.testing.assert_array_equal(served.ask("scalar", A=one, B=one).as_numpy("S"), [2])


def test_a_request_that_cannot_work_fails_alone(served: Served) -> None:
    with pytest.raises(InferenceServerException, match="not UTF-8"):
        served.ask("text", T=np.array([[b"\xff\xfe", b"b"]], dtype=object))
    assert served.ask("text", T=np.array([["a", "b"]], dtype=object)).as_numpy("U").tolist() == [[b"a", b"b"]]


def test_requests_run_as_one_batch(served: Served) -> None:
    one = np.ones((1, 4), dtype=np.float16)
    pending = [served.ask("half", wait=False, A=one * number, B=one) for number in range(16)]
    for number, each in enumerate(pending):
        np.testing.assert_array_equal(each.get_result().as_numpy("S"), one * (number + 1))
    (counted,) = served.client.get_inference_statistics("half")["model_stats"]
    assert counted["execution_count"] < counted["inference_count"]


def test_sequence_controls_reach_the_model(served: Served) -> None:
    answers = []
    for start, end in ((True, False), (False, False), (False, True)):
        given = http.InferInput("X", [1, 1], "FP32").set_data_from_numpy(np.full((1, 1), 7, dtype=np.float32))
        answer = served.client.infer("sequence", [given], sequence_id=5, sequence_start=start, sequence_end=end)
        answers.append(float(answer.as_numpy("Y")[0, 0]))
    assert answers == [7, -1, -1]


def test_forests_answer_as_their_trainer(served: Served) -> None:
    rows, answers = served.forests.rows, served.forests.answers
    probability = answers["binary"]
    np.testing.assert_array_equal(served.forest("binary_class", rows["binary"])[:, 0], probability > 0.5)
    np.testing.assert_array_equal(served.forest("binary_strict", rows["binary"])[:, 0], probability > 0.9)
    both = served.forest("binary_proba", rows["binary"])
    np.testing.assert_allclose(both, np.stack([1 - probability, probability], axis=1), atol=1e-6)
    np.testing.assert_array_equal(served.forest("several_class", rows["multiclass"])[:, 0], answers["multiclass"].argmax(axis=1))
    np.testing.assert_allclose(served.forest("several_proba", rows["multiclass"]), answers["multiclass"], atol=1e-6)
    np.testing.assert_allclose(served.forest("regression", rows["regression"])[:, 0], answers["regression"], rtol=1e-5)


def test_a_model_that_contradicts_its_configuration_says_where(served: Served) -> None:
    assert "the model expects 2 dimensions (shape [-1,4]) but the model configuration specifies 2" in served.reason("broken_dims")
    assert "output 'output__0' has 7 columns in config.pbtxt, expected 1" in served.reason("broken_columns")
