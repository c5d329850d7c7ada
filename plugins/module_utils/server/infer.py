# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The service behind module `infer`: all requests prepared, run and judged; results bounded, failures as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from ..core.errors import ServingError, UnavailableError
from ..core.percentiles import percentile
from .connect import connect
from .control import CallOptions, Control
from .endpoint import Endpoint
from .expectations import Mismatch, table
from .grpc import GrpcControl
from .http import HttpControl
from .inference import GrpcSession, HttpSession, Session, classes
from .requests import choose_protocols, prepare
from .runs import Call, Run, Runner, latency, over_budget, plan_calls
from .tensors import plain

BINARY_EXTENSION = "binary_tensor_data"
# Of one request, in results.
MAX_LATENCIES = 100


@dataclass(frozen=True)
class Task:
    """What module infer is asked.

    binary: auto, true or false. budget: p50, p95, p99 → milliseconds. max_values: how many of an output's elements results hold.
    """

    requests: Sequence[Mapping[str, Any]]
    protocol: str | None = None
    binary: str = "auto"
    folder: str = "."
    run: Run = field(default_factory=Run)
    budget: Mapping[str, float] = field(default_factory=dict)
    max_values: int = 16


class InferenceFailedError(UnavailableError):
    """Some answers are missing or not as expected. `what` is a sentence and a table; the details hold the whole result."""

    def __str__(self) -> str:
        return f"{self.what}\n{self.remedy}".rstrip()


def verify(endpoint: Endpoint, task: Task, options: CallOptions) -> dict[str, Any]:
    """Runs the task and returns its result. Raises InputError before anything is inferred, InferenceFailedError with a table after."""
    ways = [
        choose_protocols(endpoint, request.get("protocol") or task.protocol, f"requests[{number}].protocol")
        for number, request in enumerate(task.requests)
    ]
    controls = _Controls(endpoint, options)
    try:
        prepared = prepare(task.requests, ways, controls.first(), task.folder)
        calls = plan_calls(prepared, [replica.name for replica in endpoint.replicas])
        Runner(lambda replica, protocol: controls.session(replica, protocol, task.binary), task.run).run(calls)
    finally:
        controls.close()
    return _judge(calls, task, several=len(endpoint.replicas) > 1)


class _Controls:
    """One client for each replica and protocol, opened when first needed."""

    def __init__(self, endpoint: Endpoint, options: CallOptions) -> None:
        self._endpoint = endpoint
        self._options = options
        self._open: dict[tuple[str, str], Control] = {}

    def first(self) -> Control:
        replica = self._endpoint.replicas[0]
        return self._get(replica.name, "http" if replica.http else "grpc")

    def session(self, replica: str, protocol: str, binary: str) -> Session:
        control = self._get(replica, protocol)
        if isinstance(control, GrpcControl):
            return GrpcSession(control)
        transport = cast(HttpControl, control).transport
        return HttpSession(transport, binary=_binary(control, binary, allowed=self._endpoint.binary))

    def close(self) -> None:
        for control in self._open.values():
            control.close()

    def _get(self, name: str, protocol: str) -> Control:
        key = (name, protocol)
        if key not in self._open:
            replica = next(replica for replica in self._endpoint.replicas if replica.name == name)
            self._open[key] = connect(self._endpoint, replica, self._options, protocol)
        return self._open[key]


def _binary(control: Control, wanted: str, *, allowed: bool) -> bool:
    """Whether to send tensors as bytes; `auto` asks the server for the extension, where the endpoint lets bytes through."""
    if wanted != "auto" or not allowed:
        return wanted == "true"
    return BINARY_EXTENSION in (control.server_metadata().get("extensions") or ())


# --- results


def _judge(calls: Sequence[Call], task: Task, *, several: bool) -> dict[str, Any]:
    summary = latency(calls)
    result: dict[str, Any] = {
        "results": [_describe(call, task.max_values) for call in calls],
        "latency": summary,
        "requests": len(calls) * task.run.repeat,
        "failed_requests": sum(not call.ok for call in calls),
    }
    failed = [(call, mismatch) for call in calls for mismatch in _mismatches(call)]
    slow = over_budget(summary["all"], task.budget)
    if failed or slow:
        raise InferenceFailedError(_message(calls, failed, slow, several), remedy=_remedy(calls), **result)
    return result


def _mismatches(call: Call) -> list[Mismatch]:
    return [Mismatch("answer", "an answer", call.error.what)] if call.error else call.mismatches


def _message(calls: Sequence[Call], failed: Sequence[tuple[Call, Mismatch]], slow: Sequence[Mismatch], several: bool) -> str:
    """One sentence and a table: request, protocol, replica where there are several, check, expected, got."""
    bad = sum(not call.ok for call in calls)
    what = f"{bad} of {len(calls)} requests failed" if bad else "the latency is over its budget"
    heading = ["MODEL", "PROTOCOL", *(["REPLICA"] if several else []), "CHECK", "EXPECTED", "GOT"]
    rows = [
        [call.request.title, call.protocol, *([call.replica] if several else []), mismatch.check, mismatch.expected, mismatch.got]
        for call, mismatch in failed
    ]
    rows += [["all", "all", *(["all"] if several else []), mismatch.check, mismatch.expected, mismatch.got] for mismatch in slow]
    return f"{what}:\n{table([heading, *rows])}"


def _remedy(calls: Sequence[Call]) -> str:
    return next((call.error.remedy for call in calls if call.error), "")


def _describe(call: Call, limit: int) -> dict[str, Any]:
    """One call as results show it."""
    return {
        "number": call.request.number,
        "model": call.request.model,
        "version": call.request.version,
        "protocol": call.protocol,
        "replica": call.replica,
        "ok": call.ok,
        "latency_ms": percentile(call.latencies, 50) if call.latencies else None,
        "latencies_ms": [round(value, 3) for value in call.latencies[:MAX_LATENCIES]],
        "outputs": [] if call.request.classes else [_output(tensor, limit) for tensor in call.outputs],
        "classes": {tensor.name: _classes(tensor) for tensor in call.outputs} if call.request.classes else {},
        "mismatches": [vars(mismatch) for mismatch in call.mismatches],
        "error": _error(call.error),
    }


def _output(tensor: Any, limit: int) -> dict[str, Any]:
    shown = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape, "values": plain(tensor.values(limit))}
    return {**shown, "truncated": bool(tensor.array.size > limit)}


def _classes(tensor: Any) -> list[list[dict[str, Any]]]:
    return [[vars(line) for line in row] for row in classes(tensor)]


def _error(error: ServingError | None) -> str:
    return str(error) if error else ""
