# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which store serves which URL. A new store is one file and one line here; it is imported, and its SDK, when it is opened, not before."""

from __future__ import annotations

import re
from collections.abc import Callable

from ..core.errors import InputError
from .base import Store, StoreOptions
from .bucket import Bucket

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def _folder(path: str, options: StoreOptions) -> Store:
    from .posix.store import PosixStore

    return PosixStore(path, options)


def _s3(rest: str, options: StoreOptions) -> Bucket:
    from .s3.bucket import open_bucket

    return open_bucket(rest, options)


def _oss(rest: str, options: StoreOptions) -> Bucket:
    from .oss.bucket import open_bucket

    return open_bucket(rest, options)


def _gcs(rest: str, options: StoreOptions) -> Bucket:
    from .gcs.bucket import open_bucket

    return open_bucket(rest, options)


def _azure(rest: str, options: StoreOptions) -> Bucket:
    from .azure.bucket import open_bucket

    return open_bucket(rest, options)


# Called with what follows the scheme.
BUCKETS: dict[str, Callable[[str, StoreOptions], Bucket]] = {"s3": _s3, "oss": _oss, "gs": _gcs, "as": _azure}


def _objects(scheme: str) -> Callable[[str, StoreOptions], Store]:
    def open_objects(rest: str, options: StoreOptions) -> Store:
        from .objects import ObjectStore

        return ObjectStore(BUCKETS[scheme](rest, options), options)

    return open_objects


# A plain path is the scheme "file".
STORES: dict[str, Callable[[str, StoreOptions], Store]] = {"file": _folder, **{scheme: _objects(scheme) for scheme in BUCKETS}}


def scheme_of(repository: str) -> str:
    """The scheme of a repository's URL or path, in lower case. Raises InputError for one that no store serves."""
    match = _SCHEME.match(repository)
    scheme = match.group(1).lower() if match else "file"
    if scheme not in STORES:
        raise InputError(
            f"no store serves {scheme}:// yet; supported are a path and {', '.join(f'{name}://' for name in sorted(STORES))}",
            where=repository,
            remedy="Give one of these.",
            supported=sorted(STORES),
        )
    return scheme


def open_store(repository: str, options: StoreOptions) -> Store:
    """The store that a repository's URL or path names. Raises InputError for a scheme that no store serves."""
    scheme = scheme_of(repository)
    match = _SCHEME.match(repository)
    return STORES[scheme](repository[match.end() :] if match else repository, options)
