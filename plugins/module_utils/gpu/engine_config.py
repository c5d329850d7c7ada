# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What container engines are told about NVIDIA's runtime and CDI: single settings, merged into their configuration and undone.

`nvidia-ctk runtime configure` is not what does it: it is not there before it is installed (check mode could not tell), it has no way back,
it writes the features of docker's daemon.json anew without those of the user, and it drops comments. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core.errors import InputError
from . import toml, toml_edit
from .toml_edit import MISSING, get, put

ENGINES = ("docker", "containerd", "crio")
# containerd's plugin for Kubernetes, by the version of the file.
_CRI = {1: "cri", 2: "io.containerd.grpc.v1.cri", 3: "io.containerd.cri.v1.runtime"}
_RUNC, _RUNC_TYPE = "runc", "io.containerd.runc.v2"


@dataclass(frozen=True)
class Wanted:
    """runtime: path of NVIDIA's runtime. name: what containers ask for it by. default: whether it runs every container.

    cdi: whether CDI names resolve.
    """

    runtime: str = "/usr/bin/nvidia-container-runtime"
    name: str = "nvidia"
    default: bool = False
    cdi: bool = True


@dataclass(frozen=True)
class Edit:
    """One setting: its keys, the value that was set, and whether and which value was there before."""

    keys: tuple[str, ...]
    value: Any
    before: Any = MISSING

    def plain(self) -> dict[str, Any]:
        there = {} if self.before is MISSING else {"before": self.before}
        return {"keys": list(self.keys), "value": self.value, **there}


@dataclass(frozen=True)
class Record:
    """What was done to a file. original: its text before, None where there was none; written: after; edits: the settings."""

    original: str | None
    written: str
    edits: tuple[Edit, ...] = field(default=())

    def dump(self) -> str:
        values = {"original": self.original, "written": self.written, "edits": [edit.plain() for edit in self.edits]}
        return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def load_record(text: str) -> Record:
    values = json.loads(text)
    edits = tuple(Edit(tuple(edit["keys"]), edit["value"], edit.get("before", MISSING)) for edit in values["edits"])
    return Record(values["original"], values["written"], edits)


def parse(engine: str, text: str | None, where: str = "") -> dict[str, Any]:
    """The configuration as nested mappings; empty for no file. Raises InputError for what the engine could not read either."""
    if text is None or not text.strip():
        return {}
    try:
        document: dict[str, Any] = json.loads(text) if engine == "docker" else toml.loads(text)
    except ValueError as error:
        raise InputError(f"the file cannot be read ({error})", where=where, remedy=f"Repair it, as {engine} needs it too.") from error
    if not isinstance(document, dict):
        raise InputError("the file holds no settings", where=where, remedy=f"Repair it, as {engine} needs it too.")
    return document


def settings(engine: str, document: Mapping[str, Any], wanted: Wanted) -> list[tuple[tuple[str, ...], Any]]:
    """What has to be set in a file that says this much already."""
    if engine == "docker":
        found: list[tuple[tuple[str, ...], Any]] = [(("runtimes", wanted.name), {"path": wanted.runtime, "args": []})]
        found += [(("features", "cdi"), True)] if wanted.cdi else []
        return found + ([(("default-runtime",), wanted.name)] if wanted.default else [])
    return _containerd(document, wanted) if engine == "containerd" else _crio(wanted)


def _containerd(document: Mapping[str, Any], wanted: Wanted) -> list[tuple[tuple[str, ...], Any]]:
    version = document.get("version", 1 if document else 2)
    if version not in _CRI:
        raise InputError(
            f"version {version} of the file is not known", where="containerd", remedy=f"Known are {', '.join(map(str, _CRI))}."
        )
    cri = ("plugins", _CRI[version])
    # The new runtime behaves as the usual one does, cgroups by systemd included.
    usual = get(document, (*cri, "containerd", "default_runtime_name"))
    usual = usual if isinstance(usual, str) and usual != wanted.name else _RUNC
    like = get(document, (*cri, "containerd", "runtimes", usual))
    runtime = (*cri, "containerd", "runtimes", wanted.name)
    values: dict[tuple[str, ...], Any] = {} if document else {("version",): 2}
    if like is MISSING and usual == _RUNC:
        # containerd 1 takes the runtimes of a file in place of its own, where runc is the default.
        values[(*cri, "containerd", "runtimes", _RUNC, "runtime_type")] = _RUNC_TYPE
    like = like if isinstance(like, Mapping) else {}
    values[(*runtime, "runtime_type")] = _RUNC_TYPE
    values.update({(*runtime, key): value for key, value in like.items() if not isinstance(value, Mapping)})
    values.update({(*runtime, "options", key): value for key, value in (like.get("options") or {}).items()})
    values[(*runtime, "options", "BinaryName")] = wanted.runtime
    if wanted.cdi:
        values[(*cri, "enable_cdi")] = True
    if wanted.default:
        values[(*cri, "containerd", "default_runtime_name")] = wanted.name
    return list(values.items())


def _crio(wanted: Wanted) -> list[tuple[tuple[str, ...], Any]]:
    runtime = ("crio", "runtime", "runtimes", wanted.name)
    found: list[tuple[tuple[str, ...], Any]] = [((*runtime, "runtime_path"), wanted.runtime), ((*runtime, "runtime_type"), "oci")]
    return found + ([(("crio", "runtime", "default_runtime"), wanted.name)] if wanted.default else [])


def configure(engine: str, text: str | None, wanted: Wanted, where: str = "") -> Record:
    """The file with the settings, and what undoes them. text: the file as its owner left it."""
    document = parse(engine, text, where)
    edits = []
    changed = text or ""
    for keys, value in settings(engine, document, wanted):
        before = get(document, keys)
        if before == value:
            continue
        edits.append(Edit(keys, value, before))
        document = put(document, keys, value)
        changed = changed if engine == "docker" else toml_edit.change(changed, keys, value)
    if engine == "docker" and edits:
        changed = _json(document, text)
    return Record(text, changed if edits else text or "", tuple(edits))


def undo(engine: str, text: str | None, record: Record | None, where: str = "") -> str | None:
    """The file as its owner had it: byte by byte where nobody changed it since, else less the settings that are still ours.

    None means that there was no file.
    """
    if record is None or text is None:
        return text
    if text == record.written:
        return record.original
    document = parse(engine, text, where)
    changed = text
    for edit in reversed(record.edits):
        if get(document, edit.keys) != edit.value:
            continue  # somebody else's by now
        document = put(document, edit.keys, edit.before)
        changed = changed if engine == "docker" else toml_edit.change(changed, edit.keys, edit.before)
    owned = parse(engine, record.original, where)
    for table in _tables(edit.keys for edit in record.edits):
        if get(document, table) == {} and get(owned, table) is MISSING:
            document = put(document, table, MISSING)
            changed = changed if engine == "docker" else toml_edit.drop_empty_table(changed, table)
    if not document and record.original is None:
        return None
    return _json(document, text) if engine == "docker" else changed


def _tables(keys: Iterable[Sequence[str]]) -> list[tuple[str, ...]]:
    """The tables around settings, the innermost first."""
    found = {tuple(path[:length]) for path in keys for length in range(1, len(path))}
    return sorted(found, key=lambda table: (-len(table), table))


def _json(document: Mapping[str, Any], like: str | None) -> str:
    """In the way in which the owner indents."""
    match = re.match(r"\s*\{\s*\n([ \t]+)\"", like or "")
    return json.dumps(document, indent=match[1] if match else 2, ensure_ascii=False) + "\n"
