# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What requests of one bucket carry by the options: encryption, storage class, tags, who pays, and checksums."""

from __future__ import annotations

import base64
import hashlib
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from ...core.errors import InputError
from ...repository.publish import SourceFile
from .connection import FileRange, changed

_BLOCK = 1 << 20


@dataclass
class Terms:
    """new: headers of what begins an object. crc32: whether parts carry CRC32 instead of MD5.

    sign_body: whether a body's SHA-256 is signed, as plain http asks for. resumable: whether a part's ETag tells its content.
    """

    sign_body: bool
    crc32: bool
    new: Mapping[str, str] = field(default_factory=dict)
    # MD5 was asked for by name: it is sent also where something else protects the body.
    md5: bool = False
    # Where the choice is ours, a server that does not know CRC32 gets MD5.
    may_change: bool = False
    resumable: bool = True

    @property
    def whole_crc32(self) -> bool:
        """Whether whole objects carry it: only where it was asked for by name, since every server knows MD5."""
        return self.crc32 and not self.may_change


def always(options: Mapping[str, Any]) -> dict[str, str]:
    """Headers of every request."""
    return {"x-amz-request-payer": "requester"} if options.get("requester_pays") else {}


def terms(options: Mapping[str, Any], *, secure: bool, aws: bool) -> Terms:
    given = {name: value for name, value in options.items() if value not in (None, "", {})}
    new = {}
    if "kms_key_id" in given and given.get("encryption") not in ("aws:kms", "aws:kms:dsse"):
        raise InputError("kms_key_id needs encryption aws:kms", where="s3", remedy="Set s3.encryption to aws:kms, or leave out the key.")
    for option, header in (
        ("encryption", "x-amz-server-side-encryption"),
        ("kms_key_id", "x-amz-server-side-encryption-aws-kms-key-id"),
        ("storage_class", "x-amz-storage-class"),
    ):
        if option in given:
            new[header] = str(given[option])
    if "tags" in given:
        new["x-amz-tagging"] = urlencode(dict(given["tags"]))
    checksum = given.get("checksum", "auto")
    crc32 = checksum == "crc32" or (checksum == "auto" and aws)
    resumable = given.get("encryption") in (None, "AES256")
    return Terms(not secure, crc32, new, checksum == "md5", checksum == "auto", resumable)


@dataclass(frozen=True)
class Sums:
    """Of one body. Empty where it was not asked for; md5 and crc32 in base64, sha256 in hex."""

    sha256: str = ""
    md5: str = ""
    crc32: str = ""

    def headers(self) -> dict[str, str]:
        pairs = (("content-md5", self.md5), ("x-amz-checksum-crc32", self.crc32))
        return {name: value for name, value in pairs if value}


def md5_of(data: bytes) -> str:
    # No security hangs on it: it is what S3 checks transfers with.
    return base64.b64encode(hashlib.new("md5", data, usedforsecurity=False).digest()).decode()


def data_sums(data: bytes, how: Terms) -> Sums:
    """Of a small body."""
    crc = crc_text(zlib.crc32(data)) if how.whole_crc32 else ""
    return Sums(hashlib.sha256(data).hexdigest() if how.sign_body else "", "" if crc else md5_of(data), crc)


def crc_text(value: int) -> str:
    return base64.b64encode(value.to_bytes(4, "big")).decode()


class Reader:
    """A source file that is read range by range, from its begin to its end, and must turn out to be what was planned."""

    def __init__(self, source: SourceFile) -> None:
        self._source = source
        self._whole = hashlib.sha256()
        try:
            self._handle = os.open(source.path, os.O_RDONLY)
        except OSError as error:
            remedy = "Check the source file's owner and mode, or run this again when nobody changes the source."
            raise InputError(f"cannot be read: {error.strerror}", where=source.path, remedy=remedy) from error

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_unused: object) -> None:
        os.close(self._handle)

    def small(self) -> bytes:
        """The whole content, checked."""
        data = self._read(0, self._source.size + 1)
        if hashlib.sha256(data).hexdigest() != self._source.sha256:
            raise changed(self._source.path)
        return data

    def next(self, offset: int, size: int, how: Terms, *, md5: bool) -> tuple[FileRange, Sums]:
        """The following bytes and what the server checks them by: they are read again when they are sent."""
        sha256 = hashlib.sha256() if how.sign_body else None
        digest = hashlib.new("md5", usedforsecurity=False) if md5 else None
        crc, end = 0, offset + size
        for position in range(offset, end, _BLOCK):
            block = self._read(position, min(_BLOCK, end - position))
            self._whole.update(block)
            if sha256:
                sha256.update(block)
            if digest:
                digest.update(block)
            if how.crc32:
                crc = zlib.crc32(block, crc)
        return FileRange(self._handle, offset, size, self._source.path), Sums(
            sha256.hexdigest() if sha256 else "",
            base64.b64encode(digest.digest()).decode() if digest else "",
            crc_text(crc) if how.crc32 else "",
        )

    def rewind(self) -> None:
        """Everything is to be read again."""
        self._whole = hashlib.sha256()

    def finish(self) -> None:
        """Raises InputError when what was read is not what was planned."""
        if self._whole.hexdigest() != self._source.sha256 or os.fstat(self._handle).st_size != self._source.size:
            raise changed(self._source.path)

    def _read(self, offset: int, size: int) -> bytes:
        try:
            return os.pread(self._handle, size, offset)
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}", where=self._source.path, remedy="Check the disk it lies on.") from error
