# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What `objects.ObjectStore` needs of an object store: one file a provider, keys below one prefix, no order, no folders.

Keys are relative to the prefix. Calls are safe from several threads. Each call has a timeout, is tried again within bounds where the
failure may pass (throttling, 5xx, resets, timeouts), and raises a ServingError that says what, where and what to do next; no SDK's error
and no OSError of the network gets through. A source file that changed or vanished while it was read is an InputError.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..core.errors import ConflictError
from ..repository.publish import SourceFile

# Files and bytes that were transferred since the last call. Called from one thread at a time.
Moved = Callable[[int, int], None]


class PreconditionError(ConflictError):
    """The object is not as the caller's condition says: it is there already, or has changed."""


@dataclass(frozen=True)
class Listed:
    """stamp: changes with the content (an ETag, a generation), without quotes; equal to what a put or read of it returns."""

    # There may be 100,000 of them: without a dictionary each, that is 5 MiB less.
    __slots__ = ("key", "size", "stamp")

    key: str
    size: int
    stamp: str


@dataclass(frozen=True)
class Content:
    """age: seconds since it was written, by the store's own clock."""

    data: bytes
    stamp: str
    age: float


@dataclass(frozen=True)
class Upload:
    """One object to write: a file of the publisher's machine, or a small text."""

    key: str
    source: SourceFile | None = None
    data: bytes = b""

    @property
    def size(self) -> int:
        return self.source.size if self.source else len(self.data)


class Bucket(Protocol):
    """A bucket (container) below a prefix."""

    @property
    def url(self) -> str:
        """As the user would write it, without a slash at its end."""

    @property
    def compares_stamps(self) -> bool:
        """Whether the store itself compares `if_stamp`, as it writes. Where it does not, the stamp is looked at just before."""

    def list(self, prefix: str = "", splits: Sequence[str] = ()) -> list[Listed]:
        """Every object whose key begins with `prefix`, sorted by key; folder markers (keys that end in a slash) too.

        splits: sorted keys at which the listing may be cut into parallel ones: what the caller expects to be there.
        """

    def folders(self) -> frozenset[str]:
        """The first parts of all keys that have a slash, from as few requests as the store allows."""

    def read(self, key: str) -> Content | None:
        """A small object, None where there is none."""

    def digest(self, key: str) -> str:
        """SHA-256 of an object's content, in hex, read as a stream."""

    def download(self, key: str, path: str, moved: Moved) -> None:
        """Writes an object's content to a file; resumes where the file holds a first part of it."""

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_stamp: str = "") -> str:
        """Writes a small object and returns its stamp. Raises PreconditionError where the condition does not hold.

        A store that cannot check conditions ignores them.
        """

    def upload(self, chains: Sequence[Sequence[Upload]], moved: Moved) -> dict[str, str]:
        """Writes objects, each checked against its source's SHA-256 and, by the store, against a checksum. Returns key → stamp.

        Chains go side by side; within a chain, an object is written when the one before it is there. Large files go in parts; a broken
        upload of the same content is taken up where it ended. The first failure stops what has not begun and is raised.
        """

    def delete(self, keys: Sequence[str]) -> None:
        """Removes objects, in batches where the store has them; those that are gone already are no error."""
