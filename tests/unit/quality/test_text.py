# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is committed holds no note to oneself, no path of somebody's machine, and no setting of somebody's package index."""

from __future__ import annotations

import re

import pytest
from support import copies

UNWANTED = re.compile(r"\bTODO\b|\bFIXME\b|/work/|/root/\.|/home/\w+/|(?:extra-|--)index-url|\bfind-links\b")
TEXT = (".py", ".yml", ".yaml", ".md", ".toml", ".txt", ".in", ".j2", ".cfg", ".json", ".pbtxt")


def notes(text: str) -> list[str]:
    return [line.strip()[:120] for line in text.splitlines() if UNWANTED.search(line)]


@pytest.mark.parametrize("top", ["plugins", "roles", "playbooks", "inventories", "tests", "benchmarks", "docs", "meta", "changelogs", ""])
def test_nothing_unwanted_is_committed(top: str) -> None:
    paths = [path for path in copies.files() if path.endswith(TEXT) and (path.startswith(f"{top}/") if top else "/" not in path)]
    paths = [path for path in paths if not path.endswith("quality/test_text.py")]
    found = {path: notes((copies.ROOT / path).read_text(encoding="utf-8", errors="replace")) for path in paths}
    assert paths
    assert not {path: lines for path, lines in found.items() if lines}


@pytest.mark.parametrize("line", ["# TODO: later", "a: /work/main", "/root/.pyenv", "--index-url https://mirror"])
def test_what_is_unwanted_is_found(line: str) -> None:
    assert notes(f"fine\n{line}\n")
    assert not notes("a network/mode, worktodo\n")
