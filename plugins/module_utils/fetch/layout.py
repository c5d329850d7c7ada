# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How a folder of files becomes a model's folder: Triton's own layout, one model file, an MLflow model, a Hugging Face snapshot. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from ..core.errors import InputError
from ..repository.layout import CONFIG_FILE, VERSION_NAME
from ..repository.manifest import is_safe_path

# Ending → the name that Triton's backends look for.
MODEL_FILES: Mapping[str, str] = {
    ".onnx": "model.onnx",
    ".graphdef": "model.graphdef",
    ".pb": "model.graphdef",
    ".plan": "model.plan",
    ".pt": "model.pt",
    ".lgb": "model.txt",
    ".py": "model.py",
}
# MLflow's flavours that a backend of Triton loads, with the key that names their file.
_FLAVOURS = {"onnx": "data", "tensorflow": "saved_model_dir", "lightgbm": "data"}
_SAVED_MODEL = "saved_model.pb"
_NOT_LOADABLE = ("model.safetensors", "pytorch_model.bin", "model.safetensors.index.json", "tf_model.h5", "flax_model.msgpack")
_EXPORT = "Export it to ONNX first (optimum-cli export onnx), or write a python model that loads it."


@dataclass(frozen=True)
class Folder:
    """paths: all files, relative, with forward slashes. read: a small text file's content."""

    paths: Collection[str]
    read: Callable[[str], str]

    def below(self, folder: str) -> Folder:
        prefix = f"{folder}/"
        return Folder([path[len(prefix) :] for path in self.paths if path.startswith(prefix)], lambda path: self.read(prefix + path))


@dataclass(frozen=True)
class Request:
    """name: of the model. version: the number of its folder. member: the file or folder to take. file: the model file's name there."""

    name: str
    version: int = 1
    member: str = ""
    file: str = ""


def lay_out(folder: Folder, request: Request, where: str) -> dict[str, str]:
    """Path in the model's folder → path in the folder that was fetched. Raises InputError where no rule knows it."""
    found = _lay_out(folder, request, where)
    if unsafe := sorted(path for path in found if not is_safe_path(path)):
        remedy = "Rename them: letters, digits and . _ - are what every store and Triton can hold."
        raise InputError(f"files cannot be published by their names: {', '.join(unsafe[:10])}", where=where, remedy=remedy)
    return found


def _lay_out(folder: Folder, request: Request, where: str) -> dict[str, str]:
    prefix, inner = _descend(folder, request, where)
    if not inner.paths:
        return {f"{request.version}/{_model_file(prefix, request, where)}": prefix}
    for rule in (_triton, _mlflow, _hugging_face, _only_file):
        if found := rule(inner, request, where):
            return {target: f"{prefix}{path}" for target, path in found.items()}
    remedy = "Name the model file by the option member, and what Triton shall call it by file."
    raise InputError(f"no model file is known among {_some(inner.paths)}", where=where, remedy=remedy)


def _descend(folder: Folder, request: Request, where: str) -> tuple[str, Folder]:
    """The folder that counts, with its place; a folder without paths where one file does."""
    if request.member:
        member = request.member.strip("/")
        if member in folder.paths:
            return member, Folder((), folder.read)
        inner = folder.below(member)
        if not inner.paths:
            raise InputError(f"there is no {member} in it", where=where, remedy=f"There are {_some(folder.paths)}.")
        return f"{member}/", inner
    # Archives often hold one folder, and repositories one folder a model.
    tops = {path.split("/", 1)[0] for path in folder.paths}
    for top in [request.name] if request.name in tops else sorted(tops) if len(tops) == 1 else []:
        if not VERSION_NAME.match(top) and (inner := folder.below(top)).paths:
            deeper, last = _descend(inner, request, where)
            return f"{top}/{deeper}", last
    return "", folder


def _triton(folder: Folder, _request: Request, _where: str) -> dict[str, str]:
    versions = {path.split("/", 1)[0] for path in folder.paths if "/" in path and VERSION_NAME.match(path.split("/", 1)[0])}
    if not versions or not (CONFIG_FILE in folder.paths or any(re.match(r"[0-9]+/model\.", path) for path in folder.paths)):
        return {}
    return {path: path for path in folder.paths}


def _mlflow(folder: Folder, request: Request, where: str) -> dict[str, str]:
    if "MLmodel" not in folder.paths:
        return {}
    flavours = read_flavours(folder.read("MLmodel"))
    for flavour, key in _FLAVOURS.items():
        place = flavours.get(flavour, {}).get(key, "")
        if place in folder.paths:
            return _with_weights(folder, place, request, where)
        if place and (inner := folder.below(place)).paths:
            return _saved_model(inner, f"{place}/", request)
    told = ", ".join(sorted(set(flavours) - {"python_function"})) or "none but python_function"
    remedy = f"Log it with one of {', '.join(_FLAVOURS)} too, or write a python model that loads it."
    raise InputError(f"no backend of Triton loads this MLflow model: its flavours are {told}", where=where, remedy=remedy)


def read_flavours(text: str) -> dict[str, dict[str, str]]:
    """Flavour → key → value, of an MLmodel file: the little of YAML that MLflow writes there."""
    flavours: dict[str, dict[str, str]] = {}
    inside, current = False, ""
    for line in text.splitlines():
        match = re.match(r"( *)([A-Za-z0-9_]+):(?: +(.*))?$", line)
        if not match:
            continue
        depth, key, value = len(match[1]), match[2], (match[3] or "").strip("\"' ")
        if depth == 0:
            inside = key == "flavors"
        elif inside and depth == 2:
            current = key
            flavours[current] = {}
        elif inside and depth == 4 and current:
            flavours[current][key] = value
    return flavours


def _hugging_face(folder: Folder, request: Request, where: str) -> dict[str, str]:
    if "config.json" not in folder.paths:
        return {}
    for place in ("onnx/model.onnx", "model.onnx"):
        if place in folder.paths:
            return _with_weights(folder, place, request, where)
    for place in ("saved_model/1", "saved_model"):
        if _SAVED_MODEL in (inner := folder.below(place)).paths:
            return _saved_model(inner, f"{place}/", request)
    if known := sorted(path for path in folder.paths if path in _NOT_LOADABLE):
        raise InputError(f"no backend of Triton loads {', '.join(known)} of this snapshot", where=where, remedy=_EXPORT)
    return {}


def _only_file(folder: Folder, request: Request, where: str) -> dict[str, str]:
    if _SAVED_MODEL in folder.paths:
        return _saved_model(folder, "", request)
    known = sorted(path for path in folder.paths if _ending(path) in MODEL_FILES and _ending(path) != ".py")
    if len(known) > 1:
        raise InputError(f"several files may be the model: {_some(known)}", where=where, remedy="Choose one by the option member.")
    return _with_weights(folder, known[0], request, where) if known else {}


def _with_weights(folder: Folder, place: str, request: Request, where: str) -> dict[str, str]:
    """A model file, and beside it the files of an ONNX model's external data, which it names."""
    found = {f"{request.version}/{_model_file(place, request, where)}": place}
    parent = place.rpartition("/")[0]
    for path in folder.paths:
        above, _slash, name = path.rpartition("/")
        if place.endswith(".onnx") and above == parent and name.endswith((".onnx_data", ".onnx.data", ".onnx.data.bin")):
            found[f"{request.version}/{name}"] = path
    return found


def _saved_model(folder: Folder, prefix: str, request: Request) -> dict[str, str]:
    return {f"{request.version}/model.savedmodel/{path}": f"{prefix}{path}" for path in folder.paths}


def _model_file(path: str, request: Request, where: str) -> str:
    name = request.file or MODEL_FILES.get(_ending(path), "")
    if not name:
        raise InputError(f"what Triton calls {path} is not known", where=where, remedy="Give the model file's name by the option file.")
    return name


def _ending(path: str) -> str:
    name = path.rsplit("/", 1)[-1]
    return f".{name.rsplit('.', 1)[1]}" if "." in name else ""


def _some(paths: Collection[str]) -> str:
    shown = sorted(paths)[:10]
    return ", ".join(shown) + (f" and {len(paths) - len(shown)} more" if len(paths) > len(shown) else "") or "no file"
