# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run by an interpreter that has Ansible and the standard library alone: imports each module named on stdin, answers its errors as JSON.

argv: the folder that holds links to `ansible` and `ansible_collections`.
"""

from __future__ import annotations

import importlib
import json
import sys

SDKS = {"tritonclient", "numpy", "grpc", "google", "PIL", "geventhttpclient", "gevent", "boto3", "yaml", "jinja2"}


class Blocker:
    """Refuses SDKs even where the interpreter has them."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] in SDKS:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def problem(name: str) -> str:
    try:
        importlib.import_module(name)
    except (ImportError, SyntaxError, TypeError, NameError, AttributeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    sys.meta_path.insert(0, Blocker())
    sys.path.insert(0, sys.argv[1])
    json.dump({name: problem(name) for name in json.load(sys.stdin)}, sys.stdout)
