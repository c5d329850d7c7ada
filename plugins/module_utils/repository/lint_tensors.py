# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rules about inputs and outputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import prod

from .rules import Finding
from .subject import WILDCARD, Subject, Tensor, element_count

TENSORRT = "tensorrt_plan"
_BATCH_INPUTS = frozenset(
    {
        "BATCH_ELEMENT_COUNT",
        "BATCH_ACCUMULATED_ELEMENT_COUNT",
        "BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO",
        "BATCH_MAX_ELEMENT_COUNT_AS_SHAPE",
        "BATCH_ITEM_SHAPE",
        "BATCH_ITEM_SHAPE_FLATTEN",
    }
)


def check_tensors(subject: Subject) -> Iterator[Finding]:
    """Every input and output by itself and among each other."""
    for kind, tensors in (("input", subject.inputs), ("output", subject.outputs)):
        for index, tensor in enumerate(tensors):
            yield from _tensor(subject, f"{kind} {tensor.name or index}", tensor)
        names = [tensor.name for tensor in tensors if tensor.name]
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield subject.config_finding("tensor-duplicate", f"{kind} {name} is declared {names.count(name)} times")
        if not tensors and not subject.is_ensemble and not subject.completes:
            yield subject.config_finding("tensor-missing", f"no {kind} is declared, and the backend {subject.backend.name} completes none")
    yield from _batch_dimension(subject)
    yield from _batch_tensors(subject)


def _tensor(subject: Subject, label: str, tensor: Tensor) -> Iterator[Finding]:
    if not tensor.name:
        yield subject.config_finding("tensor-name", f"{label} has no name")
    if _is_invalid(tensor.data_type) and not (subject.completes_partially and tensor.data_type == "TYPE_INVALID"):
        yield subject.config_finding("tensor-type", f"{label} has no valid data_type")
    if not tensor.dims and not subject.completes_partially:
        yield subject.config_finding("tensor-dims", f"{label} has no dims")
    bad = [size for size in (*tensor.dims, *(tensor.reshape or ())) if size < 1 and size != WILDCARD]
    if bad:
        yield subject.config_finding("tensor-dims", f"{label} has the dimension {bad[0]}")
    elif tensor.dims and tensor.reshape is not None:
        yield from _reshape(subject, label, tensor)
    if tensor.data.get("format", "FORMAT_NONE") != "FORMAT_NONE" and len(tensor.dims) != 3:
        yield subject.config_finding("tensor-format", f"{label} has {tensor.data['format']} and {len(tensor.dims)} dims")
    yield from _tensorrt_only(subject, label, tensor)


def _is_invalid(data_type: str) -> bool:
    return not data_type.startswith("TYPE_") or data_type == "TYPE_INVALID"


def _tensorrt_only(subject: Subject, label: str, tensor: Tensor) -> Iterator[Finding]:
    is_tensorrt = subject.backend.platform == TENSORRT
    if tensor.data.get("is_shape_tensor") and not is_tensorrt:
        yield subject.config_finding("tensor-tensorrt-only", f"{label} is declared a shape tensor")
    if tensor.data.get("is_non_linear_format_io") and not (is_tensorrt and len(tensor.dims) == 3):
        yield subject.config_finding("tensor-tensorrt-only", f"{label} is declared of a non-linear format")


def _reshape(subject: Subject, label: str, tensor: Tensor) -> Iterator[Finding]:
    shape = tensor.reshape or ()
    if not shape:
        if subject.max_batch_size == 0 and not subject.completes:
            yield subject.config_finding("tensor-reshape", f"{label} is reshaped to a scalar, which only a batching model can have")
        elif element_count(tensor.dims) != 1:
            yield subject.config_finding(
                "tensor-reshape", f"{label} has dims {list(tensor.dims)} and an empty reshape, which holds one element"
            )
    elif _chunks(tensor.dims) != _chunks(shape):
        yield subject.config_finding("tensor-reshape", f"{label} has dims {list(tensor.dims)} and reshape {list(shape)}")


def _chunks(shape: Sequence[int]) -> list[int]:
    """The products of the dimensions between the variable ones."""
    chunks: list[list[int]] = [[]]
    for size in shape:
        if size == WILDCARD:
            chunks.append([])
        else:
            chunks[-1].append(size)
    return [prod(chunk) for chunk in chunks]


def _batch_dimension(subject: Subject) -> Iterator[Finding]:
    tensors = (*subject.inputs, *subject.outputs)
    if subject.max_batch_size > 0 and subject.inputs and subject.outputs and all(_repeats_batch(tensor.dims) for tensor in tensors):
        yield subject.config_finding(
            "tensor-batch-dimension", "every input and output begins with the dimension -1, although dims leave the batch out"
        )


def _repeats_batch(dims: Sequence[int]) -> bool:
    return len(dims) > 1 and dims[0] == WILDCARD and WILDCARD not in dims[1:]


def _batch_tensors(subject: Subject) -> Iterator[Finding]:
    if subject.completes:
        return
    inputs, outputs = {tensor.name for tensor in subject.inputs}, {tensor.name for tensor in subject.outputs}
    for block in subject.config.get("batch_input", ()):
        wrong = [*_sources(block.get("source_input", ()), inputs)]
        if block.get("kind", "BATCH_ELEMENT_COUNT") not in _BATCH_INPUTS:
            wrong.append(f"kind {block['kind']} is unknown")
        if block.get("data_type") not in ("TYPE_INT32", "TYPE_FP32"):
            wrong.append("data_type is neither TYPE_INT32 nor TYPE_FP32")
        for message in wrong:
            yield subject.config_finding("batch-tensor", f"batch_input {', '.join(block.get('target_name', ()))}: {message}")
    for block in subject.config.get("batch_output", ()):
        targets = list(block.get("target_name", ()))
        wrong = [*_sources(block.get("source_input", ()), inputs)]
        wrong += [f"{name} is no output" for name in targets if name not in outputs]
        wrong += [f"{name} is named twice" for name in sorted(set(targets)) if targets.count(name) > 1]
        for message in wrong:
            yield subject.config_finding("batch-tensor", f"batch_output {', '.join(targets)}: {message}")


def _sources(names: Iterable[str], inputs: set[str]) -> Iterator[str]:
    given = list(names)
    if len(given) != 1:
        yield f"it wants one source_input and has {len(given)}"
    for name in given:
        if name not in inputs:
            yield f"the source {name} is no input"
