# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What S3 says in XML: listings by a pattern, since they are long, everything else by the parser."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape, unescape
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

from ...core.errors import TransientError
from ..bucket import Listed

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

# 1,000 keys take 1.3 ms so, and 7 ms by the parser; a listing in any other shape goes there.
_OBJECT = re.compile(
    rb"<Contents>\s*<Key>([^<]*)</Key>\s*<LastModified>[^<]*</LastModified>\s*<ETag>([^<]*)</ETag>\s*"
    rb"(?:<Checksum[A-Za-z]+>[^<]*</Checksum[A-Za-z]+>\s*)*<Size>([0-9]+)</Size>"
)


@dataclass(frozen=True)
class Page:
    """One answer to a LIST. truncated: more follows. folders: common prefixes."""

    objects: list[Listed]
    folders: list[str]
    truncated: bool
    token: str


@dataclass(frozen=True)
class Part:
    """A part that an unfinished upload holds."""

    number: int
    size: int
    stamp: str


def stamp_of(etag: str) -> str:
    return etag.strip().strip('"')


def read_page(body: bytes) -> Page:
    """An answer to list-type=2. Raises TransientError for what is no such answer: a proxy's page, or half of one."""
    if not body.rstrip().endswith(b"</ListBucketResult>"):
        raise TransientError("the answer is no listing", remedy="Check that the endpoint is an S3 server's.")
    plain = b"<EncodingType>url</EncodingType>" not in body
    found = _OBJECT.findall(body)
    if len(found) != body.count(b"<Contents>") or b"<CommonPrefixes>" in body:
        return _parsed_page(body, plain)
    truncated = b"<IsTruncated>true</IsTruncated>" in body
    token = re.search(rb"<NextContinuationToken>([^<]*)<", body) if truncated else None
    objects = [Listed(_key(unescape(key.decode()), plain), int(size), _etag(etag)) for key, etag, size in found]
    return Page(objects, [], truncated, unescape(token.group(1).decode()) if token else "")


def _etag(raw: bytes) -> str:
    text = raw.decode()
    # The usual forms, without the cost of unescape.
    return text[6:-6] if text.startswith("&quot;") else stamp_of(unescape(text))


def _key(text: str, plain: bool) -> str:
    return text if plain or not ("%" in text or "+" in text) else unquote_plus(text)


def _parsed_page(body: bytes, plain: bool) -> Page:
    root = parse(body)
    objects = [
        Listed(_key(text(each, "Key"), plain), int(text(each, "Size") or 0), stamp_of(text(each, "ETag")))
        for each in children(root, "Contents")
    ]
    folders = [_key(text(each, "Prefix"), plain) for each in children(root, "CommonPrefixes")]
    return Page(objects, folders, text(root, "IsTruncated") == "true", text(root, "NextContinuationToken"))


def parse(body: bytes) -> Element:
    """The document's root. Servers are not trusted with entities of their own: a document type is refused."""
    # Imported here: the usual run has only listings, which the pattern reads.
    from xml.etree import ElementTree

    try:
        if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
            raise ElementTree.ParseError("a document type")
        return ElementTree.fromstring(body)  # noqa: S314 - no document type gets here
    except ElementTree.ParseError as error:
        raise TransientError(f"the answer is not S3's XML ({error})", remedy="Check that the endpoint is an S3 server's.") from error


def children(node: Element, name: str) -> Iterator[Element]:
    """Children of this name, whatever their namespace is: servers differ."""
    return (child for child in node if child.tag.rpartition("}")[2] == name)


def text(node: Element, name: str) -> str:
    return next((child.text or "" for child in children(node, name)), "")


def read_error(body: bytes) -> tuple[str, str, str]:
    """Code, message and region of an error; empty where there is none. Never raises: what fails may be anything."""

    def value(name: bytes) -> str:
        match = re.search(rb"<%b>([^<]{0,500})</%b>" % (name, name), body[:10000])
        return unescape(match.group(1).decode(errors="replace")) if match else ""

    return (value(b"Code"), value(b"Message"), value(b"Region")) if b"<Error" in body[:1000] else ("", "", "")


def dump_deletes(keys: Sequence[str]) -> bytes:
    objects = "".join(f"<Object><Key>{escape(key, quote=False)}</Key></Object>" for key in keys)
    return f'<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Quiet>true</Quiet>{objects}</Delete>'.encode()


def read_deletes(body: bytes) -> list[tuple[str, str, str]]:
    """Key, code and message of what was not deleted."""
    return [(text(each, "Key"), text(each, "Code"), text(each, "Message")) for each in children(parse(body), "Error")]


def dump_parts(parts: Sequence[tuple[str, str]]) -> bytes:
    """The parts of an upload in order: stamp and CRC32 (empty where there is none)."""
    listed = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>&quot;{stamp}&quot;</ETag>"
        f"{f'<ChecksumCRC32>{crc}</ChecksumCRC32>' if crc else ''}</Part>"
        for number, (stamp, crc) in enumerate(parts, 1)
    )
    return f'<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{listed}</CompleteMultipartUpload>'.encode()


def read_parts(body: bytes) -> tuple[list[Part], str]:
    """The parts of an unfinished upload, and the marker after which more follow (empty: none)."""
    root = parse(body)
    parts = [Part(int(text(each, "PartNumber")), int(text(each, "Size")), stamp_of(text(each, "ETag"))) for each in children(root, "Part")]
    return parts, text(root, "NextPartNumberMarker") if text(root, "IsTruncated") == "true" else ""


def read_uploads(body: bytes) -> list[tuple[str, str]]:
    """Key and id of unfinished uploads, the oldest first."""
    found = [(text(each, "Initiated"), text(each, "Key"), text(each, "UploadId")) for each in children(parse(body), "Upload")]
    return [(key, upload) for _begun, key, upload in sorted(found)]
