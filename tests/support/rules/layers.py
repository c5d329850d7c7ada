# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The layer rule: imports point downwards, and the lower layers import the standard library alone."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

PACKAGE = "ansible_collections.serving.triton.plugins"
UTILS = f"{PACKAGE}.module_utils"
SDKS = frozenset(
    {"tritonclient", "numpy", "grpc", "google", "PIL", "geventhttpclient", "gevent", "boto3", "botocore", "azure", "google_crc32c"}
)
# What the stores speak through: Alibaba Cloud's SDK, and what it hands its requests to.
_ALIBABA = frozenset({"alibabacloud_oss_v2", "alibabacloud_credentials", "crcmod", "requests", "urllib3"})


@dataclass(frozen=True)
class Layer:
    """below: the layers whose code it may import, itself included.

    ansible: whether it may import ansible. lazy: SDKs it may import inside functions.
    """

    below: frozenset[str]
    ansible: bool = False
    lazy: frozenset[str] = frozenset()


def _layer(*below: str, ansible: bool = False, lazy: frozenset[str] = frozenset()) -> Layer:
    return Layer(frozenset(below), ansible, lazy)


# What the openapi backend of EAS speaks through.
_EAS = frozenset(
    {
        "alibabacloud_eas20210701",
        "alibabacloud_credentials",
        "alibabacloud_tea_openapi",
        "alibabacloud_tea_util",
        "Tea",
        "requests",
        "urllib3",
    }
)
_UTILS = ("core", "repository", "stores", "fetch", "server", "host", "gpu", "kubernetes", "report", "eas", "module")
LAYERS: Mapping[str, Layer] = {
    "core": _layer("core"),
    "repository": _layer("core", "repository"),
    # config.pbtxt is parsed with Triton's own schema, which lies in its client: the one exception of the pure layers.
    "repository.config": _layer("core", "repository", lazy=frozenset({"tritonclient", "google"})),
    "stores": _layer("core", "repository", "stores", lazy=SDKS | _ALIBABA),
    "server": _layer("core", "repository", "server", ansible=True, lazy=SDKS),
    # Downloads go through Ansible's own HTTP client, which knows proxies and certificates.
    "fetch": _layer("core", "repository", "stores", "fetch", ansible=True),
    "host": _layer("core", "host"),
    "gpu": _layer("core", "gpu"),
    # The driver is asked through NVIDIA's own binding to NVML, where it is there.
    "gpu.nvml": _layer("core", "gpu", lazy=frozenset({"pynvml"})),
    # What runs in a cluster takes the server's options as they are everywhere.
    # Only its client of the API server has the kubernetes library, which brings yaml along.
    "kubernetes": _layer("core", "server", "kubernetes", lazy=frozenset({"kubernetes", "urllib3", "yaml"})),
    "report": _layer("core", "report"),
    # Its backends speak to EAS; the rest of it is pure, and knows tritonserver's options from the server layer.
    "eas": _layer("core", "server", "eas", lazy=_EAS),
    "module": _layer("core", ansible=True),
    "modules": _layer(*_UTILS, ansible=True, lazy=SDKS),
    # What runs on the controller shares code in plugin_utils too.
    "controller": _layer(*_UTILS, "plugin_utils", ansible=True, lazy=SDKS),
}
# What ansible-core brings along on the controller.
_BESIDE_ANSIBLE = frozenset({"yaml", "jinja2", "packaging"})


@dataclass(frozen=True)
class Import:
    """target: the absolute dotted name. lazy: inside a function, or for the type checker alone."""

    target: str
    line: int
    lazy: bool


def module_name(path: str) -> str:
    """plugins/module_utils/core/plan.py → its dotted name."""
    dotted = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    return f"{PACKAGE}.{dotted.removeprefix('plugins.')}"


def layer_of(dotted: str) -> str:
    """The layer of one of the collection's python modules, by its dotted name."""
    if not dotted.startswith(f"{UTILS}."):
        kind = dotted.removeprefix(f"{PACKAGE}.").split(".")[0]
        return "modules" if kind in ("modules", "doc_fragments", "module_utils") else "controller"
    inner = dotted.removeprefix(f"{UTILS}.")
    return inner if inner in LAYERS else inner.split(".")[0]


def imports(source: str, path: str) -> list[Import]:
    """All imports of a file, relative ones resolved."""
    is_package = path.endswith("/__init__.py")
    return list(_imports(ast.parse(source), module_name(path), is_package, lazy=False))


def _imports(node: ast.AST, dotted: str, is_package: bool, *, lazy: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        yield from (Import(alias.name, node.lineno, lazy) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = _absolute(node, dotted, is_package)
        yield from (Import(f"{base}.{alias.name}", node.lineno, lazy) for alias in node.names)
    inside = lazy or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) or _for_type_checker(node)
    for child in ast.iter_child_nodes(node):
        yield from _imports(child, dotted, is_package, lazy=inside)


def _for_type_checker(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _absolute(node: ast.ImportFrom, dotted: str, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    parts = dotted.split(".")
    up = node.level - 1 if is_package else node.level
    parent = ".".join(parts[: len(parts) - up])
    return f"{parent}.{node.module}" if node.module else parent


def violations(source: str, path: str) -> list[str]:
    """What a file imports against the rule."""
    name = layer_of(module_name(path))
    if name not in LAYERS:
        return [f"{path}: lies in no known layer; describe it in tests/support/rules/layers.py"]
    found = ((used, _complaint(used, name)) for used in imports(source, path))
    return [f"{path}:{used.line}: {complaint}" for used, complaint in found if complaint]


def _complaint(used: Import, name: str) -> str:
    layer = LAYERS[name]
    top = used.target.split(".")[0]
    if used.target.startswith(PACKAGE):
        return _own_complaint(used.target, layer)
    if top in sys.stdlib_module_names or (top == "ansible" and layer.ansible) or (top in _BESIDE_ANSIBLE and name == "controller"):
        return ""
    if top in layer.lazy:
        return "" if used.lazy else f"imports {top} when it is loaded; import it inside the function that needs it"
    return f"imports {used.target}, which its layer must not"


def _own_complaint(target: str, layer: Layer) -> str:
    inner = target.removeprefix(f"{UTILS}.").removeprefix(f"{PACKAGE}.")
    below = inner.split(".")[0]
    return "" if below in layer.below else f"imports {target}, a layer that is not below its own"


def circles(sources: Mapping[str, str]) -> list[str]:
    """The circles among the imports of files given as path → source, lazy imports included."""
    names = {module_name(path): path for path in sources}
    graph = {
        dotted: {owner for used in imports(sources[path], path) if (owner := _owner(used.target, names)) and owner != dotted}
        for dotted, path in names.items()
    }
    found: set[str] = set()
    for start in graph:
        circle = _circle(graph, start)
        if circle:
            found.add(" → ".join(names[dotted] for dotted in circle))
    return sorted(found)


def _owner(target: str, names: Mapping[str, str]) -> str:
    # `from .plan import Plan` names an attribute of a module, `from . import plan` the module itself.
    parent = target.rpartition(".")[0]
    return target if target in names else parent if parent in names else ""


def _circle(graph: Mapping[str, set[str]], start: str) -> list[str]:
    paths = [[start]]
    seen: set[str] = set()
    while paths:
        path = paths.pop()
        for following in sorted(graph[path[-1]]):
            if following == start:
                return [*path, start]
            if following not in seen:
                seen.add(following)
                paths.append([*path, following])
    return []
