# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rules about instances, rate limits, dynamic and sequence batching."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .lint_tensors import TENSORRT
from .rules import Finding
from .subject import WILDCARD, Subject, element_count

Block = Mapping[str, Any]
# Bytes of one element; strings have no fixed size.
ELEMENT_SIZES = {
    "TYPE_BOOL": 1, "TYPE_UINT8": 1, "TYPE_INT8": 1, "TYPE_UINT16": 2, "TYPE_INT16": 2, "TYPE_FP16": 2, "TYPE_BF16": 2,
    "TYPE_UINT32": 4, "TYPE_INT32": 4, "TYPE_FP32": 4, "TYPE_UINT64": 8, "TYPE_INT64": 8, "TYPE_FP64": 8,
}  # fmt: skip
LONG_DELAY_US = 1_000_000
BATCH_STRATEGY = "TRITON_BATCH_STRATEGY_PATH"
_VALUES = ("int32_false_true", "fp32_false_true", "bool_false_true")
_CORRELATION_TYPES = ("TYPE_UINT64", "TYPE_INT64", "TYPE_UINT32", "TYPE_INT32", "TYPE_STRING")


def check_instances(subject: Subject) -> Iterator[Finding]:
    """Instance groups and their rate limits. An ensemble has none, which is another rule."""
    groups = subject.config.get("instance_group", ())
    for index, group in enumerate(groups):
        label = f"instance group {group.get('name', index)}"
        kind = group.get("kind", "KIND_AUTO")
        if kind in ("KIND_CPU", "KIND_MODEL") and group.get("gpus"):
            yield subject.config_finding("instance-gpus", f"{label} is {kind} and lists gpus {list(group['gpus'])}")
        if kind == "KIND_GPU" and any(gpu < 0 for gpu in group.get("gpus", ())):
            yield subject.config_finding("instance-gpus", f"{label} lists a negative gpu", "Give the indices of GPUs, from 0.")
        if "count" in group and group["count"] < 1:
            yield subject.config_finding("instance-count", f"{label} has count {group['count']}")
        yield from _profiles(subject, label, group)
        yield from _rate_limiter(subject, label, group.get("rate_limiter", {}).get("resources", ()))
    if groups and all(group.get("passive") for group in groups):
        yield subject.config_finding("instance-passive", "every instance group is passive")


def _profiles(subject: Subject, label: str, group: Block) -> Iterator[Finding]:
    profiles = group.get("profile", ())
    if profiles and subject.backend.platform != TENSORRT:
        yield subject.config_finding("instance-profile", f"{label} has profile, and the model is not TensorRT's")
    for profile in profiles if subject.backend.platform == TENSORRT else ():
        if not profile.isdigit():
            yield subject.config_finding("instance-profile", f"{label} has the profile {profile!r}")


def _rate_limiter(subject: Subject, label: str, resources: Iterable[Block]) -> Iterator[Finding]:
    scopes: dict[str, set[bool]] = {}
    for resource in resources:
        name = resource.get("name", "")
        if not name:
            yield subject.config_finding("rate-limiter", f"{label} has a resource without a name")
        elif bool(resource.get("global")) in scopes.setdefault(name, set()):
            yield subject.config_finding("rate-limiter", f"{label} has the resource {name} twice")
        scopes.setdefault(name, set()).add(bool(resource.get("global")))
    for name in sorted(name for name, seen in scopes.items() if name and len(seen) > 1):
        yield subject.config_finding("rate-limiter", f"{label} has the resource {name} both global and by device")


def check_dynamic_batching(subject: Subject) -> Iterator[Finding]:
    """The dynamic batcher's sizes, delay, priorities and queues."""
    block = subject.config.get("dynamic_batching")
    if block is None:
        return
    yield from _preferred(subject, "dynamic_batching", block)
    yield from _delay(subject, "dynamic_batching", block)
    if subject.max_batch_size == 0 and not subject.completes:
        yield subject.config_finding("batching-idle", "dynamic_batching is set and max_batch_size is 0")
    levels, default = block.get("priority_levels", 0), block.get("default_priority_level", 0)
    policies = block.get("priority_queue_policy", {})
    if levels:
        wrong = [f"default_priority_level is {default}"] if not 1 <= default <= levels else []
        wrong += [f"priority_queue_policy has the level {level}" for level in sorted(policies) if not 1 <= level <= levels]
        for message in wrong:
            yield subject.config_finding("priority-levels", f"{message}, the levels are 1 to {levels}")
    if block.get("preserve_ordering"):
        yield from _ordering(subject, levels, [block.get("default_queue_policy", {}), *policies.values()])


def _ordering(subject: Subject, levels: int, policies: Iterable[Block]) -> Iterator[Finding]:
    if levels > 1:
        yield subject.config_finding("queue-ordering", f"preserve_ordering is set with {levels} priority levels")
    if any(policy.get("default_timeout_microseconds") and policy.get("timeout_action") == "DELAY" for policy in policies):
        yield subject.config_finding("queue-ordering", "preserve_ordering is set with the timeout action DELAY")


def _preferred(subject: Subject, label: str, block: Block) -> Iterator[Finding]:
    for size in block.get("preferred_batch_size", ()):
        if not 1 <= size <= subject.max_batch_size:
            yield subject.config_finding("preferred-batch-size", f"{label} prefers {size}, max_batch_size is {subject.max_batch_size}")


def _delay(subject: Subject, label: str, block: Block) -> Iterator[Finding]:
    delay = block.get("max_queue_delay_microseconds", 0)
    if delay > LONG_DELAY_US:
        yield subject.config_finding("queue-delay", f"{label} lets requests wait up to {delay / 1e6:g} s")


def check_sequence_batching(subject: Subject) -> Iterator[Finding]:
    """The sequence batcher's controls, strategy and states."""
    block = subject.config.get("sequence_batching")
    if block is None:
        return
    for message in _controls(block.get("control_input", ())):
        yield subject.config_finding("sequence-control", message)
    for strategy in ("oldest", "direct"):
        yield from _preferred(subject, strategy, block.get(strategy, {}))
        yield from _delay(subject, strategy, block.get(strategy, {}))
    share = block.get("direct", {}).get("minimum_slot_utilization", 0.0)
    if not 0.0 <= share <= 1.0:
        yield subject.config_finding("sequence-utilization", f"minimum_slot_utilization is {share:g}")
    if BATCH_STRATEGY in subject.config.get("parameters", {}):
        yield subject.config_finding("sequence-strategy", f"{BATCH_STRATEGY} is set for a model with sequence batching")
    seen: set[str] = set()
    for state in block.get("state", ()):
        yield from _state(subject, state, seen)


def _controls(inputs: Iterable[Block]) -> Iterator[str]:
    tensors: list[str] = []
    kinds: list[str] = []
    for block in inputs:
        name = block.get("name", "")
        if not name:
            yield "a control input has no name"
        elif name in tensors:
            yield f"the control input {name} is declared twice"
        tensors.append(name)
        for control in block.get("control", ()):
            kind = control.get("kind", "CONTROL_SEQUENCE_START")
            if kind in kinds:
                yield f"{kind} is declared twice"
            kinds.append(kind)
            yield from _correlation(kind, control) if kind == "CONTROL_SEQUENCE_CORRID" else _boolean(kind, control)


def _boolean(kind: str, control: Block) -> Iterator[str]:
    given = [name for name in _VALUES if control.get(name)]
    if len(given) != 1:
        yield f"{kind} wants one of {', '.join(_VALUES)} and has {len(given)}"
    for name in given:
        if len(control[name]) != 2:
            yield f"{kind} wants two values in {name}, for false and true, and has {len(control[name])}"


def _correlation(kind: str, control: Block) -> Iterator[str]:
    if control.get("data_type") not in _CORRELATION_TYPES:
        yield f"{kind} has the data type {control.get('data_type', 'none')}, it must be one of {', '.join(_CORRELATION_TYPES)}"
    for name in _VALUES:
        if control.get(name):
            yield f"{kind} has {name}, which is for the other kinds"


def _state(subject: Subject, state: Block, seen: set[str]) -> Iterator[Finding]:
    label = f"state {state.get('input_name', '')}"
    initial = state.get("initial_state", ())
    if len(initial) > 1:
        yield subject.config_finding("sequence-state", f"{label} has {len(initial)} initial states")
        return
    for block in initial:
        for message in _initial_state(state, block):
            yield subject.config_finding("sequence-state", f"{label}: {message}")
        if state.get("input_name", "") in seen:
            yield subject.config_finding("sequence-state", f"{label} is declared twice with an initial state")
        seen.add(state.get("input_name", ""))
        if "data_file" in block:
            yield from data_file(subject, "state-file", f"initial_state/{block['data_file']}", block, label)


def _initial_state(state: Block, block: Block) -> Iterator[str]:
    if block.get("data_type") != state.get("data_type"):
        yield f"the initial state has {block.get('data_type', 'no type')}, the state {state.get('data_type', 'no type')}"
    if not block.get("name"):
        yield "the initial state has no name"
    if "zero_data" not in block and "data_file" not in block:
        yield "the initial state has neither zero_data nor data_file"
    ours, theirs = block.get("dims", []), state.get("dims", [])
    if len(ours) != len(theirs) or any(b not in (a, WILDCARD) for a, b in zip(ours, theirs)) or WILDCARD in ours:
        yield f"the initial state has dims {ours}, the state {theirs}; they must match and be fixed"


def data_file(subject: Subject, rule: str, path: str, block: Block, label: str) -> Iterator[Finding]:
    """Whether a file holds the raw tensor that a block with data_type and dims describes."""
    if path not in subject.files:
        yield subject.finding(rule, f"{label}: the file does not exist", path)
        return
    count, size = element_count(block.get("dims", ())), ELEMENT_SIZES.get(block.get("data_type", ""))
    if count is not None and size is not None and subject.files[path] < count * size:
        yield subject.finding(rule, f"{label}: the file has {subject.files[path]} bytes, the tensor needs {count * size}", path)
