# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether a model must be fetched: the source's identity and what was recorded of the last fetch decide. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..core.errors import conflict
from ..core.plan import Action, Plan
from ..repository.manifest import is_safe_path

# Beside the models: a plain file, which is never published and which no server reads.
RECORD_FILE = ".serving-triton-fetched.json"


@dataclass(frozen=True)
class Origin:
    """Where a model comes from. text: for people. identity: changes with the content and with how it is laid out.

    files: path in the model's folder → SHA-256, where that is known before it is fetched.
    """

    text: str
    identity: str
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Fetched:
    """What was fetched of a model. identity: of its origin then. files: path in the model's folder → SHA-256.

    coming: files that a run was about to put there when it wrote this.
    """

    identity: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    coming: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Seen:
    """files: path in the model's folder → SHA-256, of what lies there now. recorded: "model" or "model/version" → what was fetched."""

    files: Mapping[str, str] = field(default_factory=dict)
    recorded: Mapping[str, Fetched] = field(default_factory=dict)


def identify(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def key_of(name: str, version: int | None) -> str:
    """Under which name it is recorded what was fetched."""
    return name if version is None else f"{name}/{version}"


def keys_of(name: str, version: int | None, recorded: Mapping[str, Fetched]) -> list[str]:
    """What is recorded of a model, or of one version of it."""
    return [key for key in recorded if key == key_of(name, version) or (version is None and key.startswith(f"{name}/"))]


def plan_present(name: str, version: int | None, origin: Origin, seen: Seen, *, force: bool = False) -> Plan:
    """Fetches where the origin is another one than last time, or where a file of it is missing or was changed.

    Raises ConflictError where that would replace what was not fetched, unless `force` allows it.
    """
    last = seen.recorded.get(key_of(name, version), Fetched())
    damaged = [path for path, digest in last.files.items() if seen.files.get(path) != digest]
    if last.identity == origin.identity and last.files and not damaged:
        return Plan()
    # What an archive or a download holds is seen when it is there; the version's folder it replaces in any case.
    coming = origin.files or dict.fromkeys([f"{version}/"] if version else [], "")
    if not force:
        check_replaced(name, coming, seen)
    going = replaced(coming, seen.files)
    before = _text(name, {path: digest for path, digest in seen.files.items() if path in last.files or path in going})
    return Plan((Action("fetch", f"model {name} from {origin.text}"),), before, f"{name}  from {origin.text}\n")


def replaced(coming: Mapping[str, str], there: Mapping[str, str]) -> set[str]:
    """The files there that go when others come: folders are exchanged as a whole."""
    folders = {path.split("/", 1)[0] for path in coming if "/" in path}
    return {path for path in there if path in coming or ("/" in path and path.split("/", 1)[0] in folders)}


def check_replaced(name: str, coming: Mapping[str, str], seen: Seen) -> None:
    """Raises ConflictError where files would be replaced that somebody else made or changed. coming: path → SHA-256, "" where unknown."""
    known: dict[str, set[str]] = {}
    for key in keys_of(name, None, seen.recorded):
        for files in (seen.recorded[key].files, seen.recorded[key].coming):
            for path, digest in files.items():
                known.setdefault(path, set()).add(digest)
    strange = []
    for path in sorted(replaced(coming, seen.files)):
        if seen.files[path] not in {*known.get(path, ()), coming.get(path, "")}:
            strange.append((f"{name}/{path}", "was changed since it was fetched" if path in known else "was not fetched by this module"))
    if strange:
        remedy = "Move what you want to keep to another place, or set force to replace it."
        raise conflict(strange, remedy, between=" ")


def plan_absent(name: str, version: int | None, seen: Seen) -> Plan:
    """Removes a version, or the whole model."""
    prefix = "" if version is None else f"{version}/"
    gone = {path: digest for path, digest in seen.files.items() if path.startswith(prefix)}
    if not gone and not keys_of(name, version, seen.recorded):
        return Plan()
    target = f"model {name}" if version is None else f"version {version} of model {name}"
    return Plan((Action("remove", target),), _text(name, gone), "")


def _text(name: str, files: Mapping[str, str]) -> str:
    return "".join(f"{name}/{path}  sha256:{digest[:16]}\n" for path, digest in sorted(files.items()))


def read_record(text: str) -> dict[str, Fetched]:
    """The record's content; nothing where it is damaged, so that everything is fetched again."""
    try:
        models = json.loads(text)["models"]
        return {
            name: Fetched(str(each["identity"]), _files(each["files"]), _files(each.get("coming", {}))) for name, each in models.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _files(files: Mapping[str, str]) -> dict[str, str]:
    if not all(is_safe_path(path) for path in files):
        raise ValueError(files)
    return {path: str(digest) for path, digest in files.items()}


def write_record(recorded: Mapping[str, Fetched]) -> str:
    models = {name: _dump(each) for name, each in sorted(recorded.items())}
    return json.dumps({"schema": 1, "models": models}, indent=1) + "\n"


def _dump(fetched: Fetched) -> dict[str, Any]:
    coming = {"coming": dict(sorted(fetched.coming.items()))} if fetched.coming else {}
    return {"identity": fetched.identity, "files": dict(sorted(fetched.files.items())), **coming}
