# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the module answers, when it fails, and what it says then."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args
from support.lint_cases import BATCHED, CASES, LOADS, MODEL, PLAIN, Case

from ansible_collections.serving.triton.plugins.module_utils.repository import config
from ansible_collections.serving.triton.plugins.modules import model_repository_info

SHM = 64 << 20


class ExitError(Exception):
    """The module's answer."""


def run(monkeypatch: pytest.MonkeyPatch, **options: Any) -> dict[str, Any]:
    """Runs the module's main. `failed` tells how it ended."""

    def leave(module: Any, **answer: Any) -> None:
        raise ExitError(json.dumps({"failed": False, **answer}))

    def fail(module: Any, msg: str, **answer: Any) -> None:
        raise ExitError(json.dumps({"failed": True, "msg": msg, **answer}))

    monkeypatch.setattr(basic.AnsibleModule, "exit_json", leave)
    monkeypatch.setattr(basic.AnsibleModule, "fail_json", fail)
    with (
        patch_module_args({**options, "_ansible_remote_tmp": "/tmp", "_ansible_keep_remote_files": False}),
        pytest.raises(ExitError) as caught,
    ):
        model_repository_info.main()
    return dict(json.loads(str(caught.value)))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    labels = BATCHED.replace("dims: [4] }]\n", "dims: [4] }]\ninstance_group [{ kind: KIND_CPU count: 3 }]\n", 1)
    Case("fast", LOADS, config=labels, versions=("1", "2")).write(tmp_path)
    Case("plain", LOADS, files={"labels.txt": "a\n"}).write(tmp_path)
    next(case for case in CASES if case.name == "ensemble").write(tmp_path)
    return tmp_path


def test_models_and_memory(monkeypatch: pytest.MonkeyPatch, repository: Path) -> None:
    answer = run(monkeypatch, path=str(repository))
    assert not answer["failed"]
    assert not answer["changed"]
    assert answer["repository"] == str(repository)
    assert [model["name"] for model in answer["models"]] == ["ensemble", "fast", "plain"]
    ensemble, fast, plain = answer["models"]
    assert (ensemble["backend"], ensemble["platform"], ensemble["steps"]) == ("", "ensemble", ["plain"])
    assert ensemble["memory"] == {"bytes": 0, "python_instances": 0, "shm_bytes": 0}
    assert (fast["backend"], fast["max_batch_size"], fast["versions"], fast["served_versions"]) == ("python", 4, [1, 2], [2])
    assert fast["inputs"] == [{"name": "X", "datatype": "FP32", "dims": [4], "optional": False}]
    assert fast["outputs"] == [{"name": "Y", "datatype": "FP32", "dims": [4], "optional": False}]
    assert fast["memory"] == {"bytes": len(MODEL), "python_instances": 3, "shm_bytes": 3 * SHM}
    assert (plain["files"], plain["bytes"]) == (3, len(MODEL) + len(PLAIN) + 2)
    assert answer["memory"] == {"bytes": 2 * len(MODEL), "python_instances": 4, "shm_bytes": 4 * SHM}
    assert answer["bytes"] == sum(model["bytes"] for model in answer["models"])
    assert answer["counts"] == {"error": 0, "warning": 0, "info": 0}
    assert answer["findings"] == []
    assert "digests" not in fast


@pytest.mark.parametrize(("config_text", "instances"), [("", 2), ("instance_group [{ kind: KIND_GPU gpus: [0, 1] count: 2 }]", 4)])
def test_other_backends_may_run_as_python_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, config_text: str, instances: int) -> None:
    Case("net", LOADS, config=f'backend: "onnxruntime"\n{config_text}', code=None, files={"1/model.onnx": "x"}).write(tmp_path)
    assert run(monkeypatch, path=str(tmp_path))["memory"]["python_instances"] == 0
    assert run(monkeypatch, path=str(tmp_path), python_backends=["onnxruntime"])["memory"]["python_instances"] == instances


def test_digests(monkeypatch: pytest.MonkeyPatch, repository: Path) -> None:
    answer = run(monkeypatch, path=str(repository), models=["plain"], digests=True)
    assert [model["name"] for model in answer["models"]] == ["plain"]
    content = {"1/model.py": MODEL, "config.pbtxt": PLAIN, "labels.txt": "a\n"}
    assert answer["models"][0]["digests"] == {path: hashlib.sha256(text.encode()).hexdigest() for path, text in content.items()}


@pytest.fixture
def broken(repository: Path) -> Path:
    Case("broken", LOADS, config=PLAIN + "max_batchsize: 4").write(repository)
    Case("idle", LOADS, config=PLAIN + "dynamic_batching {}").write(repository)
    return repository


def test_findings_fail_only_when_asked(monkeypatch: pytest.MonkeyPatch, broken: Path) -> None:
    answer = run(monkeypatch, path=str(broken))
    assert not answer["failed"]
    assert answer["counts"] == {"error": 1, "warning": 1, "info": 0}
    assert [finding["rule"] for finding in answer["findings"]] == ["config-syntax", "batching-idle"]
    assert answer["findings"][0]["remedy"] == "Write max_batch_size."


def test_strict_fails_with_a_readable_listing(monkeypatch: pytest.MonkeyPatch, broken: Path) -> None:
    answer = run(monkeypatch, path=str(broken), strict=True)
    assert answer["failed"]
    where = 'line 4, column 1: Message type "inference.ModelConfig" has no field named "max_batchsize"'
    assert answer["msg"].splitlines() == [
        f"{broken}: the model repository has 1 error",
        f"  error: broken/config.pbtxt: {where} [config-syntax]. Write max_batch_size.",
        "Correct them, or leave rules out with the option ignore_rules.",
    ]
    assert answer["counts"] == {"error": 1, "warning": 1, "info": 0}
    assert answer["where"] == str(broken)
    assert len(answer["models"]) == 5


def test_warnings_fail_when_asked(monkeypatch: pytest.MonkeyPatch, broken: Path) -> None:
    assert not run(monkeypatch, path=str(broken), strict=True, ignore_rules=["config-syntax"])["failed"]
    assert not run(monkeypatch, path=str(broken), strict_warnings=True)["failed"]
    answer = run(monkeypatch, path=str(broken), strict=True, strict_warnings=True)
    assert "has 1 error and 1 warning" in answer["msg"]
    assert "[batching-idle]" in answer["msg"]
    assert not run(monkeypatch, path=str(broken), strict=True, models=["plain"])["failed"]
    assert not run(monkeypatch, path=str(broken), strict=True, lint=False)["failed"]


def test_a_long_listing_is_cut(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for number in range(40):
        Case(f"m{number}", LOADS, config="backend: ").write(tmp_path)
    answer = run(monkeypatch, path=str(tmp_path), strict=True)
    assert answer["msg"].splitlines()[-2] == "  and 10 more"
    assert len(answer["findings"]) == 40


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"path": "/nowhere"}, "the model repository does not exist"),
        ({"models": ["nowhere"]}, "there is no model nowhere"),
        ({"ignore_rules": ["nowhere"]}, "there is no rule nowhere"),
    ],
)
def test_bad_options_are_explained(monkeypatch: pytest.MonkeyPatch, repository: Path, options: dict[str, Any], what: str) -> None:
    answer = run(monkeypatch, **{"path": str(repository), **options})
    assert answer["failed"]
    assert answer["what"] == what
    assert answer["remedy"]


def test_a_missing_library_is_named_as_ansible_does(monkeypatch: pytest.MonkeyPatch, repository: Path) -> None:
    def missing() -> None:
        raise config.MissingLibraryError("tritonclient", "Traceback: ImportError")

    monkeypatch.setattr(config, "_schema", missing)
    answer = run(monkeypatch, path=str(repository))
    assert answer["failed"]
    assert "required Python library (tritonclient)" in answer["msg"]
    assert answer["exception"] == "Traceback: ImportError"
