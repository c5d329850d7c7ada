# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where EAS is: region and endpoint, from options and environment. Pure."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ..core.errors import InputError

_ENDPOINT = re.compile(r"(?:https?://)?[\w.\[\]:-]+/?")
_REGION = re.compile(r"[a-z][a-z0-9-]+")
_OF_REGION = re.compile(r"pai-eas(?:-manage)?(?:-vpc)?\.(?P<region>[a-z0-9-]+)\.aliyuncs\.com")


@dataclass(frozen=True)
class Place:
    """region: as the API's paths name it. host: of the API, with a port where it has one. url: the same with its scheme."""

    region: str
    host: str
    url: str


def locate(options: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> Place:
    """Raises InputError where the region or the endpoint is not known, or is none."""
    environment = os.environ if environment is None else environment
    endpoint = options.get("endpoint") or ("" if options.get("region") else environment.get("EAS_ENDPOINT", ""))
    if endpoint and not _ENDPOINT.fullmatch(endpoint):
        remedy = "Give a host such as pai-eas.cn-shanghai.aliyuncs.com, or its URL."
        raise InputError(f"{endpoint!r} is no endpoint", where="endpoint", remedy=remedy)
    url = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
    named = _OF_REGION.fullmatch(url.hostname or "")
    region = options.get("region") or (named["region"] if named else "")
    region = region or environment.get("EAS_REGION") or environment.get("ALIBABA_CLOUD_REGION_ID") or ""
    if not _REGION.fullmatch(region):
        what = f"{region!r} is no region" if region else "the region is not known"
        raise InputError(what, where="region", remedy="Give region, such as cn-shanghai.")
    if not endpoint:
        url = urlsplit(f"https://pai-eas.{region}.aliyuncs.com")
    return Place(region, url.netloc, f"{url.scheme}://{url.netloc}")
