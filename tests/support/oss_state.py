# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the OSS stand-in holds, and how it answers: objects with their versions, multipart uploads, and the settings of buckets."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import format_datetime
from urllib.parse import quote
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import crcmod

from .oss_auth import DeniedError, Signed

_crc64 = crcmod.mkCrcFun(0x142F0E1EBA9EA3693, initCrc=0, rev=True, xorOut=0xFFFFFFFFFFFFFFFF)
_KEPT_HEADERS = ("content-type", "x-oss-storage-class", "x-oss-server-side-encryption", "x-oss-server-side-encryption-key-id")
LEAST_PART = 100 * 1024
_OWNER = "<Owner><ID>1234567890123456</ID><DisplayName>1234567890123456</DisplayName></Owner>"


@dataclass(frozen=True)
class Answer:
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Version:
    """marker: a deletion. number: the order of all writes."""

    identity: str
    data: bytes
    etag: str
    modified: datetime
    number: int
    headers: Mapping[str, str] = field(default_factory=dict)
    marker: bool = False

    @property
    def crc(self) -> str:
        return str(_crc64(self.data))


@dataclass
class Multipart:
    key: str
    headers: Mapping[str, str]
    initiated: datetime
    parts: dict[int, bytes] = field(default_factory=dict)


@dataclass
class Bucket:
    """objects: key → versions, the newest last. settings: tagging, encryption and versioning as the XML that was put."""

    acl: str = "private"
    storage_class: str = "Standard"
    redundancy: str = "LRS"
    versioning: str = ""
    blocked: bool = False
    tags: dict[str, str] = field(default_factory=dict)
    encryption: str = ""
    kms_key: str = ""
    created: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    objects: dict[str, list[Version]] = field(default_factory=dict)
    uploads: dict[str, Multipart] = field(default_factory=dict)

    def current(self, key: str) -> Version | None:
        versions = self.objects.get(key)
        return versions[-1] if versions and not versions[-1].marker else None

    def live(self) -> dict[str, Version]:
        return {key: found for key in sorted(self.objects) if (found := self.current(key))}


def _element(name: str, *parts: object) -> str:
    return f"<{name}>{''.join(map(str, parts))}</{name}>"


def _xml(root: str, *parts: str) -> Answer:
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n{_element(root, *parts)}'
    return Answer(200, {"Content-Type": "application/xml"}, text.encode())


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _etag(data: bytes) -> str:
    return hashlib.md5(data).hexdigest().upper()


class Buckets:
    """All buckets. taken: names of other accounts' buckets."""

    def __init__(self, now: Callable[[], datetime], page: int, region: str) -> None:
        self.all: dict[str, Bucket] = {}
        self.taken: set[str] = set()
        self._now, self._page, self._region = now, page, region
        self._count = itertools.count(1)

    def handle(self, request: Signed, body: bytes) -> Answer:
        """Answers a request whose signature is right. Raises DeniedError."""
        if not request.bucket:
            return _xml("ListAllMyBucketsResult", _element("Buckets", *(_element("Bucket", _element("Name", name)) for name in self.all)))
        if request.bucket in self.taken and not (request.method == "PUT" and not request.query):
            raise DeniedError("AccessDenied", "You do not have permission to access this bucket.")
        if request.key:
            return self._object(request, self._found(request.bucket), body)
        return self._bucket(request, body)

    def _found(self, name: str) -> Bucket:
        if name not in self.all:
            raise DeniedError("NoSuchBucket", "The specified bucket does not exist.", 404)
        return self.all[name]

    # --- buckets

    def _bucket(self, request: Signed, body: bytes) -> Answer:
        if request.method == "PUT" and not request.query:
            return self._create(request, body)
        bucket = self._found(request.bucket)
        if request.method == "DELETE" and not request.query:
            if bucket.objects or bucket.uploads:
                raise DeniedError("BucketNotEmpty", "The bucket you tried to delete is not empty.", 409)
            del self.all[request.bucket]
            return Answer(204)
        if request.method == "POST" and "delete" in request.query:
            return self._delete_many(bucket, body, request.query)
        if request.method == "GET":
            return self._read_bucket(request, bucket)
        return self._set(request, bucket, body)

    def _create(self, request: Signed, body: bytes) -> Answer:
        if request.bucket in self.taken:
            raise DeniedError("BucketAlreadyExists", "The requested bucket name is not available.", 409)
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", request.bucket):
            raise DeniedError("InvalidBucketName", "The specified bucket is not valid.", 400)
        wanted = ElementTree.fromstring(body) if body else ElementTree.Element("none")
        made = self.all.setdefault(request.bucket, Bucket(created=self._now()))
        made.acl = request.headers.get("x-oss-acl", made.acl)
        made.storage_class = wanted.findtext("StorageClass") or made.storage_class
        made.redundancy = wanted.findtext("DataRedundancyType") or made.redundancy
        return Answer(200, {"Location": f"/{request.bucket}"})

    def _read_bucket(self, request: Signed, bucket: Bucket) -> Answer:
        query = request.query
        answers: dict[str, Callable[[], Answer]] = {
            "bucketInfo": lambda: self._info(request.bucket, bucket),
            "acl": lambda: _xml("AccessControlPolicy", _OWNER, _element("AccessControlList", _element("Grant", bucket.acl))),
            "versioning": lambda: _xml("VersioningConfiguration", _element("Status", bucket.versioning) if bucket.versioning else ""),
            "tagging": lambda: _xml("Tagging", _element("TagSet", *(_tag(*each) for each in bucket.tags.items()))),
            "publicAccessBlock": lambda: _xml("PublicAccessBlockConfiguration", _element("BlockPublicAccess", str(bucket.blocked).lower())),
            "versions": lambda: self._list_versions(request.bucket, bucket, query),
            "uploads": lambda: self._list_uploads(request.bucket, bucket, query),
            "list-type": lambda: self._list(request.bucket, bucket, query),
        }
        asked = [name for name in answers if name in query]
        if not asked:
            raise DeniedError("NotImplemented", f"The stand-in does not know GET {sorted(query)}.", 501)
        return answers[asked[0]]()

    def _info(self, name: str, bucket: Bucket) -> Answer:
        encryption = _element("SSEAlgorithm", bucket.encryption or "None")
        if bucket.kms_key:
            encryption += _element("KMSMasterKeyID", bucket.kms_key)
        parts = (
            _element("Name", name),
            _OWNER,
            _element("Location", f"oss-{self._region}"),
            _element("CreationDate", _iso(bucket.created)),
            _element("ExtranetEndpoint", f"oss-{self._region}.aliyuncs.com"),
            _element("IntranetEndpoint", f"oss-{self._region}-internal.aliyuncs.com"),
            _element("AccessControlList", _element("Grant", bucket.acl)),
            _element("DataRedundancyType", bucket.redundancy),
            _element("StorageClass", bucket.storage_class),
            _element("BlockPublicAccess", str(bucket.blocked).lower()),
            _element("ServerSideEncryptionRule", encryption),
            _element("Versioning", bucket.versioning) if bucket.versioning else "",
        )
        return _xml("BucketInfo", _element("Bucket", *parts))

    def _set(self, request: Signed, bucket: Bucket, body: bytes) -> Answer:
        query, root = request.query, ElementTree.fromstring(body) if body else ElementTree.Element("none")
        remove = request.method == "DELETE"
        if "acl" in query:
            wanted = request.headers.get("x-oss-acl", "")
            if bucket.blocked and wanted != "private":
                raise DeniedError("AccessDenied", "Put public bucket acl is not allowed")
            bucket.acl = wanted
        elif "versioning" in query:
            bucket.versioning = root.findtext("Status") or ""
        elif "tagging" in query:
            bucket.tags = {} if remove else {each.findtext("Key") or "": each.findtext("Value") or "" for each in root.iter("Tag")}
        elif "publicAccessBlock" in query:
            bucket.blocked = not remove and root.findtext("BlockPublicAccess") == "true"
        elif "encryption" in query:
            bucket.encryption = "" if remove else root.findtext(".//SSEAlgorithm") or ""
            bucket.kms_key = "" if remove else root.findtext(".//KMSMasterKeyID") or ""
        else:
            raise DeniedError("NotImplemented", f"The stand-in does not know {request.method} {sorted(query)}.", 501)
        return Answer(204 if remove else 200)

    # --- lists

    def _limit(self, query: Mapping[str, str], name: str) -> int:
        return min(int(query.get(name) or 100), self._page)

    def _list(self, name: str, bucket: Bucket, query: Mapping[str, str]) -> Answer:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        token = query.get("continuation-token", "")
        after = base64.b64decode(token).decode() if token else query.get("start-after", "")
        encode = (lambda text: quote(text, safe="")) if query.get("encoding-type") == "url" else escape
        live, limit = bucket.live(), self._limit(query, "max-keys")
        keys = list(live)
        entries: list[tuple[str, str]] = []
        truncated = False
        for key in keys[bisect_right(keys, after) :]:
            if not key.startswith(prefix):
                continue
            end = key.find(delimiter, len(prefix)) if delimiter else -1
            group = key[: end + len(delimiter)] if end >= 0 else ""
            if group and (group <= after or (entries and entries[-1][0] == group)):
                continue
            if len(entries) == limit:
                truncated = True
                break
            shown = _element("CommonPrefixes", _element("Prefix", encode(group))) if group else _contents(encode(key), live[key])
            entries.append((group or key, shown))
        more = _element("NextContinuationToken", base64.b64encode(entries[-1][0].encode()).decode()) if truncated else ""
        return _xml(
            "ListBucketResult",
            _element("Name", name),
            _element("Prefix", encode(prefix)),
            _element("MaxKeys", limit),
            _element("EncodingType", "url") if query.get("encoding-type") == "url" else "",
            _element("IsTruncated", str(truncated).lower()),
            more,
            _element("KeyCount", len(entries)),
            *(shown for _unused, shown in entries),
        )

    def _list_versions(self, name: str, bucket: Bucket, query: Mapping[str, str]) -> Answer:
        prefix, after = query.get("prefix", ""), (query.get("key-marker", ""), query.get("version-id-marker", ""))
        encode = (lambda text: quote(text, safe="")) if query.get("encoding-type") == "url" else escape
        limit = self._limit(query, "max-keys")
        rows = [(key, each) for key in sorted(bucket.objects) if key.startswith(prefix) for each in reversed(bucket.objects[key])]
        start = next((index + 1 for index, (key, each) in enumerate(rows) if (key, each.identity) == after), 0) if after[0] else 0
        page = rows[start : start + limit]
        truncated = start + limit < len(rows)
        markers = ""
        if truncated:
            key, last = page[-1]
            markers = _element("NextKeyMarker", encode(key)) + _element("NextVersionIdMarker", last.identity)
        return _xml(
            "ListVersionsResult",
            _element("Name", name),
            _element("KeyMarker", encode(after[0])) + _element("VersionIdMarker", after[1]),
            _element("MaxKeys", limit) + _element("Delimiter"),
            _element("Prefix", encode(prefix)),
            _element("EncodingType", "url") if query.get("encoding-type") == "url" else "",
            _element("IsTruncated", str(truncated).lower()),
            markers,
            *(_version(encode(key), each, bucket.objects[key][-1] is each) for key, each in page),
        )

    def _list_uploads(self, name: str, bucket: Bucket, query: Mapping[str, str]) -> Answer:
        prefix = query.get("prefix", "")
        rows = sorted((each.key, identity, each) for identity, each in bucket.uploads.items() if each.key.startswith(prefix))
        after = (query.get("key-marker", ""), query.get("upload-id-marker", ""))
        rows = [row for row in rows if not after[0] or row[:2] > after]
        limit = self._limit(query, "max-uploads")
        encode = (lambda text: quote(text, safe="")) if query.get("encoding-type") == "url" else escape
        shown = (
            _element("Upload", _element("Key", encode(key)), _element("UploadId", identity), _element("Initiated", _iso(each.initiated)))
            for key, identity, each in rows[:limit]
        )
        # OSS tells where a page ends also where no other follows.
        last = rows[:limit][-1] if rows else ("", "", None)
        markers = _element("NextKeyMarker", encode(last[0])) + _element("NextUploadIdMarker", last[1])
        return _xml(
            "ListMultipartUploadsResult",
            _element("Bucket", name),
            _element("EncodingType", "url") if query.get("encoding-type") == "url" else "",
            _element("IsTruncated", str(len(rows) > limit).lower()),
            markers,
            *shown,
        )

    # --- objects

    def _object(self, request: Signed, bucket: Bucket, body: bytes) -> Answer:
        query = request.query
        if "uploads" in query or "uploadId" in query:
            return self._multipart(request, bucket, body)
        if request.method == "PUT":
            self._allow(request, bucket)
            written = self._write(bucket, request.key, body, _etag(body), _kept(request.headers))
            return Answer(200, self._written_headers(bucket, written))
        if request.method in ("GET", "HEAD"):
            return self._get(request, bucket)
        if request.method == "DELETE":
            return self._delete(bucket, request.key, query.get("versionId", ""))
        raise DeniedError("NotImplemented", "The stand-in does not know this.", 501)

    def _allow(self, request: Signed, bucket: Bucket) -> None:
        # In a bucket with versions OSS does not look at this header.
        if request.headers.get("x-oss-forbid-overwrite") == "true" and not bucket.versioning and bucket.current(request.key):
            raise DeniedError("FileAlreadyExists", "The object you specified already exists and can not be overwritten.", 409)

    def _write(self, bucket: Bucket, key: str, data: bytes, etag: str, headers: Mapping[str, str]) -> Version:
        number = next(self._count)
        identity = f"CAEQ{number:08d}" if bucket.versioning == "Enabled" else "null"
        written = Version(identity, data, etag, self._now().replace(microsecond=0), number, headers)
        kept = [each for each in bucket.objects.get(key, []) if bucket.versioning and each.identity != identity]
        bucket.objects[key] = [*kept, written]
        return written

    def _written_headers(self, bucket: Bucket, written: Version) -> dict[str, str]:
        version = {"x-oss-version-id": written.identity} if bucket.versioning else {}
        return {"ETag": f'"{written.etag}"', "x-oss-hash-crc64ecma": written.crc, **version}

    def _get(self, request: Signed, bucket: Bucket) -> Answer:
        found = bucket.current(request.key)
        if found is None:
            raise DeniedError("NoSuchKey", "The specified key does not exist.", 404)
        if request.headers.get("if-match", f'"{found.etag}"').strip('"') != found.etag:
            raise DeniedError("PreconditionFailed", "At least one of the pre-conditions you specified did not hold.", 412)
        headers = {
            **self._written_headers(bucket, found),
            **found.headers,
            "Last-Modified": format_datetime(found.modified, usegmt=True),
            "x-oss-object-type": "Multipart" if "-" in found.etag else "Normal",
        }
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
        start = int(match[1]) if match else 0
        data = found.data[start : int(match[2]) + 1 if match and match[2] else None]
        # A range that begins behind the end is ignored, unless the standard behaviour is asked for.
        if not match or start >= len(found.data):
            return Answer(200, {**headers, "Content-Length": str(len(found.data))}, found.data)
        headers["Content-Range"] = f"bytes {start}-{start + len(data) - 1}/{len(found.data)}"
        return Answer(206, {**headers, "Content-Length": str(len(data))}, data)

    def _delete(self, bucket: Bucket, key: str, version: str) -> Answer:
        if version:
            bucket.objects[key] = [each for each in bucket.objects.get(key, []) if each.identity != version]
            if not bucket.objects[key]:
                del bucket.objects[key]
        elif bucket.versioning:
            marker = self._write(bucket, key, b"", "", {})
            bucket.objects[key][-1] = Version(marker.identity, b"", "", marker.modified, marker.number, {}, marker=True)
        else:
            bucket.objects.pop(key, None)
        return Answer(204)

    def _delete_many(self, bucket: Bucket, body: bytes, query: Mapping[str, str]) -> Answer:
        root = ElementTree.fromstring(body)
        entries = list(root.iter("Object"))
        if len(entries) > 1000:
            raise DeniedError("MalformedXML", "The XML you provided was not well-formed.", 400)
        encode = (lambda text: quote(text, safe="")) if query.get("encoding-type") == "url" else escape
        shown = []
        for each in entries:
            key = each.findtext("Key") or ""
            self._delete(bucket, key, each.findtext("VersionId") or "")
            shown.append(_element("Deleted", _element("Key", encode(key))))
        quiet = root.findtext("Quiet") == "true"
        kind = _element("EncodingType", "url") if query.get("encoding-type") == "url" else ""
        return Answer(200) if quiet else _xml("DeleteResult", kind, *shown)

    # --- multipart

    def _multipart(self, request: Signed, bucket: Bucket, body: bytes) -> Answer:
        query, key = request.query, request.key
        if "uploads" in query and request.method == "POST":
            identity = f"{next(self._count):032X}"
            bucket.uploads[identity] = Multipart(key, _kept(request.headers), self._now())
            return _xml("InitiateMultipartUploadResult", _element("Key", escape(key)), _element("UploadId", identity))
        identity = query.get("uploadId", "")
        upload = bucket.uploads.get(identity)
        if upload is None or upload.key != key:
            raise DeniedError("NoSuchUpload", "The specified upload does not exist.", 404)
        if request.method == "PUT":
            upload.parts[int(query["partNumber"])] = body
            return Answer(200, {"ETag": f'"{_etag(body)}"', "x-oss-hash-crc64ecma": str(_crc64(body))})
        if request.method == "DELETE":
            del bucket.uploads[identity]
            return Answer(204)
        if request.method == "GET":
            return self._list_parts(upload, query)
        return self._complete(request, bucket, upload, body)

    def _list_parts(self, upload: Multipart, query: Mapping[str, str]) -> Answer:
        limit, after = self._limit(query, "max-parts"), int(query.get("part-number-marker") or 0)
        numbers = [number for number in sorted(upload.parts) if number > after]
        shown = (
            _element(
                "Part",
                _element("PartNumber", number),
                _element("LastModified", _iso(upload.initiated)),
                _element("ETag", f"&quot;{_etag(upload.parts[number])}&quot;"),
                _element("HashCrc64ecma", _crc64(upload.parts[number])),
                _element("Size", len(upload.parts[number])),
            )
            for number in numbers[:limit]
        )
        more = len(numbers) > limit
        return _xml(
            "ListPartsResult",
            _element("StorageClass", upload.headers.get("x-oss-storage-class", "Standard")),
            _element("IsTruncated", str(more).lower()),
            _element("NextPartNumberMarker", numbers[:limit][-1] if numbers else 0),
            *shown,
        )

    def _complete(self, request: Signed, bucket: Bucket, upload: Multipart, body: bytes) -> Answer:
        wanted = [(int(each.findtext("PartNumber") or 0), each.findtext("ETag") or "") for each in ElementTree.fromstring(body)]
        if [number for number, _etag_of in wanted] != sorted(number for number, _etag_of in wanted):
            raise DeniedError("InvalidPartOrder", "The list of parts was not in ascending order.", 400)
        for number, etag in wanted:
            if number not in upload.parts or _etag(upload.parts[number]) != etag.strip('"'):
                raise DeniedError("InvalidPart", "One or more of the specified parts could not be found.", 400)
        if any(len(upload.parts[number]) < LEAST_PART for number, _etag_of in wanted[:-1]):
            raise DeniedError("EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size.", 400)
        self._allow(request, bucket)
        data = b"".join(upload.parts[number] for number, _etag_of in wanted)
        written = self._write(bucket, request.key, data, f"{_etag(data)}-{len(wanted)}", upload.headers)
        del bucket.uploads[request.query["uploadId"]]
        headers = self._written_headers(bucket, written)
        answer = _xml(
            "CompleteMultipartUploadResult", _element("Key", escape(request.key)), _element("ETag", f"&quot;{written.etag}&quot;")
        )
        return Answer(200, {**answer.headers, **headers}, answer.body)


def _tag(key: str, value: str) -> str:
    return _element("Tag", _element("Key", escape(key)), _element("Value", escape(value)))


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: headers[name] for name in _KEPT_HEADERS if name in headers}


def _contents(key: str, each: Version) -> str:
    return _element(
        "Contents",
        _element("Key", key),
        _element("LastModified", _iso(each.modified)),
        _element("ETag", f"&quot;{each.etag}&quot;"),
        _element("Type", "Normal"),
        _element("Size", len(each.data)),
        _element("StorageClass", each.headers.get("x-oss-storage-class", "Standard")),
    )


def _version(key: str, each: Version, latest: bool) -> str:
    parts = (
        _element("Key", key),
        _element("VersionId", each.identity),
        _element("IsLatest", str(latest).lower()),
        _OWNER,
        _element("LastModified", _iso(each.modified)),
    )
    if each.marker:
        return _element("DeleteMarker", *parts)
    more = (_element("Type", "Normal"), _element("ETag", f"&quot;{each.etag}&quot;"), _element("StorageClass", "Standard"))
    return _element("Version", *parts, *more, _element("Size", len(each.data)))
