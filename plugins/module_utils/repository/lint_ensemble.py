# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rules about ensembles: steps, data flow, types and shapes, in the way Triton checks them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .backends import ENSEMBLE
from .rules import Finding
from .subject import WILDCARD, Subject, Tensor

Step = Mapping[str, Any]
Catalogue = Mapping[str, Subject]


def check_ensemble(subject: Subject, models: Catalogue) -> Iterator[Finding]:
    """An ensemble by itself and with the models of its steps. models: name → model, of the whole repository."""
    scheduled = "ensemble_scheduling" in subject.config
    if not scheduled and subject.config.get("platform") != ENSEMBLE:
        return
    if not scheduled or subject.config.get("platform") != ENSEMBLE or subject.config.get("backend"):
        yield subject.config_finding("ensemble-platform", _platform(subject, scheduled))
    for setting in ("instance_group", "optimization", "model_warmup"):
        if setting in subject.config:
            yield subject.config_finding("ensemble-setting", f"{setting} is set for an ensemble")
    if not scheduled:
        return
    steps = subject.config["ensemble_scheduling"].get("step", ())
    incomplete = list(_incomplete(steps))
    for message in incomplete:
        yield subject.config_finding("ensemble-step", message)
    if not incomplete:
        for message in _flow(subject, steps):
            yield subject.config_finding("ensemble-flow", message)
        yield from _models(subject, steps, models)
    yield from _cycle(subject, models)


def _platform(subject: Subject, scheduled: bool) -> str:
    if not scheduled:
        return "the platform is ensemble, and there is no ensemble_scheduling"
    if subject.config.get("backend"):
        return f"an ensemble has no backend, this one has {subject.config['backend']}"
    return f"there is ensemble_scheduling, and the platform is {subject.config.get('platform', '')!r}"


def _incomplete(steps: Sequence[Step]) -> Iterator[str]:
    if not steps:
        yield "the ensemble has no step"
    for index, step in enumerate(steps):
        for field in ("model_name", "input_map", "output_map"):
            if not step.get(field):
                yield f"step {index} ({step.get('model_name', 'no model')}) has no {field}"


# --- data flow


def _flow(subject: Subject, steps: Sequence[Step]) -> Iterator[str]:
    inputs, outputs = [tensor.name for tensor in subject.inputs], [tensor.name for tensor in subject.outputs]
    produced = [name for step in steps for name in step["output_map"].values()]
    used = {name for step in steps for name in step["input_map"].values()}
    known = {*produced, *used}
    for name in sorted({name for name in produced if produced.count(name) > 1}):
        yield f"the tensor {name} is produced by {produced.count(name)} steps"
    yield from (f"the ensemble's input {name} is used by no step" for name in inputs if name not in known)
    yield from (f"the ensemble's output {name} is produced by no step" for name in outputs if name not in known)
    ready = _ready(inputs, steps)
    unready = sorted(known - ready)
    # A tensor that waits for another one only repeats what is said of that one.
    sources = [name for name in unready if name not in produced] or unready
    yield from (
        f"the tensor {name} comes from no step and is no input" if name not in produced else f"{name} waits for itself" for name in sources
    )
    yield from (f"the tensor {name} is used by no step and is no output" for name in sorted(set(produced) - used - set(outputs)))


def _ready(inputs: Sequence[str], steps: Sequence[Step]) -> set[str]:
    """The tensors that get a value when the inputs have one."""
    ready, before = set(inputs), -1
    while len(ready) != before:
        before = len(ready)
        for step in steps:
            if ready.issuperset(step["input_map"].values()):
                ready.update(step["output_map"].values())
    return ready


# --- the steps' models


class _End:
    """One end of an ensemble's tensor: what a model says of its type and shape."""

    def __init__(self, model: str, tensor: Tensor, dims: Sequence[int], batching: bool) -> None:
        self.model = model
        self.data_type = tensor.data_type
        self.dims = tuple(dims)
        self.full = (WILDCARD, *self.dims) if batching else self.dims


def _models(subject: Subject, steps: Sequence[Step], models: Catalogue) -> Iterator[Finding]:
    ends: dict[str, _End] = {}
    for tensor in (*subject.inputs, *subject.outputs):
        dims = tensor.dims if tensor.reshape is None else tensor.reshape
        ends.setdefault(tensor.name, _End(subject.name, tensor, dims, subject.max_batch_size > 0))
    decoupled: list[tuple[Step, bool]] = []
    for index, step in enumerate(steps):
        label = f"step {index} ({step.get('model_name', '')})"
        model = models.get(step.get("model_name", ""))
        if model is None:
            if step.get("model_name"):
                yield subject.config_finding("ensemble-model", f"{label}: the repository has no model {step['model_name']}")
            continue
        if model.error is not None:
            continue
        yield from _version(subject, label, step, model)
        if model.max_batch_size and not model.completes and model.max_batch_size < subject.max_batch_size:
            message = f"{label} allows batches up to {model.max_batch_size}, the ensemble up to {subject.max_batch_size}"
            yield subject.config_finding("ensemble-batch-size", message)
        yield from _mappings(subject, label, step, model)
        yield from _ends(subject, label, step, model, ends)
        decoupled.append((step, bool(model.config.get("model_transaction_policy", {}).get("decoupled"))))
    yield from _decoupled(subject, decoupled)


def _version(subject: Subject, label: str, step: Step, model: Subject) -> Iterator[Finding]:
    wanted = step.get("model_version", 0)
    if wanted != -1 and wanted not in model.selected:
        served = ", ".join(map(str, model.served)) or "none"
        given = f"version {wanted}" if "model_version" in step else "version 0, for model_version is not given,"
        yield subject.config_finding("ensemble-version", f"{label} wants {given} and the versions served are: {served}")


def _mappings(subject: Subject, label: str, step: Step, model: Subject) -> Iterator[Finding]:
    inputs, outputs = step.get("input_map", {}), step.get("output_map", {})
    for kind, names, tensors in (("input", inputs, model.inputs), ("output", outputs, model.outputs)):
        declared = {tensor.name for tensor in tensors}
        for name in sorted(set(names) - declared):
            # What nobody declared, the backend or the model's code may complete.
            if model.completes and not tensors:
                continue
            rule = "ensemble-mapping-open" if model.completes_partially else "ensemble-mapping"
            yield subject.config_finding(rule, f"{label} maps the {kind} {name}, which the model does not declare")
    for tensor in model.inputs:
        if tensor.name and tensor.name not in inputs and not tensor.optional:
            yield subject.config_finding("ensemble-mapping", f"{label} maps nothing to the input {tensor.name}")


def _ends(subject: Subject, label: str, step: Step, model: Subject, ends: dict[str, _End]) -> Iterator[Finding]:
    for names, tensors in ((step.get("input_map", {}), model.inputs), (step.get("output_map", {}), model.outputs)):
        declared = {tensor.name: tensor for tensor in tensors}
        for name in sorted(names):
            tensor = declared.get(name)
            if tensor is None or not tensor.dims or tensor.data_type == "TYPE_INVALID":
                continue
            # A model that may complete its batch size later has one shape or the other.
            batching = model.max_batch_size > 0
            ours = _End(model.name, tensor, tensor.dims, batching)
            theirs = ends.setdefault(names[name], ours)
            yield from _compare(subject, f"{label}, {name} ↔ {names[name]}", ours, theirs, model.completes and not batching)


def _compare(subject: Subject, label: str, ours: _End, theirs: _End, may_batch: bool) -> Iterator[Finding]:
    if not theirs.dims:
        return
    if ours.data_type != theirs.data_type:
        yield subject.config_finding("ensemble-type", f"{label}: {ours.data_type} of {ours.model}, {theirs.data_type} of {theirs.model}")
    if (
        _matches(ours.dims, theirs.dims)
        or _matches(ours.full, theirs.full)
        or (may_batch and _matches((WILDCARD, *ours.dims), theirs.full))
    ):
        return
    yield subject.config_finding("ensemble-shape", f"{label}: {list(ours.full)} of {ours.model}, {list(theirs.full)} of {theirs.model}")


def _matches(left: Sequence[int], right: Sequence[int]) -> bool:
    return len(left) == len(right) and all(a == b or WILDCARD in (a, b) for a, b in zip(left, right))


def _decoupled(subject: Subject, steps: Sequence[tuple[Step, bool]]) -> Iterator[Finding]:
    """Follows the decoupled models' answers through the ensemble; no step may join those of two."""
    origin: dict[str, int] = {tensor.name: 0 for tensor in subject.inputs}
    pending = list(enumerate(steps, 1))
    progress = True
    while pending and progress:
        progress = False
        for number, (step, is_decoupled) in list(pending):
            sources = list(step.get("input_map", {}).values())
            if not sources or not all(name in origin for name in sources):
                continue
            progress = True
            pending.remove((number, (step, is_decoupled)))
            labels = {origin[name] for name in sources}
            if len(labels) > 1:
                message = f"step {number - 1} ({step.get('model_name', '')}) joins tensors from different decoupled models"
                yield subject.config_finding("ensemble-decoupled", message)
            origin.update(dict.fromkeys(step.get("output_map", {}).values(), number if is_decoupled else min(labels)))
    if len({origin[tensor.name] for tensor in subject.outputs if tensor.name in origin}) > 1:
        yield subject.config_finding("ensemble-decoupled", "the ensemble's outputs come from different decoupled models")


# --- circles


def _cycle(subject: Subject, models: Catalogue) -> Iterator[Finding]:
    path = _path_back(subject.name, subject.name, models, set())
    if path:
        yield subject.config_finding("ensemble-cycle", " → ".join([subject.name, *path]))


def _path_back(name: str, goal: str, models: Catalogue, seen: set[str]) -> list[str] | None:
    model = models.get(name)
    if model is None or name in seen:
        return None
    seen.add(name)
    for step in model.config.get("ensemble_scheduling", {}).get("step", ()):
        following = step.get("model_name", "")
        if following == goal:
            return [goal]
        rest = _path_back(following, goal, models, seen)
        if rest:
            return [following, *rest]
    return None
