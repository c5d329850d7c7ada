# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Triton backend "onnxruntime" in Python: serves stock ONNX repositories with PyPI's onnxruntime where Triton's own C++ backend is absent.

Files, parameters, checks and auto-completion follow triton-inference-server/onnxruntime_backend, so a repository moves between the two
unchanged. Not here: TensorRT and OpenVINO accelerators, implicit state, ragged batches (each is refused with its reason when the model is
loaded) and the backend's command-line options (a global thread pool; the default maximum batch size is 4).
"""

from __future__ import annotations

import json
import os
from collections import defaultdict

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb_utils
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

DEFAULT_MAX_BATCH_SIZE = 4
_NUMBERS = {f"tensor({sign}int{bits})": f"TYPE_{sign.upper()}INT{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
DATA_TYPES = {
    **_NUMBERS,
    "tensor(bool)": "TYPE_BOOL",
    "tensor(float16)": "TYPE_FP16",
    "tensor(float)": "TYPE_FP32",
    "tensor(double)": "TYPE_FP64",
    "tensor(string)": "TYPE_STRING",
}
GRAPH_LEVELS = {
    -1: ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    1: ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    2: ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
# onnxruntime's exceptions share no base below Exception.
ORT_NAMES = ("EPFail", "EngineError", "Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "ModelLoaded", "NoModel", "NoSuchFile",
             "NotImplemented", "RuntimeException")  # fmt: skip
ORT_ERRORS = (*(getattr(ort_state, name) for name in ORT_NAMES if hasattr(ort_state, name)), RuntimeError, TypeError, ValueError)


# --- the model's configuration


def model_file(version_folder, config):
    """The ONNX file of a version: default_model_filename or model.onnx; a folder holds model.onnx beside its external data."""
    path = os.path.join(version_folder, config.get("default_model_filename") or "model.onnx")
    if os.path.isdir(path):
        path = os.path.join(path, "model.onnx")
    if not os.path.exists(path):
        raise pb_utils.TritonModelException(f"unable to find '{path}' for model '{config['name']}'")
    return path


def parameter(config, name, default=None):
    """The text of a parameter of config.pbtxt."""
    return config.get("parameters", {}).get(name, {}).get("string_value", default)


def integer(config, name):
    text = parameter(config, name, "0")
    try:
        return int(text)
    except ValueError:
        raise pb_utils.TritonModelException(f"model '{config['name']}': parameter '{name}' is '{text}', expected an integer") from None


def boolean(config, name):
    text = parameter(config, name).strip().lower()
    if text not in ("0", "1", "true", "false"):
        raise pb_utils.TritonModelException(f"model '{config['name']}': parameter '{name}' is '{text}', expected 0, 1, true or false")
    return text in ("1", "true")


def session_options(config, version_folder):
    """onnxruntime's session options as Triton's backend derives them from a model's configuration."""
    options = ort.SessionOptions()
    level = int(config.get("optimization", {}).get("graph", {}).get("level", 0))
    options.graph_optimization_level = GRAPH_LEVELS.get(level, ort.GraphOptimizationLevel.ORT_ENABLE_ALL)
    mode = integer(config, "execution_mode")
    if mode not in (0, 1):
        raise pb_utils.TritonModelException(f"model '{config['name']}': parameter 'execution_mode' is {mode}, expected 0 or 1")
    options.execution_mode = ort.ExecutionMode.ORT_PARALLEL if mode else ort.ExecutionMode.ORT_SEQUENTIAL
    # 0 lets onnxruntime take as many threads as there are cores.
    options.intra_op_num_threads = max(0, integer(config, "intra_op_thread_count"))
    options.inter_op_num_threads = max(0, integer(config, "inter_op_thread_count"))
    if parameter(config, "enable_mem_arena") is not None:
        options.enable_cpu_mem_arena = boolean(config, "enable_mem_arena")
    if parameter(config, "enable_mem_pattern") is not None:
        options.enable_mem_pattern = boolean(config, "enable_mem_pattern")
    allocator = "session.use_device_allocator_for_initializers"
    if parameter(config, allocator) is not None:
        options.add_session_config_entry(allocator, parameter(config, allocator))
    for library in config.get("model_operations", {}).get("op_library_filename", []):
        local = os.path.join(os.path.dirname(version_folder), library)
        options.register_custom_ops_library(local if os.path.exists(local) else library)
    return options


def providers(config, kind, device):
    """The execution providers of an instance."""
    accelerators = config.get("optimization", {}).get("execution_accelerators", {})
    if accelerators.get("cpu_execution_accelerator") and kind != "GPU":
        names = ", ".join(each["name"] for each in accelerators["cpu_execution_accelerator"])
        raise pb_utils.TritonModelException(f"model '{config['name']}': this onnxruntime backend has no execution accelerator '{names}'")
    chosen = ["CPUExecutionProvider"]
    if kind != "GPU":
        return chosen
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        pb_utils.Logger.log_warn(f"model '{config['name']}' asks for a GPU; this onnxruntime has no CUDA provider: it runs on the CPU")
        return chosen
    return [("CUDAExecutionProvider", {"device_id": str(device)}), *chosen]


def open_session(version_folder, config, kind="CPU", device=0):
    path = model_file(version_folder, config)
    try:
        return ort.InferenceSession(path, session_options(config, version_folder), providers=providers(config, kind, device))
    except ORT_ERRORS as error:
        raise pb_utils.TritonModelException(f"failed to load model '{config['name']}' from '{path}': {error}") from error


def dims_of(tensor):
    """A tensor's dimensions, -1 for each that is free or named."""
    return [each if isinstance(each, int) and each >= 0 else -1 for each in tensor.shape]


def data_type_of(tensor):
    if tensor.type not in DATA_TYPES:
        raise pb_utils.TritonModelException(f"tensor '{tensor.name}' has type {tensor.type}, which Triton does not know")
    return DATA_TYPES[tensor.type]


# --- auto-completion


def can_batch(tensors):
    """Whether every tensor has a free first dimension."""
    return all(dims_of(each)[:1] == [-1] for each in tensors)


def described(tensor, batched):
    """A tensor as an entry of `input` or `output`. A scalar is written as [1], with a reshape where there is a batch dimension."""
    dims = dims_of(tensor)[1:] if batched else dims_of(tensor)
    entry = {"name": tensor.name, "data_type": data_type_of(tensor), "dims": dims or [1]}
    if batched and not dims:
        entry["reshape"] = {"shape": []}
    return entry


def complete(config, session):
    """Fills what a configuration leaves open: batching, inputs, outputs. Changes `config` in place."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    batched = can_batch([*inputs, *outputs])
    if batched and not config["max_batch_size"]:
        config["max_batch_size"] = DEFAULT_MAX_BATCH_SIZE
    elif config["max_batch_size"] and not batched:
        raise pb_utils.TritonModelException(
            f"autofill failed for model '{config['name']}': model does not support batching while non-zero max_batch_size is specified"
        )
    if config["max_batch_size"] > 1 and "sequence_batching" not in config:
        config.setdefault("dynamic_batching", {})
    for key, tensors in (("input", inputs), ("output", outputs)):
        if not config.get(key):
            config[key] = [described(each, batched) for each in tensors]


# --- checks at load


def shape_text(dims):
    return "[" + ",".join(str(each) for each in dims) + "]"


def check_dims(config, entry, tensor, exact):
    """Raises where the dimensions of config.pbtxt cannot be those of the model. exact: an output's free dimension must be free in both."""
    model, dims = dims_of(tensor), [int(each) for each in entry.get("reshape", entry).get("shape", entry["dims"])]
    if not model:
        if any(each != 1 for each in dims):
            raise pb_utils.TritonModelException(
                f"unable to load model '{config['name']}', scalar tensor '{tensor.name}' has dims {shape_text(dims)}, expected [1]"
            )
        return
    full = [-1, *dims] if config["max_batch_size"] > 0 else dims
    if config["max_batch_size"] > 0 and model[0] != -1:
        raise pb_utils.TritonModelException(
            f"model '{config['name']}', tensor '{tensor.name}': for the model to support batching the first dimension must be -1; "
            f"but shape expected by the model is {shape_text(model)}"
        )
    same = len(model) == len(full) and all(one == other or (one == -1 and not exact) for one, other in zip(model, full))
    if not same:
        raise pb_utils.TritonModelException(
            f"model '{config['name']}', tensor '{tensor.name}': the model expects {len(model)} dimensions (shape {shape_text(model)}) "
            f"but the model configuration specifies {len(full)} dimensions (shape {shape_text(full)})"
        )


def check_tensor(config, kind, entry, tensors, exact):
    name = entry["name"]
    if name not in tensors:
        raise pb_utils.TritonModelException(
            f"unexpected inference {kind} '{name}', allowed {kind}s are: {', '.join(sorted(tensors))} (model '{config['name']}')"
        )
    provided = data_type_of(tensors[name])
    if entry["data_type"] != provided:
        raise pb_utils.TritonModelException(
            f"unable to load model '{config['name']}', configuration expects datatype {entry['data_type']} for {kind} '{name}', "
            f"model provides {provided}"
        )
    check_dims(config, entry, tensors[name], exact)


def check_unsupported(config):
    """Refuses at load what would otherwise answer wrongly."""
    model = f"unable to load model '{config['name']}'"
    if config.get("sequence_batching", {}).get("state"):
        raise pb_utils.TritonModelException(f"{model}: this onnxruntime backend does not have implicit state")
    for entry in config["input"]:
        if entry.get("allow_ragged_batch"):
            raise pb_utils.TritonModelException(f"{model}: this onnxruntime backend does not have ragged batches (input '{entry['name']}')")
        if entry.get("optional") and config["max_batch_size"] > 0:
            raise pb_utils.TritonModelException(f"{model}: optional input '{entry['name']}' is not supported with a max_batch_size above 0")


def sequence_controls(config):
    """The names of the inputs that the sequence batcher fills."""
    return {each["name"] for each in config.get("sequence_batching", {}).get("control_input", [])}


def check_model(config, session):
    """Compares a configuration with its model, as Triton's backend does when it loads one."""
    check_unsupported(config)
    required = {each.name: each for each in session.get_inputs()}
    allowed = {**required, **{each.name: each for each in session.get_overridable_initializers()}}
    expected = {each["name"] for each in config["input"]} | (sequence_controls(config) & set(required))
    if missing := sorted(set(required) - expected):
        raise pb_utils.TritonModelException(
            f"unable to load model '{config['name']}', configuration expects {len(expected)} inputs, model provides {len(required)}: "
            f"{', '.join(missing)} not configured"
        )
    outputs = {each.name: each for each in session.get_outputs()}
    for entry in config["input"]:
        check_tensor(config, "input", entry, allowed, exact=False)
    for entry in config["output"]:
        check_tensor(config, "output", entry, outputs, exact=True)


# --- inference


def from_triton(array, rank):
    """What onnxruntime takes: text instead of bytes, and a scalar where the model's tensor has no dimension."""
    if array.dtype == np.object_:
        array = np.array([_text(each) for each in array.ravel()], dtype=np.object_).reshape(array.shape)
    return array.reshape(()) if rank == 0 else array


def _text(value):
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def to_triton(array):
    """What Triton takes: bytes instead of text, at least one dimension, contiguous."""
    array = np.asarray(array)
    if array.dtype.kind in "OU":
        array = np.array([str(each).encode("utf-8") for each in array.ravel()], dtype=np.object_).reshape(array.shape)
    return np.ascontiguousarray(array.reshape((1,)) if array.ndim == 0 else array)


class Job:
    """One request: its inputs as onnxruntime takes them and the outputs it wants."""

    def __init__(self, feed, wanted):
        self.feed = feed
        self.wanted = wanted
        self.response = None

    @property
    def rows(self):
        return next(iter(self.feed.values())).shape[0]

    def signature(self):
        """Requests of one signature differ in their rows alone and so run as one batch."""
        return tuple((name, array.dtype.str, array.shape[1:]) for name, array in sorted(self.feed.items()))


class TritonPythonModel:
    """What the python backend's stub drives: one object an instance."""

    @staticmethod
    def auto_complete_config(auto_complete_model_config):
        config = auto_complete_model_config.as_dict()
        if not (config.get("input") and config.get("output")):
            complete(config, open_session(pb_utils.get_model_dir(), config))
        return auto_complete_model_config

    def initialize(self, args):
        self.config = config = json.loads(args["model_config"])
        version_folder = os.path.join(args["model_repository"], args["model_version"])
        device = int(args.get("model_instance_device_id") or 0)
        self.session = open_session(version_folder, config, args.get("model_instance_kind", "CPU"), device)
        check_model(config, self.session)
        self.batched = config["max_batch_size"] > 0
        known = [*self.session.get_inputs(), *self.session.get_overridable_initializers()]
        self.ranks = {each.name: len(each.shape) for each in known}
        self.required = {each.name for each in self.session.get_inputs()}
        self.optional = {each["name"] for each in config["input"] if each.get("optional")}
        self.outputs = [each["name"] for each in config["output"]]
        self.run_options = ort.RunOptions()
        shrinkage = "memory.enable_memory_arena_shrinkage"
        if parameter(config, shrinkage) is not None:
            self.run_options.add_run_config_entry(shrinkage, parameter(config, shrinkage))

    def execute(self, requests):
        jobs = [self._job(request) for request in requests]
        for group in self._groups([job for job in jobs if job.response is None]):
            self._run_group(group)
        return [job.response for job in jobs]

    def _job(self, request):
        wanted = [name for name in self.outputs if name in set(request.requested_output_names())] or self.outputs
        job = Job({}, wanted)
        try:
            for tensor in request.inputs():
                if tensor.name() in self.ranks:
                    job.feed[tensor.name()] = from_triton(tensor.as_numpy(), self.ranks[tensor.name()])
        except UnicodeDecodeError as error:
            job.response = self._failed(f"a string input is not UTF-8, which ONNX strings are: {error}")
            return job
        if missing := sorted(self.required - set(job.feed) - self.optional):
            job.response = self._failed(f"input {', '.join(missing)} is missing")
        return job

    def _groups(self, jobs):
        """Requests that can run as one batch, together."""
        if not self.batched:
            return [[job] for job in jobs]
        groups = defaultdict(list)
        for job in jobs:
            groups[job.signature()].append(job)
        return list(groups.values())

    def _run_group(self, jobs):
        try:
            self._answer(jobs)
        except ORT_ERRORS as error:
            if len(jobs) == 1:
                jobs[0].response = self._failed(str(error))
                return
            # Only the request at fault is to fail, so each gets its own run.
            for job in jobs:
                self._run_group([job])

    def _answer(self, jobs):
        wanted = [name for name in self.outputs if any(name in job.wanted for job in jobs)]
        names = list(jobs[0].feed)
        feed = jobs[0].feed if len(jobs) == 1 else {name: np.concatenate([job.feed[name] for job in jobs]) for name in names}
        results = dict(zip(wanted, self.session.run(wanted, feed, self.run_options)))
        if len(jobs) == 1:
            jobs[0].response = self._response(jobs[0], results)
            return
        total = sum(job.rows for job in jobs)
        for name, array in results.items():
            if np.ndim(array) == 0 or len(array) != total:
                raise ValueError(f"output '{name}' of a batch of {total} rows has shape {np.shape(array)}")
        start = 0
        for job in jobs:
            job.response = self._response(job, {name: array[start : start + job.rows] for name, array in results.items()})
            start += job.rows

    @staticmethod
    def _response(job, results):
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, to_triton(results[name])) for name in job.wanted])

    def _failed(self, cause):
        return pb_utils.InferenceResponse([], pb_utils.TritonError(f"onnxruntime, model '{self.config['name']}': {cause}"))
