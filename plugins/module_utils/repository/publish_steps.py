# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The order in which one model's change becomes visible, so that a server that polls never sees half a version. Pure.

A version becomes visible whole. A new version that comes with a new config.pbtxt is the one case that two switches can tear apart: a
poll between them would load the new version under the old configuration. So the old configuration is first pinned to the versions that
it serves (`version_policy`), the version comes in unseen, and the new configuration is the switch. Triton reads a model's configuration
first and lists its versions a moment later: SETTLE_SECONDS after the pin, a poll that read the configuration before it has done so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .layout import CONFIG_FILE
from .publish import ModelChange, SourceFile

SETTLE_SECONDS = 1.0
_POLICY = "version_policy"
# Comments, strings, brackets, names and numbers of protobuf's text format; anything else is one character.
_TOKEN = re.compile(r"""\#[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|[A-Za-z_][A-Za-z0-9_]*|[0-9]+|[{}<>]|.""", re.DOTALL)


@dataclass(frozen=True)
class Step:
    """One switch. op:

    put_tree      target, a model or version that is not there, appears whole with `files`; `folders` are its versions without files
    replace_tree  the same in the place of a version that is there
    put_file      the one file in `files` appears or is replaced
    put_text      the same, with content from `text`
    drop_tree     target, a model or version, vanishes whole
    drop_file     target, a file, vanishes
    """

    op: str
    target: str
    files: Mapping[str, SourceFile] | None = None
    folders: tuple[str, ...] = ()
    text: bytes = b""


def upload_order(files: Mapping[str, SourceFile]) -> list[tuple[str, SourceFile]]:
    """The files of one tree for stores that cannot make them appear at once: what makes Triton look comes last."""
    return sorted(files.items(), key=lambda item: (rank(item[0]), item[0]))


def rank(path: str) -> int:
    """How late a file comes: 2 for config.pbtxt, 1 for a model file, 0 for all others."""
    name = path.rsplit("/", 1)[-1]
    if name == CONFIG_FILE:
        return 2
    return 1 if name.split(".")[0] == "model" else 0


def is_compound(change: ModelChange) -> bool:
    """Whether the change needs several switches that pinning does not join: best done by exchanging the model's whole folder."""
    switches = len(change.replaced) + len(change.files) + len(change.removed_files) + bool(change.added)
    only_config = set(change.files) == {CONFIG_FILE} and not change.removed_files and not change.replaced
    return change.state == "changed" and switches > 1 and not only_config


def needs_pin(change: ModelChange, *, whole: bool = True) -> bool:
    """Whether a poll could load a new version of this change under the old configuration, or half of it.

    whole: the store's versions appear by one switch.
    """
    if change.state != "changed" or not change.changed_versions:
        return False
    return not whole or (bool(change.added) and _changes_config(change))


def _changes_config(change: ModelChange) -> bool:
    return CONFIG_FILE in change.files or CONFIG_FILE in change.removed_files


def pin(change: ModelChange, old_config: str | None, present: Iterable[int], *, whole: bool = True) -> Step | None:
    """What comes SETTLE_SECONDS before the steps of a change that needs it: the old configuration, pinned to the versions it serves.

    old_config: the text of the model's config.pbtxt in the repository, None where there is none. present: the versions there, anybody's.
    """
    older = set(present) - set(change.added if whole else change.changed_versions)
    text = pin_versions(old_config or "", older) if older else None
    return None if text is None else _put_config(change, text)


def unpin(change: ModelChange, old_config: str | None) -> list[Step]:
    """What ends the steps of a pinned change that brings no configuration of its own: the old one comes back."""
    if _changes_config(change):
        return []
    return [Step("drop_file", f"{change.name}/{CONFIG_FILE}") if old_config is None else _put_config(change, old_config)]


def _put_config(change: ModelChange, text: str) -> Step:
    return Step("put_text", f"{change.name}/{CONFIG_FILE}", text=text.encode(errors="surrogateescape"))


def steps(change: ModelChange) -> list[Step]:
    """The switches of one change in order."""
    name = change.name
    if change.state == "removed":
        return [Step("drop_tree", name)]
    if change.state == "new":
        folders = tuple(f"{name}/{number}" for number, files in change.added.items() if not files)
        return [Step("put_tree", name, change.uploads(), folders)]
    # The newest version first: with the usual policy, it is the only one that a server takes.
    added = [_version("put_tree", name, number, change.added[number]) for number in sorted(change.added, reverse=True)]
    replaced = [_version("replace_tree", name, number, change.replaced[number]) for number in sorted(change.replaced, reverse=True)]
    files = [Step("put_file", f"{name}/{path}", {f"{name}/{path}": each}) for path, each in upload_order(change.files)]
    gone = [Step("drop_file", f"{name}/{path}") for path in change.removed_files]
    versions_gone = [Step("drop_tree", f"{name}/{number}") for number in change.removed_versions]
    return [*added, *replaced, *files, *gone, *versions_gone]


def _version(op: str, name: str, number: int, files: Mapping[str, SourceFile]) -> Step:
    target = f"{name}/{number}"
    return Step(op, target, {f"{target}/{path}": each for path, each in files.items()}, () if files else (target,))


def pin_versions(config: str, present: Iterable[int]) -> str | None:
    """A config.pbtxt that goes on to serve just the versions of `present` that it serves now, whatever comes beside them.

    None where the text cannot be read as protobuf's text format: then it is left alone.
    """
    served = served_versions(config, present)
    return None if served is None else specify_versions(config, served)


def specify_versions(config: str, versions: Iterable[int]) -> str | None:
    """The config.pbtxt that serves just these versions; None where its text cannot be read."""
    split = _cut_policy(config)
    numbers = ", ".join(str(number) for number in sorted(versions))
    return None if split is None else f"{split[0].rstrip()}\n{_POLICY} {{ specific {{ versions: [ {numbers} ] }} }}\n".lstrip()


def served_versions(config: str, present: Iterable[int]) -> tuple[int, ...] | None:
    """Which of the versions that are present a server loads by this configuration; None where its text cannot be read."""
    split = _cut_policy(config)
    return None if split is None else tuple(_served(split[1], sorted(present)))


def named_versions(config: str) -> frozenset[int]:
    """The versions that a configuration's version_policy names."""
    split = _cut_policy(config)
    if split is None or not re.search(r"\bspecific\b", policy := _uncommented(split[1])):
        return frozenset()
    return frozenset(int(number) for number in re.findall(r"\b[0-9]+\b", policy))


def _uncommented(policy: str) -> str:
    return re.sub(r"#[^\n]*", "", policy)


def _cut_policy(config: str) -> tuple[str, str] | None:
    """The text without its top-level version_policy, and that policy's text."""
    depth, start, kept, policy, position = 0, -1, "", "", 0
    for match in _TOKEN.finditer(config):
        part = match.group()
        if depth == 0 and start < 0 and part == _POLICY:
            start, kept = match.start(), kept + config[position : match.start()]
        if part in ("{", "<"):
            depth += 1
        elif part in ("}", ">"):
            depth -= 1
            if depth == 0 and start >= 0:
                policy += config[start : match.end()]
                start, position = -1, match.end()
        if depth < 0:
            return None
    return None if depth or start >= 0 else (kept + config[position:], policy)


def _served(policy: str, present: list[int]) -> list[int]:
    text = _uncommented(policy)
    if re.search(r"\bspecific\b", text):
        named = {int(number) for number in re.findall(r"\b[0-9]+\b", text)}
        return [number for number in present if number in named]
    if re.search(r"\ball\b", text):
        return present
    latest = re.search(r"\bnum_versions\s*:\s*([0-9]+)", text)
    return present[-max(1, int(latest.group(1)) if latest else 1) :]
