# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The python-based backends without a server: triton_python_backend_utils is a stand-in, and so is treelite; onnxruntime is real."""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

BACKENDS = Path(__file__).resolve().parents[3] / "roles" / "server_host" / "files" / "backends"


class TritonModelException(Exception):  # noqa: N818 - its name in Triton
    pass


class Tensor:
    def __init__(self, name: str, array: Any) -> None:
        self._name, self._array = name, array

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> Any:
        return self._array


class Response:
    def __init__(self, tensors: list[Tensor], error: Any = None) -> None:
        self.error = error
        self.arrays = {tensor.name(): tensor.as_numpy() for tensor in tensors}


class Request:
    def __init__(self, *outputs: str, **tensors: Any) -> None:
        self._inputs = [Tensor(name, array) for name, array in tensors.items()]
        self._outputs = list(outputs)

    def inputs(self) -> list[Tensor]:
        return self._inputs

    def requested_output_names(self) -> list[str]:
        return self._outputs


class Completed:
    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config

    def as_dict(self) -> dict[str, Any]:
        return self.config


class Forest:
    """Stands in for treelite: the score of a row is its first column, or all of them for a forest of several classes."""

    num_feature = 2

    def __init__(self, classes: int) -> None:
        self.fields: dict[str, Any] = {"num_class": [classes], "leaf_vector_shape": [1, 1], "postprocessor": "identity_multiclass"}

    def get_header_accessor(self) -> Forest:
        return self

    def get_field(self, name: str) -> Any:
        return self.fields[name]

    def set_field(self, name: str, value: Any) -> None:
        self.fields[name] = value


def module(name: str, **members: Any) -> types.ModuleType:
    made = types.ModuleType(name)
    for key, value in members.items():
        setattr(made, key, value)
    return made


@pytest.fixture
def utilities(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    made = module(
        "triton_python_backend_utils",
        TritonModelException=TritonModelException,
        TritonError=str,
        Tensor=Tensor,
        InferenceResponse=Response,
        Logger=module("Logger", log_warn=lambda text: None),
        get_input_tensor_by_name=lambda request, name: next(each for each in request.inputs() if each.name() == name),
    )
    monkeypatch.setitem(sys.modules, made.__name__, made)
    return made


def load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"backend_{name}", BACKENDS / name / "model.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture
def ort(utilities: types.ModuleType) -> Any:
    return load("onnxruntime")


@pytest.fixture
def fil(utilities: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> Any:
    class TreeliteError(Exception):
        pass

    def predict(model: Forest, rows: Any, *, nthread: int) -> Any:
        if np.isinf(rows).any():
            raise TreeliteError("infinity")
        return rows[:, :1] if model.fields["num_class"] == [1] else rows

    monkeypatch.setitem(
        sys.modules, "treelite", module("treelite", TreeliteError=TreeliteError, gtil=module("gtil", predict=predict), Model=Forest)
    )
    return load("fil")


# --- onnxruntime


def config_of(**more: Any) -> dict[str, Any]:
    entry = {"data_type": "TYPE_FP32", "dims": [4]}
    return {"name": "m", "max_batch_size": 8, "input": [{"name": "A", **entry}], "output": [{"name": "B", **entry}], **more}


def write(folder: Path, shape: Any = ("n", 4), operator: str = "Identity") -> Path:
    (folder / "1").mkdir(exist_ok=True)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name in "AB"]
    graph = helper.make_graph([helper.make_node(operator, ["A"], ["B"])], "g", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(folder / "1" / "model.onnx"))
    return folder


def started(ort: Any, folder: Path, config: dict[str, Any]) -> Any:
    model = ort.TritonPythonModel()
    model.initialize(
        {"model_config": json.dumps(config), "model_repository": str(folder), "model_version": "1", "model_instance_kind": "CPU"}
    )
    return model


def rows(count: int, value: float = 1.0) -> Any:
    return np.full((count, 4), value, dtype=np.float32)


def test_requests_of_one_shape_run_together(ort: Any, tmp_path: Path) -> None:
    model = started(ort, write(tmp_path), config_of())
    calls = []
    session = model.session
    model.session = module("session", run=lambda wanted, feed, options: calls.append(len(feed["A"])) or session.run(wanted, feed, options))
    answers = model.execute([Request(A=rows(2, 1)), Request(A=rows(1, 2)), Request(A=rows(3, 3))])
    assert calls == [6]
    assert [answer.arrays["B"].tolist() for answer in answers] == [rows(2, 1).tolist(), rows(1, 2).tolist(), rows(3, 3).tolist()]


def test_only_the_request_at_fault_fails(ort: Any, tmp_path: Path) -> None:
    model = started(ort, write(tmp_path), config_of())
    session = model.session

    def run(wanted: Any, feed: Any, options: Any) -> Any:
        if (feed["A"] == 13).any():
            raise RuntimeError("unlucky")
        return session.run(wanted, feed, options)

    model.session = module("session", run=run)
    good, bad, missing = model.execute([Request(A=rows(1)), Request(A=rows(1, 13)), Request()])
    assert good.error is None
    assert good.arrays["B"].tolist() == rows(1).tolist()
    assert "model 'm': unlucky" in bad.error
    assert "input A is missing" in missing.error


@pytest.mark.parametrize(
    ("config", "cause"),
    [
        ({"input": [{"name": "X", "data_type": "TYPE_FP32", "dims": [4]}]}, "A not configured"),
        ({"input": [{"name": "A", "data_type": "TYPE_INT8", "dims": [4]}]}, "expects datatype TYPE_INT8 for input 'A'"),
        ({"output": [{"name": "B", "data_type": "TYPE_FP32", "dims": [5]}]}, "shape [-1,5]"),
        ({"output": [{"name": "C", "data_type": "TYPE_FP32", "dims": [4]}]}, "unexpected inference output 'C'"),
        ({"max_batch_size": 0}, "specifies 1 dimensions"),
        ({"default_model_filename": "other.onnx"}, "unable to find"),
        ({"parameters": {"execution_mode": {"string_value": "2"}}}, "expected 0 or 1"),
        ({"parameters": {"intra_op_thread_count": {"string_value": "many"}}}, "expected an integer"),
        ({"parameters": {"enable_mem_arena": {"string_value": "maybe"}}}, "expected 0, 1, true or false"),
        ({"sequence_batching": {"state": [{}]}}, "implicit state"),
        ({"input": [{"name": "A", "data_type": "TYPE_FP32", "dims": [4], "allow_ragged_batch": True}]}, "ragged"),
        ({"optimization": {"execution_accelerators": {"cpu_execution_accelerator": [{"name": "openvino"}]}}}, "'openvino'"),
    ],
)
def test_what_cannot_be_served_is_refused_at_load(ort: Any, tmp_path: Path, config: dict[str, Any], cause: str) -> None:
    with pytest.raises(TritonModelException, match=cause.replace("[", r"\[")):
        started(ort, write(tmp_path), config_of(**config))


def test_a_file_that_is_no_model_says_so(ort: Any, tmp_path: Path) -> None:
    (write(tmp_path) / "1" / "model.onnx").write_bytes(b"no model")
    with pytest.raises(TritonModelException, match="failed to load model 'm' from"):
        started(ort, tmp_path, config_of())


def test_parameters_become_session_options(ort: Any) -> None:
    texts = {
        "intra_op_thread_count": "3",
        "inter_op_thread_count": "2",
        "execution_mode": "1",
        "enable_mem_arena": "0",
        "enable_mem_pattern": "false",
    }
    config = config_of(parameters={name: {"string_value": text} for name, text in texts.items()}, optimization={"graph": {"level": "2"}})
    options = ort.session_options(config, "/models/m/1")
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 2)
    assert options.execution_mode == ort.ort.ExecutionMode.ORT_PARALLEL
    assert not options.enable_cpu_mem_arena
    assert not options.enable_mem_pattern
    assert options.graph_optimization_level == ort.ort.GraphOptimizationLevel.ORT_DISABLE_ALL


@pytest.mark.parametrize(
    ("shape", "given", "expected"),
    [
        (("n", 4), 0, (4, [4], True)),
        (("n", 4), 16, (16, [4], True)),
        ((2, 4), 0, (0, [2, 4], False)),
        (("n", "m"), 0, (4, [-1], True)),
        (("n",), 0, (4, [1], True)),
    ],
)
def test_a_configuration_is_completed(ort: Any, tmp_path: Path, shape: Any, given: int, expected: Any) -> None:
    """expected: max_batch_size, dims, whether requests are batched."""
    ort.pb_utils.get_model_dir = lambda: str(write(tmp_path, shape) / "1")
    config: dict[str, Any] = {"name": "m", "max_batch_size": given, "input": [], "output": []}
    ort.TritonPythonModel.auto_complete_config(Completed(config))
    assert (config["max_batch_size"], config["input"][0]["dims"], "dynamic_batching" in config) == expected
    assert ("reshape" in config["output"][0]) is (shape == ("n",))


def test_a_batch_that_the_model_cannot_have_is_an_error(ort: Any, utilities: Any, tmp_path: Path) -> None:
    utilities.get_model_dir = lambda: str(write(tmp_path, (2, 4)) / "1")
    with pytest.raises(TritonModelException, match="does not support batching"):
        ort.TritonPythonModel.auto_complete_config(Completed({"name": "m", "max_batch_size": 3, "input": [], "output": []}))


# --- fil


def forest_config(columns: int = 1, features: int = 2, **parameters: str) -> dict[str, Any]:
    return {
        "name": "f",
        "input": [{"name": "input__0", "data_type": "TYPE_FP32", "dims": [features]}],
        "output": [{"name": "output__0", "data_type": "TYPE_FP32", "dims": [columns]}],
        "parameters": {name: {"string_value": value} for name, value in {"output_class": "true", **parameters}.items()},
    }


def answer(fil: Any, classes: int, config: dict[str, Any], given: Any) -> list[Any]:
    model = fil.TritonPythonModel()
    model.name = "f"
    model.forest = fil.Forest(Forest(classes), fil.Settings(config))
    return list(model.execute([Request(input__0=np.array(each, dtype=np.float32)) for each in given]))


@pytest.mark.parametrize(
    ("classes", "config", "expected"),
    [
        (1, forest_config(), [[1], [0]]),
        (1, forest_config(threshold="0.1"), [[1], [1]]),
        (1, forest_config(columns=2, predict_proba="true"), [[0.25, 0.75], [0.75, 0.25]]),
        (1, forest_config(predict_proba="true"), [[0.75], [0.25]]),
        (1, forest_config(output_class="false"), [[0.75], [0.25]]),
        (2, forest_config(), [[0], [1]]),
        (2, forest_config(columns=2, predict_proba="true"), [[0.75, 0.0], [0.25, 0.5]]),
    ],
)
def test_scores_become_answers(fil: Any, classes: int, config: dict[str, Any], expected: list[list[float]]) -> None:
    (got,) = answer(fil, classes, config, [[[0.75, 0.0], [0.25, 0.5]]])
    np.testing.assert_allclose(got.arrays["output__0"], expected)


def test_requests_are_split_again(fil: Any) -> None:
    one, two = answer(fil, 1, forest_config(output_class="false"), [[[1, 0]], [[2, 0], [3, 0]]])
    assert (one.arrays["output__0"].tolist(), two.arrays["output__0"].tolist()) == ([[1]], [[2], [3]])


def test_treelites_reason_is_the_answer(fil: Any) -> None:
    (got,) = answer(fil, 1, forest_config(), [[[np.inf, 0]]])
    assert got.error == "fil, model 'f': infinity"


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"parameters": {}}, "output_class"),
        ({"parameters": {"output_class": {"string_value": "perhaps"}}}, "expected true or false"),
        ({"parameters": {"output_class": {"string_value": "true"}, "threshold": {"string_value": "x"}}}, "expected a number"),
        ({"parameters": {"output_class": {"string_value": "true"}, "model_type": {"string_value": "catboost"}}}, "catboost"),
        ({"input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [2]}]}, "input__0"),
        ({"output": [{"name": "output__0", "data_type": "TYPE_FP64", "dims": [1]}]}, "TYPE_FP64"),
        ({"output": [*forest_config()["output"], {"name": "treeshap_output", "data_type": "TYPE_FP32", "dims": [3]}]}, "treeshap_output"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(fil: Any, change: dict[str, Any], cause: str) -> None:
    with pytest.raises(TritonModelException, match=cause):
        fil.Settings({**forest_config(), **change})


def test_a_forest_that_contradicts_its_configuration_is_refused(fil: Any) -> None:
    with pytest.raises(TritonModelException, match=r"1 features in config\.pbtxt, the forest has 2"):
        fil.Forest(Forest(1), fil.Settings(forest_config(features=1)))
    with pytest.raises(TritonModelException, match=r"5 columns in config\.pbtxt, expected 3"):
        fil.Forest(Forest(3), fil.Settings(forest_config(columns=5, predict_proba="true")))


@pytest.mark.parametrize(
    ("kind", "name"), [("xgboost_ubj", "xgboost.ubj"), ("lightgbm", "model.txt"), ("treelite_checkpoint", "checkpoint.tl")]
)
def test_default_file_names(fil: Any, tmp_path: Path, kind: str, name: str) -> None:
    settings = fil.Settings(forest_config(model_type=kind))
    with pytest.raises(TritonModelException, match=name):
        settings.file(str(tmp_path))
    (tmp_path / name).touch()
    assert settings.file(str(tmp_path)) == str(tmp_path / name)
