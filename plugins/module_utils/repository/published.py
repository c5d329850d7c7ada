# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is published in a repository, and where it differs from its manifest. Pure: what a store lists goes in, plain values come out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..core.errors import InputError
from .manifest import FileRecord, ModelTree
from .publish import Entry, Observed, revision

# Kinds of drift. TOUCHED: of the recorded size, but written since, and not read.
MISSING, CHANGED, TOUCHED, EXTRA = "missing", "changed", "touched", "extra"
# Differences named in one message; the result carries all of them.
SHOWN = 10
_WHO = ("user", "host", "pid")


@dataclass(frozen=True)
class Published:
    """observed: what the store holds, its own trees among it. holder: who publishes just now."""

    observed: Observed
    holder: Mapping[str, Any] = field(default_factory=dict)


def chosen(models: Collection[str], observed: Observed) -> list[str]:
    """The models to tell about: those named, all where none is. Raises InputError for one that is neither there nor recorded."""
    committed = observed.committed
    known = {*observed.names, *committed.models, *committed.pending}
    if unknown := sorted(set(models) - known):
        remedy = f"There are {', '.join(sorted(known))}." if known else "Nothing is there."
        raise InputError(f"the repository has no model {', '.join(unknown)}", where="models", remedy=remedy)
    return sorted(models or known)


def to_read(names: Iterable[str], observed: Observed, *, every: bool) -> list[str]:
    """The files ("model/path") of these models whose content decides: all recorded ones of the right size, or none."""
    keys = []
    for name in names if every else ():
        record = observed.committed.models.get(name, ModelTree()).flat()
        listed = observed.trees.get(name, ModelTree()).flat()
        keys += [f"{name}/{path}" for path, each in record.items() if path in listed and listed[path].size == each.size]
    return keys


def tell(seen: Published, names: Collection[str], *, digests: bool) -> dict[str, Any]:
    """The answer about these models. digests: whether it holds every recorded one."""
    observed, committed = seen.observed, seen.observed.committed
    models = [_model(name, observed, digests=digests) for name in names]
    return {
        "models": models,
        "bytes": sum(model["bytes"] for model in models),
        "published": observed.manifest is not None,
        "publisher": committed.publisher,
        "time": committed.time,
        "pending": sorted(committed.pending),
        "foreign": sorted(name for name in observed.names if not observed.is_ours(name)),
        "drift": [each for name in names for each in _drift(name, observed)],
        "locked_by": {key: seen.holder[key] for key in _WHO if key in seen.holder},
        "leftovers": list(observed.leftovers),
        "notes": [observed.note] if observed.note else [],
    }


def _model(name: str, observed: Observed, *, digests: bool) -> dict[str, Any]:
    committed = observed.committed
    record = committed.models.get(name)
    tree: ModelTree[Any] = observed.trees.get(name, ModelTree()) if record is None else record
    sizes = [each.size for _path, each in tree.items()]
    recorded = record.items() if record and digests else ()
    return {
        "name": name,
        "state": _state(name, observed),
        "versions": sorted(tree.versions),
        "files": len(sizes),
        "bytes": sum(sizes),
        "revision": revision(record) if record else "",
        **({"digests": {path: each.sha256 for path, each in recorded}} if digests else {}),
    }


def _state(name: str, observed: Observed) -> str:
    if name in observed.committed.pending:
        return "pending"
    return "published" if name in observed.committed.models else "foreign"


def _drift(name: str, observed: Observed) -> list[dict[str, str]]:
    """A model whose publish was not finished has none: its manifest is not meant to hold."""
    record = observed.committed.models.get(name)
    if record is None or name in observed.committed.pending:
        return []
    there = observed.trees.get(name, ModelTree())
    recorded, listed = record.flat(), there.flat()
    kinds = {path: _kind(f"{name}/{path}", each, listed.get(path), observed) for path, each in recorded.items()}
    kinds.update({path: EXTRA for path in listed if path not in recorded})
    # A version without files is a folder that the listing of files does not tell.
    kinds.update({f"{number}/": MISSING for number, files in record.versions.items() if not files and number not in there.versions})
    return [{"model": name, "file": f"{name}/{path}", "kind": kind} for path, kind in sorted(kinds.items()) if kind]


def _kind(key: str, record: FileRecord, entry: Entry | None, observed: Observed) -> str:
    if entry is None:
        return MISSING
    if entry.size != record.size:
        return CHANGED
    if key in observed.digests:
        return "" if observed.digests[key] == record.sha256 else CHANGED
    return "" if entry.stamp == record.stamp else TOUCHED


def drift_verdict(told: Mapping[str, Any]) -> str:
    """Why a repository is not as it was published; empty where it is."""
    lines = [f"  {each['file']} is {each['kind']}" for each in told["drift"] if each["kind"] != TOUCHED]
    lines += [f"  the publish of {name} was not finished" for name in told["pending"]]
    if not lines:
        return ""
    more = [f"  and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return "\n".join(["the repository is not as it was published", *lines[:SHOWN], *more, "Publish again to mend it."])
