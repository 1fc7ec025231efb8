from __future__ import annotations

import importlib
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES

import pytest

import k8s_ws_proxy
import setup
from k8s_ws_proxy.build import BUILD, build_of

SESSION_S_PATH = [path.removesuffix(".py").replace("/", ".") for path in setup.sources()]


@pytest.mark.parametrize("name", SESSION_S_PATH)
def test_what_is_told_is_what_python_takes(name):
    """All of it or none: half of it compiled would be neither as fast nor as tested."""
    loaded = importlib.import_module(name).__file__
    assert loaded.endswith(tuple(EXTENSION_SUFFIXES)) == (BUILD == "compiled")


@pytest.mark.parametrize(
    ("beside", "told"),
    [
        (f"bridge{EXTENSION_SUFFIXES[0]}", "compiled"),
        ("bridge.cpython-22-x86_64-linux-gnu.so", "plain"),  # another Python's
        ("bridges.so", "plain"),
    ],
)
def test_an_extension_module_beside_the_source_is_compiled(tmp_path, beside, told):
    source = tmp_path / "bridge.py"
    source.touch()
    assert build_of(source) == "plain"
    (tmp_path / beside).touch()
    assert build_of(source) == told


def test_the_command_tells_it_with_its_version():
    told = subprocess.run(
        [sys.executable, "-m", "k8s_ws_proxy", "--version"], capture_output=True, text=True, check=True
    )
    assert told.stdout == f"k8s-ws-proxy {k8s_ws_proxy.__version__} ({BUILD})\n"
