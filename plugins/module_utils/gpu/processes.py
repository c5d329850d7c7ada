# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which processes run, by procfs."""

from __future__ import annotations

from .tree import Tree

_PROC = "/proc"
# The kernel keeps so many letters of a name.
_LETTERS = 15


def runs(tree: Tree, program: str) -> bool | None:
    """Whether a process of this name runs; None where the first one is not to be seen, as in an image, or where others are hidden."""
    if not tree.word(f"{_PROC}/1/comm"):
        return None
    return any(tree.word(f"{_PROC}/{name}/comm") == program[:_LETTERS] for name in tree.names(_PROC, "[0-9]*"))
