# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The sample models, in their stock form, on every real tritonserver: each golden case holds over both protocols."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from support import build_samples
from support.ansible_runs import run_module
from support.tritonserver import ROOT, TritonServer

SAMPLES = build_samples.FILES / "samples"
GOLDEN = build_samples.FILES / "golden"
MODELS = sorted(path.name for path in SAMPLES.iterdir())


@pytest.fixture(scope="module")
def server(triton_version: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A server of each version with all samples, in mode none: one that failed to load would end it.

    It completes no configuration (strict-model-config), so nothing is left for a server to guess.
    """
    repository = tmp_path_factory.mktemp("samples") / "repository"
    shutil.copytree(SAMPLES, repository, ignore=shutil.ignore_patterns("__pycache__"))
    backends = ROOT / "roles/server_host/files/backends"
    with TritonServer(repository, triton_version, backends=backends, options={"strict-model-config": True}) as running:
        yield running


def golden(model: str) -> list[dict[str, Any]]:
    requests: list[dict[str, Any]] = yaml.safe_load((GOLDEN / f"{model}.yml").read_text())["requests"]
    return requests


def infer(server: TritonServer, requests: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
    arguments = {"endpoint": server.endpoint, "protocol": "both", "base_dir": str(GOLDEN), "requests": requests, **options}
    return run_module("serving.triton.infer", arguments)


def test_every_sample_is_ready(server: TritonServer) -> None:
    info = run_module("serving.triton.server_info", {"endpoint": server.endpoint, "config": True})
    assert [(model["name"], model["version"], model["state"]) for model in info["models"]] == [(name, "1", "READY") for name in MODELS]
    batching = {model["name"]: model["config"] for model in info["models"]}
    assert "dynamic_batching" in batching["simple_int8"]
    assert "direct" in batching["simple_sequence"]["sequence_batching"]
    assert "oldest" in batching["simple_dyna_sequence"]["sequence_batching"]


def test_every_golden_case_holds_over_both_protocols(server: TritonServer) -> None:
    requests = [request for model in MODELS for request in golden(model)]
    result = infer(server, requests)
    assert not result.get("failed"), result["msg"]
    assert result["failed_requests"] == 0
    assert {(each["model"], each["protocol"]) for each in result["results"]} == {(name, way) for name in MODELS for way in ("http", "grpc")}


def test_every_model_has_golden_cases() -> None:
    assert sorted(path.stem for path in GOLDEN.glob("*.yml")) == MODELS


@pytest.mark.parametrize("model", MODELS)
def test_a_wrong_expectation_is_noticed(server: TritonServer, model: str) -> None:
    requests = golden(model)
    expected = requests[-1]["expect"][0]
    if "values" in expected:
        expected["values"] = [value + 1 if isinstance(value, (int, float)) else f"{value}x" for value in flat(expected["values"])]
    else:
        expected["labels"] = ["nobody"] * len(expected["labels"])
    result = infer(server, requests)
    assert result["failed"]
    wrong = [each for each in result["results"] if not each["ok"]]
    assert {(each["number"], each["protocol"]) for each in wrong} == {(len(requests) - 1, "http"), (len(requests) - 1, "grpc")}
    assert expected["output"] in result["msg"]


def flat(values: Any) -> list[Any]:
    return [inner for value in values for inner in flat(value)] if isinstance(values, list) else [values]


def test_classes_come_with_their_names(server: TritonServer) -> None:
    for model, names in (("digits", "zero one two three four five six seven eight nine"), ("forest", "malignant benign")):
        [request] = [each for each in golden(model) if each.get("classes")]
        result = infer(server, [{**request, "classes": 2}], protocol="http")
        [rows] = result["results"][0]["classes"].values()
        assert {each["label"] for row in rows for each in row} <= set(names.split())
        assert all(row[0]["value"] >= row[1]["value"] for row in rows)


def test_the_pipeline_answers_as_its_steps_do(server: TritonServer) -> None:
    [prepare] = golden("digits_preprocess")
    pixels = prepare["inputs"][0]
    images = {"name": "image", "datatype": "FP32", "shape": [4, 64], "values": prepare["expect"][0]["values"]}
    result = infer(server, [{"model": "digits", "inputs": [images]}, {"model": "digits_pipeline", "inputs": [pixels]}], max_values=40)
    assert not result.get("failed"), result["msg"]
    steps, _unused, pipeline, _unused = (each["outputs"][0]["values"] for each in result["results"])
    assert len(steps) == 40
    assert steps == pytest.approx(pipeline, abs=1e-5)


def test_interleaved_sequences_keep_their_own_state(server: TritonServer) -> None:
    def step(sequence: int, value: int, total: int, **flags: bool) -> dict[str, Any]:
        return {
            "model": "simple_sequence",
            "sequence": {"id": sequence, **flags},
            "inputs": [{"name": "INPUT", "datatype": "INT32", "shape": [1, 1], "values": [value]}],
            "expect": [{"output": "OUTPUT", "values": [total]}],
        }

    ids = range(41, 47)
    requests = [step(each, each, each, start=True) for each in ids]
    requests += [step(each, 100, each + 100) for each in ids] + [step(each, -each, 100, end=True) for each in ids]
    result = infer(server, requests, concurrency=8)
    assert not result.get("failed"), result["msg"]
