# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rules about config.pbtxt as a whole: its place, name, backend, parameters and metrics."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from .backends import ENSEMBLE, FIL_FILES, KNOWN, PLATFORMS
from .config import ConfigError, parse_config
from .layout import CONFIG_FILE
from .rules import Finding
from .subject import Subject

# Field → the first tritonserver that knows it. Seen refused by those before.
NEW_FIELDS = {"model_metrics": "2.55"}
# Prometheus wants such names of labels, and none that begins with two underscores; Triton puts one before the tag.
_TAG = re.compile(r"([0-9A-Za-z][0-9A-Za-z_]*)?\Z")
_TEMPLATE = re.compile(r"\$\{\s*\w+\s*\}")
_MISNAMED = re.compile(r"(?i)(config\.(pbtx|pbtxt\.txt|prototxt|pb\.txt|txt|pbtext)|conf\.pbtxt|model_config\.pbtxt)\Z")


def check_file(subject: Subject) -> Iterator[Finding]:
    """Whether config.pbtxt is there, where Triton reads it, and can be parsed."""
    if subject.error is not None:
        yield subject.config_finding("config-syntax", _position(subject.error), subject.error.remedy)
    if CONFIG_FILE in subject.folders:
        yield subject.config_finding("config-folder", "config.pbtxt is a folder")
    for path in sorted(subject.files):
        name = path.rsplit("/", 1)[-1]
        misplaced = name == CONFIG_FILE and re.match(r"\d+/", path)
        if misplaced or (not subject.has_config and _MISNAMED.match(path)):
            yield subject.finding("config-misplaced", "Triton does not read this file", path)
        elif path.startswith("configs/") and path.endswith(".pbtxt"):
            yield from _variant(subject, path)


def _position(error: ConfigError) -> str:
    place = f"line {error.line}, column {error.column}: " if error.line else ""
    return f"{place}{error.what}"


def _variant(subject: Subject, path: str) -> Iterator[Finding]:
    try:
        config = parse_config(subject.text(path), path)
    except ConfigError as error:
        yield subject.finding("config-variant", _position(error), path, error.remedy)
        return
    if config.get("name", subject.name) != subject.name:
        yield subject.finding("config-variant", f"name is {config['name']!r}, the folder is {subject.name!r}", path)


def check_settings(subject: Subject) -> Iterator[Finding]:
    """Settings of the model as a whole."""
    config = subject.config
    name = config.get("name", subject.name)
    if name != subject.name:
        yield subject.config_finding(
            "config-name", f"name is {name!r}, the folder is {subject.name!r}", f'Write name: "{subject.name}", or remove it.'
        )
    if subject.max_batch_size < 0:
        yield subject.config_finding("max-batch-size", f"max_batch_size is {subject.max_batch_size}")
    for field, version in NEW_FIELDS.items():
        if field in config:
            yield subject.config_finding("config-new-field", f"{field} is refused by servers before {version}")
    if _decoupled(config) and _cached(config):
        yield subject.config_finding("response-cache", "response_cache is enabled for a decoupled model")
    if "sequence_batching" in config and _cached(config):
        yield subject.config_finding("response-cache", "response_cache is enabled for a model with sequence batching")
    yield from _values(subject)


def _decoupled(config: Mapping[str, Any]) -> bool:
    return bool(config.get("model_transaction_policy", {}).get("decoupled"))


def _cached(config: Mapping[str, Any]) -> bool:
    return bool(config.get("response_cache", {}).get("enable"))


def _values(subject: Subject) -> Iterator[Finding]:
    for tag in subject.config.get("metric_tags", {}):
        if not _TAG.match(tag):
            yield subject.config_finding("metric-tag", f"the metric tag {tag!r} would be the label {'_' + tag!r}")
    for key in subject.config.get("parameters", {}):
        found = _TEMPLATE.search(subject.parameter(key) or "")
        if found:
            yield subject.config_finding("config-template", f"the parameter {key} holds {found[0]}")
    for control in subject.config.get("model_metrics", {}).get("metric_control", ()):
        family = control.get("metric_identifier", {}).get("family")
        if not family or not control.get("histogram_options", {}).get("buckets"):
            yield subject.config_finding("model-metrics", f"the control of {family or 'a metric without family'} is not complete")


def check_backend(subject: Subject) -> Iterator[Finding]:
    """Whether Triton finds the backend."""
    backend, config = subject.backend, subject.config
    if backend.platform == ENSEMBLE:
        return
    if not backend.name:
        if "ensemble_scheduling" not in config:
            yield subject.config_finding("backend-undetermined", _undetermined(backend.platform), _undetermined_remedy(subject))
        return
    platforms = PLATFORMS.get(backend.name)
    if platforms and backend.platform not in platforms:
        wrong = f"platform {backend.platform!r} with backend {backend.name!r}, which wants {' or '.join(platforms)}"
        yield subject.config_finding("backend-platform", wrong)
    if backend.name == "fil":
        kind = subject.parameter("model_type")
        if kind is not None and kind not in FIL_FILES:
            yield subject.config_finding("fil-model-type", f"model_type is {kind!r}")
    near = [] if backend.name in KNOWN else difflib.get_close_matches(backend.name, KNOWN, 1, cutoff=0.75)
    if near and not _brings_backend(subject):
        yield subject.config_finding(
            "backend-unknown",
            f"the backend {backend.name!r} is not one of NVIDIA's",
            f"Write {near[0]}, or install a backend {backend.name}.",
        )


def _undetermined(platform: str) -> str:
    return f"the platform {platform!r} belongs to no backend" if platform else "no backend is named, and no file tells it"


def _undetermined_remedy(subject: Subject) -> str:
    if subject.has_config:
        return "Set backend in config.pbtxt."
    return "Write a config.pbtxt with backend, or give the model file its backend's usual name (for instance model.onnx)."


def _brings_backend(subject: Subject) -> bool:
    library = f"libtriton_{subject.backend.name}.so"
    return any(path.rsplit("/", 1)[-1] in (library, subject.config.get("runtime")) for path in subject.files)
