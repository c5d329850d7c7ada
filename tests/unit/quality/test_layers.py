# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Imports point downwards."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.rules import layers, places


@pytest.mark.parametrize("path", places.plugin_sources(), ids=places.name)
def test_imports_keep_the_layer_rule(path: Path) -> None:
    assert not layers.violations(path.read_text(encoding="utf-8"), places.name(path))


def test_there_is_no_circle() -> None:
    assert not layers.circles({places.name(path): path.read_text(encoding="utf-8") for path in places.plugin_sources()})


UTILS = "plugins/module_utils"
OWN = "from ansible_collections.serving.triton.plugins"


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (f"{UTILS}/core/plan.py", "import numpy"),
        (f"{UTILS}/core/plan.py", "def f():\n    import numpy"),
        (f"{UTILS}/core/plan.py", "from ansible.module_utils.basic import AnsibleModule"),
        (f"{UTILS}/core/plan.py", "from ..repository.layout import scan"),
        (f"{UTILS}/core/__init__.py", "from ..server import http"),
        (f"{UTILS}/repository/layout.py", "import yaml"),
        (f"{UTILS}/repository/layout.py", "def f():\n    from tritonclient.grpc import model_config_pb2"),
        (f"{UTILS}/repository/config.py", "from tritonclient.grpc import model_config_pb2"),
        (f"{UTILS}/repository/config.py", f"{OWN}.module_utils.stores.posix.store import Posix"),
        (f"{UTILS}/stores/posix/store.py", "from ...server.endpoint import Endpoint"),
        (f"{UTILS}/stores/posix/store.py", "from ansible.module_utils.urls import open_url"),
        (f"{UTILS}/server/http.py", "import tritonclient.http"),
        (f"{UTILS}/server/http.py", "try:\n    import numpy\nexcept ImportError:\n    numpy = None"),
        (f"{UTILS}/server/http.py", "def f():\n    import requests"),
        (f"{UTILS}/module.py", "from .server.endpoint import Endpoint"),
        (f"{UTILS}/elsewhere/x.py", "import os"),
        ("plugins/modules/infer.py", "import numpy"),
        ("plugins/modules/infer.py", "import yaml"),
        ("plugins/modules/infer.py", f"{OWN}.modules.model import main"),
    ],
)
def test_an_import_against_the_rule_is_found(path: str, source: str) -> None:
    assert len(layers.violations(source, path)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (f"{UTILS}/core/plan.py", "import os.path\nfrom .errors import ServingError\nfrom . import wait"),
        (f"{UTILS}/repository/config.py", "def f():\n    from google.protobuf import text_format\n    from tritonclient.grpc import x"),
        (f"{UTILS}/server/http.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import numpy"),
        ("plugins/modules/infer.py", f"{OWN}.module_utils.server.http import Http\nfrom ..module_utils.module import run_info"),
        ("plugins/callback/summary.py", "import yaml\nfrom ansible.plugins.callback import CallbackBase"),
    ],
)
def test_an_import_within_the_rule_is_fine(path: str, source: str) -> None:
    assert not layers.violations(source, path)


def test_a_circle_is_found() -> None:
    sources = {
        f"{UTILS}/core/a.py": "from .b import f",
        f"{UTILS}/core/b.py": "def f():\n    from . import c",
        f"{UTILS}/core/c.py": "from ..core import a",
        f"{UTILS}/core/d.py": "from . import a",
    }
    found = layers.circles(sources)
    assert len(found) == 3
    assert f"{UTILS}/core/a.py → {UTILS}/core/b.py → {UTILS}/core/c.py → {UTILS}/core/a.py" in found
