# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The installed kernels, and the nvidia module of each."""

from __future__ import annotations

import gzip
import lzma
import os
import re
import zlib
from typing import Any

from .chips import OPEN, PROPRIETARY
from .tree import Runner, Tree
from .versions import natural

MODULES = "/lib/modules"
UNKNOWN = "unknown"
_NAME = re.compile(r"nvidia(-current|-legacy-\w+|-tesla(-\d+)?)?(-open)?\.ko(\.xz|\.gz|\.zst)?$")
_SIGNED = b"~Module signature appended~\n"
_FIELD = re.compile(rb"\0(version|license)=([^\0]{1,60})(?=\0)")
# DKMS installs to updates or extra, packages of distributions to extra, weak-updates and kernel.
_FOLDERS = ("updates", "extra", "weak-updates", "kernel")
_DEEPEST = 6


def kernels(tree: Tree, running: str, run: Runner) -> list[dict[str, Any]]:
    """Every installed kernel, oldest first. Folders that hold neither modules, an image nor headers are leftovers."""
    names = [name for name in tree.names(MODULES) if tree.is_dir(f"{MODULES}/{name}")]
    found = [_kernel(tree, release, running, run) for release in sorted(names, key=natural)]
    return [each for each in found if each["image"] or each["headers"] or each["module"]]


def _kernel(tree: Tree, release: str, running: str, run: Runner) -> dict[str, Any]:
    folder = f"{MODULES}/{release}"
    image = tree.exists(f"{folder}/vmlinuz") or tree.exists(f"/boot/vmlinuz-{release}") or tree.is_dir(f"{folder}/kernel/arch")
    path = _module(tree, folder)
    told = describe(tree, path, run) if path else {"version": "", "kind": "", "signed": None}
    return {
        "release": release,
        "running": release == running,
        "image": image,
        "headers": headers(tree, release),
        "module": told["version"],
        "module_kind": told["kind"],
        "module_path": path,
        "module_signed": told["signed"],
    }


def headers(tree: Tree, release: str) -> bool:
    """Whether DKMS could build for a kernel."""
    places = (f"{MODULES}/{release}/build", f"/usr/src/linux-headers-{release}", f"/usr/src/kernels/{release}")
    return any(tree.exists(f"{place}/Makefile") for place in places)


def _module(tree: Tree, folder: str) -> str:
    """The file that modprobe would load: updates come before what the kernel brings."""
    for top in _FOLDERS:
        real = tree.path(f"{folder}/{top}")
        for here, below, names in os.walk(real):
            below.sort()
            if here[len(real) :].count("/") >= _DEEPEST:
                below.clear()
            name = next((name for name in sorted(names) if _NAME.match(name)), "")
            if name:
                return f"{folder}/{top}{here[len(real) :]}/{name}"
    return ""


def describe(tree: Tree, path: str, run: Runner) -> dict[str, Any]:
    """version, kind and signed of a module's file. What cannot be unpacked here is asked of modinfo."""
    content = _unpacked(path, tree.raw(path))
    if content:
        fields = dict(_FIELD.findall(content))
        version = fields.get(b"version", b"").decode(errors="replace")
        licence = fields.get(b"license", b"").decode(errors="replace")
        return {"version": version or UNKNOWN, "kind": kind_of(licence), "signed": content.endswith(_SIGNED)}
    real = tree.path(path)
    version, licence, signer = (run(["modinfo", "--field", name, real]).strip() for name in ("version", "license", "sig_id"))
    return {"version": version or UNKNOWN, "kind": kind_of(licence), "signed": bool(signer) if version else None}


def kind_of(licence: str) -> str:
    """The kind of a module by its licence: the open one is dual MIT/GPL."""
    if not licence:
        return ""
    return OPEN if "GPL" in licence else PROPRIETARY


def _unpacked(path: str, content: bytes) -> bytes:
    try:
        if path.endswith(".xz"):
            return lzma.decompress(content)
        if path.endswith(".gz"):
            return gzip.decompress(content)
    except (lzma.LZMAError, OSError, EOFError, zlib.error):
        return b""
    return content if path.endswith(".ko") else b""
