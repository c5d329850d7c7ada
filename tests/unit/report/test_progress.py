# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How far a transfer is: written at most twice a second, read as one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ansible_collections.serving.triton.plugins.module_utils.core.progress import Stage, Transfer
from ansible_collections.serving.triton.plugins.module_utils.stores.progress_file import ProgressFile, progress_in
from ansible_collections.serving.triton.plugins.plugin_utils import progress
from ansible_collections.serving.triton.plugins.plugin_utils.progress import Look

MIB = 1 << 20
GIB = 1 << 30


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (1023, "1,023 bytes"),
        (1024, "1.0 KiB"),
        (85.4 * MIB, "85 MiB"),
        (1.25 * GIB, "1.2 GiB"),
        (2**42, "4.0 TiB"),
        (2**52, "4,096 TiB"),
    ],
)
def test_sizes_are_short(count: float, text: str) -> None:
    assert progress.size(count) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "1 s"), (45.4, "45 s"), (89, "89 s"), (120, "2 min"), (7300, "2 h 2 min")])
def test_durations_are_short(seconds: float, text: str) -> None:
    assert progress.duration(seconds) == text


def test_the_line_tells_files_bytes_rate_and_time_left() -> None:
    before = Look(1000, 4000, GIB, 5 * GIB, 10.0)
    look = Look(1203, 4000, GIB + 425 * MIB, 5 * GIB, 15.0)
    told = progress.line("web1: publishing", look, before)
    assert told == "web1: publishing 1,203 of 4,000 files, 1.4 of 5.0 GiB, 85 MiB/s, 43 s left"


def test_the_first_line_takes_the_rate_since_the_start() -> None:
    assert progress.rate(Look(1, 2, 100, 200, 4.0)) == 25
    assert progress.line("web1: publishing", Look(0, 2, 0, 200, 0.0)) == "web1: publishing 0 of 2 files, 0 of 200 bytes"


def test_a_transfer_that_stands_still_has_no_time_left() -> None:
    look = Look(1, 2, 100, 200, 9.0)
    assert progress.line("web1: publishing", look, Look(1, 2, 100, 200, 4.0)) == "web1: publishing 1 of 2 files, 100 of 200 bytes"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"files": 1}', '{"files": "x", "all_files": 1, "bytes": 1, "all_bytes": 1, "elapsed": 1}']
)
def test_what_is_no_state_is_not_read(text: str) -> None:
    assert progress.parse(text) is None


class Clocks:
    seconds = 100.0

    def now(self) -> float:
        return self.seconds


def test_a_file_is_written_at_most_twice_a_second(tmp_path: Path) -> None:
    clocks = Clocks()
    path = tmp_path / "made" / "progress.json"
    file = ProgressFile(str(path), now=clocks.now, wall=lambda: 1700000000.0)
    for seconds, done in ((100.0, 1), (100.4, 2), (100.6, 3), (101.0, 4)):
        clocks.seconds = seconds
        file(Transfer(done, 9, done * 10, 90))
        if done == 2:
            assert json.loads(path.read_text())["files"] == 1
    state = json.loads(path.read_text())
    assert state == {"files": 3, "all_files": 9, "bytes": 30, "all_bytes": 90, "started": 1700000000.0, "elapsed": pytest.approx(0.6)}
    assert progress.parse(path.read_text()) == Look(3, 9, 30, 90, pytest.approx(0.6))
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    file.remove()
    assert not list(path.parent.iterdir())


def test_a_place_that_cannot_be_written_harms_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with progress_in(str(tmp_path / "file" / "progress.json")) as report:
        report(Transfer(1, 2, 3, 4))
    with progress_in(None) as report:
        report(Transfer(1, 2, 3, 4))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_file_goes_with_the_transfer(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    with progress_in(str(path)) as report:
        report(Transfer(1, 2, 3, 4))
        assert path.exists()
    assert not path.exists()


def test_what_cannot_be_counted_is_told_in_words(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    ticks = iter([0.0, 75.0])
    file = ProgressFile(str(path), now=lambda: next(ticks), wall=lambda: 1.0)
    file(Stage("Creating, 0 of 1 instances running"))
    file(Stage("Waiting, 0 of 1 instances running"))
    look = progress.parse(path.read_text())
    assert look is not None
    assert look.line("digits: waiting") == "digits: waiting, 75 s: Waiting, 0 of 1 instances running"
    assert not look.is_over
    assert look.is_news(None)
    assert not look.is_news(progress.Words(look.text, 74.0))
    assert look.is_news(progress.Words(look.text, 14.0))
    assert look.is_news(progress.Words("Creating", 74.0))
