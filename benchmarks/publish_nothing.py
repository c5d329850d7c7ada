# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Publishing a repository of 400 models that has not changed, against copying it with what else Ansible has."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .common import Line, Task, faster, figure, run_tasks, seconds, workspace

MODELS = 400
# What copies file by file from the controller would take minutes for all.
FEW = 20
FILES = 10
CONFIG = """
backend: "python"
input [ { name: "A" data_type: TYPE_INT32 dims: [ 1 ] } ]
output [ { name: "B" data_type: TYPE_INT32 dims: [ 1 ] } ]
"""


def measure() -> Iterator[Line]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _write(root / "source")
        with_rsync = shutil.which("rsync") is not None
        run_tasks(workspace(root / "work"), _tasks(root, with_rsync))
        run = run_tasks(workspace(root / "work"), _tasks(root, with_rsync))
        yield from _few(root)
    ours = seconds(run, "Publish")
    yield faster("publish_nothing_4000_files", "ansible.builtin.copy_remote_src", ours, seconds(run, "Copy, peer"))
    if with_rsync:
        yield faster("publish_nothing_4000_files", "ansible.posix.synchronize", ours, seconds(run, "Synchronize, peer"))
    yield figure("publish_nothing_4000_files", "seconds", ours)


def _few(root: Path) -> Iterator[Line]:
    _write(root / "few", FEW)
    tasks: list[Task] = [
        {"name": "Publish", "serving.triton.model_repository": {"src": str(root / "few"), "repository": str(root / "few_published")}},
        {"name": "Copy, peer", "ansible.builtin.copy": {"src": f"{root}/few/", "dest": f"{root}/few_copied/", "mode": "preserve"}},
    ]
    run_tasks(workspace(root / "work"), tasks)
    run = run_tasks(workspace(root / "work"), tasks)
    yield faster(f"publish_nothing_{FEW * FILES}_files", "ansible.builtin.copy", seconds(run, "Publish"), seconds(run, "Copy, peer"))


def _write(root: Path, models: int = MODELS) -> None:
    for model in range(models):
        folder = root / f"model_{model}"
        (folder / "1").mkdir(parents=True)
        (folder / "config.pbtxt").write_text(CONFIG)
        for number in range(FILES - 2):
            (folder / "1" / f"weights_{number}.bin").write_bytes(f"{model} {number}".encode() * 512)
        (folder / "1" / "model.py").write_text("class TritonPythonModel:\n    def execute(self, requests):\n        return []\n")


def _tasks(root: Path, with_rsync: bool) -> list[Task]:
    source = str(root / "source")
    tasks: list[Task] = [
        {"name": "Publish", "serving.triton.model_repository": {"src": source, "repository": str(root / "published")}},
        {
            "name": "Copy, peer",
            "ansible.builtin.copy": {"src": f"{source}/", "dest": str(root / "copied"), "remote_src": True, "mode": "preserve"},
        },
    ]
    if with_rsync:
        tasks.append({"name": "Synchronize, peer", "ansible.posix.synchronize": {"src": f"{source}/", "dest": str(root / "synchronized")}})
    return tasks
