# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The molecule scenarios as tests run them: the same playbooks, held to what check mode promised."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.rolecheck import ROOT, PlaybookRun, Workspace, assert_clean, assert_predicted, assert_unchanged

SCENARIOS = ROOT / "extensions" / "molecule"
PROGRAMS = ("podman", "runc", "mmdebstrap")


def missing() -> str:
    """Why machines cannot be made here; empty when they can."""
    if os.geteuid():
        return "machines in podman need root"
    absent = [name for name in PROGRAMS if not shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")]
    return f"not installed: {', '.join(absent)}" if absent else ""


@contextmanager
def scenario(name: str, folder: Path, timeout: float) -> Iterator[Callable[..., PlaybookRun]]:
    """Makes the machines of a scenario, and removes them. Yields what runs one of its playbooks; such a run must be clean."""
    env = {
        "CONTAINERS_CONF": str(SCENARIOS / "shared" / "containers.conf"),
        "MOLECULE_EPHEMERAL_DIRECTORY": str(folder),
        "ANSIBLE_REMOTE_TEMP": "~/.ansible/tmp",
    }
    workspace = Workspace(folder, inventory=SCENARIOS / name / "inventory", env=env, timeout=timeout)

    def play(playbook: str, *flags: str, variables: Mapping[str, Any] | None = None) -> PlaybookRun:
        done = workspace.run(SCENARIOS / name / playbook, *flags, variables=variables)
        assert_clean(done, step=f"{name} {playbook} {' '.join(flags)}")
        return done

    try:
        play("../shared/create.yml")
        if (SCENARIOS / name / "prepare.yml").exists():
            play("prepare.yml")
        yield play
    finally:
        play("../shared/destroy.yml")


def keep(play: Callable[..., PlaybookRun], state: str) -> None:
    """Check, run, run again, verify; check and run with `state` set to absent, and a look for what is left."""
    _once(play, {})
    assert_unchanged(play("converge.yml"), "the second run")
    play("verify.yml")
    _once(play, {state: "absent"})
    play("left.yml")


def _once(play: Callable[..., PlaybookRun], variables: Mapping[str, Any]) -> None:
    predicted = play("converge.yml", "--check", "--diff", variables=variables)
    done = play("converge.yml", "--diff", variables=variables)
    assert done.changed
    assert_predicted(predicted, done)
