# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""MIG: what differs is changed and nothing else, against GPUs that behave as nvidia-smi documents."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.serving.triton.plugins.module_utils.core.errors import InputError, ServingError, UnavailableError
from ansible_collections.serving.triton.plugins.module_utils.gpu import mig_service
from ansible_collections.serving.triton.plugins.module_utils.gpu.mig_service import MigService, execute

FIRST, SECOND = "0000:17:00.0", "0000:65:00.0"


class Gpus:
    """Two GPUs that obey nvidia-smi's commands, and a display adapter without MIG. stuck: the mode stays pending until a reset."""

    def __init__(self, stuck: bool = False) -> None:
        self.state: dict[str, tuple[bool, list[str]]] = {FIRST: (False, []), SECOND: (False, [])}
        self.stuck = stuck
        self.ran: list[str] = []

    def look(self) -> list[dict[str, Any]]:
        found = [
            {"address": address, "mig": {"capable": True, "enabled": on, "devices": [{"profile": name} for name in names]}}
            for address, (on, names) in self.state.items()
        ]
        return [*found, {"address": "0000:ff:00.0", "mig": {"capable": False, "enabled": None, "devices": []}}]

    def run(self, argv: Sequence[str]) -> str:
        self.ran.append(" ".join(argv[1:]))
        address = argv[argv.index("-i") + 1]
        on, names = self.state[address]
        if "-mig" in argv:
            assert not names, "the mode cannot change while there are instances"
            self.state[address] = (on if self.stuck else argv[-1] == "1", [])
        elif "-dci" in argv or "-dgi" in argv:
            assert names, "No GPU instances found"
            self.state[address] = (on, names if "-dci" in argv else [])
        else:
            assert on, "MIG is off"
            assert not names, "Insufficient Resources"
            self.state[address] = (on, argv[argv.index("-cgi") + 1].split(","))
        return ""

    def apply(self, *layout: dict[str, Any]) -> list[str]:
        entries = [{"devices": ["all"], "enabled": True, "profiles": {}, **entry} for entry in layout]
        service = MigService(entries, self.look, "nvidia-smi", self.run)
        self.ran = []
        plan = service.plan(service.observe())
        if plan:
            service.apply(plan)
        return plan.describe()


def test_a_layout_is_made_once() -> None:
    gpus = Gpus()
    layout = {"profiles": {"1g.10gb": 2, "3g.40gb": 1}}
    assert len(gpus.apply(layout)) == 2
    assert gpus.state[FIRST] == (True, ["3g.40gb", "1g.10gb", "1g.10gb"])
    assert gpus.apply(layout) == []
    assert gpus.ran == []


def test_only_the_gpu_that_differs_is_touched() -> None:
    gpus = Gpus()
    gpus.apply({"profiles": {"1g.10gb": 7}})
    changed = gpus.apply({"devices": ["0"], "profiles": {"1g.10gb": 7}}, {"devices": ["1"], "profiles": {"3g.40gb": 2}})
    assert changed == [f"partition {SECOND}: MIG, 2 x 3g.40gb"]
    assert gpus.ran == [f"mig -i {SECOND} -dci", f"mig -i {SECOND} -dgi", f"mig -i {SECOND} -cgi 3g.40gb,3g.40gb -C"]
    gpus.apply({"enabled": False})
    assert gpus.state == {FIRST: (False, []), SECOND: (False, [])}


def test_a_gpu_that_is_not_named_stays() -> None:
    gpus = Gpus()
    gpus.apply({"devices": ["1"], "profiles": {"1g.10gb": 7}})
    assert gpus.state[FIRST] == (False, [])


def test_a_mode_that_stays_pending_is_told() -> None:
    gpus = Gpus(stuck=True)
    with pytest.raises((ServingError, AssertionError), match="MIG"):
        gpus.apply({"devices": ["0"]})


@pytest.mark.parametrize(
    ("layout", "complaint"),
    [
        ([{"profiles": {"whole": 1}}], "no number of a MIG profile"),
        ([{"profiles": {"1g.10gb": 0}}], "no number of a MIG profile"),
        ([{"devices": ["2"]}], "no such GPU"),
        ([{"devices": ["x"]}], "no such GPU"),
        ([{}, {"devices": ["0"]}], "in two entries"),
        ([{"enabled": False, "profiles": {"1g.10gb": 1}}], "MIG is off"),
    ],
)
def test_a_wrong_layout_changes_nothing(layout: list[dict[str, Any]], complaint: str) -> None:
    gpus = Gpus()
    with pytest.raises(InputError, match=complaint):
        gpus.apply(*layout)
    assert gpus.ran == []


def test_without_such_gpus_it_says_so() -> None:
    with pytest.raises(UnavailableError, match="no GPU that MIG can partition"):
        MigService([], list, "nvidia-smi").observe()


def test_boot_commands_make_the_layout_from_anything() -> None:
    gpus = Gpus()
    entry = {"devices": ["all"], "enabled": True, "profiles": {"1g.10gb": 2}}
    service = MigService([entry], gpus.look, "nvidia-smi", gpus.run)
    actual = service.observe()
    commands = service.result(actual, service.plan(actual), False)["boot_commands"]
    for command in commands:
        try:
            gpus.run(command["argv"])
        except AssertionError:
            assert command["optional"]
    assert service.plan(service.observe()).actions == ()


def test_mig_parted_is_given_the_whole_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus, seen = Gpus(), {}

    def parted(argv: Sequence[str]) -> str:
        assert list(argv[:3]) == ["nvidia-mig-parted", "apply", "-f"]
        assert list(argv[4:]) == ["-c", "serving-triton"]
        seen.update(json.loads(Path(argv[3]).read_text(encoding="utf-8")))
        gpus.state[SECOND] = (True, ["1g.10gb"])
        return ""

    monkeypatch.setattr(mig_service.shutil, "which", lambda name: f"/usr/bin/{name}")
    service = MigService([{"devices": ["1"], "enabled": True, "profiles": {"1g.10gb": 1}}], gpus.look, "auto", parted)
    service.apply(service.plan(service.observe()))
    assert seen["mig-configs"]["serving-triton"] == [
        {"devices": [0], "mig-enabled": False, "mig-devices": {}},
        {"devices": [1], "mig-enabled": True, "mig-devices": {"1g.10gb": 1}},
    ]


def test_a_command_that_fails_tells_what_it_said() -> None:
    with pytest.raises(UnavailableError, match="In use by another client"):
        execute(["/bin/sh", "-c", "echo In use by another client >&2; exit 19"])
    with pytest.raises(UnavailableError, match="No such file"):
        execute(["/nonexistent/nvidia-smi"])
