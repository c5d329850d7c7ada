# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What verifying a server means: which requests prove its models, and what their answers come to. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..core.percentiles import percentile
from .control import READY

COMPARED = "compared"
ANSWERED = "answered"
# Zeros of more elements than this would not be worth their transfer.
MAX_ELEMENTS = 10_000_000
SHOWN_LATENCIES = 10
# A sequence of one request; no golden case is likely to use the same id.
SEQUENCE = {"id": 990_017, "start": True, "end": True}

Values = Mapping[str, Any]


def ready_versions(models: Iterable[Values]) -> dict[str, list[Values]]:
    """Model → its lines of server_info that are READY, the newest version first; by name."""
    ready: dict[str, list[Values]] = {}
    for model in models:
        if model.get("state") == READY:
            ready.setdefault(model["name"], []).append(model)
    return {name: sorted(ready[name], key=_number, reverse=True) for name in sorted(ready)}


def _number(model: Values) -> tuple[int, str]:
    version = str(model.get("version") or "")
    return (int(version) if version.isdigit() else 0, version)


def plan_requests(models: Iterable[Values], golden: Mapping[str, Sequence[Values]]) -> dict[str, Any]:
    """What to ask a server.

    models: of server_info, read with config. golden: model → requests.
    Returns `requests` for module infer, the `files` that they need, `how` (model → compared or answered) and `left_out` (model → why it
    cannot be asked).
    A golden request without a version goes to the version that the server chooses; every other version that is ready is asked with zeros.
    """
    requests: list[dict[str, Any]] = []
    how: dict[str, str] = {}
    left_out: dict[str, str] = {}
    for name, versions in ready_versions(models).items():
        cases = [dict(request) for request in golden.get(name, ())]
        requests += cases
        asked = {str(request.get("version") or versions[0].get("version")) for request in cases}
        if cases:
            how[name] = COMPARED
        for version in versions:
            if str(version.get("version")) in asked:
                continue
            reason = unaskable(version)
            if reason:
                left_out.setdefault(name, reason)
            else:
                how.setdefault(name, ANSWERED)
                requests.append(synthetic(version, newest=version is versions[0]))
    files = sorted({name for request in requests for tensor in request.get("inputs") or () for name in files_of(tensor)})
    left_out = {name: why for name, why in left_out.items() if name not in how}
    return {"requests": requests, "files": files, "how": how, "left_out": left_out}


def files_of(tensor: Values) -> list[str]:
    """The files that an input reads."""
    image = tensor.get("image")
    paths = image.get("path") if isinstance(image, Mapping) else None
    names = [tensor.get("npy"), *(paths if isinstance(paths, (list, tuple)) else [paths])]
    return [str(name) for name in names if name]


def unaskable(model: Values) -> str:
    """Why a model cannot be asked without a golden case; empty when it can, or when the server does not tell its configuration."""
    config = model.get("config")
    if not config:
        return ""
    if (config.get("model_transaction_policy") or {}).get("decoupled"):
        return "it answers in a stream (decoupled)"
    if not config.get("input"):
        return "its configuration names no inputs"
    size = sum(math.prod(max(1, int(size)) for size in tensor.get("dims") or ()) for tensor in config["input"])
    return f"its inputs have {size} elements" if size > MAX_ELEMENTS else ""


def synthetic(model: Values, *, newest: bool) -> dict[str, Any]:
    """A request of zeros, which module infer makes up by the model's metadata."""
    request: dict[str, Any] = {"model": model["name"], "synthetic": True}
    if not newest:
        request["version"] = str(model["version"])
    if (model.get("config") or {}).get("sequence_batching") is not None:
        request["sequence"] = dict(SEQUENCE)
    return request


# --- what the answers come to


def summarize(plan: Values, models: Iterable[Values], results: Iterable[Values]) -> list[dict[str, Any]]:
    """One line a model for the report: name, versions, state, how it was verified (or why not), and the latencies by protocol.

    results: of module infer, one a request: model, protocol, ok, latencies_ms. Latencies are in milliseconds; those of requests that were
    repeated are told one by one, too, the first SHOWN_LATENCIES.
    """
    measured: dict[str, dict[str, list[Sequence[float]]]] = {}
    for result in results:
        if result.get("latencies_ms"):
            measured.setdefault(result["model"], {}).setdefault(result["protocol"], []).append(result["latencies_ms"])
    lines = []
    for name, versions in ready_versions(models).items():
        line: dict[str, Any] = {"name": name, "versions": [str(each["version"]) for each in reversed(versions)], "state": READY}
        line["verified"] = plan["how"].get(name) or f"not verified: {plan['left_out'].get(name, 'nothing was asked')}"
        line.update({protocol: _latencies(values) for protocol, values in sorted(measured.get(name, {}).items())})
        lines.append(line)
    return lines


def _latencies(requests: Sequence[Sequence[float]]) -> dict[str, Any]:
    values = [value for request in requests for value in request]
    found = {"requests": len(values), "p50": percentile(values, 50), "p99": percentile(values, 99)}
    repeated = any(len(request) > 1 for request in requests)
    return {**found, "latencies": values[:SHOWN_LATENCIES]} if repeated else found
