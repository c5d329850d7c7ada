# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the EAS stand-in knows of a service's JSON: its rules, how updates are merged, and what the service adds of its own."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from .eas_auth import RefusedError

Config = dict[str, Any]
_NAME = re.compile(r"[a-z0-9_]{3,63}")
RESERVED_PORTS = (8080, 9090)
_STORAGE_KINDS = ("oss", "nfs", "dataset", "git", "empty_dir", "cpfs", "code_source", "volumes")
_SHAPES: dict[str, type] = {
    "containers": list,
    "storage": list,
    "processor_params": list,
    "cloud": dict,
    "labels": dict,
    "autoscaler": dict,
    "networking": dict,
    "options": dict,
}
_RPC_DEFAULTS = {"io_threads": 4, "worker_threads": 5, "max_queue_size": 64, "keepalive": 5000, "batching": False}
_METADATA_DEFAULTS = {"cpu": 1, "memory": 1000, "gpu": 0, "enable_webservice": False}


def parse(body: bytes) -> Config:
    """The JSON of a request."""
    try:
        found = json.loads(body)
    except ValueError as error:
        raise _invalid(f"the body is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise _invalid("the body is not a JSON object")
    return found


def canonical(config: Config) -> Config:
    """One spelling for the two that are known of the name and of rpc.x. Raises RefusedError."""
    config = deepcopy(config)
    metadata = config.setdefault("metadata", {})
    if not isinstance(metadata, dict):
        raise _invalid("metadata is not an object")
    if not isinstance(metadata.get("rpc", {}), dict):
        raise _invalid("rpc is not an object")
    for key in [key for key in metadata if key.startswith("rpc.")]:
        metadata.setdefault("rpc", {})[key.removeprefix("rpc.")] = metadata.pop(key)
    names = {str(name) for name in (config.pop("name", None), metadata.get("name")) if name is not None}
    if len(names) > 1:
        raise _invalid(f"name and metadata.name differ: {sorted(names)}")
    if names:
        metadata["name"] = names.pop()
    return config


def merged(old: Config, new: Config) -> Config:
    """UpdateType=merge: objects are merged, all else, lists too, is replaced. A null changes nothing: only replace removes keys."""
    result = dict(old)
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        elif value is not None:
            result[key] = deepcopy(value)
    return result


def shown(config: Config, workspace: str) -> str:
    """ServiceConfig: a JSON string, with both names and with what the service fills in."""
    metadata = config["metadata"]
    rpc = {**_RPC_DEFAULTS, **metadata.get("rpc", {})}
    more = {"workspace_id": workspace, **metadata, "rpc": rpc}
    defaults = {key: value for key, value in _METADATA_DEFAULTS.items() if key not in metadata}
    added = {"name": metadata["name"], "metadata": {**defaults, **more}}
    if "processor" in config:
        added["cloud"] = {"networking": {}, **config.get("cloud", {})}
    return json.dumps({**config, **added}, sort_keys=True)


def check(config: Config) -> None:
    """Raises RefusedError unless a canonical configuration may be deployed."""
    _check_shape(config)
    metadata = config["metadata"]
    name = metadata.get("name", "")
    if not _NAME.fullmatch(str(name)):
        raise _invalid(f"the service name {name!r} must be 3 to 63 characters of a-z, 0-9 and _")
    _check_metadata(metadata)
    if metadata.get("resource") and config.get("cloud", {}).get("computing"):
        raise _invalid("metadata.resource and cloud.computing exclude each other")
    if not config.get("processor") and not config.get("containers") and not config.get("processor_path"):
        raise _invalid("processor, processor_path or containers is required")
    for number, container in enumerate(config.get("containers", [])):
        _check_container(number, container)
    for number, storage in enumerate(config.get("storage", [])):
        _check_storage(number, storage, processor=bool(config.get("processor")))
    if config.get("processor") == "triton":
        _check_triton(config)
    if config.get("autoscaler"):
        check_autoscaler(config["autoscaler"])


def check_autoscaler(sent: Mapping[str, Any]) -> None:
    """Raises RefusedError unless these are an autoscaler's rules."""
    least, most, strategies = sent.get("min"), sent.get("max"), sent.get("scaleStrategies")
    if not isinstance(least, int) or not isinstance(most, int) or least < 0 or most <= least:
        raise _invalid(f"max must be greater than min, and min at least 0: {least!r}, {most!r}")
    if not isinstance(strategies, list) or not strategies:
        raise _invalid("scaleStrategies is required")
    for each in strategies:
        if not isinstance(each, dict) or not {"metricName", "threshold"} <= set(each):
            raise _invalid(f"a scale strategy needs metricName and threshold: {each!r}")


def _check_shape(config: Config) -> None:
    for name, kind in _SHAPES.items():
        if not isinstance(config.get(name, kind()), kind):
            raise _invalid(f"{name} is not {'a list' if kind is list else 'an object'}")
    for name in ("containers", "storage"):
        if not all(isinstance(each, dict) for each in config.get(name, [])):
            raise _invalid(f"{name} does not hold objects")


def _check_metadata(metadata: Mapping[str, Any]) -> None:
    for key in ("instance", "cpu", "memory", "gpu", "gpu_memory", "shm_size"):
        _check_number(metadata, "metadata", key, whole=key in ("instance", "gpu"))
    for key in ("keepalive", "io_threads", "worker_threads", "max_queue_size", "max_batch_size", "max_batch_timeout", "rate_limit"):
        _check_number(metadata.get("rpc", {}), "metadata.rpc", key, whole=True)
    if not isinstance(metadata.get("enable_grpc", False), bool):
        raise _invalid("metadata.enable_grpc is not true or false")
    if "instance" not in metadata:
        raise _invalid("metadata.instance is required")


def _check_number(place: Mapping[str, Any], path: str, key: str, *, whole: bool) -> None:
    value = place.get(key, 0)
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or value < 0:
        raise _invalid(f"{path}.{key} must be a{' whole' if whole else ''} number of at least 0, not {value!r}")


def _check_container(number: int, container: Mapping[str, Any]) -> None:
    if not container.get("image"):
        raise _invalid(f"containers[{number}].image is required")
    if container.get("port") in RESERVED_PORTS:
        raise _invalid(f"containers[{number}].port {container['port']} is reserved: 8080 and 9090 are the engine's")
    if container.get("command") and container.get("script"):
        raise _invalid(f"containers[{number}] has both command and script")


def _check_storage(number: int, storage: Mapping[str, Any], *, processor: bool) -> None:
    if not str(storage.get("mount_path", "")).startswith("/"):
        raise _invalid(f"storage[{number}].mount_path must be an absolute path")
    kinds = [kind for kind in _STORAGE_KINDS if kind in storage]
    if len(kinds) != 1:
        raise _invalid(f"storage[{number}] must have one of {', '.join(_STORAGE_KINDS)}, not {kinds or 'none'}")
    if kinds == ["oss"]:
        _check_oss(f"storage[{number}].oss.path", str(storage["oss"].get("path", "")), whole_bucket=not processor)


def _check_triton(config: Config) -> None:
    if not config["metadata"].get("gpu") and not config.get("cloud", {}).get("computing"):
        raise _invalid("the processor triton needs a GPU: metadata.gpu")
    options = dict(each.removeprefix("--").partition("=")[::2] for each in map(str, config.get("processor_params", [])))
    if "model-repository" not in options:
        raise _invalid("processor_params has no --model-repository")
    repository = options["model-repository"]
    mounts = [str(each["mount_path"]).rstrip("/") for each in config.get("storage", [])]
    if not any(repository == mount or repository.startswith(f"{mount}/") for mount in mounts):
        _check_oss("--model-repository", repository, whole_bucket=False)


def _check_oss(where: str, path: str, *, whole_bucket: bool) -> None:
    match = re.fullmatch(r"oss://([^/]+)(/.*)?", path)
    if not match:
        raise _invalid(f"{where} {path!r} is not oss://bucket/directory/")
    if not whole_bucket and not (match[2] or "").strip("/"):
        raise _invalid(f"{where} {path!r} is a whole bucket: name a directory in it")


def _invalid(message: str) -> RefusedError:
    return RefusedError(400, "InvalidParameter", message)
