# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tiny models of the python backend, one for each thing that inference has to get right."""

from __future__ import annotations

from pathlib import Path

from .tritonserver import write_add_sub, write_python_model

_HEAD = "import numpy as np\nimport triton_python_backend_utils as pb\n\n\nclass TritonPythonModel:\n"
_EACH = """
    def execute(self, requests):
        return [pb.InferenceResponse([self.answer(request)]) for request in requests]
"""


def _config(kind: str, dims: str, *, out: str = "", out_dims: str = "", batch: int = 8, more: str = "", output: str = "") -> str:
    return f"""
backend: "python"
max_batch_size: {batch}
input [ {{ name: "IN" data_type: {kind} dims: [ {dims} ] }} ]
output [ {{ name: "OUT" data_type: {out or kind} dims: [ {out_dims or dims} ] {output} }} ]
{more}
"""


def write_identity(root: Path, name: str, kind: str, dims: str = "-1", *, batch: int = 8) -> Path:
    """IN comes back as OUT, in the same type."""
    code = (
        _HEAD
        + '    def answer(self, request):\n        return pb.Tensor("OUT", pb.get_input_tensor_by_name(request, "IN").as_numpy())\n'
        + _EACH
    )
    return write_python_model(root, name, code=code, config=_config(kind, dims, batch=batch))


def write_version_teller(root: Path, name: str = "teller", versions: tuple[int, ...] = (1, 2)) -> Path:
    """OUT is the version that answers; all versions are loaded."""
    code = _HEAD + (
        '    def initialize(self, args):\n        self.version = int(args["model_version"])\n\n'
        '    def answer(self, request):\n        return pb.Tensor("OUT", np.array([self.version], dtype=np.int32))\n' + _EACH
    )
    config = _config("TYPE_INT32", "1", batch=0, more="version_policy: { all { } }")
    for version in versions:
        write_python_model(root, name, version, code=code, config=config)
    return root / name


def write_classifier(root: Path, name: str = "classifier") -> Path:
    """The input is the scores of four classes, which have labels."""
    folder = write_identity(root, name, "TYPE_FP32", "4")
    (folder / "config.pbtxt").write_text(
        f'name: "{name}"' + _config("TYPE_FP32", "4", output='label_filename: "labels.txt"'),
    )
    (folder / "labels.txt").write_text("cup\nmug\npot: large\n\n")
    return folder


def write_accumulator(root: Path, name: str = "accumulator") -> Path:
    """A stateful model: OUT is the sum of the sequence so far."""
    code = _HEAD + (
        "    def initialize(self, args):\n        self.sums = {}\n\n"
        "    def answer(self, request):\n"
        "        key, flags = request.correlation_id(), request.flags()\n"
        "        if flags & pb.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START:\n            self.sums[key] = 0\n"
        '        self.sums[key] += int(pb.get_input_tensor_by_name(request, "IN").as_numpy().sum())\n'
        '        return pb.Tensor("OUT", np.array([[self.sums[key]]], dtype=np.int32))\n' + _EACH
    )
    more = "sequence_batching { max_sequence_idle_microseconds: 60000000 oldest { max_candidate_sequences: 8 } }"
    return write_python_model(root, name, code=code, config=_config("TYPE_INT32", "1", more=more))


def write_sleeper(root: Path, name: str = "sleeper", *, load: float = 0, answer: float = 0) -> Path:
    """An identity of INT32 that takes its time, in seconds."""
    code = (
        "import time\n" + _HEAD + f"    def initialize(self, args):\n        time.sleep({load})\n\n"
        f"    def answer(self, request):\n        time.sleep({answer})\n"
        '        return pb.Tensor("OUT", pb.get_input_tensor_by_name(request, "IN").as_numpy())\n' + _EACH
    )
    return write_python_model(root, name, code=code, config=_config("TYPE_INT32", "1"))


def write_zoo(root: Path) -> Path:
    """add_sub, text, half, teller (versions 1 and 2), classifier, accumulator, photo."""
    write_add_sub(root)
    write_identity(root, "text", "TYPE_STRING")
    write_identity(root, "half", "TYPE_FP16", "2")
    write_identity(root, "photo", "TYPE_FP32", "3, 2, 2")
    write_version_teller(root)
    write_classifier(root)
    write_accumulator(root)
    return root
