# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From the options of model_repository to what publishes: reads the source, opens the store, and names the publisher."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from ..core.progress import Progress
from ..repository.digest import DigestCache
from ..repository.manifest import ModelTree
from ..repository.publish import Options, SourceFile
from ..repository.publish_policy import holds_no_model, named_in_source
from ..repository.publish_source import check_apart, check_names, read_source
from .base import StoreOptions
from .options import store_settings
from .publisher import Manners, Publisher
from .registry import open_store, scheme_of

# Source files that are read at once, where the user does not say. Hashing keeps as many processors busy.
READERS = 4


def build_publisher(params: Mapping[str, Any], progress: Progress) -> Publisher:
    """The publisher that the options of model_repository describe. Raises InputError for what they cannot mean, and for a bad source."""
    _check_numbers(params)
    models = tuple(dict.fromkeys(params["models"]))
    check_names(models)
    in_folder = scheme_of(params["repository"]) == "file"
    modes = _octal(params, "mode"), _octal(params, "directory_mode")
    concurrency = params["concurrency"] or (READERS if in_folder else 0)
    settings = {**store_settings(params), "list_all": params["verify"] != "manifest"}
    store = open_store(params["repository"], StoreOptions(params["owner"], params["group"], *modes, concurrency, **settings))
    desired = None
    if params["state"] == "present":
        if in_folder:
            check_apart(params["src"], store.url)
        desired = _read(params)
    named = named_in_source(desired or {}) if params["keep_versions"] else {}
    chosen = ("version", "keep_versions", "prune", "force", "adopt", "verify", "allow_empty")
    options = Options(models, **{name: params[name] for name in chosen}, served=named)
    publisher = f"{getpass.getuser()}@{socket.gethostname()}"
    manners = Manners(publisher, params["removal_delay"], lambda models: _lint(params, models), progress)
    return Publisher(store, desired, options, manners)


def _octal(params: Mapping[str, Any], option: str) -> int | None:
    """The permission bits that an option names."""
    value = params[option]
    if value is None or isinstance(value, int):
        return value
    try:
        bits = int(str(value), 8)
    except ValueError:
        bits = -1
    if not 0 <= bits <= 0o7777:
        raise InputError(f"{value!r} is not an octal mode", where=option, remedy='Give it quoted, such as "0644".')
    return bits


def _check_numbers(params: Mapping[str, Any]) -> None:
    for option, least in (("version", 0), ("keep_versions", 0), ("removal_delay", 0), ("concurrency", 0)):
        if params[option] is not None and params[option] < least:
            raise InputError(f"{params[option]} is below {least}", where=option, remedy=f"Give {least} or more.")


def _read(params: Mapping[str, Any]) -> dict[str, ModelTree[SourceFile]]:
    if params["prune"] and not params["models"] and holds_no_model(params["src"]):
        return {}
    place = params["digest_cache"]
    if place is None:
        home = os.environ.get("XDG_CACHE_HOME")
        place = str((Path(home) if home else Path.home() / ".cache") / "serving.triton" / "digests.json")
    cache = DigestCache(place or None)
    desired = read_source(params["src"], params["models"], cache, params["concurrency"] or READERS)
    cache.save()
    if params["version"] is not None:
        lacking = [name for name in params["models"] if params["version"] not in desired[name].versions]
        if lacking:
            what = f"the source has no version {params['version']} of {', '.join(lacking)}"
            raise InputError(what, where=params["src"], remedy="Correct the version or the models.")
    return desired


def _lint(params: Mapping[str, Any], models: Sequence[str]) -> None:
    if params["lint"]:
        # Not at the top: most runs change nothing, and then it is not needed.
        from ..repository.publish_lint import refuse_errors

        refuse_errors(params["src"], models, params["ignore_rules"])
