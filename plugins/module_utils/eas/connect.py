# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The backend that the options ask for, or that is there."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import InputError, UnavailableError
from ..core.wait import Clock, RetryPolicy
from . import credentials
from .base import Backend
from .place import locate

_PACKAGE, _DISTRIBUTION = "alibabacloud_eas20210701", "alibabacloud-eas20210701"
_CLIENTS = ("eascmd", "eascmd64")
_OWN_CONFIG = "~/.eas/config"
# What names the place in the environment.
_PLACES = ("EAS_REGION", "EAS_ENDPOINT", "ALIBABA_CLOUD_REGION_ID")
_LEAST = {"timeout": 1.0, "attempts": 1}


@dataclass(frozen=True)
class Connected:
    """reason: why this backend was taken."""

    backend: Backend
    reason: str


def connect(options: Mapping[str, Any], clock: Clock) -> Connected:
    """options: as the modules have them. Raises a ServingError."""
    for option, least in _LEAST.items():
        if options[option] < least:
            raise InputError(f"{options[option]} is below {least}", where=option, remedy=f"Give {least} or more.")
    policy = RetryPolicy(attempts=options["attempts"], base=0.5, cap=15.0)
    if options["backend"] == "openapi":
        if not _has_sdk():
            raise UnavailableError(f"the Python library {_DISTRIBUTION} is not installed", where="backend", remedy=_install())
        return Connected(_openapi(options, policy, clock), "backend is given")
    client = _client(options)
    if options["backend"] == "eascmd":
        if not client:
            remedy = "Install Alibaba Cloud's client, put it on the path as eascmd, or give eascmd_path."
            raise UnavailableError("eascmd is not found", where="backend", remedy=remedy)
        return Connected(_eascmd(client, options, policy, clock), "backend is given")
    return _automatic(client, options, policy, clock)


def _automatic(client: str, options: Mapping[str, Any], policy: RetryPolicy, clock: Clock) -> Connected:
    named = next((name for name in ("eascmd_path", "eascmd_config") if options.get(name)), "")
    if client and named:
        return Connected(_eascmd(client, options, policy, clock), f"{named} is given")
    if _has_sdk():
        version = importlib.metadata.version(_DISTRIBUTION)
        return Connected(_openapi(options, policy, clock), f"{_DISTRIBUTION} {version} is installed")
    if client:
        return Connected(_eascmd(client, options, policy, clock), f"{_DISTRIBUTION} is not installed, and {client} is there")
    what = f"neither the Python library {_DISTRIBUTION} nor eascmd is on this machine"
    raise UnavailableError(what, where="backend", remedy=f"{_install()} Or put eascmd on the path.")


def _has_sdk() -> bool:
    return importlib.util.find_spec(_PACKAGE) is not None


def _install() -> str:
    return f"Run {sys.executable} -m pip install '{_DISTRIBUTION}>=7.0.0' alibabacloud-credentials on this machine."


def _client(options: Mapping[str, Any]) -> str:
    """The client's executable; empty where there is none."""
    given = options.get("eascmd_path")
    if given:
        if not os.access(given, os.X_OK) or os.path.isdir(given):
            raise InputError("is no file that can be run", where=f"eascmd_path: {given}", remedy="Correct the path, or chmod +x the file.")
        return str(given)
    return next(filter(None, map(shutil.which, _CLIENTS)), "")


def _openapi(options: Mapping[str, Any], policy: RetryPolicy, clock: Clock) -> Backend:
    # Imported here, with the SDK.
    from .openapi import OpenApi

    place, source = locate(options), credentials.source(options)
    try:
        return OpenApi(place, source, options, policy, clock)
    except ImportError as error:
        what = f"the Python library {_DISTRIBUTION}, or one that it needs, is too old: {error}"
        raise UnavailableError(what, where="backend", remedy=_install()) from None


def _eascmd(client: str, options: Mapping[str, Any], policy: RetryPolicy, clock: Clock) -> Backend:
    from .commands import run
    from .eascmd import EasCmd
    from .eascmd_client import EasCmdClient, KeyFile

    own = _own_config(options)
    if own:
        return EasCmd(EasCmdClient(client, own, run, options["timeout"]), "", policy, clock)
    place = locate(options)
    keys = KeyFile(place, credentials.source(options))
    return EasCmd(EasCmdClient(client, keys, run, options["timeout"]), place.region, policy, clock)


def _own_config(options: Mapping[str, Any]) -> str:
    """The client's own configuration, where it is asked for, or nothing else says which service and keys to use."""
    given = options.get("eascmd_config")
    if given and not Path(given).is_file():
        raise InputError("is no file", where=f"eascmd_config: {given}", remedy="Correct it, or write it with eascmd config.")
    if given:
        return str(given)
    own = Path(_OWN_CONFIG).expanduser()
    elsewhere = any(options.get(name) for name in ("region", "endpoint")) or any(map(os.environ.get, _PLACES))
    return str(own) if own.is_file() and not elsewhere and not credentials.is_given(options) else ""
