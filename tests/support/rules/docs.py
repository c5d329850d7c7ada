# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rules for a module's documentation: it says what the code does, in every option, attribute, example and return value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from ansible_collections.serving.triton.plugins.module_utils.core.redaction import is_secret_key

from . import tasks

PREFIX = "serving.triton."
Options = Mapping[str, Mapping[str, Any]]
# Options that hold secrets although their names do not say so.
_SECRETS = frozenset({"headers"})
# Values of these types hold no secret themselves: a path to a key is not the key.
_HARMLESS_TYPES = frozenset({"path", "bool", "int", "float"})
_NO_DIFF = ("N/A", "none")


@dataclass(frozen=True)
class Behaviour:
    """What the code of a module does. argument_spec: as given to AnsibleModule. plans: whether it goes through run_plan."""

    argument_spec: Options = field(default_factory=dict)
    supports_check_mode: bool = False
    plans: bool = False


def options(documented: Options, spec: Options, where: str = "") -> list[str]:
    """Where documented options and argument spec differ, at any depth."""
    found = [f"{where}{name}: documented, not in the argument spec" for name in sorted(set(documented) - set(spec))]
    found += [f"{where}{name}: in the argument spec, not documented" for name in sorted(set(spec) - set(documented))]
    for name in sorted(set(spec) & set(documented)):
        found += _option(documented[name], spec[name], f"{where}{name}")
    return found


def _option(documented: Mapping[str, Any], spec: Mapping[str, Any], where: str) -> Iterator[str]:
    defaults: Mapping[str, Any] = {"type": "str", "required": False, "default": None, "choices": None, "elements": None, "aliases": []}
    for key, default in defaults.items():
        told, done = documented.get(key, default), spec.get(key, default)
        if _plain(told) != _plain(done):
            yield f"{where}: {key} is documented as {told!r}, the argument spec has {done!r}"
    if not documented.get("description"):
        yield f"{where}: has no description"
    yield from options(documented.get("suboptions") or {}, spec.get("options") or {}, f"{where}.")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value


def secrets(spec: Options, where: str = "") -> list[str]:
    """Options named like secrets whose argument spec does not decide on no_log."""
    found = []
    for name, option in spec.items():
        named = name in _SECRETS or (is_secret_key(name) and option.get("type", "str") not in _HARMLESS_TYPES)
        if named and "no_log" not in option:
            found.append(f"{where}{name}: looks like a secret; set no_log, to false if it is none")
        if name in _SECRETS and option.get("no_log") is False:
            found.append(f"{where}{name}: holds secrets, but no_log is false")
        found += secrets(option.get("options") or {}, f"{where}{name}.")
    return found


def attributes(doc: Mapping[str, Any], behaviour: Behaviour, groups: Iterable[str]) -> list[str]:
    """Where the documented attributes are missing or untrue. groups: the action groups of meta/runtime.yml that hold the module."""
    stated = doc.get("attributes") or {}
    missing = [f"attribute {name} is missing" for name in ("check_mode", "diff_mode", "idempotent") if name not in stated]
    if missing:
        return missing
    support = {name: stated[name].get("support") for name in stated}
    found = []
    if (support["check_mode"] == "full") != behaviour.supports_check_mode:
        found.append(f"check_mode is documented as {support['check_mode']}, supports_check_mode is {behaviour.supports_check_mode}")
    if behaviour.plans and support["diff_mode"] != "full":
        found.append(f"diff_mode is documented as {support['diff_mode']}, but the module plans and shows a diff")
    if not behaviour.plans and support["diff_mode"] not in _NO_DIFF:
        found.append(f"diff_mode is documented as {support['diff_mode']}, but the module has no plan to show")
    told = sorted((stated.get("action_group") or {}).get("membership") or [])
    real = sorted(f"{PREFIX}{group}" for group in groups)
    if told != real:
        found.append(f"action_group is documented as {told}, meta/runtime.yml has {real}")
    return found


def returns(values: Mapping[str, Any], where: str = "") -> list[str]:
    """Return values without a description, a type, the condition of their return, or a sample (their own, or in each part)."""
    if not values and not where:
        return ["nothing is documented in RETURN"]
    found = []
    for name, value in values.items():
        needed = ("description", "type") if where else ("description", "type", "returned")
        found += [f"{where}{name}: {key} is missing" for key in needed if not value.get(key)]
        if "contains" in value and "sample" not in value:
            found += returns(value["contains"], f"{where}{name}.")
        elif "sample" not in value:
            found.append(f"{where}{name}: sample is missing")
    return found


def examples(text: str, documented: Mapping[str, Options]) -> list[str]:
    """Examples that do not parse, call by a short name, or use options that do not exist. documented: FQCN → options."""
    try:
        entries = yaml.safe_load(text)
    except yaml.YAMLError as error:
        return [f"does not parse: {error}"]
    if not isinstance(entries, list) or not entries:
        return ["is not a list of tasks or plays"]
    return [problem for entry in entries for problem in _task(entry, documented)]


def _task(task: Mapping[str, Any], documented: Mapping[str, Options]) -> Iterator[str]:
    for part in tasks.LISTS:
        for inner in task.get(part) or []:
            yield from _task(inner, documented)
    for key, arguments in task.items():
        if key in tasks.KEYWORDS or key.startswith("with_"):
            continue
        if key.count(".") < 2:
            yield f"{key}: is no FQCN"
        elif key.startswith(PREFIX) and key not in documented:
            yield f"{key}: does not exist"
        elif key.startswith(PREFIX):
            yield from _unknown(arguments or {}, documented[key], f"{key}: ")
    for action, arguments in (task.get("module_defaults") or {}).items():
        if action.startswith(PREFIX) and action in documented:
            yield from _unknown(arguments, documented[action], f"module_defaults {action}: ")


def _unknown(arguments: Any, documented: Options, where: str) -> Iterator[str]:
    if not isinstance(arguments, Mapping):
        return
    for name, value in arguments.items():
        names = {**documented, **{alias: option for option in documented.values() for alias in option.get("aliases") or []}}
        if name not in names:
            yield f"{where}{name}: no such option"
        elif names[name].get("suboptions"):
            for inner in value if isinstance(value, list) else [value]:
                yield from _unknown(inner, names[name]["suboptions"], f"{where}{name}.")
