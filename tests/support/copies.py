# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Real copies of this checkout, for the tools that a link does not serve, and a home of their own for what they write."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ansible import __file__ as ansible_file

ROOT = Path(__file__).resolve().parents[2]
# ansible-test fetches pip's installer from a host that only the internet has. The interpreter brings its own.
_GET_PIP = """\
import subprocess
import sys

arguments = [argument for argument in sys.argv[1:] if argument not in ("--no-setuptools", "--no-wheel")]
subprocess.check_call([sys.executable, "-m", "ensurepip"])
subprocess.check_call([sys.executable, "-m", "pip", "install", *arguments])
"""
_VARIABLE = ("ANSIBLE_", "PYTHON", "PYTEST_", "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")


def files() -> list[str]:
    """The paths that git knows or would add: what a fresh clone of the next commit holds."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout
    return sorted(path for path in set(listed.split("\0")) if path and (ROOT / path).exists())


def copy_collection(root: Path) -> Path:
    """A copy below root/ansible_collections, as a git repository of its own: ansible-test asks git which files there are."""
    target = root / "ansible_collections" / "serving" / "triton"
    for path in files():
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, target / path)
    for arguments in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", *arguments], cwd=target, check=True, capture_output=True, timeout=60)
    return target


def pip_stand_in(home: Path) -> None:
    """Lets ansible-test make its environments with a package index alone."""
    cache = home / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    requirements = Path(ansible_file).parents[1] / "ansible_test" / "_internal" / "python_requirements.py"
    for version in re.findall(r"pip='([\d.]+)'", requirements.read_text(encoding="utf-8")):
        (cache / f"get_pip_{version.replace('.', '_')}.py").write_text(_GET_PIP, encoding="utf-8")


def run(
    argv: Sequence[str], cwd: Path, home: Path, *, env: Mapping[str, str] | None = None, timeout: float = 600
) -> subprocess.CompletedProcess[str]:
    """Runs a tool of this interpreter's environment; stdout holds stderr too. env: more environment variables."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_VARIABLE)}
    environment: Mapping[str, str] = {
        **inherited,
        "HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_NOCOLOR": "1",
        "NO_COLOR": "1",
        **(env or {}),
    }
    return subprocess.run(
        list(argv),
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
        stdin=subprocess.DEVNULL,
    )
