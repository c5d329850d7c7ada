# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the user wants, from a module's options: read, composed and checked before EAS is asked anything. Reads one file, if any."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..core.errors import InputError
from ..core.redaction import MIN_SECRET_LENGTH, is_secret_key
from . import check, relaxed_json
from .compose import compose
from .options import COMPOSED
from .plan import Wanted
from .spec import Config, canonical, name_of, overlaid

_WEIGHTS = range(-1, 1001)


def read_wanted(options: Mapping[str, Any]) -> Wanted:
    """options: as eas_service has them. Raises InputError."""
    base = _base(options)
    composed = {name for name in (*COMPOSED, "revision") if options.get(name) is not None}
    given = base is not None or bool(composed)
    if options.get("version") is not None and given:
        source = "config_file" if options.get("config_file") else "config" if base is not None else min(composed)
        raise InputError("excludes version, which takes the configuration of that version", where=source, remedy="Remove one of them.")
    if options["state"] == "absent":
        name = options.get("name") or name_of(base or {})
        check.check_name(name)
        return Wanted(name, "absent", lock=options.get("safety_lock"), lift_lock=options["lift_lock"])
    config = canonical(overlaid(base or {}, canonical(compose(options), "options")))
    name = _named(options, base or {})
    if given:
        config["metadata"]["name"] = name
        check.check(config)
    _check_weight(options.get("weight"))
    return Wanted(
        name,
        options["state"],
        config if given else None,
        options["update"] == "replace",
        options.get("version"),
        options.get("weight"),
        options.get("traffic_state"),
        options.get("safety_lock"),
        options["lift_lock"],
        options.get("revision"),
    )


def secrets_in(value: Any, key: str = "") -> Iterator[str]:
    """What a configuration holds that nobody else may read: what stands under a secret's name, and variables that are named like one."""
    if isinstance(value, Mapping):
        named = is_secret_key(str(value.get("name", "")))
        for name, item in value.items():
            yield from secrets_in(item, "secret" if named and name == "value" else str(name))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from secrets_in(item, key)
    elif isinstance(value, str) and len(value) >= MIN_SECRET_LENGTH and (key == "dockerAuth" or is_secret_key(key)):
        yield value


def _base(options: Mapping[str, Any]) -> Config | None:
    """The configuration that is given as JSON."""
    config, path = options.get("config"), options.get("config_file")
    if config is not None and path:
        raise InputError("excludes config", where="config_file", remedy="Remove one of them.")
    if path:
        try:
            with open(path, encoding="utf-8") as file:
                config = relaxed_json.parse(file.read(), path)
        except (OSError, UnicodeDecodeError) as error:
            remedy = "Correct the path, or the file's mode."
            raise InputError(f"cannot be read: {getattr(error, 'strerror', error)}", where=f"config_file: {path}", remedy=remedy) from None
    return None if config is None else canonical(config, path or "config")


def _named(options: Mapping[str, Any], base: Config) -> str:
    name, in_config = options.get("name") or "", name_of(base)
    if name and in_config and name != in_config:
        raise InputError(f"contradicts the configuration, which names {in_config}", where=f"name: {name}", remedy="Correct one of them.")
    check.check_name(name or in_config)
    return name or in_config


def _check_weight(weight: int | None) -> None:
    if weight is not None and weight not in _WEIGHTS:
        raise InputError(f"{weight} is no weight", where="weight", remedy="Give one from -1 to 1000.")
