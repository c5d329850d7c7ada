# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Models, good and bad, each with the rule that the linter must apply and what a real tritonserver does with it.

The unit tests hold the linter to `rules`, the integration test holds `outcome` against real servers.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

LOADS, REFUSED, HANGS, DIES = "loads", "refused", "hangs", "dies"
# The model loads, and every request to it fails.
FAILS = "fails"
# The python backend alone cannot show it (another backend, a GPU, a newer server).
UNTESTED = "untested"

MODEL = """
import numpy
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [pb_utils.InferenceResponse([pb_utils.Tensor("Y", numpy.zeros((1, 4), numpy.float32))]) for _ in requests]
"""
COMPLETING = (
    MODEL
    + """
    @staticmethod
    def auto_complete_config(config):
        config.add_input({"name": "X", "data_type": "TYPE_FP32", "dims": [4]})
        config.add_output({"name": "Y", "data_type": "TYPE_FP32", "dims": [4]})
        config.set_max_batch_size(0)
        return config
"""
)
X = 'name: "X" data_type: TYPE_FP32 dims: [4]'
Y = 'name: "Y" data_type: TYPE_FP32 dims: [4]'


def io(x: str = X, y: str = Y) -> str:
    return f"input [{{ {x} }}]\noutput [{{ {y} }}]\n"


PYTHON = 'backend: "python"\n'
PLAIN = PYTHON + io()
BATCHED = f"{PYTHON}max_batch_size: 4\n{io()}"


@dataclass(frozen=True)
class Case:
    """config: config.pbtxt's text, None for no file. code: model.py of each version, None for none. files, links: below the model's folder.

    name: the model's folder. rules: those that the linter must report, and no other error or warning.
    """

    name: str
    outcome: str
    rules: tuple[str, ...] = ()
    config: str | None = PLAIN
    versions: tuple[str, ...] = ("1",)
    code: str | None = MODEL
    files: Mapping[str, str] = field(default_factory=dict)
    folders: tuple[str, ...] = ()
    links: Mapping[str, str] = field(default_factory=dict)

    def write(self, root: Path) -> Path:
        folder = root / self.name
        folder.mkdir(parents=True)
        if self.config is not None:
            (folder / "config.pbtxt").write_text(self.config)
        for version in self.versions:
            (folder / version).mkdir()
            if self.code is not None:
                (folder / version / "model.py").write_text(self.code)
        for path in self.folders:
            (folder / path).mkdir(parents=True)
        for path, text in self.files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        for path, target in self.links.items():
            os.symlink(target, folder / path)
        return folder


def good(name: str, config: str | None = PLAIN, *rules: str, outcome: str = LOADS, **more: object) -> Case:
    """A case that a server loads; `rules` are of warnings and hints, or of errors that concern publishing."""
    return Case(name, outcome, rules, config, **more)  # type: ignore[arg-type]


def bad(name: str, rule: str, config: str | None = PLAIN, outcome: str = REFUSED, **more: object) -> Case:
    return Case(name, outcome, (rule,) if rule else (), config, **more)  # type: ignore[arg-type]


def untested(name: str, rule: str, config: str | None, **more: object) -> Case:
    return Case(name, UNTESTED, (rule,) if rule else (), config, **{"code": None, **more})  # type: ignore[arg-type]


_LAYOUT = [
    good("plain"),
    good("folders_triton_knows", files={"initial_state/x": "", "warmup/x": ""}),
    good("name with spaces", PLAIN, "model-name", outcome=UNTESTED),
    good("odd_file", PLAIN, "file-name", files={"1/a b.txt": "x"}),
    good("helper_folder", PLAIN, files={"src/a.py": "x = 1"}),
    good("junk", PLAIN, "junk-file", files={"1/.DS_Store": "x"}),
    good("junk_folder", PLAIN, "junk-file", files={".git/config": "x", ".git/HEAD": "x"}),
    bad("empty_folder", "folder-not-a-model", None, versions=()),
    bad("docs", "folder-not-a-model", None, versions=(), files={"README.md": "x"}),
    bad("link_nowhere", "link-broken", links={"x": "nowhere"}),
    good("link_nowhere_in_version", PLAIN, "link-broken", links={"1/x": "nowhere"}),
    good("link_out", PLAIN, "link-escapes", links={"1/x": "/etc/hostname"}),
    good("link_out_folder", PLAIN, "link-escapes", links={"x": "/usr/share/doc/base-files"}),
    good("link_inside", PLAIN, links={"1/x": "model.py"}),
    good("link_circle", PLAIN, "link-broken", links={"x": "."}),
]


_VERSIONS = [
    bad("version_none", "version-missing", versions=()),
    bad("version_as_file", "version-missing", versions=(), files={"1": "x"}),
    good("version_zero", PLAIN, "version-zero", versions=("0",)),
    Case("version_leading_zero", REFUSED, ("version-missing", "version-name"), versions=("01",)),
    good("version_leading_zero_beside", PLAIN, "version-name", versions=("1", "02")),
    Case("version_with_letter", REFUSED, ("version-missing", "version-name"), versions=("v1",)),
    good("version_with_letter_beside", PLAIN, "version-name", versions=("1", "v2")),
    bad("version_misread", "version-misread", versions=("1", "2_old"), outcome=HANGS),
    bad("version_misread_alone", "version-misread", versions=("1abc",), outcome=HANGS),
    good("version_copy", PLAIN, "version-name", versions=("1", "1-copy")),
    good("version_negative_beside", PLAIN, "version-name", versions=("1", "-1")),
    bad("version_too_large", "version-range", versions=("1", "99999999999999999999"), outcome=DIES),
    good("version_largest", versions=("9223372036854775807",)),
    good("policy_all", PLAIN + "version_policy { all {} }", versions=("1", "3")),
    good("policy_latest_two", PLAIN + "version_policy { latest { num_versions: 2 } }", versions=("1", "2", "3")),
    good("policy_specific", PLAIN + "version_policy { specific { versions: [1] } }", versions=("1", "3")),
    good("policy_empty", PLAIN + "version_policy {}"),
    good("policy_partly_there", PLAIN + "version_policy { specific { versions: [1, 3] } }", "version-policy-missing"),
    bad("policy_not_there", "version-policy", PLAIN + "version_policy { specific { versions: [3] } }"),
    bad("policy_specific_none", "version-policy", PLAIN + "version_policy { specific {} }"),
    bad("policy_latest_none", "version-policy", PLAIN + "version_policy { latest { num_versions: 0 } }"),
]


_CONFIG = [
    good("config_none", None, "config-needed", "tensor-missing"),
    good("config_none_completed", None, code=COMPLETING),
    good("config_empty", "", "tensor-missing"),
    good("config_completed", PYTHON, code=COMPLETING),
    good("config_partly_completed", PYTHON + 'input [{ name: "X" }]', code=COMPLETING),
    good("config_name", 'name: "config_name"\n' + PLAIN),
    bad("config_other_name", "config-name", 'name: "other"\n' + PLAIN),
    good("config_single_quotes", PLAIN.replace('"', "'")),
    good("config_semicolons", 'backend: "python";\n' + io()),
    good("config_crlf", PLAIN.replace("\n", "\r\n")),
    good("config_comments", "# é\n" + PLAIN),
    good("config_enum_number", PLAIN.replace("TYPE_FP32", "11")),
    good("config_last_of_a_map", PLAIN + 'parameters { key: "a" value { string_value: "x" } }\n' * 2),
    bad("config_trailing_comma", "config-syntax", PLAIN.replace("[4]", "[4,]")),
    bad("config_trailing_comma_block", "config-syntax", PLAIN.replace("}]", "},]")),
    bad("config_no_comma", "config-syntax", PLAIN.replace("}]", "} { name: 'Z' data_type: TYPE_FP32 dims: [4] }]")),
    bad("config_twice", "config-syntax", PYTHON + PLAIN),
    bad("config_unknown_field", "config-syntax", PLAIN + "max_batchsize: 4"),
    bad("config_unknown_type", "config-syntax", PLAIN.replace("TYPE_FP32", "FP32")),
    bad("config_unclosed", "config-syntax", PLAIN + "dynamic_batching {"),
    bad("config_two_schedulers", "config-syntax", BATCHED + "dynamic_batching {}\nsequence_batching {}"),
    bad("config_bom", "config-syntax", "\ufeff" + PLAIN),
    bad("config_template", "config-syntax", PLAIN + "max_batch_size: ${max_batch_size}"),
    good("parameter_template", PLAIN + 'parameters { key: "a" value { string_value: "${engine_dir}" } }', "config-template"),
    bad("config_is_folder", "config-folder", None, folders=("config.pbtxt",), outcome=DIES),
    good("config_in_version", PLAIN, "config-misplaced", files={"1/config.pbtxt": "x"}),
    Case("config_misnamed", LOADS, ("config-misplaced", "config-needed", "tensor-missing"), None, files={"config.pbtxt.txt": PLAIN}),
    good("variant", PLAIN, files={"configs/fast.pbtxt": PLAIN}),
    good("variant_broken", PLAIN, "config-variant", files={"configs/fast.pbtxt": "backend: python"}),
    good("variant_name", PLAIN, "config-variant", files={"configs/fast.pbtxt": 'name: "fast"'}),
    bad("batch_negative", "max-batch-size", PLAIN + "max_batch_size: -1"),
    bad("metric_tag_dash", "metric-tag", PLAIN + 'metric_tags { key: "a-b" value: "x" }', outcome=DIES),
    bad("metric_tag_underscore", "metric-tag", PLAIN + 'metric_tags { key: "_a" value: "x" }', outcome=DIES),
    good("metric_tag", PLAIN + 'metric_tags { key: "team_1" value: "x y" }'),
    bad("cache_decoupled", "response-cache", PLAIN + "model_transaction_policy { decoupled: true }\nresponse_cache { enable: true }"),
    bad("cache_sequence", "response-cache", BATCHED + "sequence_batching {}\nresponse_cache { enable: true }"),
    good("cache", PLAIN + "response_cache { enable: true }"),
    good("decoupled", PLAIN + "model_transaction_policy { decoupled: true }"),
]


_FIL = 'backend: "fil"\n' + io() + 'parameters { key: "model_type" value { string_value: "%s" } }\n'
_ONNX_FILES = {"1/model.onnx": "x"}
_BACKENDS = [
    bad("backend_none", "backend-undetermined", io(), code=None, files={"1/weights.bin": "x"}),
    bad("platform_unknown", "backend-undetermined", 'platform: "caffe"\n' + io()),
    bad("platform_of_another", "backend-platform", 'backend: "onnxruntime"\nplatform: "pytorch_libtorch"\n' + io(), files=_ONNX_FILES),
    good("platform_ignored", 'platform: "onnxruntime_onnx"\n' + PLAIN),
    good("by_name.python", None, "config-needed", "tensor-missing"),
    good("backend_misspelt", 'backend: "onnxruntme"\n' + io(), "backend-unknown", outcome=REFUSED, code=None),
    untested("backend_own", "", 'backend: "mine"\n' + io(), files={"libtriton_mine.so": "x"}),
    untested("backend_misspelt_own", "", 'backend: "pythom"\n' + io(), files={"1/libtriton_pythom.so": "x"}),
    untested("onnx", "", 'backend: "onnxruntime"\n' + io(), files=_ONNX_FILES),
    untested("onnx_without_config", "", None, files=_ONNX_FILES),
    untested("onnx_folder", "", 'backend: "onnxruntime"\n', files={"1/model.onnx/model.onnx": "x"}),
    untested("onnx_empty", "model-file-empty", 'backend: "onnxruntime"\n', files={"1/model.onnx": ""}),
    untested("onnx_other_name", "model-file-missing", 'backend: "onnxruntime"\n', files={"1/net.onnx": "x"}),
    untested("onnx_named", "", 'backend: "onnxruntime"\ndefault_model_filename: "net.onnx"', files={"1/net.onnx": "x"}),
    untested("onnx_lfs", "lfs-pointer", None, files={"1/model.onnx": "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"}),
    untested("tensorrt", "", 'platform: "tensorrt_plan"\n', files={"1/model.plan": "x"}),
    untested("tensorrt_folder", "model-file-kind", 'platform: "tensorrt_plan"\n', files={"1/model.plan/x": "x"}),
    untested("tensorrt_by_gpu", "", 'backend: "tensorrt"\ncc_model_filenames { key: "7.5" value: "t4.plan" }', files={"1/t4.plan": "x"}),
    untested(
        "tensorrt_gpu_missing",
        "cc-file-missing",
        'backend: "tensorrt"\ncc_model_filenames { key: "7.5" value: "t4.plan" }',
        files={"1/model.plan": "x"},
    ),
    untested("tensorrt_shape", "", 'backend: "tensorrt"\n' + io(X + " is_shape_tensor: true"), files={"1/model.plan": "x"}),
    untested("torch", "", 'platform: "pytorch_libtorch"\n' + io(), files={"1/model.pt": "x"}),
    untested("torch_python", "", 'backend: "pytorch"\nruntime: "model.py"\n' + io(), files={"1/model.py": "x = 1"}),
    untested("torch_wrong_file", "model-file-missing", 'backend: "pytorch"\n' + io(), files={"1/model.onnx": "x"}),
    untested("savedmodel", "", None, files={"1/model.savedmodel/saved_model.pb": "x"}),
    untested("savedmodel_file", "model-file-kind", 'platform: "tensorflow_savedmodel"\n', files={"1/model.savedmodel": "x"}),
    untested("graphdef", "", 'platform: "tensorflow_graphdef"\n' + io(), files={"1/model.graphdef": "x"}),
    untested("tensorflow_alone", "backend-platform", 'backend: "tensorflow"\n' + io(), files={"1/x": "x"}),
    untested("openvino", "", 'backend: "openvino"\n', files={"1/model.xml": "x", "1/model.bin": "x"}),
    untested("fil", "", _FIL % "xgboost_json", files={"1/xgboost.json": "x"}),
    untested("fil_lightgbm", "", _FIL % "lightgbm", files={"1/model.txt": "x"}),
    untested("fil_treelite", "", _FIL % "treelite_checkpoint", files={"1/checkpoint.tl": "x"}),
    untested("fil_default", "", 'backend: "fil"\n' + io(), files={"1/xgboost.model": "x"}),
    untested("fil_wrong_file", "model-file-missing", _FIL % "lightgbm", files={"1/xgboost.json": "x"}),
    untested("fil_unknown", "fil-model-type", _FIL % "catboost", files={"1/model.cbm": "x"}),
    untested("dali", "", 'backend: "dali"\n', files={"1/model.dali": "x"}),
    untested("vllm", "", 'backend: "vllm"\n', files={"1/model.json": "{}"}),
    untested("vllm_missing", "model-file-missing", 'backend: "vllm"\n', files={"1/engine.txt": "{}"}),
    untested("trtllm", "", 'backend: "tensorrtllm"\n', folders=("1/x",)),
    untested("agent", "", 'model_repository_agents { agents [{ name: "relocation" }] }\n' + io(), versions=()),
]


def _with_x(text: str, rest: str = 'name: "X" data_type: TYPE_FP32 ') -> str:
    return PYTHON + io(rest + text)


_BATCHES = "max_batch_size: 4\n"
_BATCH_INPUT = 'batch_input [{ kind: BATCH_ELEMENT_COUNT target_name: "Z" data_type: %s source_input: "%s" }]'
_TENSORS = [
    bad("tensor_no_name", "tensor-name", _with_x("dims: [4]", "data_type: TYPE_FP32 ")),
    bad("tensor_no_type", "tensor-type", _with_x("dims: [4]", 'name: "X" ')),
    bad("tensor_odd_type", "tensor-type", _with_x("dims: [4]", 'name: "X" data_type: 77 '), outcome=UNTESTED),
    bad("tensor_no_dims", "tensor-dims", _with_x("")),
    bad("output_no_dims", "tensor-dims", PYTHON + io(y='name: "Y" data_type: TYPE_FP32')),
    bad("tensor_dim_zero", "tensor-dims", _with_x("dims: [0]")),
    bad("tensor_dim_negative", "tensor-dims", _with_x("dims: [-2]")),
    good("tensor_dim_variable", _with_x("dims: [-1]")),
    good("tensor_scalar", _BATCHES + _with_x("dims: [1] reshape { shape: [] }")),
    bad("tensor_scalar_unbatched", "tensor-reshape", _with_x("dims: [1] reshape { shape: [] }")),
    bad("tensor_scalar_of_four", "tensor-reshape", _BATCHES + _with_x("dims: [4] reshape { shape: [] }")),
    good("reshape", _with_x("dims: [4] reshape { shape: [2, 2] }")),
    bad("reshape_size", "tensor-reshape", _with_x("dims: [4] reshape { shape: [5] }")),
    good("reshape_variable", _with_x("dims: [2, 4, -1, 6] reshape { shape: [8, -1, 1, 6] }")),
    bad("reshape_variable_size", "tensor-reshape", _with_x("dims: [4, -1] reshape { shape: [2, -1] }")),
    bad("reshape_variable_count", "tensor-reshape", _with_x("dims: [-1] reshape { shape: [-1, -1] }")),
    bad("reshape_to_fixed", "tensor-reshape", _with_x("dims: [-1] reshape { shape: [4] }")),
    bad("reshape_zero", "tensor-dims", _with_x("dims: [4] reshape { shape: [4, 0] }")),
    good("format", _with_x("dims: [3, 2, 2] format: FORMAT_NCHW")),
    bad("format_dims", "tensor-format", _with_x("dims: [4] format: FORMAT_NHWC")),
    bad("shape_tensor", "tensor-tensorrt-only", _with_x("dims: [4] is_shape_tensor: true")),
    bad("non_linear", "tensor-tensorrt-only", _with_x("dims: [4, 1, 1] is_non_linear_format_io: true")),
    good("input_twice", PYTHON + f"input [{{ {X} }}, {{ {X} }}]\noutput [{{ {Y} }}]", "tensor-duplicate"),
    good("one_name_for_both", PYTHON + io(y=X)),
    good("tensors_none", PYTHON, "tensor-missing"),
    good("batch_dimension", _BATCHES + _with_x("dims: [-1, 4]") + 'output [{ name: "Z" data_type: TYPE_FP32 dims: [2] }]'),
    good("batch_input", PLAIN + _BATCH_INPUT % ("TYPE_INT32", "X")),
    bad("batch_input_source", "batch-tensor", PLAIN + _BATCH_INPUT % ("TYPE_INT32", "Q")),
    bad("batch_input_type", "batch-tensor", PLAIN + _BATCH_INPUT % ("TYPE_INT64", "X")),
    bad(
        "batch_output_target",
        "batch-tensor",
        PLAIN + 'batch_output [{ kind: BATCH_SCATTER_WITH_INPUT_SHAPE target_name: "Q" source_input: "X" }]',
    ),
]


def _group(text: str) -> str:
    return f"{PLAIN}instance_group [{{ {text} }}]"


def _dynamic(text: str) -> str:
    return f"{BATCHED}dynamic_batching {{ {text} }}"


_RESOURCES = "kind: KIND_CPU rate_limiter { resources [%s] }"
_SCHEDULING = [
    good("instances", _group("kind: KIND_CPU count: 2")),
    good("instances_model", _group("kind: KIND_MODEL")),
    bad("instances_cpu_gpus", "instance-gpus", _group("kind: KIND_CPU gpus: [0]")),
    bad("instances_model_gpus", "instance-gpus", _group("kind: KIND_MODEL gpus: [0]")),
    bad("instances_gpu_negative", "instance-gpus", _group("kind: KIND_GPU gpus: [-1]")),
    untested("instances_gpu", "", _group("kind: KIND_GPU count: 2 gpus: [0, 1]"), code=MODEL),
    bad("instances_profile", "instance-profile", _group('kind: KIND_CPU profile: ["0"]')),
    good(
        "instances_count_zero",
        _group("kind: KIND_CPU count: 0"),
    ),
    good("instances_count_negative", _group("kind: KIND_CPU count: -1"), "instance-count"),
    good("instances_passive", _group("kind: KIND_CPU passive: true"), "instance-passive"),
    good("limiter", _group(_RESOURCES % '{ name: "a" count: 1 }')),
    good("limiter_no_name", _group(_RESOURCES % "{ count: 1 }"), "rate-limiter"),
    good(
        "limiter_both",
        _group(_RESOURCES % '{ name: "a" count: 1 }, { name: "a" global: true count: 1 }'),
        "rate-limiter",
    ),
    good("limiter_twice", _group(_RESOURCES % '{ name: "a" count: 1 }, { name: "a" count: 2 }'), "rate-limiter"),
    good("dynamic", _dynamic("preferred_batch_size: [2, 4] max_queue_delay_microseconds: 500")),
    good("dynamic_unbatched", PLAIN + "dynamic_batching {}", "batching-idle"),
    good("dynamic_slow", _dynamic("max_queue_delay_microseconds: 2000000"), "queue-delay"),
    bad("dynamic_zero", "preferred-batch-size", _dynamic("preferred_batch_size: [0]")),
    bad("dynamic_too_large", "preferred-batch-size", _dynamic("preferred_batch_size: [5]")),
    good("priorities", _dynamic("priority_levels: 2 default_priority_level: 1 priority_queue_policy { key: 2 value {} }")),
    good("priorities_unused", _dynamic("default_priority_level: 3 priority_queue_policy { key: 3 value {} }")),
    bad("priorities_no_default", "priority-levels", _dynamic("priority_levels: 2")),
    bad(
        "priorities_policy",
        "priority-levels",
        _dynamic("priority_levels: 2 default_priority_level: 1 priority_queue_policy { key: 3 value {} }"),
    ),
    good("ordering", _dynamic("preserve_ordering: true priority_levels: 1 default_priority_level: 1")),
    bad("ordering_priorities", "queue-ordering", _dynamic("preserve_ordering: true priority_levels: 2 default_priority_level: 1")),
    bad(
        "ordering_delay",
        "queue-ordering",
        _dynamic("preserve_ordering: true default_queue_policy { timeout_action: DELAY default_timeout_microseconds: 5 }"),
    ),
]


def _sequence(text: str) -> str:
    return f"{BATCHED}sequence_batching {{ {text} }}"


def _control(kind: str, values: str, name: str = "C") -> str:
    return f'control_input [{{ name: "{name}" control [{{ kind: CONTROL_SEQUENCE_{kind} {values} }}] }}]'


def _state(text: str) -> str:
    initial = f"initial_state [{{ {text} }}]" if text else ""
    return _sequence(f'state [{{ input_name: "I" output_name: "O" data_type: TYPE_FP32 dims: [2] {initial} }}]')


_FLAG = "int32_false_true: [0, 1]"
_ZERO = 'data_type: TYPE_FP32 dims: [2] zero_data: true name: "a"'
_STRATEGY = 'parameters { key: "TRITON_BATCH_STRATEGY_PATH" value { string_value: "/x.so" } }'
_SEQUENCES = [
    good("sequence", _sequence(_control("START", _FLAG))),
    good("sequence_plain", _sequence("")),
    good(
        "sequence_flags",
        _sequence(_control("START", "bool_false_true: [false, true]") + _control("READY", "fp32_false_true: [0, 1]", "R")),
    ),
    good(
        "sequence_two_in_one",
        _sequence(_control("START", _FLAG + " }, { kind: CONTROL_SEQUENCE_END " + _FLAG)),
    ),
    good("sequence_id", _sequence(_control("CORRID", "data_type: TYPE_UINT64"))),
    bad("sequence_no_name", "sequence-control", _sequence(_control("START", _FLAG, ""))),
    bad(
        "sequence_input_twice",
        "sequence-control",
        _sequence(_control("START", _FLAG) + _control("END", _FLAG)),
    ),
    bad(
        "sequence_kind_twice",
        "sequence-control",
        _sequence(_control("START", _FLAG) + _control("START", _FLAG, "D")),
    ),
    bad("sequence_no_values", "sequence-control", _sequence(_control("START", ""))),
    bad(
        "sequence_two_values",
        "sequence-control",
        _sequence(_control("START", _FLAG + " fp32_false_true: [0, 1]")),
    ),
    bad("sequence_three_values", "sequence-control", _sequence(_control("START", "int32_false_true: [0, 1, 2]"))),
    bad("sequence_id_type", "sequence-control", _sequence(_control("CORRID", "data_type: TYPE_FP32"))),
    bad("sequence_id_no_type", "sequence-control", _sequence(_control("CORRID", ""))),
    bad(
        "sequence_id_values",
        "sequence-control",
        _sequence(_control("CORRID", "data_type: TYPE_UINT64 " + _FLAG)),
    ),
    good("sequence_oldest", _sequence("oldest { max_candidate_sequences: 8 preferred_batch_size: [2] }")),
    bad("sequence_oldest_size", "preferred-batch-size", _sequence("oldest { preferred_batch_size: [5] }")),
    good("sequence_direct", _sequence("direct { minimum_slot_utilization: 0.5 }")),
    bad("sequence_direct_share", "sequence-utilization", _sequence("direct { minimum_slot_utilization: 1.5 }")),
    bad("sequence_strategy", "sequence-strategy", _sequence("") + _STRATEGY),
    good("state", _state("")),
    good("state_zero", _state(_ZERO)),
    bad("state_twice", "sequence-state", _state(_ZERO + " }, { " + _ZERO)),
    bad("state_type", "sequence-state", _state(_ZERO.replace("FP32", "INT32"))),
    bad("state_dims", "sequence-state", _state(_ZERO.replace("[2]", "[3]"))),
    bad("state_variable", "sequence-state", _state(_ZERO.replace("[2]", "[-1]"))),
    bad("state_no_name", "sequence-state", _state(_ZERO.replace('name: "a"', ""))),
    bad("state_no_data", "sequence-state", _state(_ZERO.replace("zero_data: true", ""))),
    good("state_file", _state(_ZERO.replace("zero_data: true", 'data_file: "s"')), files={"initial_state/s": "12345678"}),
    bad("state_file_missing", "state-file", _state(_ZERO.replace("zero_data: true", 'data_file: "s"'))),
    bad(
        "state_file_short",
        "state-file",
        _state(_ZERO.replace("zero_data: true", 'data_file: "s"')),
        files={"initial_state/s": "1"},
    ),
]


def _label(name: str) -> str:
    return PYTHON + io(y=f'{Y} label_filename: "{name}"')


def _sample(text: str, name: str = "X", batch: str = "batch_size: 1") -> str:
    inputs = f'inputs {{ key: "{name}" value {{ {text} }} }}' if text else ""
    return f'{BATCHED}model_warmup [{{ name: "w" {batch} {inputs} }}]'


_FP32 = "data_type: TYPE_FP32 dims: [4] "
_FILES = [
    bad("file_missing", "model-file-missing", code=None, outcome=HANGS),
    bad("file_misnamed", "model-file-missing", code=None, files={"1/net.py": MODEL}, outcome=HANGS),
    good("file_named", 'default_model_filename: "net.py"\n' + PLAIN, code=None, files={"1/net.py": MODEL}),
    good("file_in_folder", 'default_model_filename: "sub/net.py"\n' + PLAIN, code=None, files={"1/sub/net.py": MODEL}),
    Case("file_empty", REFUSED, ("model-file-empty",), code=""),
    bad("file_is_folder", "model-file-kind", code=None, folders=("1/model.py",)),
    good("older_version_incomplete", PLAIN, "version-incomplete", files={"2/model.py": MODEL}, code=None),
    bad("file_above", "reference-escapes", 'default_model_filename: "../net.py"\n' + PLAIN, code=None, files={"net.py": MODEL}),
    good("labels", _label("labels.txt"), files={"labels.txt": "a\nb\nc\nd\n"}),
    good("labels_no_newline", _label("labels.txt"), files={"labels.txt": "a\nb\nc\nd"}),
    good("labels_in_version", _label("1/labels.txt"), files={"1/labels.txt": "a\nb\nc\nd"}),
    good("labels_few", _label("labels.txt"), "label-count", files={"labels.txt": "a\nb\n"}),
    good("labels_empty", _label("labels.txt"), "label-count", files={"labels.txt": ""}),
    bad("labels_missing", "label-file", _label("labels.txt")),
    bad("labels_absolute", "label-file", _label("/etc/hostname")),
    bad("labels_folder", "label-file", _label("1"), outcome=DIES),
    good("labels_above", _label("../plain/config.pbtxt"), "reference-escapes"),
    good("warmup", _sample(_FP32 + "zero_data: true")),
    good("warmup_random", _sample(_FP32 + "random_data: true", batch="batch_size: 4 count: 2")),
    good("warmup_skipped", _sample(_FP32 + "zero_data: true", batch=""), "warmup-skipped"),
    bad("warmup_batch", "warmup", _sample(_FP32 + "zero_data: true", batch="batch_size: 9")),
    bad("warmup_variable", "warmup", _sample("data_type: TYPE_FP32 dims: [-1] zero_data: true")),
    bad("warmup_no_data", "warmup", _sample(_FP32)),
    bad("warmup_unknown_input", "warmup", _sample(_FP32 + "zero_data: true", name="Q")),
    bad("warmup_no_input", "warmup", _sample("")),
    bad("warmup_type", "warmup", _sample("data_type: TYPE_INT32 dims: [4] zero_data: true")),
    bad("warmup_dims", "warmup", _sample("data_type: TYPE_FP32 dims: [5] zero_data: true")),
    good("warmup_file", _sample(_FP32 + 'input_data_file: "f"'), files={"warmup/f": "1234" * 4}),
    bad("warmup_file_missing", "warmup-file", _sample(_FP32 + 'input_data_file: "f"')),
    bad("warmup_file_short", "warmup-file", _sample(_FP32 + 'input_data_file: "f"'), files={"warmup/f": "1"}),
    good(
        "warmup_file_above",
        _sample(_FP32 + 'input_data_file: "../../plain/config.pbtxt"'),
        "reference-escapes",
        files={"warmup/x": "x"},
    ),
]


def _parameter(key: str, value: str) -> str:
    return f'{PLAIN}parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}'


_HERE = "$$TRITON_MODEL_DIRECTORY/env.tar.gz"
_ALIASED = MODEL.replace("class TritonPythonModel", "class Model") + "\n\nTritonPythonModel = Model\n"
_INHERITED = MODEL.replace("class TritonPythonModel", "class Base") + "\n\nclass TritonPythonModel(Base):\n    pass\n"
_PYTHON = [
    bad("python_syntax", "python-syntax", code="def f(:\n"),
    bad("python_return", "python-syntax", code="return 1\n"),
    bad("python_no_class", "python-class", code="x = 1\n"),
    good("python_alias", code=_ALIASED),
    good("python_inherited", code=_INHERITED),
    good("python_conditional", code="if True:\n" + "\n".join(f"    {line}" for line in MODEL.splitlines())),
    bad("python_no_execute", "python-execute", code="class TritonPythonModel:\n    pass\n", outcome=FAILS),
    bad("python_environment", "python-environment", _parameter("EXECUTION_ENV_PATH", _HERE)),
    bad("python_cpu_tensors", "python-parameter", _parameter("FORCE_CPU_ONLY_INPUT_TENSORS", "maybe")),
    good("python_cpu_tensors_yes", _parameter("FORCE_CPU_ONLY_INPUT_TENSORS", "yes")),
]


def _step(
    model: str = "plain", x: str = "X", y: str = "Y", *, version: str = "model_version: -1", ends: tuple[str, str] = ("X", "Y")
) -> str:
    """A step whose model's X and Y (or `ends`) are the ensemble's tensors x and y."""
    maps = f'input_map {{ key: "{ends[0]}" value: "{x}" }} output_map {{ key: "{ends[1]}" value: "{y}" }}'
    return f'{{ model_name: "{model}" {version} {maps} }}'


def _ensemble(name: str, steps: str, rule: str = "", tensors: str = "", *, head: str = "", outcome: str = "", **more: object) -> Case:
    config = f'platform: "ensemble"\n{head}{tensors or io()}ensemble_scheduling {{ step [{steps}] }}\n'
    outcome = outcome or (REFUSED if rule else LOADS)
    return Case(name, outcome, (rule,) if rule else (), config, **{"code": None, **more})  # type: ignore[arg-type]


_ONE, _SCHEDULE = _step(), f"ensemble_scheduling {{ step [{_step()}] }}\n"
_ENSEMBLES = [
    good("batched", BATCHED),
    _ensemble("ensemble", _ONE, files={"1/.gitkeep": ""}),
    _ensemble("ensemble_of_ensemble", _step("ensemble")),
    _ensemble("ensemble_completed", _step("config_completed")),
    _ensemble("ensemble_version_one", _step(version="model_version: 1")),
    _ensemble("ensemble_no_version_folder", _ONE, "version-missing", versions=()),
    _ensemble("ensemble_version", _step(version="model_version: 2"), "ensemble-version"),
    _ensemble("ensemble_version_unset", _step(version=""), "ensemble-version"),
    _ensemble("ensemble_model", _step("nowhere"), "ensemble-model"),
    _ensemble("ensemble_itself", _step("ensemble_itself"), "ensemble-cycle"),
    _ensemble("ensemble_circle_a", _step("ensemble_circle_b"), "ensemble-cycle"),
    _ensemble("ensemble_circle_b", _step("ensemble_circle_a"), "ensemble-cycle"),
    _ensemble("ensemble_type", _ONE, "ensemble-type", io('name: "X" data_type: TYPE_INT32 dims: [4]')),
    _ensemble("ensemble_output_type", _ONE, "ensemble-type", io(y='name: "Y" data_type: TYPE_INT32 dims: [4]')),
    _ensemble("ensemble_shape", _ONE, "ensemble-shape", io('name: "X" data_type: TYPE_FP32 dims: [5]')),
    _ensemble("ensemble_rank", _ONE, "ensemble-shape", io('name: "X" data_type: TYPE_FP32 dims: [4, 1]')),
    _ensemble("ensemble_variable", _ONE, "", io('name: "X" data_type: TYPE_FP32 dims: [-1]')),
    _ensemble("ensemble_reshaped", _ONE, "", io('name: "X" data_type: TYPE_FP32 dims: [2, 2] reshape { shape: [4] }')),
    _ensemble("ensemble_batch", _step("batched"), "ensemble-batch-size", head="max_batch_size: 8\n"),
    _ensemble("ensemble_batch_fits", _step("batched"), head="max_batch_size: 4\n"),
    _ensemble("ensemble_unbatched_step", _ONE, head="max_batch_size: 8\n"),
    _ensemble("ensemble_input", _step(ends=("Q", "Y")), "ensemble-mapping", outcome=REFUSED),
    _ensemble("ensemble_output", _step(ends=("X", "Q")), "ensemble-mapping"),
    _ensemble("ensemble_unused_input", _ONE, "ensemble-flow", io() + 'input [{ name: "X2" data_type: TYPE_FP32 dims: [4] }]'),
    _ensemble("ensemble_unmade_output", _ONE, "ensemble-flow", io() + 'output [{ name: "Y2" data_type: TYPE_FP32 dims: [4] }]'),
    _ensemble("ensemble_unused_tensor", f"{_ONE}, {_step(y='Z')}", "ensemble-flow"),
    _ensemble("ensemble_made_twice", f"{_ONE}, {_ONE}", "ensemble-flow"),
    _ensemble(
        "ensemble_no_source",
        f"{_ONE}, {_step(x='Q', y='Y2')}",
        "ensemble-flow",
        io() + 'output [{ name: "Y2" data_type: TYPE_FP32 dims: [4] }]',
    ),
    _ensemble("ensemble_chain", f"{_step(y='Z')}, {_step(x='Z')}"),
    _ensemble("ensemble_instances", _ONE, "ensemble-setting", head="instance_group [{ kind: KIND_CPU }]\n"),
    _ensemble("ensemble_optimization", _ONE, "ensemble-setting", head="optimization {}\n"),
    _ensemble("ensemble_warmup", _ONE, "ensemble-setting", head='model_warmup [{ name: "w" }]\n'),
    _ensemble("ensemble_steps", "", "ensemble-step"),
    _ensemble("ensemble_step_model", '{ input_map { key: "X" value: "X" } output_map { key: "Y" value: "Y" } }', "ensemble-step"),
    _ensemble(
        "ensemble_step_maps",
        '{ model_name: "plain" model_version: -1 output_map { key: "Y" value: "Y" } }',
        "ensemble-step",
        outcome=UNTESTED,
    ),
    bad("ensemble_platform", "ensemble-platform", io() + _SCHEDULE, code=None),
    bad("ensemble_backend", "ensemble-platform", 'platform: "ensemble"\nbackend: "python"\n' + io() + _SCHEDULE, code=None),
    bad("ensemble_schedule", "ensemble-platform", 'platform: "ensemble"\n' + io(), code=None),
    _ensemble(
        "ensemble_decoupled",
        f"{_step('decoupled', y='A')}, {_step('decoupled', y='Y')}",
        "ensemble-decoupled",
        io() + 'output [{ name: "A" data_type: TYPE_FP32 dims: [4] }]',
    ),
    _ensemble("ensemble_decoupled_chain", f"{_step('decoupled', y='A')}, {_step('decoupled', x='A', y='Y')}"),
]


CASES = [
    *_LAYOUT, *_VERSIONS, *_CONFIG, *_BACKENDS, *_TENSORS, *_SCHEDULING, *_SEQUENCES, *_FILES, *_PYTHON, *_ENSEMBLES,
]  # fmt: skip


def write_all(root: Path) -> None:
    """One repository of all cases."""
    for case in CASES:
        case.write(root)
