# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Container runtimes, and what their configuration says of NVIDIA and CDI."""

from __future__ import annotations

import fnmatch
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from . import toml
from .tree import Tree

DEFAULT_CDI_DIRS = ("/etc/cdi", "/var/run/cdi")
_BIN = ("/usr/bin", "/usr/local/bin", "/usr/sbin", "/usr/local/sbin", "/opt/bin")
_NVIDIA = ("nvidia", "nvidia-cdi", "nvidia-legacy")
# containerd's plugin for Kubernetes, by the version of its configuration.
_CRI = ("io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri", "cri")


@dataclass(frozen=True)
class Runtime:
    """files: its configuration, patterns included, in the order in which a later one wins. judge: reads what they say together."""

    name: str
    program: str
    files: tuple[str, ...]
    judge: Callable[[Mapping[str, Any]], dict[str, Any]]
    read: Callable[[str], dict[str, Any]] = toml.loads


def _docker(config: Mapping[str, Any]) -> dict[str, Any]:
    features = config.get("features") or {}
    return {
        "nvidia": any(name in _NVIDIA for name in config.get("runtimes") or {}),
        "default": config.get("default-runtime") in _NVIDIA,
        "cdi": features.get("cdi"),
        "cdi_dirs": list(config.get("cdi-spec-dirs") or DEFAULT_CDI_DIRS),
    }


def _containerd(config: Mapping[str, Any]) -> dict[str, Any]:
    plugins = config.get("plugins") or {}
    cri: Mapping[str, Any] = next((plugins[name] for name in _CRI if name in plugins), {})
    inner = cri.get("containerd") or {}
    return {
        "nvidia": any(name in _NVIDIA for name in inner.get("runtimes") or {}),
        "default": inner.get("default_runtime_name") in _NVIDIA,
        "cdi": cri.get("enable_cdi"),
        "cdi_dirs": list(cri.get("cdi_spec_dirs") or DEFAULT_CDI_DIRS),
    }


def _crio(config: Mapping[str, Any]) -> dict[str, Any]:
    runtime = (config.get("crio") or {}).get("runtime") or {}
    return {
        "nvidia": any(name in _NVIDIA for name in runtime.get("runtimes") or {}),
        "default": runtime.get("default_runtime") in _NVIDIA,
        "cdi": True,
        "cdi_dirs": list(runtime.get("cdi_spec_dirs") or DEFAULT_CDI_DIRS),
    }


def _podman(config: Mapping[str, Any]) -> dict[str, Any]:
    engine = config.get("engine") or {}
    return {"nvidia": False, "default": False, "cdi": True, "cdi_dirs": list(engine.get("cdi_spec_dirs") or DEFAULT_CDI_DIRS)}


RUNTIMES = (
    Runtime("docker", "dockerd", ("/etc/docker/daemon.json",), _docker, json.loads),
    Runtime("containerd", "containerd", ("/etc/containerd/config.toml",), _containerd),
    Runtime("crio", "crio", ("/etc/crio/crio.conf", "/etc/crio/crio.conf.d/*"), _crio),
    Runtime(
        "podman",
        "podman",
        ("/usr/share/containers/containers.conf", "/etc/containers/containers.conf", "/etc/containers/containers.conf.d/*.conf"),
        _podman,
    ),
)


def runtimes(tree: Tree) -> list[dict[str, Any]]:
    """The runtimes that are installed, as the module returns them."""
    found = (
        (each, next((f"{folder}/{each.program}" for folder in _BIN if tree.exists(f"{folder}/{each.program}")), "")) for each in RUNTIMES
    )
    return [_describe(tree, each, program) for each, program in found if program]


def _describe(tree: Tree, runtime: Runtime, program: str) -> dict[str, Any]:
    config: dict[str, Any] = {}
    files = [path for pattern in runtime.files for path in _matching(tree, pattern)]
    problem = ""
    for path in files:
        try:
            text = tree.text(path)
            read = runtime.read(text) if text.strip() else {}
        except ValueError as error:
            problem = problem or f"{path}: {error}"
            continue
        # Drop-ins of containerd: each is named by the main file, and may be a pattern.
        files += [each for pattern in read.get("imports") or () for each in _matching(tree, pattern) if each not in files]
        config = _merged(config, read)
    return {"name": runtime.name, "program": program, "config": files, **runtime.judge(config), "problem": problem}


def _matching(tree: Tree, pattern: str) -> list[str]:
    folder, name = os.path.split(pattern)
    if not any(mark in name for mark in "*?["):
        return [pattern] if tree.exists(pattern) else []
    return [f"{folder}/{each}" for each in tree.names(folder) if fnmatch.fnmatch(each, name) and not tree.is_dir(f"{folder}/{each}")]


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Both, the other's values where both have some."""
    merged = dict(one)
    for key, value in other.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if both else value
    return merged
