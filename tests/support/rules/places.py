# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where the things to be checked lie. Everything is found, nothing is listed: a new module or role is under the rules at once."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PLUGINS = ROOT / "plugins"
_SHIPPED = ("plugins", "roles", "playbooks")
_WRITTEN = (*_SHIPPED, "benchmarks", "tests", "extensions", "docs")


def modules() -> list[Path]:
    return sorted(path for path in (PLUGINS / "modules").glob("*.py") if path.name != "__init__.py")


def roles() -> list[Path]:
    return sorted(path for path in (ROOT / "roles").glob("*") if (path / "tasks").is_dir())


def plugin_sources() -> list[Path]:
    """Python that runs inside Ansible."""
    return sorted(path for path in PLUGINS.rglob("*.py") if "__pycache__" not in path.parts)


def python_sources() -> list[Path]:
    """Every python file that people wrote here."""
    return sorted(path for top in _WRITTEN for path in (ROOT / top).rglob("*.py") if not {"__pycache__", "output"} & set(path.parts))


def yaml_sources() -> list[Path]:
    """YAML that Ansible runs: tasks, handlers and playbooks."""
    found = [path for role in roles() for part in ("tasks", "handlers") for path in (role / part).rglob("*.yml")]
    return sorted([*found, *(path for path in (ROOT / "playbooks").rglob("*.yml") if path.parent.name != "vars")])


def name(path: Path) -> str:
    """A path's name in test ids and messages."""
    return path.relative_to(ROOT).as_posix()
