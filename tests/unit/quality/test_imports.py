# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What runs on targets is imported by the oldest Python that is supported there, with no SDK installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import ansible
import pytest
from support.rules import import_all, places
from support.rules.layers import module_name

OLDEST = "3.9"
ON_TARGETS = [path for path in places.plugin_sources() if path.parent.name == "modules" or "module_utils" in path.parts]


def interpreter(version: str) -> str | None:
    """A python of this version that runs: on PATH, or one of pyenv's, whose names on PATH are shims that may refuse to run."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    candidates = [shutil.which(f"python{version}"), *sorted(map(str, pyenv.glob(f"versions/{version}.*/bin/python{version}")))]
    return next((python for python in candidates if python and runs(python)), None)


def runs(python: str) -> bool:
    return subprocess.run([python, "-c", ""], capture_output=True, timeout=60, check=False).returncode == 0


def run_import(python: str, folder: Path, names: list[str]) -> dict[str, str]:
    done = subprocess.run(
        [python, "-I", "-S", import_all.__file__, str(folder)],
        input=json.dumps(names),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, str] = json.loads(done.stdout)
    return answer


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder from which Ansible and this collection are imported, and nothing else."""
    folder = tmp_path_factory.mktemp("bare")
    (folder / "ansible").symlink_to(Path(ansible.__file__).parent)
    link = folder / "ansible_collections" / "serving" / "triton"
    link.parent.mkdir(parents=True)
    link.symlink_to(places.ROOT)
    return folder


@pytest.fixture(scope="module", params=[OLDEST, "this"])
def problems(request: pytest.FixtureRequest, bare: Path) -> dict[str, str]:
    python = sys.executable if request.param == "this" else interpreter(request.param)
    if python is None:
        pytest.skip(f"Python {request.param} is not installed here; CI has it")
    return run_import(python, bare, [module_name(places.name(path)) for path in ON_TARGETS])


@pytest.mark.parametrize("path", ON_TARGETS, ids=places.name)
def test_it_is_imported_without_an_sdk(path: Path, problems: dict[str, str]) -> None:
    assert not problems[module_name(places.name(path))]


@pytest.mark.parametrize("source", ["import numpy", "from __future__ import annotations\nA = int | None", "match 1:\n    case 1: pass"])
def test_what_cannot_be_imported_is_found(source: str, tmp_path: Path) -> None:
    python = interpreter(OLDEST)
    if python is None:
        pytest.skip(f"Python {OLDEST} is not installed here; CI has it")
    (tmp_path / "sample.py").write_text(source)
    assert run_import(python, tmp_path, ["sample"])["sample"]
    (tmp_path / "fine.py").write_text("import json")
    assert not run_import(python, tmp_path, ["fine"])["fine"]
