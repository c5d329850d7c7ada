# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What decides at boot: Secure Boot, lockdown, and nouveau."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from .tree import Tree

_EFI = "/sys/firmware/efi"
_VARIABLES = f"{_EFI}/efivars"
_GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
# shim's own switch, which mokutil --disable-validation sets: the kernel then enforces nothing.
_SHIM_OFF = "MokSBStateRT-605dab50-e046-4300-abb6-3dd810dd8b23"
_MODPROBE = ("/etc/modprobe.d", "/run/modprobe.d", "/usr/local/lib/modprobe.d", "/usr/lib/modprobe.d", "/lib/modprobe.d")
_COMMAND_LINE = "/proc/cmdline"
_MODULES = ("nouveau", "nova_core")
_BLACKLIST = re.compile(r"^\s*(blacklist\s+nouveau\s*$|(install|alias)\s+nouveau\s+(/\S*/(false|true)|off)\b)", re.MULTILINE)
_PARAMETER = re.compile(r"\b(?:modprobe\.blacklist|module_blacklist|rd\.driver\.blacklist|rdblacklist)=(\S+)")


def secure_boot(tree: Tree, kernels: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """state, setup_mode, lockdown and unsigned, as the module returns them."""
    return {
        "state": _state(tree),
        "setup_mode": _variable(tree, f"SetupMode-{_GLOBAL}") == 1,
        "lockdown": _lockdown(tree),
        "unsigned": [each["release"] for each in kernels if each["module_signed"] is False],
    }


def _state(tree: Tree) -> str:
    if not tree.is_dir(_EFI):
        return "unsupported"
    value = _variable(tree, f"SecureBoot-{_GLOBAL}")
    if value is None:
        return "unknown"
    return "enabled" if value == 1 and _variable(tree, _SHIM_OFF) != 1 else "disabled"


def _variable(tree: Tree, name: str) -> int | None:
    """A variable of one byte: four bytes of attributes stand before it."""
    content = tree.raw(f"{_VARIABLES}/{name}")
    return content[4] if len(content) == 5 else None


def _lockdown(tree: Tree) -> str:
    chosen = re.search(r"\[(\w+)\]", tree.text("/sys/kernel/security/lockdown"))
    return chosen[1] if chosen else ""


def nouveau(tree: Tree) -> dict[str, Any]:
    """loaded, blacklisted and by, as the module returns them."""
    by = {tree.path(path): path for folder in reversed(_MODPROBE) for path in _files(tree, folder) if _BLACKLIST.search(tree.text(path))}
    found = sorted(by.values())
    given = {name for names in _PARAMETER.findall(tree.text(_COMMAND_LINE)) for name in names.split(",")}
    found += [_COMMAND_LINE] if "nouveau" in given else []
    return {"loaded": any(tree.is_dir(f"/sys/module/{name}") for name in _MODULES), "blacklisted": bool(found), "by": found}


def _files(tree: Tree, folder: str) -> list[str]:
    return [f"{folder}/{name}" for name in tree.names(folder, "*.conf")]
