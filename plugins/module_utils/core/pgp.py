# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Fingerprints of OpenPGP public keys, so that a key is known before a package manager trusts it, also where no gpg is.

RFC 4880 (sections 4.2, 6.2 and 12.2); version 4 keys alone, which every package repository has.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator

from .errors import InputError

_ARMOR = re.compile(r"-----BEGIN PGP PUBLIC KEY BLOCK-----\r?\n(.*?)-----END PGP PUBLIC KEY BLOCK-----", re.DOTALL)
_PUBLIC_KEY = 6


def fingerprints(text: str) -> list[str]:
    """The fingerprints of the primary keys in an ASCII-armored text, 40 upper-case digits each. Raises InputError for none."""
    found = [fingerprint for block in _ARMOR.findall(text) for fingerprint in _of_packets(_dearmor(block))]
    if not found:
        raise InputError(
            "holds no ASCII-armored OpenPGP public key of version 4",
            where=text.strip()[:60] or "an empty file",
            remedy="Name the repository's public key; a binary one is converted by `gpg --enarmor`.",
        )
    return found


def _dearmor(block: str) -> bytes:
    # Headers end with an empty line; the checksum begins with "=".
    lines = block.replace("\r", "").split("\n")
    start = lines.index("") + 1 if "" in lines[:-1] else 0
    body = "".join(line for line in lines[start:] if line and not line.startswith("="))
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise InputError(f"the key is damaged ({error})", where=body[:40], remedy="Fetch it again.") from error


def _of_packets(data: bytes) -> Iterator[str]:
    for tag, body in _packets(data):
        if tag == _PUBLIC_KEY and body[:1] == b"\x04":
            # The algorithm is the format's, not a choice.
            yield hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body).hexdigest().upper()  # noqa: S324


def _packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        header = data[at]
        if not header & 0x80:
            raise InputError("the key is damaged", where=f"byte {at}", remedy="Fetch it again.")
        if header & 0x40:
            tag, (size, taken) = header & 0x3F, _new_length(data, at + 1)
        else:
            tag, taken = (header >> 2) & 0x0F, 1 << (header & 3)
            size = int.from_bytes(data[at + 1 : at + 1 + taken], "big") if header & 3 != 3 else len(data)
        start = at + 1 + taken
        yield tag, data[start : start + size]
        at = start + size


def _new_length(data: bytes, at: int) -> tuple[int, int]:
    """Length of a packet of the new format, and how many bytes tell it."""
    first = data[at]
    if first < 192:
        return first, 1
    if first < 224:
        return ((first - 192) << 8) + data[at + 1] + 192, 2
    return int.from_bytes(data[at + 1 : at + 5], "big"), 5
