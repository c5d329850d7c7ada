# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One model as the linter sees it: its files, its configuration, and what Triton would make of both. Pure; a reader gives the contents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from .backends import PYTHON, Backend, resolve
from .config import Config, ConfigError
from .layout import CONFIG_FILE, Model
from .rules import RULES, Finding

WILDCARD = -1


class Reader(Protocol):
    """Gives the contents of the repository's files. path: relative to the repository."""

    def text(self, path: str, limit: int = ...) -> str:
        """The file's text; bytes that are no UTF-8 are replaced. limit: bytes to read at most."""


@dataclass(frozen=True)
class Tensor:
    """An input or output of a model. dims: without the batch; reshape: None when it is not given. data: its block of the configuration."""

    name: str
    data_type: str
    dims: tuple[int, ...]
    reshape: tuple[int, ...] | None
    data: Mapping[str, Any] = field(repr=False, hash=False, compare=False)

    @property
    def optional(self) -> bool:
        return bool(self.data.get("optional"))


def _tensors(blocks: Iterable[Mapping[str, Any]]) -> tuple[Tensor, ...]:
    return tuple(
        Tensor(
            block.get("name", ""),
            block.get("data_type", "TYPE_INVALID"),
            tuple(block.get("dims", ())),
            tuple(block["reshape"].get("shape", ())) if "reshape" in block else None,
            block,
        )
        for block in blocks
    )


@dataclass(frozen=True)
class Subject:
    """config: the parsed configuration, empty without a file; error: why it could not be parsed."""

    model: Model
    reader: Reader
    config: Config = field(default_factory=dict)
    error: ConfigError | None = None

    @property
    def name(self) -> str:
        return self.model.name

    @cached_property
    def files(self) -> dict[str, int]:
        """Path in the model's folder → size in bytes."""
        cut = len(self.name) + 1
        return {file.path[cut:]: file.size for file in self.model.all_files}

    @cached_property
    def folders(self) -> frozenset[str]:
        """Paths of all folders in the model's folder."""
        cut = len(self.name) + 1
        return frozenset(path[cut:] for path in self.model.folders)

    @cached_property
    def top_folders(self) -> list[str]:
        """Names of the folders directly below the model's, sorted as Triton sorts them."""
        return sorted(path for path in self.folders if "/" not in path)

    @property
    def has_config(self) -> bool:
        return CONFIG_FILE in self.files

    @cached_property
    def inputs(self) -> tuple[Tensor, ...]:
        return _tensors(self.config.get("input", ()))

    @cached_property
    def outputs(self) -> tuple[Tensor, ...]:
        return _tensors(self.config.get("output", ()))

    @property
    def is_relocated(self) -> bool:
        """Whether a repository agent may put other files in the place of the model's."""
        return bool(self.config.get("model_repository_agents", {}).get("agents"))

    @property
    def max_batch_size(self) -> int:
        return int(self.config.get("max_batch_size", 0))

    @property
    def is_ensemble(self) -> bool:
        return self.config.get("platform") == "ensemble" or "ensemble_scheduling" in self.config

    @cached_property
    def backend(self) -> Backend:
        """Backend, platform and file name as Triton completes them."""
        folder = self.top_folders[0] if self.top_folders else ""
        content = {path.split("/")[1]: path.count("/") > 1 for path in self.files if path.startswith(f"{folder}/")} if folder else {}
        content.update({path.split("/")[1]: True for path in self.folders if path.startswith(f"{folder}/")})
        return resolve(self.config, self.name, content)

    @cached_property
    def selected(self) -> tuple[int, ...]:
        """The version numbers that Triton would load, in order; one of them may lack a folder, for Triton reads "1abc" as 1."""
        numbers = sorted(
            {number for number in map(version_number, self.top_folders) if number is not None and is_int64(number)}, reverse=True
        )
        policy = self.config.get("version_policy", {})
        if "specific" in policy:
            wanted = set(policy["specific"].get("versions", ()))
            return tuple(sorted(number for number in numbers if number in wanted))
        if "all" in policy:
            return tuple(sorted(numbers))
        count = policy["latest"].get("num_versions", 0) if "latest" in policy else 1
        return tuple(sorted(numbers[:count]))

    @cached_property
    def served(self) -> tuple[int, ...]:
        """The versions that Triton would load and that exist."""
        return tuple(number for number in self.selected if number in self.model.versions)

    @cached_property
    def completes(self) -> bool:
        """Whether something may add inputs, outputs or a batch size to those declared: the backend, or the python model's own code."""
        if self.backend.name != PYTHON:
            return self.backend.completes
        paths = [f"{number}/{file}" for number in self.served for file in self.backend.files]
        found = [path for path in paths if path in self.files]
        # Code that is not there may do anything.
        return not found or any("auto_complete_config" in self.text(path) for path in found)

    @property
    def completes_partially(self) -> bool:
        """Whether it may also complete an input or output that is declared without type or dims."""
        return self.completes and self.backend.name != "onnxruntime"

    def parameter(self, key: str) -> str | None:
        """The string value of one of the configuration's parameters; None where it is not given."""
        parameter = self.config.get("parameters", {}).get(key)
        return None if parameter is None else str(parameter.get("string_value", ""))

    def text(self, path: str, limit: int = 1 << 24) -> str:
        """The content of a file of the model. path: in the model's folder."""
        return self.reader.text(f"{self.name}/{path}", limit)

    def finding(self, rule: str, message: str, file: str = "", remedy: str = "") -> Finding:
        """A finding of this model. file: in the model's folder. remedy: in place of the rule's."""
        known = RULES[rule]
        path = f"{self.name}/{file}" if file else self.name
        return Finding(self.name, path, rule, known.severity, message, remedy or known.remedy)

    def config_finding(self, rule: str, message: str, remedy: str = "") -> Finding:
        """A finding about the model's configuration."""
        return self.finding(rule, message, CONFIG_FILE, remedy)


def version_number(name: str) -> int | None:
    """The version that Triton reads from a folder's name, as C's strtoll does; None when it ignores the folder."""
    if name in ("warmup", "initial_state", "configs") or (len(name) > 1 and name[0] == "0"):
        return None
    text = name.lstrip(" \t\n\v\f\r")
    sign = text[:1] if text[:1] in ("+", "-") else ""
    digits = ""
    for character in text[len(sign) :]:
        if character not in "0123456789":
            break
        digits += character
    return int(sign + digits) if digits else None


def is_int64(number: int) -> bool:
    """Whether Triton can hold the number. It dies of a folder whose name is a greater one."""
    return -(1 << 63) <= number < 1 << 63


def element_count(dims: Iterable[int]) -> int | None:
    """The number of elements of a shape, 1 for an empty one; None when a dimension varies."""
    count = 1
    for size in dims:
        if size < 0:
            return None
        count *= size
    return count
