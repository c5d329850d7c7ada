# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The harness of check-predicts-run keeps quiet about good plays and catches each kind of bad one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.rolecheck import Promise, Workspace, keep, module_play

CANARY = "canary-7f3a91"


def tasks(*entries: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"hosts": "localhost", "gather_facts": False, "tasks": list(entries)}]


def test_a_good_play_keeps_the_promise(tmp_path: Path) -> None:
    target = tmp_path / "made"
    play = tasks(
        {"name": "Make", "ansible.builtin.file": {"path": "{{ item }}", "state": "{{ state }}"}, "loop": [str(target), f"{target}2"]},
        {"name": "Hide", "ansible.builtin.debug": {"msg": "{{ secret | length }}"}},
    )
    seen: list[bool] = []
    runs = keep(
        Promise(
            play,
            variables={"state": "directory", "secret": CANARY},
            absent={"state": "absent"},
            canaries=[CANARY],
            after_run=lambda: seen.append(target.is_dir()),
            after_absent=lambda: seen.append(target.exists()),
        ),
        Workspace(tmp_path / "work"),
    )
    assert seen == [True, False]
    assert [sum(run.changed_items.values()) for run in runs] == [2, 2, 0, 2, 2, 0]


@pytest.mark.parametrize(
    ("play", "complaint"),
    [
        pytest.param(
            tasks({"name": "Blind", "ansible.builtin.command": {"argv": ["touch", "MARK"]}}),
            "changed by the run, not predicted",
            id="check mode misses a change",
        ),
        pytest.param(
            tasks(
                {
                    "name": "Liar",
                    "ansible.builtin.command": {"argv": ["true"]},
                    "changed_when": "not ansible_check_mode",
                    "check_mode": False,
                }
            ),
            "changed by the run, not predicted",
            id="check mode hides a change",
        ),
        pytest.param(
            tasks(
                {"name": "Make", "ansible.builtin.file": {"path": "MARK", "state": "directory"}},
                {"name": "Alarm", "ansible.builtin.command": {"argv": ["true"]}, "changed_when": "ansible_check_mode", "check_mode": False},
            ),
            "predicted by check mode, not changed",
            id="check mode invents a change",
        ),
        pytest.param(
            tasks({"name": "Restless", "ansible.builtin.command": {"argv": ["true"]}, "changed_when": True, "check_mode": False}),
            "although nothing was left to do",
            id="a second run changes something",
        ),
        pytest.param(
            tasks({"name": "Show", "ansible.builtin.debug": {"msg": CANARY}}), f"the secret {CANARY} shows", id="a secret is shown"
        ),
        pytest.param(
            tasks({"name": "Noise", "vars": {"environment": 1}, "ansible.builtin.file": {"path": "MARK", "state": "directory"}}),
            "warnings",
            id="a warning is printed",
        ),
        pytest.param(tasks({"name": "Fail", "ansible.builtin.fail": {"msg": "no"}}), "rc 2", id="a task fails"),
        pytest.param(tasks({"name": "Idle", "ansible.builtin.debug": {"msg": "idle"}}), "nothing was proved", id="nothing to prove"),
    ],
)
def test_a_bad_play_is_caught(tmp_path: Path, play: list[dict[str, Any]], complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        keep(Promise(play, canaries=[CANARY]), Workspace(tmp_path))


def test_an_excuse_that_is_not_needed_is_caught(tmp_path: Path) -> None:
    play = module_play("ansible.builtin.file", {"path": str(tmp_path / "made"), "state": "directory", "mode": "0755"})
    with pytest.raises(AssertionError, match="remove them"):
        keep(Promise(play, unpredictable={"Call ansible.builtin.file": "for the test"}), Workspace(tmp_path / "work"))


def test_an_excuse_that_is_needed_is_heard(tmp_path: Path) -> None:
    made = tmp_path / "made"
    play = tasks({"name": "Blind", "ansible.builtin.command": {"argv": ["mkdir", str(made)]}, "when": f"'{made}' is not exists"})
    keep(Promise(play, unpredictable={"Blind": "a command has no check mode"}), Workspace(tmp_path / "work"))
