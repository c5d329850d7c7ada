# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From the options of the module model_fetch to what it runs."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from ..core.progress import Progress
from ..repository.digest import DigestCache
from ..repository.publish_source import check_names
from ..stores.base import StoreOptions
from ..stores.options import store_settings
from .download import Manners
from .fetcher import Fetcher, Wish
from .layout import Request
from .sources import LocalSource, Source, StoreSource, UrlSource


def _caches() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "serving.triton"


def _check(params: Mapping[str, Any]) -> None:
    check_names([params["name"]])
    if params["version"] is not None and params["version"] < 1:
        raise InputError(f"{params['version']} is below 1", where="version", remedy="Give 1 or more.")
    if params["url"] and not re.match(r"https?://", params["url"]):
        raise InputError("only http and https can be fetched", where="url", remedy="For a file of this machine, give src.")
    if params["sha256"] and not re.fullmatch(r"[0-9a-fA-F]{64}", params["sha256"]):
        raise InputError("it is no SHA-256", where="sha256", remedy="Give 64 digits and letters a to f, as sha256sum prints them.")
    if params["file"] and "/" in params["file"]:
        raise InputError("it is a path", where="file", remedy="Give a name.")


def _source(params: Mapping[str, Any], digests: DigestCache, progress: Progress) -> Source | None:
    if params["state"] == "absent":
        return None
    settings = store_settings(params)
    if params["repository"]:
        options = StoreOptions(concurrency=0, **settings)
        return StoreSource(params["repository"].rstrip("/"), params["name"], params["version"], options, progress)
    request = Request(params["name"], params["version"] or 1, params["member"] or "", params["file"] or "")
    if params["src"]:
        return LocalSource(Path(params["src"]), request, digests)
    common = {name: settings[name] for name in ("timeout", "attempts", "validate_certs", "ca_path")}
    manners = Manners(headers=params["headers"] or {}, progress=progress, **common)
    cache = Path(params["cache"]) if params["cache"] else _caches() / "downloads"
    return UrlSource(params["url"], params["sha256"].lower(), request, cache, manners)


def build_fetcher(params: Mapping[str, Any], progress: Progress) -> Fetcher:
    _check(params)
    digests = DigestCache(_caches() / "digests.json")
    version = params["version"]
    if params["state"] == "present" and not params["repository"]:
        version = version or 1
    wish = Wish(params["dest"], params["name"], version, params["force"])
    return Fetcher(wish, _source(params, digests, progress), digests)
