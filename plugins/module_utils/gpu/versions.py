# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Versions of drivers and CUDA, and their order."""

from __future__ import annotations

import re

# NVIDIA numbers drivers 535.183.01, 580.126 or 1000.10.01; what a package adds stands before or behind.
_DRIVER = re.compile(r"(?<![\d.])(\d{3,4}\.\d{1,3}(?:\.\d{1,3})?)(?![\d]|\.\d)")
_PARTS = re.compile(r"\d+|[^\d]+")


def numbers(version: str) -> tuple[int, ...]:
    """The numbers of a version, to be compared: 535.183.01 → (535, 183, 1). Empty where it is none."""
    found = re.match(r"\d+(\.\d+)*", version.strip())
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def compare(one: str, other: str) -> int:
    """Below, at or above 0. Missing parts count as 0, so 560 and 560.0 are equal."""
    left, right = numbers(one), numbers(other)
    length = max(len(left), len(right))
    left, right = left + (0,) * (length - len(left)), right + (0,) * (length - len(right))
    return (left > right) - (left < right)


def branch_of(version: str) -> int:
    """535.183.01 → 535; 0 for what is no version."""
    found = numbers(str(version))
    return found[0] if found else 0


def driver_in(package_version: str) -> str:
    """NVIDIA's version within that of a package, such as 1:550.90.07-0ubuntu1; empty where there is none."""
    found = _DRIVER.search(package_version)
    return found[1] if found else ""


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """A key that sorts releases of kernels as people do: 6.1.0-9 before 6.1.0-28."""
    return tuple((1, int(part), "") if part.isdigit() else (0, 0, part) for part in _PARTS.findall(text))
