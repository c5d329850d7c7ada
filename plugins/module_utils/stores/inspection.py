# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads what is published in a store, without changing it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from ..repository import published
from ..repository.manifest import Manifest, parse
from ..repository.publish import Observed
from .base import Store


def inspect_store(store: Store, models: Collection[str] = (), *, digests: bool = False) -> dict[str, Any]:
    """What `published.tell` answers. models: about these alone; digests: by the content of every file."""
    raw = store.read_manifest()
    manifest, note = parse(raw)
    seen = Observed(manifest, note, raw, store.names(manifest or Manifest()), leftovers=store.leftovers())
    names = published.chosen(models, seen)
    seen = replace(seen, trees={name: store.tree(name) for name in names if name in seen.names})
    keys = published.to_read(names, seen, every=digests)
    seen = replace(seen, digests={key: store.digest(key) for key in keys})
    return published.tell(published.Published(seen, store.holder() or {}), names, digests=digests)
