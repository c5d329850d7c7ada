# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rules about models of the python backend. The code is compiled and looked at, never executed; no bytecode is written."""

from __future__ import annotations

import ast
import platform
import posixpath
import warnings
from collections.abc import Iterator
from typing import Optional

from .backends import PYTHON
from .rules import Finding
from .subject import Subject

MODEL_CLASS = "TritonPythonModel"
MODEL_DIRECTORY = "$$TRITON_MODEL_DIRECTORY"
_SOURCE_BYTES = 1 << 24
_Definition = Optional[ast.ClassDef]


def check_python(subject: Subject) -> Iterator[Finding]:
    """The code of every version and the python backend's parameters."""
    if subject.backend.name != PYTHON:
        return
    for number in sorted(subject.model.versions):
        for name in subject.backend.files:
            path = posixpath.normpath(f"{number}/{name}")
            if subject.files.get(path):
                yield from _source(subject, path)
    yield from _environment(subject)
    forced = subject.parameter("FORCE_CPU_ONLY_INPUT_TENSORS")
    if forced is not None and forced not in ("yes", "no"):
        yield subject.config_finding("python-parameter", f"FORCE_CPU_ONLY_INPUT_TENSORS is {forced!r}")


def _source(subject: Subject, path: str) -> Iterator[Finding]:
    try:
        tree = _compile(subject.text(path, _SOURCE_BYTES), path)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        line = getattr(error, "lineno", None)
        place = "" if line is None else f"line {line}: "
        message = f"{place}{getattr(error, 'msg', error)} (Python {platform.python_version()})"
        yield subject.finding("python-syntax", message, path)
        return
    if MODEL_CLASS not in _bound(tree):
        yield subject.finding("python-class", f"no class {MODEL_CLASS} is defined", path)
    definition = _class(tree)
    if definition is not None and not definition.bases and not definition.decorator_list and not _has(definition, "execute"):
        yield subject.finding("python-execute", f"{MODEL_CLASS} has no method execute", path)


def _compile(source: str, path: str) -> ast.Module:
    with warnings.catch_warnings():
        # An invalid escape sequence in somebody's model is no matter of ours.
        warnings.simplefilter("ignore")
        tree = ast.parse(source, path)
        # Some errors show only here, for instance return outside of a function.
        compile(tree, path, "exec", dont_inherit=True)
    return tree


def _bound(tree: ast.Module) -> set[str]:
    """Names that the module may bind at any depth outside of functions and classes; everything after a star import."""
    names: set[str] = set()
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                names.add(child.name)
                continue
            if isinstance(child, (ast.Import, ast.ImportFrom)):
                names.update(MODEL_CLASS if alias.name == "*" else alias.asname or alias.name for alias in child.names)
            elif isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store):
                names.add(child.id)
            elif isinstance(child, ast.Call) and isinstance(child.func, ast.Name) and child.func.id in ("exec", "globals", "setattr"):
                names.add(MODEL_CLASS)
            pending.append(child)
    return names


def _class(tree: ast.Module) -> _Definition:
    found = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == MODEL_CLASS]
    return found[-1] if found and not any(keyword.arg == "metaclass" for keyword in found[-1].keywords) else None


def _has(definition: ast.ClassDef, name: str) -> bool:
    """Whether the class's body may bind the name, also under a condition; __getattr__ counts."""
    wanted = {name, "__getattr__", "__getattribute__"}
    for node in ast.walk(definition):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name in wanted:
            return True
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in wanted:
            return True
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and node.attr in wanted:
            return True
        if isinstance(node, (ast.Import, ast.ImportFrom)) and any((alias.asname or alias.name) in wanted for alias in node.names):
            return True
    return False


def _environment(subject: Subject) -> Iterator[Finding]:
    path = subject.parameter("EXECUTION_ENV_PATH")
    if path is None or not path.startswith(MODEL_DIRECTORY):
        return
    inside = posixpath.normpath(path[len(MODEL_DIRECTORY) :].lstrip("/") or ".")
    # What lies beside the model's folder is another model's; it may come from elsewhere.
    if not inside.startswith("..") and inside not in subject.files and inside not in subject.folders:
        yield subject.config_finding("python-environment", f"EXECUTION_ENV_PATH is {path}, and the model's folder has no {inside}")
