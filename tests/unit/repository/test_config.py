# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""config.pbtxt becomes plain values, or an error that says where it is and what to write."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.ansible_runs import collections_path
from support.lint_cases import CASES, PLAIN

from ansible_collections.serving.triton.plugins.module_utils.repository import config as subject
from ansible_collections.serving.triton.plugins.module_utils.repository.config import ConfigError, MissingLibraryError, decode, parse_config


def test_plain_values():
    text = """
    backend: "python" max_batch_size: 8
    input { name: "X" data_type: TYPE_FP32 dims: [ 4, -1 ] reshape { shape: [] } }
    version_policy { specific { versions: 9007199254740993 } }
    sequence_batching { oldest {} }
    parameters { key: "a" value { string_value: "b" } }
    metric_tags { key: "k" value: "v" }
    dynamic_batching_is_no_field_here: 1
    """.replace("dynamic_batching_is_no_field_here: 1", "")
    assert parse_config(text) == {
        "backend": "python",
        "max_batch_size": 8,
        "input": [{"name": "X", "data_type": "TYPE_FP32", "dims": [4, -1], "reshape": {}}],
        "version_policy": {"specific": {"versions": [9007199254740993]}},
        "sequence_batching": {"oldest": {}},
        "parameters": {"a": {"string_value": "b"}},
        "metric_tags": {"k": "v"},
    }


def test_an_enum_that_the_schema_does_not_know_stays_a_number():
    assert parse_config("input { data_type: 77 }") == {"input": [{"data_type": "77"}]}


@pytest.mark.parametrize(
    ("text", "line", "column", "what", "remedy"),
    [
        ("max_batchsize: 4", 1, 1, "no field named", "Write max_batch_size."),
        ("input { name: 'a'\n  datatype: TYPE_FP32 }", 2, 3, "no field named", "Write data_type."),
        ("\nplatfrm: 'x'", 2, 1, "no field named", "Write platform."),
        ("zzz: 1", 1, 1, "no field named", "Remove the field, or upgrade tritonclient if a newer Triton knows it."),
        ("input { data_type: FP32 }", 1, 20, "no value named", "Write TYPE_FP32."),
        ("instance_group { kind: KIND_CUDA }", 1, 24, "no value named", "Write KIND_CPU."),
        ("input { data_type: zzz }", 1, 20, "no value named", "Write one of TYPE_INVALID, TYPE_BOOL"),
        ("max_batch_size: ${triton_max_batch_size}", 1, 17, "integer", "Fill in the template's variable ${triton_max_batch_size}."),
        ("input [\n  { dims: [ 1, ] }\n]", 2, 16, "integer", "Remove the comma before the closing bracket."),
        ("input [\n  { dims: [ 1 ] },\n]", 3, 1, "Expected", "Remove the comma before the closing bracket."),
        ("input [ {} {} ]", 1, 12, "Expected", "Separate the items of a list with commas in the line «input [ {} {} ]»."),
        ("\ufeffbackend: 'x'", 1, 1, "Expected", "Save the file as UTF-8 without a byte order mark."),
        ("backend: 'x'\nbackend: 'y'", 2, 10, "multiple", "Correct the line «backend: 'y'»."),
        ("dynamic_batching {", 1, 18, "Expected", "Correct the line «dynamic_batching {»."),
        ("max_batch_size: 99999999999", 1, 17, "out of range", "Correct the line"),
    ],
)
def test_an_error_says_where_and_what_to_write(text, line, column, what, remedy):
    with pytest.raises(ConfigError, match=what) as caught:
        parse_config(text, "m/config.pbtxt")
    assert (caught.value.line, caught.value.column) == (line, column)
    assert caught.value.where == f"m/config.pbtxt:{line}:{column}"
    assert caught.value.remedy.startswith(remedy)
    assert len(str(caught.value)) < 1000


def test_a_very_long_line_does_not_fill_the_message():
    with pytest.raises(ConfigError) as caught:
        parse_config("input " * 5000)
    assert len(str(caught.value)) < 1000


def test_deep_nesting_is_an_error_like_any_other():
    with pytest.raises(ConfigError):
        parse_config("optimization { " * 5000)


def test_bytes_that_are_no_utf8_are_replaced():
    assert parse_config(decode(b"# caf\xe9\nbackend: 'caf\xe9'")) == {"backend": "caf\ufffd"}


_SNIPPETS = st.text(max_size=8) | st.sampled_from(["{", "}", "[", "]", '"', "-1", "\x00", ": ", "<", "#"])
_CONFIGS = sorted({case.config for case in CASES if case.config})


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_mutated_config_parses_or_is_a_config_error(data):
    text = data.draw(st.sampled_from(_CONFIGS))
    at = data.draw(st.integers(0, len(text)))
    until = data.draw(st.integers(at, len(text)))
    text = text[:at] + data.draw(_SNIPPETS) + text[until:]
    try:
        answer = parse_config(text)
    except ConfigError as error:
        answer = {"error": error.what and error.remedy}
    assert isinstance(answer, dict)
    assert answer.get("error", "explained")


@pytest.mark.parametrize("library", ["tritonclient", "google"])
def test_a_missing_library_is_named(monkeypatch, library):
    subject._schema.cache_clear()
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == library else found(name))
    if library == "google":
        monkeypatch.setitem(sys.modules, "google.protobuf", None)
    with pytest.raises(MissingLibraryError) as caught:
        parse_config(PLAIN)
    subject._schema.cache_clear()
    assert caught.value.library == {"tritonclient": "tritonclient", "google": "protobuf"}[library]
    assert "ImportError" in caught.value.trace or "ModuleNotFoundError" in caught.value.trace


def test_nothing_of_grpc_is_imported():
    code = (
        "import sys; from ansible_collections.serving.triton.plugins.module_utils.repository.config import parse_config;"
        "parse_config('backend: \"x\"'); print([name for name in sys.modules if name.split('.')[0] in ('grpc', 'tritonclient', 'numpy')])"
    )
    environment = {"PYTHONPATH": str(collections_path()), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment, timeout=60)
    assert done.stdout.strip() == "[]"
