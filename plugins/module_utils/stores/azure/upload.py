# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Large files to Azure: blocks side by side, then one list of them that makes the object.

A block's name tells the content's digest and the place in it. So blocks that a broken run left there, which Azure keeps for a week and
shows to nobody, are taken up by the next, on whichever machine that runs.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from typing import Any

from ...repository.publish import SourceFile
from ..bucket import Moved
from ..transfers import blocks
from .client import BLOCK, BLOCKS, AzureClient

# Azure takes that many blocks an object.
MOST_BLOCKS = 50_000


class BlockUpload:
    """One file. blob: the SDK's client of the object. settings: what the commit gets besides."""

    def __init__(self, azure: AzureClient, blob: Any, where: str, source: SourceFile) -> None:
        self._azure, self._blob, self._where, self._source = azure, blob, where, source
        self._size = block_size(source.size)

    def run(self, settings: dict[str, Any], moved: Moved) -> dict[str, Any]:
        """Returns the service's answer to the commit."""
        from azure.storage.blob import BlobBlock

        present = self._present()
        names: list[str] = []
        with _Window(self._azure.room) as window:
            for offset, data in blocks(self._source, self._size):
                name = self._name(offset // self._size)
                names.append(name)
                if present.get(name) != len(data):
                    window.submit(self._sender(name, data, moved))
                # Else it would be held while the next one is read.
                del data
        commit = [BlobBlock(block_id=name) for name in names]

        def finish() -> dict[str, Any]:
            answer: dict[str, Any] = self._blob.commit_block_list(commit, validate_content=True, **settings)
            return answer

        return self._azure.call(finish, self._where)

    def _name(self, index: int) -> str:
        # All names of an object's blocks have to be of one length. The size is in it because blocks of another size end elsewhere.
        return f"{self._source.sha256[:32]}-{self._size:010d}-{index:05d}"

    def _sender(self, name: str, data: bytes, moved: Moved) -> Callable[[], None]:
        def stage() -> Any:
            return self._blob.stage_block(name, data, length=len(data), validate_content=True)

        def send() -> None:
            self._azure.call(stage, self._where)
            moved(0, len(data))

        return send

    def _present(self) -> dict[str, int]:
        """Blocks that an earlier run left: name → size."""
        from azure.core.exceptions import ResourceNotFoundError

        def ask() -> Any:
            return self._blob.get_block_list("uncommitted")

        try:
            _committed, waiting = self._azure.call(ask, self._where, passing=(ResourceNotFoundError,))
        except ResourceNotFoundError:
            # Neither an object nor blocks. A missing container is told by the first block.
            return {}
        return {_plain(each.id): each.size for each in waiting}


class _Window:
    """Threads that send blocks, as many as there is room for; leaving it waits for all. A failure is raised as soon as it is known."""

    def __init__(self, room: threading.BoundedSemaphore) -> None:
        from concurrent.futures import Future, ThreadPoolExecutor

        self._pool = ThreadPoolExecutor(BLOCKS)
        self._room = room
        self._futures: list[Future[None]] = []

    def __enter__(self) -> _Window:
        return self

    def submit(self, call: Callable[[], None]) -> None:
        self._raise()
        self._room.acquire()
        future = self._pool.submit(call)
        future.add_done_callback(lambda _future: self._room.release())
        self._futures.append(future)

    def _raise(self) -> None:
        running = []
        for each in self._futures:
            if each.done():
                each.result()
            else:
                running.append(each)
        self._futures = running

    def __exit__(self, kind: object, *_unused: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=kind is not None)
        if kind is None:
            self._raise()


def block_size(size: int) -> int:
    """Blocks grow where the usual ones would be too many; they stay multiples of 1 MiB."""
    least = -(-size // MOST_BLOCKS)
    return max(BLOCK, -(-least // (1 << 20)) << 20)


def _plain(name: str) -> str:
    """The SDK encodes names on their way out; whether it decodes those that come in depends on its version."""
    try:
        return base64.b64decode(name, validate=True).decode("ascii") if "-" not in name else name
    except ValueError:
        return name
