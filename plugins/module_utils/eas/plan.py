# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What takes a service from its actual state to the wanted one. Pure: the same plan for check mode, diff and run, and for both backends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..core.errors import ConflictError, InputError
from ..core.plan import Action
from . import check, compare
from .spec import Config, overlaid
from .state import DANGEROUS_LOCK, DELETE_FAILED, DELETING, FULL_LOCK, NO_LOCK, STOPPED, STOPPING, Service

# The kinds of actions; the `do` of each action's data.
AWAIT_GONE, CREATE, UPDATE, SCALE, AUTOSCALE, LABEL, SWITCH, RELEASE, LOCK, START, STOP, RESTART, DELETE = (
    "await_gone", "create", "update", "scale", "autoscale", "label", "switch", "release", "lock", "start", "stop", "restart", "delete",
)  # fmt: skip
# What a lock makes EAS refuse. The full one refuses everything.
_DANGEROUS = frozenset({STOP, DELETE})
# After these the instances are new ones anyway.
_ROLLING = frozenset({CREATE, UPDATE, SWITCH})
# Keys of the configuration that are set by calls of their own.
_APART = ("labels", "autoscaler")


@dataclass(frozen=True)
class Wanted:
    """config: canonical; None where the user says nothing about it. None elsewhere too means: as it is."""

    name: str
    state: str = "present"
    config: Config | None = None
    replace: bool = False
    version: int | None = None
    weight: int | None = None
    traffic_state: str | None = None
    lock: str | None = None
    lift_lock: bool = False
    revision: str | None = None


def plan_actions(wanted: Wanted, actual: Service | None) -> list[Action]:
    """The ordered actions; none where nothing is to be done. Raises a ServingError for what cannot be done."""
    if wanted.state == "absent":
        return _behind_lock(wanted, actual, _absent(wanted, actual))
    if actual is None or actual.status == DELETING:
        return _new(wanted, actual)
    if actual.status == DELETE_FAILED:
        remedy = "Remove it with state: absent, then run this again."
        raise ConflictError(f"its deletion failed: {actual.message or actual.reason}", where=wanted.name, remedy=remedy)
    actions = [*_configure(wanted, actual), *_switch(wanted, actual), *_release(wanted, actual)]
    actions += _run_state(wanted, actual, actions)
    return _behind_lock(wanted, actual, actions)


def _absent(wanted: Wanted, actual: Service | None) -> list[Action]:
    if actual is None or actual.status == DELETING:
        return []
    return [_action(DELETE, "delete", f"{wanted.name} ({_count(actual.total, 'instance')})")]


def _new(wanted: Wanted, actual: Service | None) -> list[Action]:
    if wanted.config is None or wanted.version is not None:
        remedy = "Correct the name or the region, or give its configuration to create it."
        raise InputError("the service does not exist", where=wanted.name, remedy=remedy)
    config = overlaid({"metadata": {"instance": 1}}, wanted.config)
    check.check_complete(config)
    what = config.get("processor") or ("image" if config.get("containers") else "own processor")
    text = f"{wanted.name} ({what}, {_count(config['metadata']['instance'], 'instance')})"
    actions = [] if actual is None else [_action(AWAIT_GONE, "wait until the old", f"{wanted.name} is gone")]
    actions += [_action(CREATE, "create", text, config=config), *_release(wanted, Service(wanted.name, "", config))]
    if wanted.state == "stopped":
        actions.append(_action(STOP, "stop", wanted.name))
    if wanted.lock not in (None, NO_LOCK):
        actions.append(_set_lock(wanted.name, wanted.lock))
    return actions


# --- the configuration of a service that is there


def difference(wanted: Wanted, actual: Service) -> Config:
    """The part of the wanted configuration that is not there, but for labels and autoscaler."""
    if wanted.config is None:
        return {}
    config = {key: value for key, value in wanted.config.items() if key not in _APART}
    if is_autoscaled(wanted, actual):
        # Whatever number is there, the autoscaler made it.
        config["metadata"] = {key: value for key, value in config["metadata"].items() if key != "instance"}
    there = {**actual.config, **({"token": actual.token} if actual.token else {})}
    return compare.patch(config, there)


def is_autoscaled(wanted: Wanted, actual: Service) -> bool:
    """Whether an autoscaler decides on the number of instances."""
    return bool(actual.autoscaler or (wanted.config or {}).get("autoscaler"))


def _configure(wanted: Wanted, actual: Service) -> list[Action]:
    if wanted.config is None:
        return []
    change = difference(wanted, actual)
    _check_merged(wanted, actual, change)
    return [*_update(wanted, actual, change), *_autoscale(wanted, actual), *_label(wanted, actual)]


def _update(wanted: Wanted, actual: Service, change: Config) -> list[Action]:
    before = (actual.config.get("metadata") or {}).get("instance", actual.total)
    # A number of instances that is not given stays, also where the rest is replaced.
    whole = overlaid({"metadata": {"instance": before}}, wanted.config or {})
    gone = compare.extras({**whole, **_apart(actual)}, actual.config) if wanted.replace else []
    if not gone and compare.paths(change) == ["metadata.instance"]:
        instances = change["metadata"]["instance"]
        text = f"{wanted.name} from {before} to {_count(instances, 'instance')}"
        return [_action(SCALE, "scale", text, instances=instances)]
    if wanted.replace and (gone or change):
        text = ", ".join([*compare.paths(change), *(f"without {key}" for key in gone)])
        return [_action(UPDATE, "replace the configuration of", f"{wanted.name} ({text})", config=whole, replace=True)]
    if change:
        text = f"{wanted.name} ({', '.join(compare.paths(change))})"
        return [_action(UPDATE, "update", text, config=change, replace=False)]
    return []


def _check_merged(wanted: Wanted, actual: Service, change: Config) -> None:
    """Merging leaves what excludes the new keys."""
    if wanted.replace or not change:
        return
    try:
        check.check_together(compare.merged(actual.config, change))
    except InputError as error:
        remedy = f"{error.remedy} Or set update: replace, which removes what is not given."
        raise InputError(f"{error.what}, which the service has already", where=error.where, remedy=remedy) from None


def _apart(actual: Service) -> Config:
    return {key: actual.config[key] for key in _APART if key in actual.config}


def _autoscale(wanted: Wanted, actual: Service) -> list[Action]:
    rule = (wanted.config or {}).get("autoscaler")
    if rule and not compare.equal(rule, actual.autoscaler or {}):
        text = f"{wanted.name} ({rule.get('min')} to {_count(rule.get('max'), 'instance')})"
        return [_action(AUTOSCALE, "set the autoscaler of", text, rule=rule)]
    if not rule and wanted.replace and actual.autoscaler:
        return [_action(AUTOSCALE, "remove the autoscaler of", wanted.name, rule=None)]
    return []


def _label(wanted: Wanted, actual: Service) -> list[Action]:
    labels = (wanted.config or {}).get("labels")
    if labels is None:
        return []
    new = {key: value for key, value in labels.items() if actual.labels.get(key) != value}
    # Alibaba Cloud's own labels stay.
    gone = [key for key in actual.labels if key not in labels and not key.startswith("acs:")] if wanted.replace else []
    if not new and not gone:
        return []
    text = ", ".join([*(f"{key}={value}" for key, value in new.items()), *(f"without {key}" for key in gone)])
    return [_action(LABEL, "label", f"{wanted.name} ({text})", labels=new, gone=gone)]


# --- versions, traffic, running or not


def _switch(wanted: Wanted, actual: Service) -> list[Action]:
    if wanted.version is None or wanted.version == actual.current:
        return []
    if not 1 <= wanted.version < actual.current:
        has = f"has no version {wanted.version}" if not 1 <= wanted.version <= actual.latest else "goes back to older versions alone"
        remedy = "Give an older one; serving.triton.eas_service_info tells them. To go forward, give the configuration."
        raise InputError(f"the service {has}: it is at {actual.current} of {actual.latest}", where=wanted.name, remedy=remedy)
    text = f"{wanted.name} from version {actual.current} to {wanted.version}"
    return [_action(SWITCH, "switch", text, version=wanted.version)]


def _release(wanted: Wanted, actual: Service) -> list[Action]:
    change: dict[str, Any] = {}
    if wanted.weight is not None and wanted.weight != (actual.weight or 0):
        change["weight"] = wanted.weight
    if wanted.traffic_state is not None and wanted.traffic_state != actual.traffic_state:
        change["traffic_state"] = wanted.traffic_state
    if not change:
        return []
    grouped = overlaid(actual.config, wanted.config or {}).get("metadata", {}).get("group")
    if wanted.traffic_state == "grouping" and not grouped:
        raise InputError("the service is in no group", where="traffic_state", remedy="Give group, or traffic_state: standalone.")
    text = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in change.items())
    return [_action(RELEASE, "release", f"{wanted.name} ({text})", **change)]


def _run_state(wanted: Wanted, actual: Service, before: Iterable[Action]) -> list[Action]:
    is_stopped = actual.status in (STOPPED, STOPPING)
    if wanted.state == "stopped" and not is_stopped:
        return [_action(STOP, "stop", wanted.name)]
    if wanted.state in ("started", "restarted") and is_stopped:
        return [_action(START, "start", wanted.name)]
    if wanted.state == "restarted" and not any(action.data["do"] in _ROLLING for action in before):
        return [_action(RESTART, "restart", wanted.name)]
    return []


# --- the safety lock


def _behind_lock(wanted: Wanted, actual: Service | None, actions: list[Action]) -> list[Action]:
    """The actions, with the lock lifted before and put back after them where it is in their way. Raises ConflictError where it stays."""
    lock = actual.lock if actual else ""
    final = wanted.lock or lock
    blocked = [action for action in actions if _blocks(lock, action, wanted)]
    gone = any(action.data["do"] == DELETE for action in actions)
    if gone and not blocked:
        return actions
    if not blocked:
        return [*actions, *([_set_lock(wanted.name, final)] if actual and final != (lock or NO_LOCK) and final else [])]
    if not wanted.lift_lock and (wanted.lock is None or any(_blocks(wanted.lock, action, wanted) for action in blocked)):
        what = f"its safety lock ({lock}) is in the way: {'; '.join(map(str, blocked))}"
        remedy = "Set lift_lock to lift it meanwhile, or safety_lock: none to remove it."
        raise ConflictError(what, where=wanted.name, remedy=remedy)
    lifted = _action(LOCK, "lift the safety lock of", f"{wanted.name} ({lock})", lock=NO_LOCK)
    return [lifted, *actions, *([] if gone or final == NO_LOCK else [_set_lock(wanted.name, final)])]


def _blocks(lock: str | None, action: Action, wanted: Wanted) -> bool:
    # EAS may start what it updates, and then it has to be stopped again.
    stops = _DANGEROUS | {UPDATE, SWITCH} if wanted.state == "stopped" else _DANGEROUS
    return lock == FULL_LOCK or (lock == DANGEROUS_LOCK and action.data["do"] in stops)


def _set_lock(name: str, lock: str | None) -> Action:
    return _action(LOCK, "set the safety lock of", f"{name} to {lock}", lock=lock)


def _action(kind: str, verb: str, target: str, **arguments: Any) -> Action:
    return Action(verb, target, {"do": kind, **arguments})


def _count(number: Any, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def needs(wanted: Wanted) -> Mapping[str, str]:
    """Abilities of a backend that this takes → the option that does."""
    found = {}
    if wanted.replace and wanted.config is not None:
        found["replace"] = "update: replace"
    if wanted.weight is not None or wanted.traffic_state is not None:
        found["release"] = "weight" if wanted.weight is not None else "traffic_state"
    if wanted.lock is not None or wanted.lift_lock:
        found["lock"] = "safety_lock" if wanted.lock is not None else "lift_lock"
    return found
