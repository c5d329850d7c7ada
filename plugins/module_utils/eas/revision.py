# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a service is to have read, as one text in an environment variable of its server. Pure.

Instances read the model repository when they start. EAS replaces them one by one when a variable changes, so with a new text they read it
again, and the configuration itself tells which text that was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..core.errors import InputError
from .plan import Wanted
from .spec import Config

VARIABLE = "SERVING_TRITON_REVISION"
CONTAINERS, VARIABLES = "containers", "processor_envs"


def revision_of(config: Mapping[str, Any]) -> str:
    """The revision in a configuration; empty where there is none."""
    return next((str(each.get("value", "")) for each in _variables(config) if each.get("name") == VARIABLE), "")


def completed(wanted: Wanted, actual: Mapping[str, Any]) -> Wanted:
    """What is wanted, with the revision in its configuration: the wanted one, else the one that is there, since EAS takes lists whole.

    actual: the configuration that is there, empty for none. Raises InputError where there is nothing that it could be told to.
    """
    config = wanted.config
    revision = revision_of(actual) if wanted.revision is None else wanted.revision
    if config is None or not revision or (wanted.revision is None and not _takes_it(config, whole=wanted.replace)):
        return wanted
    return replace(wanted, config=_with(config, {} if wanted.replace else actual, revision))


def _takes_it(config: Config, *, whole: bool) -> bool:
    """Whether this update would take the revision away. whole: whether all that is there is replaced."""
    return any(config.get(key) for key in (CONTAINERS, "processor")) if whole else any(key in config for key in (CONTAINERS, VARIABLES))


def _with(config: Config, actual: Mapping[str, Any], revision: str) -> Config:
    base = config if config.get(CONTAINERS) or config.get("processor") else actual
    variable = {"name": VARIABLE, "value": revision}
    if base.get(CONTAINERS):
        first, *others = base[CONTAINERS]
        return {**config, CONTAINERS: [{**first, "env": [*_others(first.get("env")), variable]}, *others]}
    if not base.get("processor"):
        remedy = "Give triton_repository or image with it, or remove it."
        raise InputError("the service has neither a processor nor an image that it could be told to", where="revision", remedy=remedy)
    there = config[VARIABLES] if VARIABLES in config else actual.get(VARIABLES)
    return {**config, VARIABLES: [*_others(there), variable]}


def _variables(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    containers = config.get(CONTAINERS) or [{}]
    return [*(containers[0].get("env") or ()), *(config.get(VARIABLES) or ())]


def _others(variables: Any) -> list[Any]:
    return [each for each in variables or () if each.get("name") != VARIABLE]
