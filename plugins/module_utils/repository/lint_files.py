# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rules about the files that a configuration or a backend wants: models, labels, warm-up data."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

from .backends import EITHER, FOLDER
from .lint_scheduling import BATCH_STRATEGY, data_file
from .rules import Finding
from .subject import WILDCARD, Subject, Tensor, element_count

# A pointer begins so, and its size is between these.
_LFS_HEAD = "version https://git-lfs.github.com/spec/"
_LFS_SIZES = range(len(_LFS_HEAD), 1024)
_LABEL_BYTES = 1 << 24


def check_model_files(subject: Subject) -> Iterator[Finding]:
    """The model file of each version, and files that were not really copied."""
    for number in sorted(number for number in subject.model.versions):
        yield from _version(subject, number)
    for path, size in sorted(subject.files.items()):
        if size in _LFS_SIZES and subject.text(path, len(_LFS_HEAD)) == _LFS_HEAD:
            yield subject.finding("lfs-pointer", "is a Git LFS pointer", path)
    for capability, name in sorted(subject.config.get("cc_model_filenames", {}).items()):
        missing = [number for number in subject.served if f"{number}/{name}" not in subject.files | dict.fromkeys(subject.folders, 0)]
        if missing and not _leads_out(name):
            yield subject.config_finding("cc-file-missing", f"version {missing[0]} lacks {name} of compute capability {capability}")


def _version(subject: Subject, number: int) -> Iterator[Finding]:
    wanted = subject.backend.files
    if not wanted or any(_leads_out(name) for name in wanted):
        return
    present = [name for name in wanted if f"{number}/{name}" in subject.files or f"{number}/{name}" in subject.folders]
    if present:
        yield from _model_file(subject, f"{number}/{present[0]}")
    elif number in subject.served and not _covered(subject, number):
        message = f"the backend {subject.backend.name} wants {' or '.join(wanted)}"
        yield subject.finding("model-file-missing", message, str(number), _instead(subject, number, wanted[0]))
    elif number not in subject.served:
        yield subject.finding("version-incomplete", f"the version lacks {' or '.join(wanted)}", str(number))


def _covered(subject: Subject, number: int) -> bool:
    """Whether files for compute capabilities take the default file's place."""
    names = subject.config.get("cc_model_filenames", {}).values()
    return any(f"{number}/{name}" in subject.files for name in names)


def _instead(subject: Subject, number: int, wanted: str) -> str:
    """The remedy that names what lies there in place of the wanted file."""
    ending = wanted.rsplit(".", 1)[-1]
    others = [path.split("/", 1)[1] for path in subject.files if path.startswith(f"{number}/")]
    near = sorted(name for name in others if name.rsplit(".", 1)[-1] == ending and "/" not in name)
    if len(near) == 1:
        return f'Rename {near[0]} to {wanted}, or set default_model_filename: "{near[0]}".'
    outside = sorted(path for path in subject.files if path == wanted)
    return f"Move {wanted} into the folder {number}." if outside else ""


def _model_file(subject: Subject, path: str) -> Iterator[Finding]:
    is_folder = path in subject.folders
    kind = subject.backend.kind
    if kind != EITHER and is_folder != (kind == FOLDER):
        yield subject.finding("model-file-kind", f"is a {'folder' if is_folder else 'file'}, the backend wants a {kind}", path)
    elif not is_folder and subject.files[path] == 0:
        yield subject.finding("model-file-empty", "the file is empty", path)
    elif is_folder and not any(name.startswith(f"{path}/") for name in subject.files):
        yield subject.finding("model-file-empty", "the folder is empty", path)


def check_references(subject: Subject) -> Iterator[Finding]:
    """Paths in the configuration that lead out of the place that Triton gives them."""
    named = [("default_model_filename", subject.config.get("default_model_filename", "")), ("runtime", subject.config.get("runtime", ""))]
    named += [("cc_model_filenames", name) for name in subject.config.get("cc_model_filenames", {}).values()]
    named += [("label_filename", tensor.data.get("label_filename", "")) for tensor in subject.outputs]
    for sample in subject.config.get("model_warmup", ()):
        named += [("input_data_file", block.get("input_data_file", "")) for block in sample.get("inputs", {}).values()]
    for state in subject.config.get("sequence_batching", {}).get("state", ()):
        named += [("data_file", block.get("data_file", "")) for block in state.get("initial_state", ())]
    strategy = subject.parameter(BATCH_STRATEGY)
    named += [(BATCH_STRATEGY, strategy)] if strategy and ".." in strategy.split("/") else []
    for setting, path in named:
        if _leads_out(path):
            yield subject.config_finding("reference-escapes", f"{setting} is {path!r}")


def _leads_out(path: str) -> bool:
    return posixpath.normpath(path).startswith("..") if path else False


def check_labels(subject: Subject) -> Iterator[Finding]:
    """Label files exist and hold a label for each class."""
    for tensor in subject.outputs:
        name = tensor.data.get("label_filename", "")
        path = posixpath.normpath(name).lstrip("/") if name else ""
        if not path or _leads_out(name):
            continue
        if path not in subject.files:
            what = "is a folder" if path in subject.folders else "does not exist"
            yield subject.finding("label-file", f"the label file of output {tensor.name} {what}", path)
        else:
            yield from _label_count(subject, tensor, path)


def _label_count(subject: Subject, tensor: Tensor, path: str) -> Iterator[Finding]:
    if subject.files[path] > _LABEL_BYTES:
        return
    text = subject.text(path, _LABEL_BYTES)
    # As Triton counts: a line break at the end begins no line.
    labels = text.count("\n") + (bool(text) and not text.endswith("\n"))
    classes = element_count(tensor.dims)
    if tensor.dims and classes is not None and labels != classes:
        yield subject.finding("label-count", f"{labels} labels for output {tensor.name} of {classes} elements", path)


def check_warmup(subject: Subject) -> Iterator[Finding]:
    """Warm-up samples, which the server runs while it loads the model."""
    for index, sample in enumerate(subject.config.get("model_warmup", ()) if not subject.is_ensemble else ()):
        label = f"warm-up sample {sample.get('name', index)}"
        batch = sample.get("batch_size", 0)
        if batch == 0:
            yield subject.config_finding("warmup-skipped", f"{label} has no batch_size")
            continue
        if batch > max(1, subject.max_batch_size) and not subject.completes:
            yield subject.config_finding("warmup", f"{label} has batch_size {batch}, max_batch_size is {subject.max_batch_size}")
        inputs = sample.get("inputs", {})
        for name in sorted(inputs):
            yield from _warmup_input(subject, f"{label}, input {name}", name, inputs[name])
        for tensor in subject.inputs:
            if tensor.name not in inputs and not tensor.optional:
                yield subject.config_finding("warmup", f"{label} lacks the input {tensor.name}")


def _warmup_input(subject: Subject, label: str, name: str, block: Mapping[str, Any]) -> Iterator[Finding]:
    dims = tuple(block.get("dims", ()))
    declared = next((tensor for tensor in subject.inputs if tensor.name == name), None)
    if WILDCARD in dims:
        yield subject.config_finding("warmup", f"{label} has the variable dims {list(dims)}")
    elif declared is not None:
        yield from _warmup_fit(subject, label, dims, block, declared)
    if not {"zero_data", "random_data", "input_data_file"} & set(block):
        yield subject.config_finding("warmup", f"{label} has none of zero_data, random_data and input_data_file")
    elif "input_data_file" in block and not _leads_out(block["input_data_file"]):
        yield from data_file(subject, "warmup-file", posixpath.normpath(f"warmup/{block['input_data_file']}"), block, label)


def _warmup_fit(subject: Subject, label: str, dims: tuple[int, ...], block: Mapping[str, Any], declared: Tensor) -> Iterator[Finding]:
    if declared.data_type not in ("TYPE_INVALID", block.get("data_type", "TYPE_INVALID")):
        yield subject.config_finding("warmup", f"{label} has {block.get('data_type', 'no type')}, the model {declared.data_type}")
    fits = len(dims) == len(declared.dims) and all(b in (a, WILDCARD) for a, b in zip(dims, declared.dims))
    if declared.dims and not fits:
        yield subject.config_finding("warmup", f"{label} has dims {list(dims)}, the model {list(declared.dims)}")
