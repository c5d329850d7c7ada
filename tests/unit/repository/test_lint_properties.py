# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whatever a configuration or a python model holds, the linter answers with findings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from support.lint_cases import CASES, MODEL, Case
from tritonclient.grpc import model_config_pb2

from ansible_collections.serving.triton.plugins.module_utils.repository.config import Config, parse_config
from ansible_collections.serving.triton.plugins.module_utils.repository.describe import describe
from ansible_collections.serving.triton.plugins.module_utils.repository.layout import File, Model, Repository
from ansible_collections.serving.triton.plugins.module_utils.repository.lint import lint
from ansible_collections.serving.triton.plugins.module_utils.repository.rules import RULES, Finding
from ansible_collections.serving.triton.plugins.module_utils.repository.subject import Subject, version_number

NAMES = st.sampled_from(["", "a", "b", "X", "Y", "..", "../x", "labels.txt", "model.py", "1", "python", "ensemble", "TYPE_FP32"])
NUMBERS = st.sampled_from([-(1 << 63), -2, -1, 0, 1, 2, 4, 8, (1 << 63) - 1])
SCALARS: dict[int, Any] = {1: st.floats(), 2: st.floats(width=32), 8: st.booleans(), 9: NAMES}


def value(field: Any, depth: int) -> Any:
    """A strategy for one value of a field of the schema, in config.py's plain form."""
    if field.message_type is not None:
        return message(field.message_type, depth - 1)
    if field.enum_type is not None:
        return st.sampled_from([*field.enum_type.values_by_name, "77"])
    return SCALARS.get(field.type, NUMBERS)


def message(descriptor: Any, depth: int) -> Any:
    """A strategy for a message with any of its fields set."""
    fields: dict[str, Any] = {}
    for field in descriptor.fields if depth > 0 else ():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            inner = field.message_type.fields_by_name
            keys = NAMES if inner["key"].type == 9 else st.integers(0, 4)
            fields[field.name] = st.dictionaries(keys, value(inner["value"], depth), max_size=2)
        elif field.is_repeated:
            fields[field.name] = st.lists(value(field, depth), max_size=2)
        else:
            fields[field.name] = value(field, depth)
    return st.fixed_dictionaries({}, optional=fields)


CONFIGS = message(model_config_pb2.ModelConfig.DESCRIPTOR, 5)
PATHS = [
    "config.pbtxt",
    "labels.txt",
    "1/model.py",
    "2/model.py",
    "1/labels.txt",
    "warmup/x",
    "initial_state/x",
    "1/model.onnx",
    "1x/y",
    "0/z",
]


class Memory:
    """A reader of files that are the same text."""

    def __init__(self, text: str) -> None:
        self._text = text

    def text(self, path: str, limit: int = 1 << 24) -> str:
        return self._text[:limit]


def subject(name: str, config: Config, paths: list[str], text: str = MODEL) -> Subject:
    files = [File(f"{name}/{path}", len(text), 0, 0o644) for path in paths]
    folders = tuple(sorted({file.path.rsplit("/", 1)[0] for file in files if file.path.count("/") > 1}))
    versions = {int(folder.split("/")[1]): () for folder in folders if folder.split("/")[1].isdigit()}
    return Subject(Model(name, versions, tuple(files), folders), Memory(text), config)


def check(subjects: Mapping[str, Subject]) -> list[Finding]:
    repository = Repository(Path("/r"), {name: each.model for name, each in subjects.items()})
    found = lint(repository, subjects)
    assert all(finding.rule in RULES and finding.message and finding.remedy for finding in found)
    assert all(describe(each)["memory"]["shm_bytes"] >= 0 for each in subjects.values())
    return found


@settings(max_examples=300, deadline=None)
@given(CONFIGS, CONFIGS, st.lists(st.sampled_from(PATHS), unique=True))
def test_any_configuration_gives_findings(first: Config, second: Config, paths: list[str]) -> None:
    check({"a": subject("a", first, paths), "b": subject("b", second, paths)})


_SCHEDULED = [case for case in CASES if case.config and "ensemble_scheduling {" in case.config]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(_SCHEDULED), CONFIGS)
def test_any_step_of_an_ensemble_gives_findings(case: Case, step: Config) -> None:
    ensemble = subject(case.name, parse_config(case.config or ""), ["1/.gitkeep", "config.pbtxt"])
    check({case.name: ensemble, "plain": subject("plain", step, PATHS)})


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_python_code_gives_findings(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(MODEL)))
    code = (
        MODEL[:at]
        + data.draw(st.text(max_size=6) | st.sampled_from(["(" * 300, "\x00", "\n\t", "import *", "class TritonPythonModel"]))
        + MODEL[at:]
    )
    found = check({"a": subject("a", {"backend": "python"}, ["1/model.py", "config.pbtxt"], code)})
    assert {finding.rule for finding in found if finding.severity == "error"} <= {
        "python-syntax",
        "python-class",
        "python-execute",
        "lfs-pointer",
    }


@given(st.text(max_size=8) | st.integers().map(str))
def test_a_version_is_read_as_the_server_reads_it(name: str) -> None:
    number = version_number(name)
    plain = name.isascii() and name.isdigit() and (name == "0" or not name.startswith("0"))
    assert number == int(name) if plain else number is None or name.strip()[:1] in "+-0123456789"
