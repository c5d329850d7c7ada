# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Models loaded, unloaded or reloaded on every replica of a service: observe by the index, plan, apply, wait on the index."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core.errors import InputError, ServingError, TransientError, UnavailableError
from ..core.plan import Action, Plan
from ..core.wait import Probe, wait_until
from .connect import connect
from .control import LOADING, READY, UNLOADING, CallOptions, Control, ModelState
from .endpoint import Endpoint, Replica
from .errors import LoadError, LostAnswerError
from .parallel import attempt, each
from .status import CONNECTIONS, not_gone, not_ready, select

# tritonserver loads with this many threads unless it is told otherwise.
LOADS_AT_ONCE = 4
# Unloading a model that nobody has is refused in mode none and poll, and does nothing in mode explicit.
PROBE_NAME = "serving.triton.probe"
_VERBS = {"loaded": "load", "unloaded": "unload", "reloaded": "reload"}


@dataclass(frozen=True)
class Desired:
    """state: loaded, unloaded or reloaded. versions: that must be READY. config: a whole configuration. timeout, interval: seconds.

    stale: names whose content changed since they were loaded, so that being READY is not enough.
    """

    names: tuple[str, ...]
    state: str = "loaded"
    versions: tuple[str, ...] = ()
    config: Mapping[str, Any] | None = None
    dependents: bool = False
    timeout: float = 300.0
    interval: float = 0.2
    stale: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Observed:
    """One replica: its index, and the configuration of the named models that are loaded (read for a config override only)."""

    replica: Replica
    index: tuple[ModelState, ...]
    configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What became of one model on one replica: `error` is None when it is as desired."""

    replica: str
    name: str
    error: ServingError | None = None

    @property
    def reason(self) -> str:
        return self.error.what if self.error else ""


class ModelService:
    """The service behind module `model`. check: an unknown name is no error, since a publish before it may only have been simulated."""

    def __init__(self, endpoint: Endpoint, desired: Desired, options: CallOptions, *, check: bool = False) -> None:
        self._desired = desired
        self._options = options
        self._check = check
        self._controls = [(replica, connect(endpoint, replica, options)) for replica in endpoint.replicas]

    def observe(self) -> list[Observed]:
        """The index of every replica. Fails before any change when a replica is away, refuses control, or does not know a model."""
        observed = [_or_raise(result) for result in each(self._look, self._controls, CONNECTIONS)]
        if self._desired.state != "unloaded" and not self._check:
            _refuse_unknown(self._desired.names, observed)
        if self.plan(observed):
            for result in each(lambda pair: pair[1].unload(PROBE_NAME, False, 0), self._controls, CONNECTIONS):
                _or_raise(result)
        return observed

    def plan(self, actual: list[Observed]) -> Plan:
        """One action a model and replica that is not as desired."""
        several = len(actual) > 1
        verb = _VERBS[self._desired.state]
        actions = tuple(
            Action(verb, f"{name} on {seen.replica.name}" if several else name, {"replica": seen.replica.name, "name": name})
            for seen in actual
            for name in self._desired.names
            if needs_change(seen, name, self._desired)
        )
        touched = {(action.data["replica"], action.data["name"]) for action in actions}
        before = {seen.replica.name: {name: self._shown(seen, name, False) for name in self._desired.names} for seen in actual}
        after = {
            seen.replica.name: {name: self._shown(seen, name, (seen.replica.name, name) in touched) for name in self._desired.names}
            for seen in actual
        }
        return Plan(actions, before, after)

    def apply(self, plan: Plan) -> None:
        """Changes all replicas in parallel and goes on where one fails. Raises one error that names every failed model and replica."""
        names: dict[str, list[str]] = {replica.name: [] for replica, _unused in self._controls}
        for action in plan:
            names[action.data["replica"]].append(action.data["name"])
        work = [(control, replica, names[replica.name]) for replica, control in self._controls]
        outcomes = [outcome for result in each(self._change, work, CONNECTIONS) for outcome in _or_raise(result)]
        failed = [outcome for outcome in outcomes if outcome.error]
        if failed:
            raise self._failure(failed, len(outcomes))

    def result(self, actual: list[Observed], plan: Plan, applied: bool) -> dict[str, Any]:
        """Per replica, each model's action, state and versions: those seen afterwards, or predicted ones."""
        seen = [_or_raise(result) for result in each(self._look, self._controls, CONNECTIONS)] if applied else actual
        for _unused, control in self._controls:
            control.close()
        actions = {(action.data["replica"], action.data["name"]): action.verb for action in plan}
        return {"replicas": [self._describe(one, actions, predicted=not applied) for one in seen]}

    # one replica

    def _look(self, pair: tuple[Replica, Control]) -> Observed:
        replica, control = pair
        index = tuple(control.index())
        configs: dict[str, Mapping[str, Any]] = {}
        if self._desired.config and self._desired.state == "loaded":
            loaded = [name for name in self._desired.names if not not_ready(name, index)]
            for name in loaded:
                config = attempt(control.model_config, name)
                configs[name] = config if isinstance(config, Mapping) else {}
        return Observed(replica, index, configs)

    def _change(self, work: tuple[Control, Replica, list[str]]) -> list[Outcome]:
        control, replica, names = work
        results = each(lambda name: self._change_one(control, name), names, LOADS_AT_ONCE)
        errors = [result if isinstance(result, ServingError) else None for result in results]
        return [Outcome(replica.name, name, error) for name, error in zip(names, errors)]

    def _change_one(self, control: Control, name: str) -> None:
        desired = self._desired
        try:
            if desired.state == "unloaded":
                control.unload(name, desired.dependents, desired.timeout)
            else:
                control.load(name, desired.config, desired.timeout)
        except LostAnswerError as error:
            self._after_lost_answer(control, name, error)
        except LoadError as error:
            raise LoadError(f"{error.reason}{_still_serving(control, name)}", where=error.where, remedy=error.remedy) from error
        self._wait(control, name)

    def _after_lost_answer(self, control: Control, name: str, error: LostAnswerError) -> None:
        """The server may have died, or still be loading: only the index knows."""
        try:
            index = control.index()
        except TransientError as dead:
            what = f"{error.what} during the {_VERBS[self._desired.state]}, and the server does not answer any more"
            raise UnavailableError(what, where=dead.where, remedy=dead.remedy) from dead
        if self._desired.state == "unloaded" or any(state.state == LOADING for state in select(name, index)):
            return
        reason = _lacks(index, name, self._desired)
        if reason:
            raise UnavailableError(f"{error.what} during the load, and {reason}", where=error.where, remedy=error.remedy) from error

    def _wait(self, control: Control, name: str) -> None:
        """Waits until nothing is going on with the model any more, then judges."""
        desired = self._desired

        def look() -> Probe[tuple[ModelState, ...]]:
            try:
                index = control.index()
            except TransientError as error:
                return Probe(False, (), str(error))
            states = tuple(select(name, index))
            reason = _lacks(states, name, desired) or _unloading(index, desired)
            busy = desired.state == "unloaded" or any(state.state == LOADING for state in states)
            return Probe(not reason or not busy, states, reason)

        word = "unloaded" if desired.state == "unloaded" else "ready"
        states = wait_until(
            look, what=f"model {name} {word}", timeout=desired.timeout, interval=desired.interval, clock=self._options.clock
        )
        reason = _lacks(states, name, desired)
        if reason:
            there = ", ".join(state.version for state in states if state.state == READY) or "none"
            remedy = "Check that the version is published and that the model's version policy takes it."
            raise UnavailableError(f"the load ended, but {reason} (ready versions: {there})", where=control.where, remedy=remedy)

    # words

    def _shown(self, seen: Observed, name: str, touched: bool) -> Any:
        shown: dict[str, Any] = {"state": _state_words(seen, name)}
        if touched:
            shown["state"] = {"loaded": READY, "reloaded": f"{READY}, reloaded", "unloaded": "not loaded"}[self._desired.state]
        if self._desired.config:
            shown["config"] = self._desired.config if touched else _restrict(seen.configs.get(name, {}), self._desired.config)
        return shown

    def _describe(self, seen: Observed, actions: Mapping[tuple[str, str], str], *, predicted: bool) -> dict[str, Any]:
        models = []
        for name in self._desired.names:
            verb = actions.get((seen.replica.name, name), "")
            states = [state for state in select(name, seen.index) if state.state == READY]
            versions = [state.version for state in states]
            if predicted and verb:
                versions = [] if self._desired.state == "unloaded" else list(self._desired.versions) or versions
                ready = self._desired.state != "unloaded"
            else:
                ready = bool(states)
            models.append({"name": name, "action": verb, "state": READY if ready else "", "versions": versions})
        return {**seen.replica.describe(), "models": models}

    def _failure(self, failed: Sequence[Outcome], total: int) -> ServingError:
        several = len(self._controls) > 1
        lines = [f"{one.name} on {one.replica}: {one.reason}" if several else f"{one.name}: {one.reason}" for one in failed]
        reasons: dict[str, dict[str, str]] = {replica.name: {} for replica, _unused in self._controls}
        for one in failed:
            reasons[one.replica][one.name] = one.reason
        replicas = [{**replica.describe(), "failed": reasons[replica.name]} for replica, _unused in self._controls]
        what = f"{len(failed)} of {total} {_VERBS[self._desired.state]}s failed: {'; '.join(lines)}"
        remedy = failed[0].error.remedy if failed[0].error else ""
        return UnavailableError(what, remedy=remedy, replicas=replicas)


def needs_change(seen: Observed, name: str, desired: Desired) -> bool:
    """Whether this model has to be changed on this replica."""
    if desired.state == "reloaded" or name in desired.stale:
        return True
    if desired.state == "unloaded":
        return bool(not_gone(name, seen.index))
    return bool(_lacks(seen.index, name, desired)) or not covers(seen.configs.get(name, {}), desired.config or {})


def covers(actual: Any, wanted: Any) -> bool:
    """Whether a configuration says all that another one does; what Triton adds, and how it writes numbers, makes no difference."""
    if isinstance(wanted, Mapping):
        return isinstance(actual, Mapping) and all(_same(actual.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, (list, tuple)):
        return isinstance(actual, (list, tuple)) and len(actual) == len(wanted) and all(map(covers, actual, wanted))
    if isinstance(actual, bool) or isinstance(wanted, bool):
        return bool(actual) == bool(wanted)
    return str(actual) == str(wanted)


def _same(actual: Any, wanted: Any) -> bool:
    # A default value may be left out on either side.
    return covers(actual, wanted) or (not actual and not wanted) or (actual is None and str(wanted) == "0")


def _restrict(actual: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    return {key: actual[key] for key in wanted if key in actual}


def _lacks(index: Iterable[ModelState], name: str, desired: Desired) -> str:
    """Why a model is not as desired, by the index; empty when it is."""
    states = list(index)
    if desired.state == "unloaded":
        return not_gone(name, states)
    reasons = filter(None, (not_ready(f"{name}:{version}" if version else name, states) for version in desired.versions or ("",)))
    return next(reasons, "")


def _unloading(index: Iterable[ModelState], desired: Desired) -> str:
    """Dependents have no names here: while anything is being unloaded, they may be."""
    busy = [state.name for state in index if state.state == UNLOADING] if desired.dependents else []
    return f"model {busy[0]} is {UNLOADING}" if busy else ""


def _state_words(seen: Observed, name: str) -> str:
    words = [f"{state.state} (version {state.version})" for state in select(name, seen.index) if state.state]
    return ", ".join(words) or "not loaded"


def _still_serving(control: Control, name: str) -> str:
    """After a failed load: which versions still serve, in words."""
    index = attempt(lambda _unused: control.index(), None)
    if isinstance(index, ServingError):
        return ""
    versions = [state.version for state in select(name, index) if state.state == READY]
    return f" (version {', '.join(versions)}, which served before, still serves)" if versions else ""


def _refuse_unknown(names: Sequence[str], observed: Sequence[Observed]) -> None:
    for seen in observed:
        known = sorted({state.name for state in seen.index})
        for name in names:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                remedy = f"Did you mean {near[0]}?" if near else "Publish it to the server's model repository first."
                raise InputError(f"the model {name} is not in the repository of {seen.replica.name}", where="names", remedy=remedy)


def _or_raise(result: Any) -> Any:
    if isinstance(result, ServingError):
        raise result
    return result
