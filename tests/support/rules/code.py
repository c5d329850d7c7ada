# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rules for python code that linters do not have: sizes, swallowed errors, shells."""

from __future__ import annotations

import ast
from collections.abc import Iterator

FUNCTION_LINES = 40
MODULE_LINES = 150
HEADER = (
    "# Copyright: serving.triton contributors",
    "# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)",
)
_DOCS = {"DOCUMENTATION", "EXAMPLES", "RETURN"}
_SHELLS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}


def headless(source: str) -> list[str]:
    """Nothing when the file begins with the two lines of copyright and licence (after a shebang)."""
    lines = [line for line in source.splitlines()[:4] if not line.startswith("#!")]
    return [] if tuple(lines[:2]) == HEADER or not source.strip() else ["the file does not begin with the copyright header"]


def long_functions(source: str) -> list[str]:
    """Functions of more than 40 lines, their docstrings not counted."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines = _lines(node) - _docstring_lines(node)
            if lines > FUNCTION_LINES:
                found.append(f"line {node.lineno}: {node.name} has {lines} lines, more than {FUNCTION_LINES}")
    return found


def long_module(source: str) -> list[str]:
    """An Ansible module of more than 150 lines without its documentation."""
    documented = sum(
        _lines(node)
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in _DOCS
    )
    lines = len(source.splitlines()) - documented
    return [f"{lines} lines without its documentation, more than {MODULE_LINES}"] if lines > MODULE_LINES else []


def swallowing(source: str) -> list[str]:
    """Handlers that catch everything."""
    return [
        f"line {node.lineno}: catches everything; name the errors that are expected"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ExceptHandler) and _catches_all(node)
    ]


def shells(source: str) -> list[str]:
    """Calls that go through a shell."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return [f"line {call.lineno}: {problem}" for call in calls for problem in _shell(call)]


def _catches_all(node: ast.ExceptHandler) -> bool:
    if node.type is None:
        return True
    types = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
    return any(ast.unparse(kind) in ("Exception", "BaseException") for kind in types)


def _shell(call: ast.Call) -> Iterator[str]:
    if ast.unparse(call.func) in _SHELLS:
        yield f"{ast.unparse(call.func)} runs a shell"
    for keyword in call.keywords:
        off = isinstance(keyword.value, ast.Constant) and not keyword.value.value
        if keyword.arg in ("shell", "use_unsafe_shell") and not off:
            yield f"{keyword.arg}={ast.unparse(keyword.value)} runs a shell"


def _lines(node: ast.stmt) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


def _docstring_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = node.body[0]
    is_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    return _lines(first) if is_docstring else 0
