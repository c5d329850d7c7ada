# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""tritonserver's options: a mapping in Triton's own names becomes an argv list. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from ..core.errors import InputError

FLAG, BOOLEAN, INTEGER, NUMBER, STRING, SETTINGS, COLONS, RESTRICTED = range(8)

# From `tritonserver --help` of 2.39, 2.48 and 2.51. SETTINGS take name=value or group,name=value; COLONS take parts joined by a colon.
KNOWN: dict[str, int] = {
    **dict.fromkeys(("help", "disable-auto-complete-config"), FLAG),
    **dict.fromkeys(
        (
            "allow-cpu-metrics", "allow-gpu-metrics", "allow-grpc", "allow-http", "allow-metrics", "allow-sagemaker",
            "allow-vertex-ai", "enable-peer-access", "exit-on-error", "grpc-keepalive-permit-without-calls", "grpc-use-ssl",
            "grpc-use-ssl-mutual", "log-error", "log-info", "log-warning", "model-namespacing", "reuse-grpc-port",
            "reuse-http-port", "strict-model-config", "strict-readiness",
        ),
        BOOLEAN,
    ),
    **dict.fromkeys(
        (
            "buffer-manager-thread-count", "exit-timeout-secs", "grpc-http2-max-ping-strikes", "grpc-http2-max-pings-without-data",
            "grpc-http2-min-recv-ping-interval-without-data", "grpc-infer-allocation-pool-size", "grpc-keepalive-time",
            "grpc-keepalive-timeout", "grpc-max-connection-age", "grpc-max-connection-age-grace", "grpc-port", "http-port",
            "http-thread-count", "log-verbose", "metrics-port", "model-load-retry-count", "model-load-thread-count",
            "pinned-memory-pool-byte-size", "repository-poll-secs", "response-cache-byte-size", "sagemaker-port", "sagemaker-thread-count",
            "trace-count", "trace-log-frequency", "trace-rate", "vertex-ai-port", "vertex-ai-thread-count",
        ),
        INTEGER,
    ),
    **dict.fromkeys(("metrics-interval-ms", "min-supported-compute-capability"), NUMBER),
    **dict.fromkeys(
        (
            "backend-directory", "cache-directory", "grpc-address", "grpc-header-forward-pattern", "grpc-infer-response-compression-level",
            "grpc-root-cert", "grpc-server-cert", "grpc-server-key", "http-address", "http-header-forward-pattern", "id", "load-model",
            "log-file", "log-format", "metrics-address", "model-config-name", "model-control-mode", "model-repository", "model-store",
            "rate-limit", "repoagent-directory", "sagemaker-safe-port-range", "trace-file", "trace-level", "vertex-ai-default-model",
        ),
        STRING,
    ),
    **dict.fromkeys(("backend-config", "cache-config", "host-policy", "metrics-config", "trace-config"), SETTINGS),
    **dict.fromkeys(("cuda-memory-pool-byte-size", "cuda-virtual-address-size", "model-load-gpu-limit", "rate-limit-resource"), COLONS),
    **dict.fromkeys(("grpc-restricted-protocol", "http-restricted-api"), RESTRICTED),
}  # fmt: skip

REPEATABLE = frozenset(
    name
    for name, kind in KNOWN.items()
    if kind in (SETTINGS, COLONS, RESTRICTED) or name in ("load-model", "model-repository", "model-store", "trace-level")
)
CHOICES = {
    "model-control-mode": ("none", "poll", "explicit"),
    "log-format": ("default", "ISO8601"),
    "rate-limit": ("execution_count", "off"),
    "grpc-infer-response-compression-level": ("none", "low", "medium", "high"),
}
# Not in 2.39's --help; all of them in 2.48's.
_AFTER_2_39 = frozenset(
    (
        "cuda-virtual-address-size", "enable-peer-access", "grpc-max-connection-age", "grpc-max-connection-age-grace",
        "http-restricted-api", "model-config-name", "model-load-retry-count",
    )
)  # fmt: skip
_TRUE = ("true", "yes", "on", "1")
_FALSE = ("false", "no", "off", "0")


def triton_args(options: Mapping[str, Any], *, extra: Iterable[str] = (), version: str = "") -> list[str]:
    """The options as arguments, in the mapping's order.

    A list repeats the option, null leaves it out, a mapping sets each of its entries. extra: more names to let through, for a newer
    server. version: refuse what this tritonserver (for example "2.39.0") does not know. Raises InputError that names the option.
    """
    if not isinstance(options, Mapping):
        raise InputError("must be a mapping of tritonserver's options", where="triton_options", remedy="Write it as name: value.")
    allowed = tuple(extra)
    arguments: list[str] = []
    for key, value in options.items():
        name = _name(key, allowed, version)
        if value is not None:
            arguments += _render(name, value)
    _check_together(options)
    return arguments


def _where(name: object) -> str:
    return f"triton_options.{name}"


def _name(key: object, extra: tuple[str, ...], version: str) -> str:
    name = key if isinstance(key, str) else str(key)
    if name in extra:
        return name
    if name not in KNOWN:
        plain = name.lstrip("-").replace("_", "-").lower()
        near = [plain] if plain in KNOWN else difflib.get_close_matches(plain, [*KNOWN, *extra], n=1)
        remedy = (
            f"Did you mean {near[0]}?" if near else "See tritonserver --help for the names; they are written without the leading dashes."
        )
        raise InputError("tritonserver has no such option", where=_where(name), remedy=remedy)
    if name in _AFTER_2_39 and version and _parse(version) <= (2, 39):
        raise InputError(
            f"tritonserver {version} does not know this option", where=_where(name), remedy="Remove it, or use a newer server."
        )
    return name


def _parse(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def _render(name: str, value: Any) -> list[str]:
    kind = KNOWN.get(name, STRING)
    if kind == FLAG:
        return [f"--{name}"] if _boolean(name, value) == "true" else []
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    if len(values) > 1 and name in KNOWN and name not in REPEATABLE:
        raise InputError("the option takes one value", where=_where(name), remedy="Give one value instead of a list.")
    return [f"--{name}={text}" for item in values for text in _texts(name, kind, item)]


def _texts(name: str, kind: int, item: Any) -> list[str]:
    if isinstance(item, Mapping):
        if kind == SETTINGS:
            return list(_settings(name, item))
        if kind == COLONS:
            return list(_colons(name, item))
        if kind == RESTRICTED:
            return [f"{apis}:{key}={_scalar(name, text)}" for apis, pair in item.items() for key, text in _pairs(name, pair)]
        raise InputError("the option takes no mapping", where=_where(name), remedy="Give a text or a number.")
    if kind == BOOLEAN:
        return [_boolean(name, item)]
    if kind in (INTEGER, NUMBER):
        return [_number(name, kind, item)]
    return [_choice(name, _scalar(name, item))]


def _settings(name: str, value: Mapping[str, Any]) -> Iterable[str]:
    for key, item in value.items():
        if isinstance(item, Mapping):
            yield from (f"{key},{setting}={_scalar(name, text)}" for setting, text in item.items())
        else:
            yield f"{key}={_scalar(name, item)}"


def _colons(name: str, value: Mapping[str, Any]) -> Iterable[str]:
    for key, item in value.items():
        if isinstance(item, Mapping):
            yield from (f"{key}:{_scalar(name, text)}:{device}" for device, text in item.items())
        else:
            yield f"{key}:{_scalar(name, item)}"


def _pairs(name: str, value: Any) -> Iterable[tuple[Any, Any]]:
    if not isinstance(value, Mapping):
        remedy = "Write it as {apis: {header: value}}, for example {model-repository: {admin-key: …}}."
        raise InputError("each API needs a mapping of header to value", where=_where(name), remedy=remedy)
    return value.items()


def _boolean(name: str, value: Any) -> str:
    text = str(value).lower()
    if isinstance(value, bool) or text in _TRUE + _FALSE:
        return "true" if text in _TRUE else "false"
    raise InputError(f"{value!r} is neither true nor false", where=_where(name), remedy="Give true or false.")


def _number(name: str, kind: int, value: Any) -> str:
    word = "an integer" if kind == INTEGER else "a number"
    try:
        if isinstance(value, bool):
            raise ValueError
        _unused = int(str(value)) if kind == INTEGER else float(str(value))
    except ValueError:
        raise InputError(f"{value!r} is not {word}", where=_where(name), remedy=f"Give {word}.") from None
    return str(value).strip()


def _scalar(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if value is None or isinstance(value, (Mapping, list, tuple)):
        raise InputError("a value is neither a text nor a number", where=_where(name), remedy="Give a text or a number.")
    if "\n" in str(value) or "\0" in str(value):
        raise InputError("a value holds a line break", where=_where(name), remedy="Give one line of text.")
    return str(value)


def _choice(name: str, text: str) -> str:
    choices = CHOICES.get(name)
    if choices and text not in choices:
        near = difflib.get_close_matches(text.lower(), choices, n=1)
        remedy = f"Did you mean {near[0]}?" if near else f"Choices: {', '.join(choices)}."
        raise InputError(f"{text!r} is not one of its values", where=_where(name), remedy=remedy)
    return text


def _check_together(options: Mapping[str, Any]) -> None:
    """Combinations that tritonserver refuses, or that could not do what they say."""
    loads = options.get("load-model")
    if loads and options.get("model-control-mode", "none") != "explicit":
        remedy = "Add model-control-mode: explicit, or remove load-model."
        raise InputError("works in model control mode explicit only", where=_where("load-model"), remedy=remedy)
    if isinstance(loads, (list, tuple)) and "*" in loads and len(loads) > 1:
        raise InputError('"*" stands alone', where=_where("load-model"), remedy='Give ["*"], or the names.')
    secure = [name for name in ("grpc-use-ssl", "grpc-use-ssl-mutual") if _boolean(name, options.get(name) or False) == "true"]
    if secure and not (options.get("grpc-server-cert") and options.get("grpc-server-key")):
        raise InputError("needs grpc-server-cert and grpc-server-key", where=_where(secure[-1]), remedy="Give both files.")
