# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The state of a service: what each replica says of itself and its models, and waiting until a condition holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..core.errors import ServingError, TransientError, UnavailableError
from ..core.wait import Probe, RetryPolicy, wait_until
from .connect import connect
from .control import LOADING, READY, UNAVAILABLE, UNLOADING, CallOptions, Control, ModelState
from .endpoint import Endpoint, Replica
from .errors import NotServerError, TlsError
from .parallel import attempt, each

# Enough to hide a network's round trips, few enough for a server with eight HTTP threads.
CONNECTIONS = 8
# Errors of the user's own making: no part of a status, and no wait will mend them.
_FATAL = (TlsError, NotServerError)


@dataclass(frozen=True)
class Sections:
    """What to read. models: only these, `name` or `name:version`, all of the index when empty."""

    models: tuple[str, ...] = ()
    config: bool = False
    metadata: bool = False
    statistics: bool = False


@dataclass(frozen=True)
class ReplicaStatus:
    """One replica. index is None where there is no repository API; unavailable: section → why it could not be read."""

    replica: Replica
    error: str = ""
    live: bool | None = False
    ready: bool | None = False
    server: dict[str, Any] | None = None
    index: tuple[ModelState, ...] | None = None
    details: dict[str, dict[str, Any]] = field(default_factory=dict)
    statistics: dict[tuple[str, str], dict[str, Any]] | None = None
    unavailable: dict[str, str] = field(default_factory=dict)

    def describe(self) -> dict[str, Any]:
        """The replica as results show it."""
        models = None if self.index is None else [_describe(state, self) for state in self.index]
        return {
            **self.replica.describe(),
            "live": self.live,
            "ready": self.ready,
            "server": self.server,
            "models": models,
            "unavailable": self.unavailable,
            "error": self.error,
        }


def read_endpoint(endpoint: Endpoint, sections: Sections, options: CallOptions) -> list[ReplicaStatus]:
    """Reads every replica in parallel. Raises TlsError and NotServerError; other failures are part of a replica's status."""
    results = each(lambda replica: _read_and_close(endpoint, replica, sections, options), endpoint.replicas, CONNECTIONS)
    for result in results:
        if isinstance(result, ServingError):
            raise result
    return [result for result in results if isinstance(result, ReplicaStatus)]


def _read_and_close(endpoint: Endpoint, replica: Replica, sections: Sections, options: CallOptions) -> ReplicaStatus:
    control = connect(endpoint, replica, options)
    try:
        return read_replica(control, replica, sections)
    finally:
        control.close()


def read_replica(control: Control, replica: Replica, sections: Sections) -> ReplicaStatus:
    """Reads one replica over an open client. What the server does not offer is left None, with the reason in `unavailable`."""
    reader = _Reader()
    try:
        live = reader.section("live", control.live)
    except TransientError as error:
        return ReplicaStatus(replica, error=str(error))
    ready = reader.section("ready", control.ready)
    server = reader.section("server", control.server_metadata)
    index = reader.section("index", control.index)
    states = _states(control, sections.models, index)
    statistics = reader.section("statistics", control.statistics) if sections.statistics else None
    status = ReplicaStatus(
        replica,
        live=live,
        ready=ready,
        server=_server(server),
        index=states,
        statistics=_by_version(statistics),
        unavailable=reader.unavailable,
    )
    return replace(status, details=_details(control, states or (), sections))


class _Reader:
    """Reads optional parts: what the server does not offer or refuses becomes None, with the reason in `unavailable`."""

    def __init__(self) -> None:
        self.unavailable: dict[str, str] = {}

    def section(self, name: str, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except UnavailableError as error:
            if isinstance(error, _FATAL):
                raise
            self.unavailable[name] = str(error)
            return None


def _server(metadata: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if metadata is None else {key: metadata.get(key) for key in ("name", "version", "extensions")}


def _states(control: Control, specs: Sequence[str], index: list[ModelState] | None) -> tuple[ModelState, ...] | None:
    """The index limited to the models; without a repository API each of them, or each version, is asked for itself."""
    wanted = [split_version(spec) for spec in specs]
    if index is not None:
        names = {name for name, _version in wanted}
        return tuple(state for state in index if not names or state.name in names)
    if not wanted:
        return None
    flags = each(lambda spec: control.model_ready(*spec), wanted, CONNECTIONS)
    return tuple(ModelState(*spec, state=READY if flag is True else UNAVAILABLE) for spec, flag in zip(wanted, flags))


def _by_version(statistics: list[dict[str, Any]] | None) -> dict[tuple[str, str], dict[str, Any]] | None:
    return None if statistics is None else {(str(item.get("name")), str(item.get("version", ""))): item for item in statistics}


def _details(control: Control, states: Iterable[ModelState], sections: Sections) -> dict[str, dict[str, Any]]:
    """Configuration and metadata of every model that is ready, by name."""
    if not (sections.config or sections.metadata):
        return {}
    names = list(dict.fromkeys(state.name for state in states if state.state == READY))

    def read(name: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if sections.config:
            found["config"] = _or_none(attempt(control.model_config, name))
        if sections.metadata:
            found["metadata"] = _or_none(attempt(control.model_metadata, name))
        return found

    results = each(read, names, CONNECTIONS)
    return {name: result for name, result in zip(names, results) if isinstance(result, dict)}


def _or_none(value: dict[str, Any] | ServingError) -> dict[str, Any] | None:
    return None if isinstance(value, ServingError) else value


def _describe(state: ModelState, status: ReplicaStatus) -> dict[str, Any]:
    model: dict[str, Any] = {"name": state.name, "version": state.version, "state": state.state, "reason": state.reason}
    model.update(status.details.get(state.name, {}))
    if status.statistics is not None:
        model["statistics"] = status.statistics.get((state.name, state.version))
    return model


# --- all replicas together


def describe(statuses: Sequence[ReplicaStatus]) -> dict[str, Any]:
    """The service as results show it: `live` and `ready` hold for all replicas, a model's state is the worst that any replica reports."""
    replicas = [status.describe() for status in statuses]
    first = next((status for status in statuses if status.server), statuses[0])
    return {
        "live": _all([status.live for status in statuses]),
        "ready": _all([status.ready for status in statuses]),
        "server": first.server,
        "models": _merge(statuses),
        "replicas": replicas,
    }


def _all(flags: Sequence[bool | None]) -> bool | None:
    if False in flags:
        return False
    return None if None in flags else True


def _merge(statuses: Sequence[ReplicaStatus]) -> list[dict[str, Any]] | None:
    """One line a model version. A replica that does not list what another has READY counts as one where it is missing."""
    indexes = [status.index for status in statuses]
    if all(index is None for index in indexes):
        return None
    merged: dict[tuple[str, str], dict[str, Any]] = {}
    for status in statuses:
        for state in status.index or ():
            model = merged.setdefault((state.name, state.version), {**_describe(state, status), "replicas": {}})
            model["replicas"][status.replica.name] = state.state
            if model["state"] == READY and state.state != READY:
                model.update(state=state.state, reason=state.reason)
    for model in merged.values():
        absent = [status.replica.name for status in statuses if status.replica.name not in model["replicas"]]
        model["replicas"].update(dict.fromkeys(absent, ""))
        if absent and model["state"] == READY:
            model.update(state="", reason=f"not there on {', '.join(absent)}")
    return sorted(merged.values(), key=lambda model: (model["name"], model["version"]))


# --- waiting


@dataclass(frozen=True)
class Condition:
    """What to wait for, on every replica. models_ready, models_gone: `name` or `name:version`. timeout, interval: seconds.

    looks: in a row, that must find it so.
    """

    live: bool = False
    ready: bool = False
    models_ready: tuple[str, ...] = ()
    models_gone: tuple[str, ...] = ()
    timeout: float = 60.0
    interval: float = 1.0
    looks: int = 1

    def __str__(self) -> str:
        parts = [word for word, wanted in (("live", self.live), ("ready", self.ready)) if wanted]
        parts += [f"model {name} ready" for name in self.models_ready]
        parts += [f"model {name} gone" for name in self.models_gone]
        return f"the condition ({_short(parts, ', ')})"


def _short(parts: Sequence[str], separator: str, limit: int = 10) -> str:
    """The parts joined, cut where a list of hundreds would bury the message."""
    more = [f"and {len(parts) - limit} more"] if len(parts) > limit else []
    return separator.join([*parts[:limit], *more])


def wait_for(endpoint: Endpoint, condition: Condition, options: CallOptions) -> None:
    """Waits until the condition holds on every replica.

    Raises DeadlineError with what is missing where and the last state; TlsError and NotServerError at once.
    """
    # Each look is one attempt, and no look outlasts the deadline.
    looks = CallOptions(min(options.timeout, max(condition.timeout, 1.0)), RetryPolicy(attempts=1), options.clock)
    row = 0
    specs = tuple(dict.fromkeys((*condition.models_ready, *condition.models_gone)))

    def look() -> Probe[dict[str, Any]]:
        nonlocal row
        statuses = read_endpoint(endpoint, Sections(models=specs), looks)
        missing = [f"{status.replica.name}: {reason}" for status in statuses for reason in missing_on(status, condition)]
        row = 0 if missing else row + 1
        reason = _short(missing, "; ") or f"it held for {row} of {condition.looks} looks in a row"
        return Probe(row >= condition.looks, describe(statuses), reason)

    wait_until(look, what=str(condition), timeout=condition.timeout, interval=condition.interval, clock=options.clock)


def missing_on(status: ReplicaStatus, condition: Condition) -> list[str]:
    """What the condition still lacks on one replica, in words; empty when it holds."""
    if status.error:
        return [status.error]
    missing = []
    if (condition.live or condition.ready) and not status.live:
        missing.append(status.unavailable.get("live", "the server is not live"))
    if condition.ready and not status.ready:
        missing.append(status.unavailable.get("ready", "the server is not ready"))
    wanted = (*condition.models_ready, *condition.models_gone)
    if wanted and status.index is None:
        return [*missing, status.unavailable.get("index", "the repository index cannot be read")]
    missing += filter(None, (not_ready(spec, status.index or ()) for spec in condition.models_ready))
    missing += filter(None, (not_gone(spec, status.index or ()) for spec in condition.models_gone))
    if missing and wanted and "index" in status.unavailable:
        missing.append(f"the index cannot be read: {status.unavailable['index']}")
    return missing


def split_version(spec: str) -> tuple[str, str]:
    """`name:version` in parts; the version is empty when it is not given."""
    name, _unused, version = spec.partition(":")
    return name, version


def select(spec: str, index: Iterable[ModelState]) -> list[ModelState]:
    """The lines of the index that a `name` or `name:version` means."""
    name, version = split_version(spec)
    return [state for state in index if state.name == name and version in ("", state.version)]


def not_ready(spec: str, index: Iterable[ModelState]) -> str:
    """Why a model is not ready, empty when it is: one version READY, none still LOADING."""
    states = select(spec, index)
    if not states:
        return f"model {spec} is not in the repository index"
    loading = [state for state in states if state.state == LOADING]
    if not loading and any(state.state == READY for state in states):
        return ""
    worst = (loading or states)[-1]
    reason = f": {worst.reason.strip()}" if worst.reason.strip() else ""
    return f"model {spec} is {worst.state or 'not loaded'}{reason}"


def not_gone(spec: str, index: Iterable[ModelState]) -> str:
    """Why a model is not gone, empty when it is: no version READY, LOADING or UNLOADING."""
    held = [state for state in select(spec, index) if state.state in (READY, LOADING, UNLOADING)]
    return f"model {spec} is {held[0].state} (version {held[0].version})" if held else ""
