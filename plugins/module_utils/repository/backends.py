# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What Triton's backends want of a model's files, and how Triton finds the backend of a model that does not name it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .config import Config

ENSEMBLE = "ensemble"
PYTHON = "python"
# Folders or files are acceptable as the model.
FILE, FOLDER, EITHER = "file", "folder", "either"

# Triton checks the platform of these backends alone.
PLATFORMS = {
    "tensorrt": ("tensorrt_plan",),
    "onnxruntime": ("onnxruntime_onnx",),
    "pytorch": ("pytorch_libtorch", "torch_aoti"),
    "tensorflow": ("tensorflow_savedmodel", "tensorflow_graphdef"),
}

# Backend or, for tensorflow and pytorch, platform → the model's default file name.
_DEFAULTS = {
    "tensorrt": "model.plan",
    "onnxruntime": "model.onnx",
    "openvino": "model.xml",
    "pytorch_libtorch": "model.pt",
    "torch_aoti": "model.pt2",
    "tensorflow_savedmodel": "model.savedmodel",
    "tensorflow_graphdef": "model.graphdef",
    PYTHON: "model.py",
    "vllm": "model.json",
}
FIL_FILES = {
    "xgboost": "xgboost.model",
    "xgboost_json": "xgboost.json",
    "xgboost_ubj": "xgboost.ubj",
    "lightgbm": "model.txt",
    "treelite_checkpoint": "checkpoint.tl",
}
# These complete missing inputs and outputs from the model's file. A python model does when its code says so.
COMPLETING = frozenset({"tensorrt", "onnxruntime", "openvino", "tensorflow_savedmodel", "dali", "vllm", "tensorrtllm"})
# Backends of NVIDIA's that want no file, or files that the linter does not know.
_OTHERS = frozenset({"dali", "fil", "tensorrtllm", "identity", "repeat", "square", "dlrm", "hugectr", "hps", "nvtabular", "armnn_tflite"})
KNOWN = frozenset({*PLATFORMS, "openvino", PYTHON, "vllm", *_OTHERS})


@dataclass(frozen=True)
class Backend:
    """name, platform: as Triton completes them, empty where it cannot. files: names of which one must lie in each version's folder."""

    name: str = ""
    platform: str = ""
    files: tuple[str, ...] = ()
    kind: str = FILE

    @property
    def completes(self) -> bool:
        """Whether the backend completes inputs and outputs that the configuration lacks. Backends not known here may."""
        return self.name in COMPLETING or self.platform in COMPLETING or (bool(self.name) and self.name not in KNOWN)


def resolve(config: Config, model: str, content: Mapping[str, bool]) -> Backend:
    """Completes backend and platform as Triton does before it loads a model.

    model: the folder's name. content: names in the folder that Triton looks at (the first one of the model's) → whether it is a folder.
    """
    name, platform = str(config.get("backend", "")), str(config.get("platform", ""))
    file = str(config.get("default_model_filename", ""))
    if platform == ENSEMBLE:
        return Backend(name, platform)
    if not platform and name in ("", "tensorflow"):
        platform = _tensorflow(file, content)
    if not name:
        name = _backend_of(platform, file, content)
    if not (name or platform or file):
        # The last resort: a model called x.fil has the backend fil.
        name = model.partition(".")[2]
        file = f"model.{name}" if name else ""
    if not platform:
        platform = _platform_of(name, file, content)
    return Backend(name, platform, _files(name, platform, file, config), _kind(name, platform))


def _tensorflow(file: str, content: Mapping[str, bool]) -> str:
    for platform in PLATFORMS["tensorflow"]:
        default = _DEFAULTS[platform]
        wanted = platform == "tensorflow_savedmodel"
        if file == default or (not file and content.get(default) is wanted):
            return platform
    return ""


def _backend_of(platform: str, file: str, content: Mapping[str, bool]) -> str:
    for backend, platforms in PLATFORMS.items():
        if platform in (*platforms, *(("libtorch",) if backend == "pytorch" else ())):
            return backend
    names = [("tensorrt", "model.plan"), ("onnxruntime", "model.onnx"), ("openvino", "model.xml"), ("pytorch", "model.pt")]
    names += [("pytorch", "model.pt2"), (PYTHON, "model.py")]
    for backend, default in names:
        as_folder_too = backend in ("onnxruntime", "openvino", PYTHON)
        found = default in content and (as_folder_too or not content[default])
        if file == default or (not platform and not file and found):
            return backend
    return ""


def _platform_of(name: str, file: str, content: Mapping[str, bool]) -> str:
    if name == "pytorch":
        return (
            "torch_aoti"
            if file == "model.pt2" or (not file and "model.pt2" in content and "model.pt" not in content)
            else "pytorch_libtorch"
        )
    return PLATFORMS[name][0] if name in ("tensorrt", "onnxruntime") else ""


def _files(name: str, platform: str, file: str, config: Config) -> tuple[str, ...]:
    if file:
        return (file,)
    if name == "fil":
        kind = config.get("parameters", {}).get("model_type", {}).get("string_value", "xgboost")
        return (FIL_FILES[kind],) if kind in FIL_FILES else ()
    if name == "dali":
        return ("model.dali", "dali.py")
    if name == "pytorch" and config.get("runtime") == "model.py":
        return ("model.py", "model.pt")
    default = _DEFAULTS.get(name) or _DEFAULTS.get(platform, "")
    return (default,) if default else ()


def _kind(name: str, platform: str) -> str:
    if platform == "tensorflow_savedmodel":
        return FOLDER
    return EITHER if name == "onnxruntime" or name not in KNOWN else FILE
