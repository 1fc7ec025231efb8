"""The floors of the package: a file imports only from floors below its own, and from its own without circles."""

from __future__ import annotations

import ast
import functools
import graphlib
from pathlib import Path

import pytest

PACKAGE = "k8s_ws_proxy"
ROOT = Path(__file__).parents[2] / PACKAGE

# From the ground up. Two on one line don't know each other.
FLOORS = [
    {"__init__"},
    {"reasons"},
    {"errors", "rfc3339", "worker"},
    {"wire"},
    {"settings"},
    {"observe", "pem"},
    {"audit"},
    {"reload"},
    {"keyring", "certificates"},
    {"relay"},
    {"auth"},
    {"kube"},
    {"sessions"},
    {"recordings"},
    {"web", "rotation"},
    {"cli"},
    {"__main__"},
]
# The embedded cluster stands aside: it could be taken out and used elsewhere.
ASIDE = {"devcluster": {"errors", "wire", "observe"}}
MAY_IMPORT_ASIDE = {"cli", "devcluster"}

FILES = {
    ".".join((PACKAGE, *path.relative_to(ROOT).with_suffix("").parts)): path for path in sorted(ROOT.rglob("*.py"))
}
MODULES = {name.removesuffix(".__init__") for name in FILES}
NOT_IN_WIRE = {
    "aiohttp",
    "asyncio",
    "datetime",
    "io",
    "logging",
    "os",
    "pathlib",
    "random",
    "secrets",
    "select",
    "signal",
    "socket",
    "ssl",
    "structlog",
    "subprocess",
    "sys",
    "threading",
    "time",
}


@functools.cache
def imported(path):
    """Every module that a file imports, wherever in it and for whatever reason; ``from a import b`` is a.b and a."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            assert node.module is not None
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def imports_of(name):
    """Those of the package's own modules that ``name`` imports, as deep as they go."""
    found = {one for one in imported(FILES[name]) if one in MODULES}
    return {one for one in found if not any(other.startswith(f"{one}.") for other in found)}


def part(module):
    """The file or directory right under the package."""
    return module.split(".")[1] if "." in module else "__init__"


def height(name):
    return next(number for number, floor in enumerate(FLOORS) if name in floor)


def test_every_part_has_its_floor():
    assert {part(name) for name in FILES} == set().union(*FLOORS) | set(ASIDE)


@pytest.mark.parametrize("name", FILES)
def test_imports_go_downhill(name):
    own = part(name)
    for module in imports_of(name):
        other = part(module)
        if other == own:
            continue
        if own in ASIDE:
            assert other in ASIDE[own], f"{name} stands aside and imports {module}"
        elif other in ASIDE:
            assert own in MAY_IMPORT_ASIDE, f"{name} imports {module}, which stands aside"
        else:
            assert height(other) < height(own), f"{name} imports {module}, which isn't below it"


def test_there_are_no_circles():
    graph = {name.removesuffix(".__init__"): imports_of(name) for name in FILES}
    assert list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


@pytest.mark.parametrize("name", [name for name in FILES if part(name) != "web"])
def test_aiohttp_web_is_imported_under_web_only(name):
    assert not {one for one in imported(FILES[name]) if one == "aiohttp.web" or one.startswith("aiohttp.web_")}


@pytest.mark.parametrize("name", [name for name in FILES if part(name) == "wire"])
def test_wire_knows_neither_sockets_nor_clocks_nor_files(name):
    names = imported(FILES[name])
    if "io.BytesIO" in names:  # it is memory, and has the quickest search for lines
        names = names - {"io", "io.BytesIO"}
    assert not {one.split(".")[0] for one in names} & NOT_IN_WIRE


@pytest.mark.parametrize("name", [name for name in FILES if part(name) == "wire"])
def test_wire_opens_nothing(name):
    tree = ast.parse(FILES[name].read_text("utf-8"))
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not called & {"open", "print", "input", "exec", "eval", "__import__"}


def test_the_walk_sees_what_it_must(tmp_path):
    file = tmp_path / "a.py"
    file.write_text(
        "import asyncio\nfrom aiohttp import web\n\ndef f():\n    import time\n"
        "if TYPE_CHECKING:\n    from k8s_ws_proxy.web.app import run\n",
        "utf-8",
    )
    assert imported(file) >= {"asyncio", "aiohttp.web", "time", "k8s_ws_proxy.web.app"}
