# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is known of NVIDIA's chips: generation, compute capability, the kernel modules that drive them.

Sources, each looked at in 2026:
  ids         https://pci-ids.ucw.cz (file pci.ids of 2026-08-22): which chip has which PCI device ids
  capability  https://developer.nvidia.com/cuda-gpus: compute capability by product
  matrix      https://docs.nvidia.com/datacenter/tesla/drivers/cuda-toolkit-driver-and-architecture-matrix.html: last driver branch
  cuda        https://docs.nvidia.com/cuda/cuda-toolkit-release-notes/index.html, table 3: the driver of each CUDA
  modules     https://docs.nvidia.com/datacenter/tesla/driver-installation-guide/kernel-modules.html, edition 620 too: both kinds
  mig         https://docs.nvidia.com/datacenter/tesla/mig-user-guide/610/supported-gpus.html: which GPUs can be partitioned
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

OPEN, PROPRIETARY = "open", "proprietary"
# The open module came with the first, is NVIDIA's default from the second on, and all there is from the third on (modules).
FIRST_OPEN, DEFAULT_OPEN, ONLY_OPEN = 515, 560, 620


@dataclass(frozen=True)
class Generation:
    """first_cuda, last_branch: the first CUDA, and the last driver branch, None while it goes on (matrix).

    kinds: of kernel module (modules). first_branch: the driver of the first CUDA (cuda), 0 for what is older than any branch of today.
    """

    name: str
    kinds: tuple[str, ...]
    first_cuda: str
    last_branch: int | None = None
    first_branch: int = 0


# Oldest first.
GENERATIONS = (
    Generation("fermi", (PROPRIETARY,), "3.0", 390),
    Generation("kepler", (PROPRIETARY,), "6.0", 470),
    Generation("maxwell", (PROPRIETARY,), "6.5", 580),
    Generation("pascal", (PROPRIETARY,), "8.0", 580),
    Generation("volta", (PROPRIETARY,), "9.0", 580),
    Generation("turing", (OPEN, PROPRIETARY), "10.0"),
    Generation("ampere", (OPEN, PROPRIETARY), "11.0", first_branch=450),
    Generation("ada", (OPEN, PROPRIETARY), "11.8", first_branch=520),
    Generation("hopper", (OPEN, PROPRIETARY), "11.8", first_branch=520),
    Generation("blackwell", (OPEN,), "12.8", first_branch=570),
)
BY_NAME = {each.name: each for each in GENERATIONS}

# Chip → generation, compute capability (capability). Fermi and Kepler are told by their generation alone.
CHIPS = {
    "GM107": ("maxwell", "5.0"),
    "GM108": ("maxwell", "5.0"),
    "GM200": ("maxwell", "5.2"),
    "GM204": ("maxwell", "5.2"),
    "GM206": ("maxwell", "5.2"),
    "GP100": ("pascal", "6.0"),
    "GP102": ("pascal", "6.1"),
    "GP104": ("pascal", "6.1"),
    "GP106": ("pascal", "6.1"),
    "GP107": ("pascal", "6.1"),
    "GP108": ("pascal", "6.1"),
    "GV100": ("volta", "7.0"),
    "TU102": ("turing", "7.5"),
    "TU104": ("turing", "7.5"),
    "TU106": ("turing", "7.5"),
    "TU116": ("turing", "7.5"),
    "TU117": ("turing", "7.5"),
    "GA100": ("ampere", "8.0"),
    "GA102": ("ampere", "8.6"),
    "GA103": ("ampere", "8.6"),
    "GA104": ("ampere", "8.6"),
    "GA106": ("ampere", "8.6"),
    "GA107": ("ampere", "8.6"),
    "AD102": ("ada", "8.9"),
    "AD103": ("ada", "8.9"),
    "AD104": ("ada", "8.9"),
    "AD106": ("ada", "8.9"),
    "AD107": ("ada", "8.9"),
    "GH100": ("hopper", "9.0"),
    "GB100": ("blackwell", "10.0"),
    "GB102": ("blackwell", "10.0"),
    "GB110": ("blackwell", "10.3"),
    "GB112": ("blackwell", "10.3"),
    "GB202": ("blackwell", "12.0"),
    "GB203": ("blackwell", "12.0"),
    "GB205": ("blackwell", "12.0"),
    "GB206": ("blackwell", "12.0"),
    "GB207": ("blackwell", "12.0"),
    "GB20B": ("blackwell", "12.1"),
    "GF": ("fermi", ""),
    "GK": ("kepler", ""),
}

# First id, last id, chip (ids). Sorted, and no two overlap.
RANGES = (
    (0x06C0, 0x06DF, "GF"),
    (0x0DC0, 0x0DFC, "GF"),
    (0x0E22, 0x0E3B, "GF"),
    (0x0F00, 0x0F06, "GF"),
    (0x0FC0, 0x0FFF, "GK"),
    (0x1001, 0x103F, "GK"),
    (0x1040, 0x109B, "GF"),
    (0x1140, 0x1140, "GF"),
    (0x1180, 0x11FF, "GK"),
    (0x1200, 0x1251, "GF"),
    (0x1280, 0x12BA, "GK"),
    (0x1340, 0x137D, "GM108"),
    (0x1380, 0x13BD, "GM107"),
    (0x13BE, 0x13FB, "GM204"),
    (0x1401, 0x1436, "GM206"),
    (0x15C2, 0x15FF, "GP100"),
    (0x1613, 0x1676, "GM204"),
    (0x1725, 0x172F, "GP100"),
    (0x174D, 0x174E, "GM108"),
    (0x1789, 0x179C, "GM107"),
    (0x17C2, 0x17FD, "GM200"),
    (0x1B00, 0x1B78, "GP102"),
    (0x1B80, 0x1BE1, "GP104"),
    (0x1C00, 0x1C70, "GP106"),
    (0x1C81, 0x1CFB, "GP107"),
    (0x1D01, 0x1D56, "GP108"),
    (0x1D81, 0x1DF6, "GV100"),
    (0x1E02, 0x1E78, "TU102"),
    (0x1E81, 0x1EF5, "TU104"),
    (0x1F02, 0x1F76, "TU106"),
    (0x1F81, 0x1FF9, "TU117"),
    (0x2080, 0x20FF, "GA100"),
    (0x2182, 0x21D1, "TU116"),
    (0x2200, 0x223F, "GA102"),
    (0x2302, 0x23F0, "GH100"),
    (0x2414, 0x2460, "GA103"),
    (0x2480, 0x24FA, "GA104"),
    (0x2501, 0x2571, "GA106"),
    (0x2582, 0x25FB, "GA107"),
    (0x2681, 0x26F5, "AD102"),
    (0x2702, 0x2770, "AD103"),
    (0x2782, 0x27FB, "AD104"),
    (0x2803, 0x2878, "AD106"),
    (0x2882, 0x28F8, "AD107"),
    (0x2900, 0x297E, "GB100"),
    (0x2980, 0x29F1, "GB102"),
    (0x2B85, 0x2BBC, "GB202"),
    (0x2C02, 0x2C19, "GB203"),
    (0x2C31, 0x2C79, "GB203"),
    (0x2D04, 0x2D19, "GB206"),
    (0x2D30, 0x2D79, "GB206"),
    (0x2D83, 0x2DF9, "GB207"),
    (0x2E03, 0x2E2A, "GB20B"),
    (0x2F04, 0x2F80, "GB205"),
    (0x3180, 0x31FE, "GB110"),
    (0x3200, 0x323E, "GB112"),
)
_STARTS = [first for first, _last, _chip in RANGES]

# Chips that are made for the data centre (ids), and the boards of them that are not: TITAN, Quadro, CMP.
DATACENTER_CHIPS = frozenset({"GP100", "GV100", "GA100", "GH100", "GB100", "GB102", "GB110", "GB112"})
_NOT_DATACENTER = frozenset({0x15C2, 0x15F0, 0x1D81, 0x1D83, 0x1D84, 0x1DBA, 0x1DC1, 0x1DF4, 0x2082, 0x20C2})
# Boards for the data centre with chips that GeForce and Quadro have too (ids): M4 to M60, P4 to P40, T4 to T40, A2, A10, A40, L2 to L40S,
# RTX PRO Server.
_DATACENTER = frozenset(
    {0x13BD, 0x13F2, 0x13F3, 0x1431, 0x1613, 0x17FD, 0x1B38, 0x1B39, 0x1BB3, 0x1BB4, 0x1E35, 0x1E37, 0x1E38, 0x1EB4, 0x1EB8}
    | {0x2235, 0x2236, 0x2237, 0x25B6, 0x26B5, 0x26B7, 0x26B8, 0x26B9, 0x26BA, 0x26F5, 0x27B6, 0x27B8, 0x2BB5, 0x2C3A}
)
# Partitionable: whole chips, and the RTX PRO 6000, 5000 and 4500 Blackwell (mig).
_MIG_CHIPS = frozenset({"GA100", "GH100", "GB100", "GB102", "GB110", "GB112"})
_MIG = frozenset({0x2BB1, 0x2BB3, 0x2BB4, 0x2BB5, 0x2C31, 0x2C3A})
# Grace Hopper, which the proprietary module does not drive (modules).
_OPEN_ONLY = frozenset({0x2342, 0x2343, 0x2345, 0x2348})
# Their NVLink switches hang on a ConnectX instead of on PCI (fabric manager user guide).
SWITCHED_BY_INFINIBAND = frozenset({"GB100", "GB102", "GB110", "GB112"})


@dataclass(frozen=True)
class Chip:
    """What a PCI device id tells. Empty texts, and None, for an id that is not known."""

    name: str = ""
    generation: str = ""
    capability: str = ""
    datacenter: bool | None = None
    mig: bool = False
    kinds: tuple[str, ...] = ()
    last_branch: int | None = None


def chip_of(device: int) -> Chip:
    """The chip behind a device id of the vendor 10de."""
    place = bisect_right(_STARTS, device) - 1
    if place < 0 or device > RANGES[place][1]:
        return Chip()
    name = RANGES[place][2]
    generation, capability = CHIPS[name]
    known = BY_NAME[generation]
    return Chip(
        name="" if name in ("GF", "GK") else name,
        generation=generation,
        capability=capability,
        datacenter=device in _DATACENTER or (name in DATACENTER_CHIPS and device not in _NOT_DATACENTER),
        mig=device in _MIG or (name in _MIG_CHIPS and device not in _NOT_DATACENTER),
        kinds=(OPEN,) if device in _OPEN_ONLY else known.kinds,
        last_branch=known.last_branch,
    )


def capabilities_of(generation: str) -> list[str]:
    """The compute capabilities of a generation, lowest first."""
    found = {capability for name, capability in CHIPS.values() if name == generation and capability}
    return sorted(found, key=lambda text: tuple(map(int, text.split("."))))


def in_order(names: Iterable[str]) -> list[str]:
    """Known generations, each once, oldest first."""
    given = set(names)
    return [each.name for each in GENERATIONS if each.name in given]


def kinds_in(branch: int, kinds: Iterable[str]) -> tuple[str, ...]:
    """Those of the kinds of kernel module that a branch has."""
    return tuple(kind for kind in kinds if (branch >= FIRST_OPEN if kind == OPEN else branch < ONLY_OPEN))
