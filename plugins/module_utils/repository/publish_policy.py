# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a source says beside its files: that it is empty, and which versions its configurations name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .layout import CONFIG_FILE
from .manifest import ModelTree
from .publish import SourceFile
from .publish_steps import named_versions


def holds_no_model(root: str) -> bool:
    """Whether a source is a folder without any model's folder in it."""
    path = Path(root)
    return path.is_dir() and not any(each.is_dir() and not each.name.startswith(".") for each in path.iterdir())


def named_in_source(source: Mapping[str, ModelTree[SourceFile]]) -> dict[str, frozenset[int]]:
    """Model → the versions that its configuration names."""
    configs = {name: tree.files[CONFIG_FILE].path for name, tree in source.items() if CONFIG_FILE in tree.files}
    return {name: named_versions(Path(path).read_text(errors="replace")) for name, path in configs.items()}
