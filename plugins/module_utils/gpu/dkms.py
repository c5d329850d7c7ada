# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What DKMS has built, from its tree and, on this machine, from `dkms status`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from .tree import Runner, Tree

FOLDER = "/var/lib/dkms"
ADDED, BUILT, INSTALLED, BROKEN = "added", "built", "installed", "broken"
# nvidia/550.90.07, 6.1.0-28-amd64, x86_64: installed (WARNING! …); before DKMS 3: nvidia, 550.90.07, 6.1.0, x86_64: installed
_LINE = re.compile(r"([^,/:\s]+)(?:/|, )([^,:\s]+)(?:, ([^,:\s]+), ([^,:\s]+))?: (\w+)")


def state(tree: Tree, run: Runner) -> dict[str, Any]:
    """present, modules and failed, as the module returns them."""
    present = tree.exists("/usr/sbin/dkms") or tree.exists("/usr/bin/dkms")
    found = list(modules(tree))
    if tree.live and present and found:
        told = parse(run(["dkms", "status"]))
        found = [each for each in told if each["name"].startswith("nvidia")] or found
    return {"present": present, "modules": found, "failed": list(failures(tree))}


def parse(text: str) -> list[dict[str, str]]:
    """The modules that `dkms status` tells."""
    keys = ("name", "version", "kernel", "architecture", "state")
    return [dict(zip(keys, (part or "" for part in match.groups()))) for match in map(_LINE.match, text.splitlines()) if match]


def _versions(tree: Tree) -> Iterator[tuple[str, str]]:
    for name in tree.names(FOLDER, "nvidia*"):
        for version in tree.names(f"{FOLDER}/{name}"):
            if tree.is_link(f"{FOLDER}/{name}/{version}/source"):
                yield name, version


def modules(tree: Tree) -> Iterator[dict[str, str]]:
    """The state of each module of NVIDIA by version and kernel."""
    for name, version in _versions(tree):
        folder = f"{FOLDER}/{name}/{version}"
        common = {"name": name, "version": version}
        if not tree.is_dir(f"{folder}/source"):
            yield {**common, "kernel": "", "architecture": "", "state": BROKEN}
            continue
        built = list(_built(tree, folder))
        for kernel, architecture in built:
            link = f"{FOLDER}/{name}/kernel-{kernel}-{architecture}"
            installed = tree.is_link(link) and tree.path(link) == tree.path(f"{folder}/{kernel}/{architecture}")
            yield {**common, "kernel": kernel, "architecture": architecture, "state": INSTALLED if installed else BUILT}
        if not built:
            yield {**common, "kernel": "", "architecture": "", "state": ADDED}


def _built(tree: Tree, folder: str) -> Iterator[tuple[str, str]]:
    for kernel in tree.names(folder):
        for architecture in tree.names(f"{folder}/{kernel}") if kernel not in ("source", "build") else []:
            if tree.is_dir(f"{folder}/{kernel}/{architecture}/module"):
                yield kernel, architecture


def failures(tree: Tree) -> Iterator[str]:
    """Logs of builds that did not end: DKMS leaves its build folder only then."""
    for name, version in _versions(tree):
        path = f"{FOLDER}/{name}/{version}/build/make.log"
        if tree.exists(path):
            yield path
