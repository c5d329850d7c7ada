# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The tables of NVIDIA's figures hold together: sorted, without gaps, each row with its sources."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from ansible_collections.serving.triton.plugins.module_utils.gpu import chips
from ansible_collections.serving.triton.plugins.module_utils.gpu.versions import branch_of, compare, numbers
from ansible_collections.serving.triton.plugins.plugin_utils.compatibility import document, table

TABLES = ("cuda", "releases", "branches")
KEYS = {
    "cuda": {"version", "native", "minor", "forward", "sources"},
    "releases": {"release", "version", "cuda", "capability", "sources"},
    "branches": {"branch", "kind", "end", "sources"},
}


def column(name: str, key: str) -> list[Any]:
    return [row[key] for row in document()[name]]


@pytest.mark.parametrize("name", TABLES)
def test_every_row_has_its_keys_and_names_sources_that_exist(name: str) -> None:
    sources = document()["sources"]
    for row in document()[name]:
        assert set(row) == KEYS[name]
        assert row["sources"], row
        assert set(row["sources"]) <= set(sources), row


def test_every_source_says_what_it_is_and_is_used() -> None:
    used = {source for name in TABLES for row in document()[name] for source in row["sources"]}
    for name, source in document()["sources"].items():
        assert set(source) == {"title", "url", "tells"}
        assert source["url"].startswith("https://")
        assert name in used


def test_releases_are_sorted_and_no_month_is_missing() -> None:
    for before, after in pairwise(column("releases", "release")):
        year, month = map(int, before.split("."))
        assert after == (f"{year:02d}.{month + 1:02d}" if month < 12 else f"{year + 1:02d}.01")


def test_versions_cuda_and_capability_only_grow() -> None:
    for key in ("version", "cuda", "capability"):
        known = [value for value in column("releases", key) if value is not None]
        assert all(isinstance(value, str) for value in known)
        assert known == sorted(known, key=numbers)
    assert set(column("releases", "cuda")) == set(column("cuda", "version"))


def test_a_newer_cuda_never_asks_for_an_older_driver() -> None:
    for before, after in pairwise(document()["cuda"]):
        assert compare(before["version"], after["version"]) < 0
        assert compare(before["native"], after["native"]) < 0
        assert compare(before["minor"], after["minor"]) <= 0
        if before["version"].split(".")[0] == after["version"].split(".")[0]:
            assert before["minor"] == after["minor"]
    for row in document()["cuda"]:
        assert isinstance(row["native"], str), "a bare 570.26 in YAML is a number"
        assert compare(row["minor"], row["native"]) <= 0
        assert all(branch < branch_of(row["native"]) for branch in row["forward"] or ())


def test_branches_are_sorted_and_hold_every_branch_that_is_named() -> None:
    listed = column("branches", "branch")
    assert listed == sorted(set(listed))
    assert set(column("branches", "kind")) == {"lts", "production", "feature", None}
    named = {
        branch for row in document()["cuda"] for branch in (branch_of(row["native"]), branch_of(row["minor"]), *(row["forward"] or ()))
    }
    assert named <= set(listed)
    assert {each.last_branch for each in chips.GENERATIONS if each.last_branch and each.last_branch >= listed[0]} <= set(listed)


def test_the_table_is_read_whole() -> None:
    assert len(table().releases) == len(document()["releases"])
    assert table().releases[-1].release == "26.10"
    assert (table().releases[-1].version, table().releases[-1].cuda.forward) == ("", None)


def test_the_versions_of_the_role_are_in_the_table() -> None:
    known = {each.version: each.release for each in table().releases}
    assert {version: known.get(version) for version in ("2.39", "2.48", "2.51")} == {"2.39": "23.10", "2.48": "24.07", "2.51": "24.10"}


def test_ranges_of_device_ids_are_sorted_and_do_not_overlap() -> None:
    for first, last, chip in chips.RANGES:
        assert first <= last
        assert chip in chips.CHIPS
    for before, after in pairwise(chips.RANGES):
        assert before[1] < after[0]


def test_every_chip_has_a_generation_and_ids() -> None:
    assert {chip for _first, _last, chip in chips.RANGES} == set(chips.CHIPS)
    assert {generation for generation, _capability in chips.CHIPS.values()} == set(chips.BY_NAME)
    for name in chips.BY_NAME:
        capabilities = chips.capabilities_of(name)
        assert capabilities == sorted(capabilities, key=numbers)
    # A newer generation has a higher capability, but for Ada, which came before Hopper.
    lowest = [chips.capabilities_of(each.name)[0] for each in chips.GENERATIONS[2:]]
    assert lowest == sorted(lowest, key=numbers)


@pytest.mark.parametrize("device", [0x0000, 0x06BF, 0x137E, 0x1379 + 5, 0x22A3, 0x3FFF, 0xFFFF])
def test_an_id_that_is_not_listed_is_unknown(device: int) -> None:
    assert chips.chip_of(device) == chips.Chip()


@pytest.mark.parametrize(
    ("branch", "kinds"), [(470, ("proprietary",)), (515, ("open", "proprietary")), (610, ("open", "proprietary")), (620, ("open",))]
)
def test_the_kinds_of_module_that_a_branch_has(branch: int, kinds: tuple[str, ...]) -> None:
    assert chips.kinds_in(branch, ("open", "proprietary")) == kinds
