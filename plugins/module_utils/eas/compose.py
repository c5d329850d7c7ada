# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A service's configuration composed of typed options: Triton as a processor or as an image. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from ..core.errors import InputError
from ..server.options import triton_args
from .spec import Config, as_text

MODELS = "/models"
HTTP_PORT, GRPC_PORT = 8000, 8001
# Option → its key in metadata.
_METADATA = {
    "instances": "instance",
    "cpu": "cpu",
    "memory": "memory",
    "gpu": "gpu",
    "gpu_memory": "gpu_memory",
    "gpu_core_percentage": "gpu_core_percentage",
    "shm_size": "shm_size",
    "resource": "resource",
    "workspace_id": "workspace_id",
    "group": "group",
    "grpc": "enable_grpc",
}
_OF_CONTAINERS = ("command", "port")

Options = Mapping[str, Any]


def compose(options: Options) -> Config:
    """What the options (names as eas_service has them, null where not given) say, and no more. Raises InputError."""
    given = {name: value for name, value in options.items() if value is not None}
    config: Config = {}
    metadata = _metadata(given)
    if metadata:
        config["metadata"] = metadata
    config.update(_containers(given) if given.get("image") else _processor(given))
    storage = [*config.pop("storage", []), *map(_mount, given.get("mounts", []))]
    if storage:
        config["storage"] = storage
    cloud = _cloud(given)
    if cloud:
        config["cloud"] = cloud
    if "labels" in given:
        config["labels"] = {str(key): as_text(value) for key, value in given["labels"].items()}
    if "autoscaler" in given:
        config["autoscaler"] = _autoscaler(given["autoscaler"])
    config.update({key: given[option] for option, key in (("token", "token"), ("registry_auth", "dockerAuth")) if option in given})
    return config


def _metadata(given: Options) -> Config:
    metadata: Config = {key: _whole(given[option]) for option, key in _METADATA.items() if option in given}
    if given.get("name"):
        metadata["name"] = given["name"]
    rpc = dict(given.get("rpc", {}))
    if "keepalive" in given:
        rpc["keepalive"] = given["keepalive"]
    if rpc:
        metadata["rpc"] = rpc
    rolling = {key: _percent(value) for key, value in given.get("rolling", {}).items() if value is not None}
    if rolling:
        metadata["rolling_strategy"] = rolling
    return metadata


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _percent(value: Any) -> Any:
    return int(value) if str(value).isdecimal() else value


def _processor(given: Options) -> Config:
    """The form in which EAS itself runs tritonserver, or another of its processors."""
    needless = [option for option in _OF_CONTAINERS if option in given]
    if needless:
        raise InputError("is for containers only", where=needless[0], remedy="Give image as well, or write it in config.")
    options, repository = given.get("triton_options"), given.get("triton_repository")
    processor = given.get("processor") or ("triton" if options is not None or repository else "")
    variables = _variables(given)
    if not processor:
        if variables:
            remedy = (
                "Give triton_repository, processor or image with it, or write it where the server is described, in config or config_file."
            )
            raise InputError("does not say what it is for", where="env" if given.get("env") else "secret_env", remedy=remedy)
        return {}
    config: Config = {"processor": processor, **({"processor_envs": variables} if variables else {})}
    if options is None and not repository:
        return config
    if processor != "triton":
        raise InputError(f"the processor {processor} is not Triton", where="triton_options", remedy="Set processor: triton, or remove it.")
    if repository and not repository.startswith("oss://"):
        remedy = "Publish to oss://bucket/prefix, or give image, whose tritonserver reads other stores itself."
        raise InputError("the processor triton reads models from OSS only", where=f"triton_repository: {repository}", remedy=remedy)
    parameters = triton_args(_server_options(options or {}, repository))
    # Without the repository the list would be of options alone, and lists are taken whole.
    if not any(each.startswith("--model-repository=") for each in parameters):
        raise InputError("no model repository is given", where="triton_options", remedy="Give triton_repository with it.")
    return {**config, "processor_params": parameters}


def _server_options(options: Mapping[str, Any], repository: str | None) -> dict[str, Any]:
    if not repository:
        return dict(options)
    if "model-repository" in options:
        raise InputError("contradicts triton_repository", where="triton_options.model-repository", remedy="Remove one of them.")
    return {"model-repository": repository, **options}


def _containers(given: Options) -> Config:
    """The form in which EAS runs an image."""
    if given.get("processor"):
        raise InputError("excludes image", where="processor", remedy="Remove one of them.")
    container: Config = {"image": given["image"]}
    storage: list[Config] = []
    if given.get("command"):
        _without_options(given)
        container["script"] = given["command"]
        container["port"] = given.get("port", GRPC_PORT if given.get("grpc") else HTTP_PORT)
    else:
        container["port"], options = _ports(given)
    repository = given.get("triton_repository")
    if repository and repository.startswith("oss://"):
        storage.append({"mount_path": MODELS, "oss": {"path": repository.rstrip("/") + "/", "readOnly": True}})
    if not given.get("command"):
        arguments = triton_args(_server_options(options, (MODELS if storage else repository) or None))
        container["script"] = shlex.join(["tritonserver", *arguments])
    variables = _variables(given)
    if variables:
        container["env"] = variables
    return {"containers": [container], **({"storage": storage} if storage else {})}


def _variables(given: Options) -> list[Config]:
    env = {**given.get("env", {}), **given.get("secret_env", {})}
    return [{"name": str(name), "value": as_text(value)} for name, value in env.items()]


def _without_options(given: Options) -> None:
    if given.get("triton_options"):
        remedy = "Write the options into command, or remove command."
        raise InputError("command says already how the server is started", where="triton_options", remedy=remedy)


def _ports(given: Options) -> tuple[int, dict[str, Any]]:
    """The port that EAS forwards to, and the server's options with it."""
    options = dict(given.get("triton_options", {}))
    name = "grpc-port" if given.get("grpc") else "http-port"
    port = given.get("port")
    if port is not None and str(options.get(name, port)) != str(port):
        raise InputError(f"contradicts port, {port}", where=f"triton_options.{name}", remedy="Remove one of them.")
    options.setdefault(name, port if port is not None else GRPC_PORT if given.get("grpc") else HTTP_PORT)
    try:
        return int(options[name]), options
    except (TypeError, ValueError):
        raise InputError(f"{options[name]!r} is no port", where=f"triton_options.{name}", remedy="Give a number.") from None


def _mount(mount: Options) -> Config:
    where = f"mounts: {mount['mount_path']}"
    if bool(mount.get("oss")) == bool(mount.get("nfs_server")):
        raise InputError("needs either oss or nfs_server", where=where, remedy="Give one of them.")
    read_only = bool(mount.get("read_only", True))
    if mount.get("oss"):
        return {"mount_path": mount["mount_path"], "oss": {"path": mount["oss"].rstrip("/") + "/", "readOnly": read_only}}
    if not mount.get("nfs_path"):
        raise InputError("lacks nfs_path", where=where, remedy="Give the path on the server, such as /.")
    return {"mount_path": mount["mount_path"], "nfs": {"server": mount["nfs_server"], "path": mount["nfs_path"], "readOnly": read_only}}


def _cloud(given: Options) -> Config:
    cloud: Config = {}
    if given.get("instance_types"):
        cloud["computing"] = {"instances": [{"type": each} for each in given["instance_types"]]}
    network = {key: value for key, value in given.get("network", {}).items() if value}
    if network:
        cloud["networking"] = network
    return cloud


def _autoscaler(given: Options) -> Config:
    strategies = [{"metricName": each["metric"], "threshold": _whole(each["threshold"])} for each in given["strategies"]]
    return {"min": given["min"], "max": given["max"], "scaleStrategies": strategies}
