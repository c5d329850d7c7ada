# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a store of model repositories can do. One file a store; `publisher.py` drives all of them.

A publish: `publishing()` is entered, the manifest is read again, `stage` brings every file's content near, the manifest is written with the
models about to change as pending, the steps switch each model, the manifest is written as the commit record, `publishing()` is left.
Keys are "model/path" with forward slashes, relative to the repository; all were checked to be safe names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..core.progress import Progress
from ..repository.manifest import Manifest, ModelTree
from ..repository.publish import Entry, ModelChange, SourceFile
from ..repository.publish_steps import Step


class Store(Protocol):
    """Every call may raise a ServingError that says what, where and what to do next; none lets an OSError or an SDK's error through."""

    @property
    def url(self) -> str:
        """The repository as the user would write it."""

    @property
    def notes(self) -> Sequence[str]:
        """What the user should know of the store, and this run could go on without, such as a clock that is wrong."""

    def read_manifest(self) -> bytes | None:
        """The manifest's bytes, None where there is none (or no repository)."""

    @property
    def appears_whole(self) -> bool:
        """Whether a version appears by one switch. Where it does not, the publisher hides what is half there from servers."""

    def names(self, recorded: Manifest) -> frozenset[str]:
        """The model folders, ours and others'; without our own workspace. recorded: what the store should hold."""

    def tree(self, model: str) -> ModelTree[Entry]:
        """Every file of a model with size and stamp. What servers leave there (`__pycache__`, .nfs files) is not listed."""

    def digest(self, key: str) -> str:
        """SHA-256 of a file's content. A store may answer it from metadata that it can trust."""

    def read_text(self, key: str) -> str | None:
        """A small text file's content, None where there is none."""

    def holder(self) -> Mapping[str, Any] | None:
        """Who publishes just now (user, host, pid), None where nobody does."""

    def leftovers(self) -> tuple[str, ...]:
        """What a broken publish left behind; empty while somebody publishes."""

    def publishing(self) -> AbstractContextManager[bool]:
        """Locks the repository, makes it where needed, clears leftovers away; yields whether it made the repository.

        Raises ConflictError when somebody else publishes. Leaving it always frees the lock and the workspace.
        """

    def keep_lock(self) -> None:
        """A sign of life while it is published. Raises ConflictError where somebody took the lock over, who may publish by now."""

    def stage(self, uploads: Mapping[str, SourceFile], progress: Progress) -> None:
        """Brings all content near, without making anything visible, and checks it against its digests. Checks space first.

        A store without a staging area may do nothing here and transfer in `run`.
        """

    def replace_model(self, change: ModelChange) -> bool:
        """Makes all of a change visible at once. False where the store cannot; nothing has changed then."""

    def run(self, groups: Sequence[Sequence[Step]]) -> None:
        """Switches, one group a model: in order within a group; groups may go side by side. The content of their files was staged."""

    def set_attributes(self, keys: Iterable[str]) -> None:
        """Gives files (and their folders) the wanted owner, group and mode."""

    def write_manifest(self, data: bytes | None) -> None:
        """Puts the manifest in place, durably and after everything before it; None removes it."""

    def remove_root(self) -> None:
        """Removes the repository's folder if it is empty and the store knows folders."""


@dataclass(frozen=True)
class StoreOptions:
    """owner, group: name or number, None for the publisher's own. file_mode, directory_mode: permission bits, None for the defaults.

    concurrency: transfers at once. providers: scheme's family (s3, oss, gcs, azure) → its options, as `options.store_spec` has them.
    timeout: seconds for a connection and for each answer. attempts: calls in all before a failure that may pass is final.
    validate_certs, ca_path: how TLS certificates are checked. list_all: whether every object is listed, or only the models' names.
    """

    owner: str | None = None
    group: str | None = None
    file_mode: int | None = None
    directory_mode: int | None = None
    concurrency: int = 4
    providers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    timeout: float = 60.0
    attempts: int = 6
    validate_certs: bool = True
    ca_path: str | None = None
    list_all: bool = True
