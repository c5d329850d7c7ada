# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rules for a role: its argument spec equals its defaults, its variables carry its name, its tags are its phases."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from . import tasks

Values = Mapping[str, Any]

_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "str": str,
    "path": str,
    "int": int,
    "float": (int, float),
    "bool": bool,
    "list": list,
    "dict": dict,
    "raw": object,
}


def load(path: Path) -> Any:
    """A YAML file's value; an empty mapping where there is no file."""
    return (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.exists() else {}


def arguments(specs: Values, defaults: Values) -> list[str]:
    """Where argument specs (entry point → spec) and defaults differ in keys, values or types."""
    options = [(entry, name, option) for entry, spec in specs.items() for name, option in (spec.get("options") or {}).items()]
    known = {name for _entry, name, _option in options}
    found = [f"{name}: in defaults, in no argument spec" for name in sorted(set(defaults) - known)]
    for entry, name, option in options:
        found += [f"{entry}.{name}: {problem}" for problem in _argument(option, name, defaults)]
    return found


def _argument(option: Values, name: str, defaults: Values) -> list[str]:
    kind = str(option.get("type", "str"))
    value = defaults.get(name)
    computed = isinstance(value, str) and "{{" in value
    if computed and kind not in ("str", "path", "raw"):
        # The documentation's tools take an expression for a wrong value of this type: the description tells the default.
        return [f"its default is an expression, which cannot be documented as a {kind}; leave default out"] if "default" in option else []
    if "default" not in option:
        return ["has a default in defaults/main.yml, none in the argument spec"] if name in defaults else []
    if name not in defaults:
        return ["has a default in the argument spec, none in defaults/main.yml"]
    if option.get("required"):
        return ["is required and has a default"]
    if value != option["default"] or isinstance(value, bool) != isinstance(option["default"], bool):
        return [f"the argument spec has the default {option['default']!r}, defaults/main.yml {value!r}"]
    fits = isinstance(value, _TYPES[kind]) and (kind in ("bool", "raw") or not isinstance(value, bool))
    return [] if fits or value is None else [f"the default {value!r} is no {kind}"]


def undescribed(specs: Values) -> list[str]:
    """Entry points and options without a description."""
    if "main" not in specs:
        return ["there is no argument spec for main"]
    found = [
        f"{entry}: {key} is missing" for entry, spec in specs.items() for key in ("short_description", "description") if not spec.get(key)
    ]
    return found + [
        f"{entry}.{name}: description is missing"
        for entry, spec in specs.items()
        for name, option in (spec.get("options") or {}).items()
        if not option.get("description")
    ]


def unprefixed(role: str, public: Values, internal: Values) -> list[str]:
    """Variables of defaults/ that do not begin with the role's name, and of vars/ that do not begin with __ and the role's name."""
    found = [f"{name}: a public variable begins with {role}_" for name in public if not name.startswith(f"{role}_")]
    return found + [f"{name}: an internal variable begins with __{role}_" for name in internal if not name.startswith(f"__{role}_")]


def registered(role: str, entries: Any) -> list[str]:
    """Registered variables, loop variables and facts without the role's prefix. Facts that are handed on are triton_x."""
    found = []
    for task in tasks.walk(entries):
        names = [task.task["register"]] if "register" in task.task else []
        names += [str((task.task.get("loop_control") or {}).get("loop_var", f"__{role}_"))]
        if not all(name.startswith(f"__{role}_") for name in names):
            found.append(f"{task.label}: {', '.join(names)}: begins with __{role}_")
        if task.action.endswith(".set_fact"):
            prefixes = (f"{role}_", f"__{role}_", "triton_")
            foreign = [name for name in task.arguments if not name.startswith(prefixes) and name != "cacheable"]
            found += [f"{task.label}: the fact {name}: begins with {role}_ or triton_" for name in foreign]
    return found


def tags(role: str, entries: Any, *, main: bool) -> list[str]:
    """Tags that are not the role's. In main.yml each task carries the role's own tag."""
    found = []
    for entry in entries or []:
        told = entry.get("tags") or []
        told = [told] if isinstance(told, str) else told
        label = entry.get("name") or tasks.action_of(entry)
        found += [
            f"{label}: the tag {tag} is none of {role}'s" for tag in told if tag not in (role, "always") and not tag.startswith(f"{role}_")
        ]
        if main and role not in told and "always" not in told:
            found.append(f"{label}: lacks the tag {role}")
    return found


def unreached(entries: Any, files: Mapping[str, Any]) -> list[str]:
    """Dynamic includes whose tags select nothing: they select the include alone, so its tasks need tags of their own, or applied ones.

    files: name → entries of each file that could be included.
    """
    found = []
    for task in tasks.walk(entries):
        if not task.action.endswith(".include_tasks") or "tags" not in task.task:
            continue
        options = task.arguments if isinstance(task.arguments, Mapping) else {"file": task.arguments}
        known_state = re.sub(r"\{\{ \w+_state \}\}", "*state*", str(options["file"]))
        pattern = re.compile(re.sub(r"\\\{\\\{.*?\\\}\\\}", ".*", re.escape(known_state)).replace(r"\*state\*", "(present|absent)"))
        included = [files[name] for name in files if pattern.fullmatch(name)]
        if "tags" not in options.get("apply", {}) and not all("tags" in entry for content in included for entry in content):
            found.append(f"{task.label}: its tags do not reach the included tasks; use import_tasks, or apply them")
    return found


def incomplete_meta(meta: Values) -> list[str]:
    """meta/main.yml without what a user looks for."""
    info = meta.get("galaxy_info") or {}
    needed = ("author", "description", "license", "min_ansible_version", "platforms")
    found = [f"galaxy_info.{key} is missing" for key in needed if not info.get(key)]
    return found + ([] if "dependencies" in meta else ["dependencies is missing"])


def missing_state(role: str, specs: Values) -> list[str]:
    """A role that cannot be undone."""
    option = (specs.get("main", {}).get("options") or {}).get(f"{role}_state", {})
    return [] if option.get("choices") == ["present", "absent"] else [f"{role}_state: present | absent is not offered"]
