# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Signature Version 4 of S3 requests.

botocore signs too, and is what this is tested to equal. But it takes 52 µs a request (it builds, encodes and parses request objects), this
takes 4, and a publish of 4,000 small files is 4,000 requests, of which each then takes 13 µs to exchange besides the kernel's work.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote

UNSIGNED = "UNSIGNED-PAYLOAD"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
_ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True)
class Keys:
    """Credentials as they are at one moment."""

    access_key: str
    secret_key: str
    token: str = ""

    def __repr__(self) -> str:
        return f"Keys({self.access_key})"


def encode_path(path: str) -> str:
    return quote(path, safe="/-_.~")


def encode_query(pairs: Iterable[tuple[str, str]]) -> str:
    """Encoded and in the order that is signed, so that the same text goes into the request."""
    encoded = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in pairs)
    return "&".join([f"{name}={value}" for name, value in encoded])


def payload_hash(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


class Signer:
    """Signs for one set of keys and one region. Safe to share among threads."""

    def __init__(self, keys: Keys, region: str) -> None:
        self._keys, self._region = keys, region
        # Each is replaced as one: several threads look at them.
        self._derived_for = ("", "", b"")
        self._stamped = (-1, "")

    def sign(self, target: tuple[str, str, str], headers: Mapping[str, str], payload: str, now: float) -> dict[str, str]:
        """All headers, with those that signing adds.

        target: method, path and query, the two encoded. headers: with lower-case names. payload: its SHA-256 in hex, or UNSIGNED.
        """
        method, path, query = target
        stamp = self._time(now)
        signed = {**headers, "x-amz-date": stamp, "x-amz-content-sha256": payload}
        if self._keys.token:
            signed["x-amz-security-token"] = self._keys.token
        names = sorted(signed)
        listed = ";".join(names)
        lines = "".join([f"{name}:{' '.join(signed[name].split())}\n" for name in names])
        request = f"{method}\n{path}\n{query}\n{lines}\n{listed}\n{payload}"
        scope, key = self._derived(stamp[:8])
        text = f"{_ALGORITHM}\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
        signed["authorization"] = f"{_ALGORITHM} Credential={self._keys.access_key}/{scope}, SignedHeaders={listed}, Signature={signature}"
        return signed

    def _time(self, now: float) -> str:
        second, stamp = self._stamped
        if second != int(now):
            stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
            self._stamped = (int(now), stamp)
        return stamp

    def _derived(self, day: str) -> tuple[str, bytes]:
        known, scope, key = self._derived_for
        if known == day:
            return scope, key
        key = f"AWS4{self._keys.secret_key}".encode()
        for part in (day, self._region, "s3", "aws4_request"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        scope = f"{day}/{self._region}/s3/aws4_request"
        self._derived_for = (day, scope, key)
        return scope, key
