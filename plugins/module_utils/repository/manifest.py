# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The commit record of a published repository: what we put there. Pure; stores read and write its bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Generic, TypeVar

from ..core.errors import InputError
from .layout import MANIFEST_FILE, VERSION_NAME

SCHEMA = 1
_SAFE_PATH = re.compile(r"(?!\.\.?(?:/|\Z))[0-9A-Za-z._-]+(?:/(?!\.\.?(?:/|\Z))[0-9A-Za-z._-]+)*\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")

T = TypeVar("T")


@dataclass(frozen=True)
class ModelTree(Generic[T]):
    """A model's files. files: path in the model's folder → T, outside of versions; versions: number → path in the version's folder → T.

    A version without a file counts: an ensemble's is an empty folder.
    """

    files: Mapping[str, T] = field(default_factory=dict)
    versions: Mapping[int, Mapping[str, T]] = field(default_factory=dict)

    def items(self) -> Iterator[tuple[str, T]]:
        """Every file as (path in the model's folder, T), in order."""
        yield from sorted(self.files.items())
        for number in sorted(self.versions):
            yield from ((f"{number}/{path}", item) for path, item in sorted(self.versions[number].items()))

    def flat(self) -> dict[str, T]:
        """path in the model's folder → T."""
        flat = dict(self.files)
        for number, group in self.versions.items():
            flat.update({f"{number}/{path}": item for path, item in group.items()})
        return flat


@dataclass(frozen=True)
class FileRecord:
    """size: bytes. sha256: hex. stamp: what the store says of an untouched file (an mtime, an ETag); empty where unknown."""

    size: int
    sha256: str
    stamp: str = field(default="", compare=False)


@dataclass(frozen=True)
class Withdrawn:
    """What a release went back from. versions: number → digest of its files; none where only other files changed, whose digest is `files`.

    A version that never was published to its end has the digest "": whatever comes under its number is that.
    why: for people. again: it may be published once more.
    """

    versions: Mapping[int, str] = field(default_factory=dict)
    files: str = ""
    why: str = ""
    again: bool = False


@dataclass(frozen=True)
class Release:
    """A model's last release, see release.py. state: begun, done, withdrawn or cleared. served: versions that served before; none where the
    model is new.

    versions, files: what was published before, files outside of versions as text. released: what serves by a release that is done.
    bad: versions that were withdrawn. why: for people.
    """

    state: str
    served: tuple[int, ...] = ()
    versions: tuple[int, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    released: tuple[int, ...] = ()
    bad: tuple[int, ...] = ()
    why: str = ""


@dataclass(frozen=True)
class Manifest:
    """models: name → what we published of it. pending: models that a publish was about to change when it wrote this.

    created_root: the repository's folder was made by us, so it goes with the last model. publisher, time: for people; never compared.
    withdrawn: model → what is not to be published again. releases: model → its last release.
    """

    models: Mapping[str, ModelTree[FileRecord]] = field(default_factory=dict)
    pending: tuple[str, ...] = ()
    created_root: bool = False
    publisher: str = field(default="", compare=False)
    time: str = field(default="", compare=False)
    withdrawn: Mapping[str, tuple[Withdrawn, ...]] = field(default_factory=dict)
    releases: Mapping[str, Release] = field(default_factory=dict)


def is_safe_path(path: str) -> bool:
    """Whether every part is a name that all stores and Triton can hold, and none leads elsewhere."""
    return bool(_SAFE_PATH.match(path))


def is_model_name(name: str) -> bool:
    """Whether a folder of this name can be published. Names with a leading dot are ours or other tools'."""
    return is_safe_path(name) and "/" not in name and not name.startswith(".")


def dump(manifest: Manifest) -> bytes:
    """The manifest as it is stored: JSON, the same bytes for the same content."""
    document = {
        "schema": SCHEMA,
        "publisher": manifest.publisher,
        "time": manifest.time,
        "created_root": manifest.created_root,
        "pending": sorted(manifest.pending),
        "models": {name: _dump_model(tree) for name, tree in sorted(manifest.models.items())},
    }
    if manifest.withdrawn:
        document["withdrawn"] = {name: [_dump_withdrawn(each) for each in marks] for name, marks in sorted(manifest.withdrawn.items())}
    if manifest.releases:
        document["releases"] = {name: asdict(each) for name, each in sorted(manifest.releases.items())}
    lines = ",\n".join(f" {json.dumps(key)}: {_block(value)}" for key, value in document.items())
    return f"{{\n{lines}\n}}\n".encode()


def _block(value: Any) -> str:
    """A line for each model: people see what changed, and json's fast encoder, which knows no indentation, is used."""
    if not isinstance(value, dict) or not value:
        return json.dumps(value)
    lines = ",\n".join(f"  {json.dumps(key)}: {json.dumps(each)}" for key, each in value.items())
    return f"{{\n{lines}\n }}"


def parse(raw: bytes | None) -> tuple[Manifest | None, str]:
    """The manifest and a note for the user. A damaged manifest counts as missing, and the note says so.

    Raises InputError for a schema of a newer release: it may say things that this one would undo.
    """
    if raw is None:
        return None, ""
    try:
        document = json.loads(raw)
        schema = document["schema"]
    except (ValueError, KeyError, TypeError):
        return None, _damaged("it is not a manifest")
    if schema != SCHEMA:
        raise InputError(
            f"the manifest has schema {schema!r}, this release knows {SCHEMA}",
            where=MANIFEST_FILE,
            remedy="Publish with the release of serving.triton that wrote it, or a newer one.",
        )
    try:
        return _parse(document), ""
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return None, _damaged(f"{type(error).__name__} {error}")


def _damaged(why: str) -> str:
    return f"{MANIFEST_FILE} is damaged ({why}) and counts as missing: models in the repository are taken for somebody else's"


def _dump_model(tree: ModelTree[FileRecord]) -> dict[str, Any]:
    versions = {str(number): _dump_files(files) for number, files in sorted(tree.versions.items())}
    return {"files": _dump_files(tree.files), "versions": versions}


def _dump_files(files: Mapping[str, FileRecord]) -> dict[str, Any]:
    return {path: {"size": each.size, "sha256": each.sha256, "stamp": each.stamp} for path, each in sorted(files.items())}


def _dump_withdrawn(mark: Withdrawn) -> dict[str, Any]:
    versions = {str(number): digest for number, digest in sorted(mark.versions.items())}
    return {"versions": versions, "files": mark.files, "why": mark.why, "again": mark.again}


def _parse_withdrawn(document: dict[str, Any]) -> Withdrawn:
    versions = {int(number): str(digest) for number, digest in document["versions"].items()}
    return Withdrawn(versions, str(document["files"]), str(document["why"]), bool(document["again"]))


def _parse_release(document: dict[str, Any]) -> Release:
    lists = {key: tuple(int(number) for number in document[key]) for key in ("served", "versions", "released", "bad")}
    # These paths are written to, as those below.
    files = {path: str(text) for path, text in document["files"].items() if is_safe_path(path)}
    return Release(str(document["state"]), files=files, why=str(document["why"]), **lists)


def _parse(document: dict[str, Any]) -> Manifest:
    models = {_name(name): _parse_model(model) for name, model in document["models"].items()}
    pending = tuple(_name(name) for name in document["pending"])
    withdrawn = {_name(name): tuple(map(_parse_withdrawn, marks)) for name, marks in document.get("withdrawn", {}).items()}
    releases = {_name(name): _parse_release(each) for name, each in document.get("releases", {}).items()}
    about = str(document["publisher"]), str(document["time"])
    return Manifest(models, pending, bool(document["created_root"]), *about, withdrawn, releases)


def _parse_model(document: dict[str, Any]) -> ModelTree[FileRecord]:
    versions: dict[int, Mapping[str, FileRecord]] = {}
    for number, files in document["versions"].items():
        if not VERSION_NAME.match(number):
            raise ValueError(number)
        versions[int(number)] = _parse_files(files)
    return ModelTree(_parse_files(document["files"]), versions)


def _parse_files(document: dict[str, Any]) -> dict[str, FileRecord]:
    files: dict[str, FileRecord] = {}
    for path, each in document.items():
        # These paths are written to and deleted: never trust them.
        if not is_safe_path(path) or not _SHA256.match(each["sha256"]):
            raise ValueError(path)
        files[path] = FileRecord(int(each["size"]), each["sha256"], str(each["stamp"]))
    return files


def _name(name: str) -> str:
    if not is_model_name(name):
        raise ValueError(name)
    return name
