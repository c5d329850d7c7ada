# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where an OSS repository is: bucket, prefix, endpoint and region, from a URL, the options and the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ...core.errors import InputError

_BUCKET = re.compile(r"[a-z0-9](?:[a-z0-9-]{1,61}[a-z0-9])")
_ALIYUN = re.compile(r"oss-(?P<region>[a-z0-9-]+?)(?P<internal>-internal)?\.aliyuncs\.com")
_ENDPOINT = re.compile(r"(?:https?://)?[\w.\[\]:-]+/?")


@dataclass(frozen=True)
class Place:
    """prefix: "" or with a slash at its end. endpoint: with its scheme. region: as OSS signs it; "" where V1 signs without it."""

    url: str
    bucket: str
    prefix: str
    endpoint: str
    region: str


def locate(rest: str, options: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> Place:
    """rest: "bucket/prefix" or "bucket.endpoint-host/prefix", the form that EAS writes. Raises InputError for what cannot be."""
    environment = os.environ if environment is None else environment
    host, _slash, path = rest.partition("/")
    bucket, _dot, named_host = host.partition(".")
    prefix = path.strip("/")
    url = f"oss://{host}/{prefix}".rstrip("/")
    if not _BUCKET.fullmatch(bucket):
        remedy = "Write oss://bucket/prefix; a bucket's name has 3 to 63 lower case letters, digits and hyphens."
        raise InputError(f"{bucket!r} is no name of a bucket", where=f"oss://{rest}", remedy=remedy)
    if "//" in prefix:
        raise InputError("the prefix has an empty part", where=url, remedy="Write single slashes.")
    given = options.get("endpoint") or named_host or ("" if options.get("region") else environment.get("OSS_ENDPOINT", ""))
    region = _region(given, named_host, options, environment)
    if not region and (not given or options.get("signature_version") != "v1"):
        remedy = "Set the region, such as cn-shanghai, or write oss://bucket.oss-cn-shanghai.aliyuncs.com/prefix."
        raise InputError("the bucket's region is not known, which signatures need", where=url, remedy=remedy)
    endpoint = _endpoint(given or f"oss-{region}.aliyuncs.com", internal=bool(options.get("internal")), where=url)
    return Place(url, bucket, f"{prefix}/" if prefix else "", endpoint, region)


def _region(given: str, named_host: str, options: Mapping[str, Any], environment: Mapping[str, str]) -> str:
    for candidate in (str(options.get("region") or ""), _region_of(given), _region_of(named_host), environment.get("OSS_REGION", "")):
        if candidate:
            # People write the name as in the endpoint too.
            return candidate[4:] if candidate.startswith("oss-") else candidate
    return ""


def _region_of(endpoint: str) -> str:
    match = _ALIYUN.fullmatch(_host(endpoint))
    return match["region"] if match else ""


def _host(endpoint: str) -> str:
    return (urlsplit(endpoint if "://" in endpoint else f"//{endpoint}").hostname or "") if endpoint else ""


def _endpoint(given: str, *, internal: bool, where: str) -> str:
    if not _ENDPOINT.fullmatch(given):
        raise InputError(f"{given!r} is no endpoint", where=where, remedy="Give a host such as oss-cn-shanghai.aliyuncs.com, or its URL.")
    endpoint = (given if "://" in given else f"https://{given}").rstrip("/")
    if not internal:
        return endpoint
    match = _ALIYUN.fullmatch(_host(endpoint))
    if match is None:
        raise InputError(
            "internal is for Alibaba Cloud's own endpoints", where=given, remedy="Remove internal, or give the internal endpoint."
        )
    return endpoint.replace(match[0], f"oss-{match['region']}-internal.aliyuncs.com")
