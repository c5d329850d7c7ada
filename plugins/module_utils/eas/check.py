# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rules that a service's configuration has to keep, told before anything is changed, and what it had better keep. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..core.errors import InputError
from .spec import Config, name_of

_NAME = re.compile(r"[a-z0-9_]{3,63}")
# What EAS's own processes in an instance listen on.
RESERVED_PORTS = (8080, 9090)
_PORT_OPTION = re.compile(r"--(?:http|grpc|metrics)-port[= ](\d+)")
_BUCKET = re.compile(r"oss://[^/]+/*")
_NUMBERS = ("instance", "cpu", "memory", "gpu", "gpu_memory", "gpu_core_percentage", "shm_size")
_STORAGE_KINDS = ("oss", "nfs", "dataset", "git", "empty_dir", "cpfs", "code_source", "volumes")
# tritonserver's options that the processor triton is documented to accept.
PROCESSOR_OPTIONS = frozenset(
    {
        "model-repository", "log-verbose", "log-info", "log-warning", "log-error", "exit-on-error", "strict-model-config",
        "strict-readiness", "allow-http", "http-thread-count", "pinned-memory-pool-byte-size", "cuda-memory-pool-byte-size",
        "min-supported-compute-capability", "buffer-manager-thread-count", "backend-config",
    }
)  # fmt: skip
# As EAS's JSON spells it; the typed option has words of its own.
_STRATEGIES = "scaleStrategies: [{metricName: qps, threshold: 50}]"
# Less memory than this, in MB, is more likely meant in GB.
_LITTLE_MEMORY = 256


def check_name(name: str) -> None:
    """Raises InputError with a name that would do."""
    if not name:
        raise InputError("no service is named", where="name", remedy="Give name, or metadata.name in the configuration.")
    if not _NAME.fullmatch(name):
        near = re.sub(r"[^a-z0-9_]+", "_", name.lower())
        fix = f"Name it {near}." if _NAME.fullmatch(near) else "Choose another."
        what = f"{name!r} is no name of a service: it has 3 to 63 lower case letters, digits and underscores, no hyphen"
        raise InputError(what, where="name", remedy=fix)


def check(config: Config) -> None:
    """What holds for any configuration, also for one that only changes some keys. Raises InputError."""
    check_name(name_of(config))
    _check_numbers(config.get("metadata") or {})
    check_together(config)
    for number, container in enumerate(_mappings(config, "containers")):
        _check_container(container, f"containers[{number}]")
    for number, storage in enumerate(_mappings(config, "storage")):
        _check_storage(storage, f"storage[{number}]", processor=bool(config.get("processor")))
    for parameter in config.get("processor_params") or []:
        _check_parameter(str(parameter))
    if config.get("autoscaler"):
        _check_autoscaler(config["autoscaler"])


def check_together(config: Config) -> None:
    """Keys that exclude each other. Raises InputError."""
    if (config.get("metadata") or {}).get("resource") and (config.get("cloud") or {}).get("computing"):
        remedy = "Give a resource group, or instance types of the public one, not both."
        raise InputError("excludes cloud.computing", where="metadata.resource", remedy=remedy)
    if config.get("processor") and config.get("containers"):
        raise InputError("excludes containers", where="processor", remedy="Remove one of them.")


def check_complete(config: Config) -> None:
    """What holds for the configuration of a new service, beside `check`. Raises InputError."""
    if not any(config.get(key) for key in ("processor", "containers", "processor_path", "model_path")):
        remedy = "Give triton_repository, image, or a configuration with processor or containers."
        raise InputError("the service does not exist, and what it is to run is not given", where=name_of(config), remedy=remedy)
    if config.get("processor") == "triton":
        _check_triton(config)


def warnings(config: Config) -> list[str]:
    """What is likely not as it was meant, one sentence each."""
    return [*_unlisted(config), *_little(config)]


def _check_numbers(metadata: Mapping[str, Any]) -> None:
    for key in _NUMBERS:
        value = metadata.get(key, 0)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
            raise InputError(f"{value!r} is no number of at least 0", where=f"metadata.{key}", remedy="Give a number.")
        if key == "instance" and value != int(value):
            raise InputError(f"{value!r} is no whole number", where="metadata.instance", remedy="Give a whole number.")


def _mappings(config: Config, key: str) -> list[Mapping[str, Any]]:
    value = config.get(key) or []
    if not isinstance(value, list) or not all(isinstance(each, Mapping) for each in value):
        raise InputError("is no list of mappings", where=key, remedy="Write each as a mapping of its keys.")
    return value


def _check_container(container: Mapping[str, Any], where: str) -> None:
    if not container.get("image"):
        raise InputError("has no image", where=where, remedy="Give it; EAS takes the list of containers whole.")
    if container.get("command") and container.get("script"):
        raise InputError("has both command and script", where=where, remedy="Remove one of them.")
    _check_port(container.get("port"), f"{where}.port")
    for key in ("command", "script"):
        for port in _PORT_OPTION.findall(str(container.get(key) or "")):
            _check_port(port, f"{where}.{key}")


def _check_port(port: Any, where: str) -> None:
    if str(port) in map(str, RESERVED_PORTS):
        raise InputError(
            f"port {port} is EAS's own in every instance, as are 8080 and 9090", where=where, remedy="Use another, such as 8000."
        )


def _check_storage(storage: Mapping[str, Any], where: str, *, processor: bool) -> None:
    if not str(storage.get("mount_path", "")).startswith("/"):
        raise InputError("mount_path is no absolute path", where=where, remedy="Give a path such as /models.")
    kinds = [kind for kind in _STORAGE_KINDS if kind in storage]
    if len(kinds) != 1:
        remedy = f"Give one of {', '.join(_STORAGE_KINDS)}."
        raise InputError(f"has {' and '.join(kinds) or 'nothing'} to mount", where=where, remedy=remedy)
    path = str((storage.get("oss") or {}).get("path", "")) if kinds == ["oss"] else ""
    if kinds == ["oss"] and not path.startswith("oss://"):
        raise InputError(f"{path!r} is no folder in OSS", where=f"{where}.oss.path", remedy="Write oss://bucket/folder/.")
    if processor:
        _check_folder(path, f"{where}.oss.path")


def _check_parameter(parameter: str) -> None:
    name, _equals, value = parameter.partition("=")
    if name == "--model-repository":
        _check_folder(value, "processor_params --model-repository")
    for port in _PORT_OPTION.findall(parameter):
        _check_port(port, f"processor_params {name}")


def _check_folder(path: str, where: str) -> None:
    if _BUCKET.fullmatch(path):
        remedy = f"Name a folder in it, such as {path.rstrip('/')}/triton."
        raise InputError(f"{path!r} is a whole bucket, which must not be mounted for a processor", where=where, remedy=remedy)


def _check_triton(config: Config) -> None:
    metadata = config.get("metadata") or {}
    if not (metadata.get("gpu") or metadata.get("gpu_memory") or (config.get("cloud") or {}).get("computing")):
        remedy = "Give gpu, or instance_types with a GPU, or use an image of tritonserver for processors alone."
        raise InputError("the processor triton needs a GPU", where="metadata.gpu", remedy=remedy)
    if not any(str(each).startswith("--model-repository=") for each in config.get("processor_params") or []):
        raise InputError("no model repository is given", where="processor_params", remedy="Give triton_repository.")


def _check_autoscaler(autoscaler: Mapping[str, Any]) -> None:
    least, most = autoscaler.get("min", 0), autoscaler.get("max", 0)
    if not isinstance(least, int) or not isinstance(most, int) or not 0 <= least < most:
        raise InputError(f"from {least} to {most} instances is no range", where="autoscaler", remedy="Give min and max, min the smaller.")
    where, strategies = "autoscaler.scaleStrategies", autoscaler.get("scaleStrategies")
    if not strategies:
        what = "has no strategy" if not autoscaler.get("strategies") else "has strategies in another spelling"
        raise InputError(what, where="autoscaler", remedy=f"Give a metric, such as qps, and its threshold: {_STRATEGIES}.")
    for each in strategies if isinstance(strategies, list) else [None]:
        if not isinstance(each, Mapping) or not each.get("metricName") or each.get("threshold") is None:
            raise InputError("is no list of metrics with their thresholds", where=where, remedy=f"Write {_STRATEGIES}.")


def _unlisted(config: Config) -> Iterator[str]:
    if config.get("processor") != "triton":
        return
    for name in (str(each).partition("=")[0] for each in config.get("processor_params") or []):
        if name.removeprefix("--") not in PROCESSOR_OPTIONS:
            yield f"{name} is not among the options that EAS's processor triton is documented to accept; EAS may ignore or refuse it"


def _little(config: Config) -> Iterator[str]:
    memory = (config.get("metadata") or {}).get("memory")
    if isinstance(memory, (int, float)) and 0 < memory < _LITTLE_MEMORY:
        yield f"memory is {memory} MB; EAS counts in MB, not in GB"
