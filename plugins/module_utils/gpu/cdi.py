# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""CDI specifications of NVIDIA devices, as nvidia-ctk writes them (YAML) and other tools do (JSON)."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .tree import Tree

_LIBRARY = re.compile(r"lib(?:cuda|nvidia-ml)\.so\.(\d{3,4}\.\d[\d.]*\d)")
# At the top of the document, and of the entries of its list of devices, whatever their indentation.
_KIND = re.compile(r"^kind:\s*(\S+)\s*$", re.MULTILINE)
_DEVICES = re.compile(r"^devices:\s*\n((?:[ -].*\n?)*)", re.MULTILINE)


def specs(tree: Tree, folders: Iterable[str]) -> list[dict[str, Any]]:
    """The specifications of NVIDIA's kinds in the folders; a later folder's file takes the place of none before it."""
    found = []
    seen = set()
    for folder in folders:
        for name in tree.names(folder):
            path = f"{folder}/{name}"
            if not name.endswith((".yaml", ".yml", ".json")) or tree.path(path) in seen:
                continue
            seen.add(tree.path(path))
            text = tree.text(path)
            if "nvidia.com/" in text or not text:
                found.append(_spec(path, text))
    return found


def _spec(path: str, text: str) -> dict[str, Any]:
    library = _LIBRARY.search(text)
    spec: dict[str, Any] = {"path": path, "kind": "", "devices": [], "driver": library[1] if library else "", "problem": ""}
    try:
        kind, devices = _json(text) if path.endswith(".json") else _yaml(text)
    except ValueError as error:
        return {**spec, "problem": str(error) or "it is not understood"}
    if not text:
        return {**spec, "problem": f"it is empty, or {os.path.dirname(path)} keeps it from this user"}
    return {**spec, "kind": kind, "devices": devices, "problem": "" if kind else "it names no kind"}


def _json(text: str) -> tuple[str, list[str]]:
    document = json.loads(text or "{}")
    if not isinstance(document, Mapping):
        raise ValueError("it is no mapping")
    return str(document.get("kind", "")), [str(each.get("name", "")) for each in document.get("devices") or ()]


def _yaml(text: str) -> tuple[str, list[str]]:
    kind = _KIND.search(text)
    block = _DEVICES.search(text + "\n")
    return (kind[1].strip("\"'") if kind else ""), list(_names(block[1] if block else ""))


def _names(block: str) -> Iterator[str]:
    """Names of the entries: the key stands as deep as the entry's first key, the edits of an entry stand deeper."""
    lines = block.splitlines()
    start = next((line for line in lines if line.lstrip().startswith("- ")), "")
    depth = len(start) - len(start.lstrip()) + 2
    for line in lines:
        inside = line.replace("- ", "  ", 1) if line.startswith(start[: depth - 2] + "- ") else line
        name = re.match(r"name:\s*(.+?)\s*$", inside[depth:]) if inside[:depth].isspace() else None
        if name:
            yield name[1].strip("\"'")
