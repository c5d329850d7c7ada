# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Sizes, headers, swallowed errors and shells in every python file."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.rules import code, places

every_source = pytest.mark.parametrize("path", places.python_sources(), ids=places.name)
HEADER = "\n".join(code.HEADER) + "\n"


@every_source
def test_code_keeps_the_rules(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    found = [*code.headless(source), *code.long_functions(source), *code.swallowing(source), *code.shells(source)]
    assert not found, places.name(path)


@pytest.mark.parametrize("path", places.modules(), ids=places.name)
def test_a_module_is_short(path: Path) -> None:
    assert not code.long_module(path.read_text(encoding="utf-8"))


def test_a_long_function_is_found() -> None:
    body = "\n".join(f"    a{number} = {number}" for number in range(code.FUNCTION_LINES))
    assert code.long_functions(f"class A:\n  def f(self):\n{body}")
    assert code.long_functions(f"async def f():\n{body}")
    docstring = '    """' + "\n" * 9 + '    """\n'
    assert not code.long_functions(f"def f():\n{docstring}" + "\n".join(body.splitlines()[1:]))


def test_a_long_module_is_found() -> None:
    body = "a = 1\n" * code.MODULE_LINES
    assert not code.long_module('DOCUMENTATION = r"""\n' + "a: b\n" * 300 + f'"""\n{body}')
    assert code.long_module(f"{body}a = 2\n")


@pytest.mark.parametrize("caught", ["", " Exception", " BaseException as error", " (OSError, Exception)"])
def test_a_handler_of_everything_is_found(caught: str) -> None:
    assert code.swallowing(f"try:\n    f()\nexcept{caught}:\n    pass")
    assert not code.swallowing("try:\n    f()\nexcept (OSError, ValueError):\n    pass")


@pytest.mark.parametrize(
    "call", ["run(a, shell=True)", "m.run_command(a, use_unsafe_shell=flag)", "os.system(a)", "subprocess.getoutput(a)"]
)
def test_a_shell_is_found(call: str) -> None:
    assert code.shells(call)
    assert not code.shells("run(a, shell=False)")


def test_a_missing_header_is_found() -> None:
    assert code.headless("import os\n")
    assert not code.headless(HEADER + "import os\n")
    assert not code.headless("#!/usr/bin/python\n" + HEADER)
    assert not code.headless("")
