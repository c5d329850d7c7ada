# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where a service is reached: the value that every server role sets as `triton_endpoint` and modules take as `endpoint`."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ..core.errors import InputError

_KEYS = ("http", "grpc", "metrics", "headers", "tls", "replicas", "binary")
_TLS_KEYS = ("ca_file", "cert_file", "key_file", "validate_certs", "server_name")
_REPLICA_KEYS = ("name", "http", "grpc", "metrics")
_SCHEMES = {"http": ("http", "https"), "grpc": ("grpc", "grpcs"), "metrics": ("http", "https")}
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_FIX = "Correct the option endpoint."


@dataclass(frozen=True)
class Tls:
    """Paths of PEM files on the machine that runs the module; empty ones are not used.

    server_name: the name to expect in the server's certificate, when it is not the URL's host.
    """

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    validate_certs: bool = True
    server_name: str = ""


@dataclass(frozen=True)
class Address:
    """One URL in parts. path: the base path without a slash at its end, empty for none."""

    scheme: str
    host: str
    port: int
    path: str = ""

    @property
    def secure(self) -> bool:
        return self.scheme in ("https", "grpcs")

    @property
    def netloc(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.netloc}{self.path}"


@dataclass(frozen=True)
class Replica:
    """One server. An address is None where the protocol is not offered; at least one of http and grpc is given."""

    name: str
    http: Address | None = None
    grpc: Address | None = None
    metrics: str = ""

    def describe(self) -> dict[str, str]:
        """Name and URLs, as results show them."""
        return {"name": self.name, "http": str(self.http or ""), "grpc": str(self.grpc or ""), "metrics": self.metrics}


@dataclass(frozen=True)
class Endpoint:
    """A service of one or more replicas. headers: sent with every call on both protocols; secret.

    binary: whether tensors may go over HTTP as bytes. A gateway before the server may not let them through, whatever the server says.
    """

    replicas: tuple[Replica, ...]
    headers: Mapping[str, str] = field(default_factory=dict)
    tls: Tls = field(default_factory=Tls)
    binary: bool = True

    @classmethod
    def from_mapping(cls, value: Mapping[str, Any]) -> Endpoint:
        """Reads the mapping. Raises InputError that names the key that cannot work."""
        _known_keys(value, _KEYS, "endpoint")
        headers = _headers(value.get("headers") or {})
        tls = _tls(value.get("tls") or {})
        binary = True if value.get("binary") is None else value["binary"]
        if not isinstance(binary, bool):
            raise InputError("must be true or false", where="endpoint.binary", remedy=_FIX)
        items = value.get("replicas") or []
        if not isinstance(items, (list, tuple)) or not all(isinstance(item, Mapping) for item in items):
            raise InputError("must be a list of mappings", where="endpoint.replicas", remedy=_FIX)
        if not items:
            return cls((_replica(value, "endpoint", "default"),), headers, tls, binary)
        replicas = []
        for number, item in enumerate(items):
            where = f"endpoint.replicas[{number}]"
            _known_keys(item, _REPLICA_KEYS, where)
            replicas.append(_replica(item, where, str(item.get("name") or number)))
        _unique(replica.name for replica in replicas)
        return cls(tuple(replicas), headers, tls, binary)


def _known_keys(value: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    for key in value:
        if key not in known:
            near = difflib.get_close_matches(str(key), list(known), n=1)
            remedy = f"Did you mean {near[0]}?" if near else f"Known keys: {', '.join(known)}."
            raise InputError(f"the key {key!r} is unknown", where=where, remedy=remedy)


def _unique(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError(f"two replicas are named {name!r}", where="endpoint.replicas", remedy="Give each replica a name of its own.")
        seen.add(name)


def _replica(value: Mapping[str, Any], where: str, name: str) -> Replica:
    http = _address(value.get("http"), "http", where)
    grpc = _address(value.get("grpc"), "grpc", where)
    if http is None and grpc is None:
        remedy = 'Give at least one of them, for example http: "http://127.0.0.1:8000".'
        raise InputError("holds neither http nor grpc", where=where, remedy=remedy)
    metrics = _address(value.get("metrics"), "metrics", where)
    return Replica(name, http, grpc, str(value.get("metrics") or "") if metrics else "")


def _address(value: Any, kind: str, where: str) -> Address | None:
    if value in (None, ""):
        return None
    here = f"{where}.{kind}"
    example = f'Write it as "{_SCHEMES[kind][0]}://host:port".'
    if not isinstance(value, str) or _CONTROL.search(value):
        raise InputError(f"{value!r} is not a URL", where=here, remedy=example)
    try:
        parts = urlsplit(value)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InputError(f"{value!r} is not a URL: {error}", where=here, remedy=example) from error
    if parts.scheme not in _SCHEMES[kind] or not host:
        raise InputError(f"{value!r} is not a URL of scheme {' or '.join(_SCHEMES[kind])}", where=here, remedy=example)
    if parts.username or parts.password:
        raise InputError("the URL holds a user or password", where=here, remedy="Put credentials into endpoint.headers.")
    if parts.query or parts.fragment:
        raise InputError(f"{value!r} holds a query or a fragment", where=here, remedy=example)
    if kind == "grpc" and parts.path not in ("", "/"):
        raise InputError(f"{value!r} holds a path, which gRPC has none of", where=here, remedy=example)
    default = {"http": 80, "https": 443, "grpc": 8001, "grpcs": 8001}[parts.scheme]
    return Address(parts.scheme, host, port or default, parts.path.rstrip("/"))


def _headers(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise InputError("must be a mapping of names to values", where="endpoint.headers", remedy=_FIX)
    headers = {}
    for name, text in value.items():
        # The value is a secret: messages name the header only.
        if not isinstance(name, str) or not _HEADER_NAME.match(name):
            raise InputError(f"{name!r} is not a header's name", where="endpoint.headers", remedy=_FIX)
        if isinstance(text, (Mapping, list, tuple)) or text is None or _CONTROL.search(str(text)):
            remedy = "Give one line of text; strip the line break from a value read from a file."
            raise InputError("the value is no single line of text", where=f"endpoint.headers.{name}", remedy=remedy)
        headers[name] = str(text)
    return headers


def _tls(value: Any) -> Tls:
    if not isinstance(value, Mapping):
        raise InputError("must be a mapping", where="endpoint.tls", remedy=_FIX)
    _known_keys(value, _TLS_KEYS, "endpoint.tls")
    for key in ("ca_file", "cert_file", "key_file"):
        path = value.get(key)
        if path and not os.access(str(path), os.R_OK):
            raise InputError(
                "the file is missing or not readable", where=f"endpoint.tls.{key}: {path}", remedy="Correct the path or the file's mode."
            )
    if value.get("key_file") and not value.get("cert_file"):
        raise InputError("a key without its certificate", where="endpoint.tls.key_file", remedy="Give cert_file as well.")
    given = {key: item for key, item in value.items() if item is not None}
    if not isinstance(given.get("validate_certs", True), bool):
        raise InputError("must be true or false", where="endpoint.tls.validate_certs", remedy=_FIX)
    return Tls(**given)
