# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Many inferences: every request on every replica over its protocols, repeated and in parallel, with latencies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from ..core.errors import ServingError
from ..core.percentiles import percentile
from .errors import ConnectionFailedError, TlsError
from .expectations import Mismatch, compare
from .inference import Session, answers
from .parallel import each
from .requests import Prepared
from .tensors import Tensor

Opener = Callable[[str, str], Session]
PERCENTILES = (50, 95, 99)


@dataclass
class Call:
    """One request on one replica over one protocol, and what became of it.

    latencies: milliseconds of each repetition that was answered. outputs: of the first. mismatches: of the first answer that had any.
    """

    request: Prepared
    replica: str
    protocol: str
    latencies: list[float] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    mismatches: list[Mismatch] = field(default_factory=list)
    error: ServingError | None = None
    encoded: Any = None

    @property
    def ok(self) -> bool:
        return self.error is None and not self.mismatches


@dataclass(frozen=True)
class Run:
    """repeat: how often each call is made. concurrency: how many at a time."""

    repeat: int = 1
    concurrency: int = 4


class Runner:
    """open_session: (replica, protocol) → session; called once for each pair."""

    def __init__(self, open_session: Opener, run: Run) -> None:
        self._open = open_session
        self._run = run
        self._sessions: dict[tuple[str, str], Session | ServingError] = {}
        self._lock = Lock()

    def run(self, calls: Sequence[Call]) -> None:
        """Makes all calls and notes their outcome in them. A lost server fails its other calls at once."""
        for result in each(self._chain, chains(calls, self._run.repeat), self._run.concurrency):
            if isinstance(result, ServingError):
                raise result

    def _chain(self, chain: Sequence[Call]) -> None:
        for call in chain:
            if call.error is None:
                self._make(call)

    def _make(self, call: Call) -> None:
        key = (call.replica, call.protocol)
        session = self._session(key)
        if isinstance(session, ServingError):
            call.error = session
            return
        try:
            if call.encoded is None:
                call.encoded = session.encode(call.request)
            tensors, elapsed = session.infer(call.encoded)
            mismatches = compare(call.request.expect, answers(tensors, call.request, values=bool(call.request.expect)))
        except ServingError as error:
            call.error = error
            if isinstance(error, (ConnectionFailedError, TlsError)):
                # It has been tried often enough: hundreds of other calls need not wait for the same.
                self._sessions[key] = error
            return
        call.latencies.append(elapsed)
        call.outputs = call.outputs or tensors
        call.mismatches = call.mismatches or mismatches

    def _session(self, key: tuple[str, str]) -> Session | ServingError:
        with self._lock:
            if key not in self._sessions:
                self._sessions[key] = self._open(*key)
            return self._sessions[key]


def plan_calls(requests: Sequence[Prepared], replicas: Sequence[str]) -> list[Call]:
    """Every request on every replica over each of its protocols."""
    return [
        Call(request, replica, protocol, error=request.error)
        for request in requests
        for replica in replicas
        for protocol in request.protocols
    ]


def chains(calls: Sequence[Call], repeat: int) -> list[list[Call]]:
    """Calls that must follow one another, in their order: those of one sequence on one replica, one protocol after the other.

    Any other call is a chain of its own, once for each repetition.
    """
    sequences: dict[tuple[str, str, object], list[Call]] = {}
    result: list[list[Call]] = []
    for call in calls:
        if call.request.sequence is None:
            result.extend([call] for _unused in range(repeat))
        else:
            sequences.setdefault((call.replica, call.request.model, call.request.sequence.id), []).append(call)
    for chain in sequences.values():
        # A stable sort: within a protocol the order of the requests stays.
        result.append(sorted(chain, key=lambda call: call.protocol, reverse=True) * repeat)
    return result


def summarize(latencies: Sequence[float]) -> dict[str, float | int | None]:
    """count, mean, p50, p95, p99 and max in milliseconds; null without any."""
    if not latencies:
        return {"count": 0, "mean": None, **{f"p{percent}": None for percent in PERCENTILES}, "max": None}
    ranks = {f"p{percent}": percentile(latencies, percent) for percent in PERCENTILES}
    return {"count": len(latencies), "mean": round(sum(latencies) / len(latencies), 3), **ranks, "max": round(max(latencies), 3)}


def latency(calls: Sequence[Call]) -> dict[str, dict[str, float | int | None]]:
    """The summary over all calls, and over those of each protocol."""
    protocols = sorted({call.protocol for call in calls}, reverse=True)
    by_protocol = {name: summarize([value for call in calls if call.protocol == name for value in call.latencies]) for name in protocols}
    return {"all": summarize([value for call in calls for value in call.latencies]), **by_protocol}


def over_budget(summary: Mapping[str, float | int | None], budget: Mapping[str, float]) -> list[Mismatch]:
    """Where the latency of all calls exceeds the budget (p50, p95, p99 in milliseconds)."""
    found = []
    for name, limit in budget.items():
        value = summary.get(name)
        if value is not None and value > limit:
            found.append(Mismatch(f"latency {name}", f"at most {limit:g} ms", f"{value:g} ms"))
    return found
