# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where an s3:// URL leads: the forms that Triton reads, and the bare bucket of AWS."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ...core.errors import InputError

_ENDPOINT = re.compile(r"(?:(https?)://)?([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?$")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
_HELP = "Give s3://bucket/prefix, or s3://https://host:port/bucket/prefix for a server that is not AWS."
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Endpoint:
    """A server. path: what stands before the bucket, without a slash at its end. aws: whether it is Amazon's own."""

    secure: bool
    host: str
    port: int
    path: str = ""
    aws: bool = False

    @property
    def authority(self) -> str:
        """As in the header Host: the usual port is left out."""
        return self.host if self.port == _PORTS["https" if self.secure else "http"] else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{'https' if self.secure else 'http'}://{self.authority}{self.path}"


@dataclass(frozen=True)
class Place:
    """endpoint: None where the URL names none. prefix: without slashes at its ends, empty for the whole bucket."""

    url: str
    bucket: str
    prefix: str
    endpoint: Endpoint | None = None


def parse_endpoint(text: str) -> Endpoint:
    """`http(s)://host[:port][/path]`, as AWS_ENDPOINT_URL holds it, or `host:port`, which Triton reads as plain http."""
    scheme, separator, rest = text.partition("://")
    authority, _slash, path = (rest if separator else text).partition("/")
    match = _ENDPOINT.match(f"{scheme}://{authority}" if separator else authority)
    if match is None or (match.group(3) and int(match.group(3)) > 65535):
        # The text is not shown: a URL may hold a password.
        raise InputError("the endpoint is not https://host:port", where="s3", remedy=_HELP)
    scheme = match.group(1) or "http"
    path = path.strip("/")
    return Endpoint(scheme == "https", match.group(2), int(match.group(3) or _PORTS[scheme]), f"/{path}" if path else "")


def parse_place(rest: str) -> Place:
    """What follows `s3://`. Raises InputError when it names no bucket."""
    trimmed = rest.rstrip("/")
    match = re.match(r"(https?://)?([^/]*)/?(.*)$", trimmed)
    scheme, first, others = match.groups() if match else ("", "", "")
    endpoint = None
    if scheme or re.search(r":[0-9]+$", first):
        endpoint = parse_endpoint(f"{scheme or ''}{first}")
        first, _slash, others = others.partition("/")
    prefix = others.strip("/")
    if not _BUCKET.fullmatch(first):
        raise InputError("there is no valid bucket name in the URL", where="repository", remedy=_HELP)
    if any(part in ("", ".", "..") for part in prefix.split("/")) and prefix:
        raise InputError("the prefix has an empty part, or one of dots", where=f"s3://{trimmed}", remedy="Write it with single slashes.")
    return Place(f"s3://{trimmed}", first, prefix, endpoint)
