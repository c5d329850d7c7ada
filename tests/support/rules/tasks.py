# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rules for tasks, wherever they stand: names, actions, facts, tags, changes that are told, secrets that are kept."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import ansible.playbook.handler
import ansible.playbook.play
import yaml

from ansible_collections.serving.triton.plugins.module_utils.core.redaction import is_secret_key

Task = Mapping[str, Any]

BLOCKS = ("block", "rescue", "always")
LISTS = (*BLOCKS, "tasks", "pre_tasks", "post_tasks", "handlers")
KEYWORDS = {*ansible.playbook.handler.Handler.fattributes, *ansible.playbook.play.Play.fattributes, *BLOCKS}
# Names that begin with ansible_ and are no injected facts: magic variables, and those of connections and loops.
_MAGIC = re.compile(
    r"ansible_(facts|check_mode|diff_mode|version|verbosity|forks|limit|managed|local|host|port|user|password|connection|run_tags|skip_tags"
    r"|remote_tmp|python_interpreter|role_names?|config_file|inventory_sources|collection_name|search_path|shell_type|shell_executable"
    r"|(play|playbook|parent_role|dependent_role|loop|index|failed|become|ssh|async|job)_\w+|become|loop)$"
)
_NAME = re.compile(r"(?<![\w.'\"-])ansible_\w+")
_JINJA = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
_STRING = re.compile(r"'[^']*'|\"[^\"]*\"")
_WORD = re.compile(r"\b[a-zA-Z_]\w*")
_COMMANDS = re.compile(r"(ansible\.builtin\.|ansible\.legacy\.)?(command|shell|raw|script|expect)$")
_SHELLS = re.compile(r"(ansible\.builtin\.|ansible\.legacy\.)?(shell|raw)$")
_CHANGING = re.compile(
    r"(?<![\w-])(install|uninstall|upgrade|apply|create|delete|remove|rm|mv|cp|ln|mkdir|touch|chmod|chown|restart|reload|start|stop|kill"
    r"|shutdown|enable|disable|set|add|update|write|patch|scale|push|pull|useradd|userdel|modprobe|load|run|build)(?![\w-])"
)
_PUBLISHING = ("serving.triton.model_repository", "serving.triton.release")
# What surrounds a secret, not the secret.
_HARMLESS = re.compile(r"(_file|_path|_files|_dir|_folder|_name|_mode|_owner|_stat|_exists|_changed|_set)$")
# Conditions are Jinja without braces.
_EXPRESSIONS = ("when", "until", "changed_when", "failed_when", "that", "var")


@dataclass(frozen=True)
class Found:
    """A task, the action it calls, and what it inherits from its blocks: no_log, and their conditions."""

    task: Task
    action: str
    hidden: bool
    conditions: str

    @property
    def label(self) -> str:
        return str(self.task.get("name") or self.action)

    @property
    def arguments(self) -> Any:
        return self.task.get(self.action)


def action_of(task: Task) -> str:
    """The name of the module or action that a task calls; empty for blocks and plays."""
    return next((key for key in task if key not in KEYWORDS and not key.startswith("with_")), "")


def walk(entries: Any, hidden: bool = False, conditions: str = "") -> Iterator[Found]:
    """All tasks in lists of tasks or plays, blocks resolved."""
    for entry in entries or []:
        within = hidden or bool(entry.get("no_log"))
        when = f"{conditions} {entry.get('when', '')}"
        for part in LISTS:
            yield from walk(entry.get(part), within, when)
        if not any(part in entry for part in LISTS) and "hosts" not in entry:
            yield Found(entry, action_of(entry), within, when)


def unnamed(found: Found) -> list[str]:
    name = str(found.task.get("name") or "")
    if not name:
        return ["has no name"]
    return [] if name[0].isupper() or name[0] == "{" else ["its name does not begin with a capital letter"]


def short_names(found: Found) -> list[str]:
    if found.action.startswith("import_playbook") or found.action.count(".") >= 2:
        return []
    return [f"{found.action or 'the task'} is no FQCN"]


def shells(found: Found) -> list[str]:
    return [f"{found.action} runs a shell; use a module, or command with argv"] if _SHELLS.match(found.action) else []


def shell_strings(found: Found) -> list[str]:
    """Commands whose arguments are not given one by one."""
    if not _COMMANDS.match(found.action) or _SHELLS.match(found.action):
        return []
    return [] if isinstance(found.arguments, Mapping) and "argv" in found.arguments else [f"{found.action} without argv"]


def rivals(found: Found) -> list[str]:
    """Hosts that publish at once to a repository that they share: all but one would fail."""
    if found.action not in _PUBLISHING or found.task.get("throttle") == 1:
        return []
    return [f"{found.action} without throttle: 1; a repository takes one publisher at a time"]


def injected_facts(found: Found) -> list[str]:
    """Facts read as ansible_x; runs with inject_facts_as_vars=false do not have them."""
    return sorted({f"{name} is an injected fact; use ansible_facts" for text in _jinja(found.task) for name in _names(text)})


def _names(expression: str) -> Iterator[str]:
    bare = _STRING.sub("''", expression)
    return (name for name in _NAME.findall(bare) if not _MAGIC.match(name))


def _jinja(value: Any, key: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _jinja(inner, str(name))
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _jinja(inner, key)
    elif isinstance(value, str):
        yield from [value] if key in _EXPRESSIONS else _JINJA.findall(value)


def injected_facts_in_template(text: str) -> list[str]:
    return sorted({f"{name} is an injected fact; use ansible_facts" for part in _JINJA.findall(text) for name in _names(part)})


def silent_changes(found: Found) -> list[str]:
    """Commands that change something and claim not to. What only reads must also run in check mode: later tasks rely on its answer."""
    if not _COMMANDS.match(found.action) or found.task.get("changed_when") is not False:
        return []
    argv = found.arguments.get("argv") or found.arguments.get("cmd") if isinstance(found.arguments, Mapping) else found.arguments
    words = _JINJA.sub(" ", argv if isinstance(argv, str) else " ".join(map(str, argv or [])))
    change = _CHANGING.search(words)
    if change:
        return [f"`{change[0]}` changes something, but changed_when is false"]
    decided = found.task.get("check_mode") is False or "ansible_check_mode" in found.conditions
    return [] if decided else ["only reads, so it needs check_mode: false, or a condition on ansible_check_mode"]


def open_secrets(found: Found) -> list[str]:
    """Tasks that handle a variable named like a secret without no_log. Paths to secrets are no secrets."""
    if found.hidden or found.action.startswith("serving.triton."):
        return []
    expressions = " ".join(_jinja([_shown(found), found.task.get("loop"), found.task.get("environment")]))
    names = {name for name in _WORD.findall(_STRING.sub("''", expressions)) if is_secret_key(name) and not _HARMLESS.search(name)}
    return [f"handles {', '.join(sorted(names))} without no_log"] if names else []


def secrets_on_command_lines(text: str, variables: Mapping[str, Any]) -> list[str]:
    """Tasks whose environment holds a secret, which Ansible writes before the command that it has a shell run: no_log hides it in no list
    of processes. variables: the role's own, by which a secret may come."""
    found = []
    for label, environment in _environments(yaml.safe_load(text)):
        names = _names_behind(" ".join(_jinja(environment)), variables)
        secret = {name for name in names if is_secret_key(name) and not _HARMLESS.search(name)}
        found += [f"{label}: has {', '.join(sorted(secret))} in its environment"] if secret else []
    return found


def _environments(entries: Any) -> Iterator[tuple[str, Any]]:
    """Of tasks and of blocks."""
    for entry in entries or []:
        if "environment" in entry:
            yield str(entry.get("name")), entry["environment"]
        for part in LISTS:
            yield from _environments(entry.get(part))


def _names_behind(expression: str, variables: Mapping[str, Any]) -> set[str]:
    names: set[str] = set()
    todo = [expression]
    while todo:
        more = set(_WORD.findall(_STRING.sub("''", todo.pop()))) - names
        names |= more
        todo += [" ".join(_jinja(variables[name])) for name in more if name in variables]
    return names


def _shown(found: Found) -> Any:
    # An assert prints its conditions as they are written, not their values.
    if found.action.endswith(".assert") and isinstance(found.arguments, Mapping):
        return {key: value for key, value in found.arguments.items() if key != "that"}
    return found.arguments


RULES: tuple[Callable[[Found], list[str]], ...] = (
    unnamed,
    short_names,
    shells,
    shell_strings,
    rivals,
    injected_facts,
    silent_changes,
    open_secrets,
)


def violations(text: str) -> list[str]:
    """What is wrong with the tasks of a YAML file."""
    return [f"{found.label}: {problem}" for found in walk(yaml.safe_load(text)) for rule in RULES for problem in rule(found)]
