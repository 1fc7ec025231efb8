"""setup.py and build_backend.py: what is compiled, and what happens where it can't be."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from setuptools import Distribution, Extension

import build_backend
import setup

ROOT = Path(__file__).parents[2]
HARMLESS = {"len", "min", "max", "rstrip", "start", "end"}


@pytest.fixture
def tree(tmp_path):
    """The source tree, as it is unpacked somewhere."""
    for name in ("setup.py", "build_backend.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(
        ROOT / "k8s_ws_proxy", tmp_path / "k8s_ws_proxy", ignore=shutil.ignore_patterns("*.so", "pages", "__pycache__")
    )
    return tmp_path


def built(tree, *command, **environ):
    """Run setup.py; warnings aren't errors here, setuptools has some of its own."""
    return subprocess.run(
        [sys.executable, "setup.py", "--quiet", *command],
        cwd=tree,
        env=os.environ | environ,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_pattern_finds_something_and_no_package_s_own_file():
    for pattern in setup.COMPILED:
        assert list((ROOT / "k8s_ws_proxy").glob(pattern)), pattern
    assert not [path for path in setup.sources() if path.endswith("__init__.py")]
    assert "k8s_ws_proxy/relay/bridge.py" in setup.sources()


def defaults(path):
    """What stands in the bodies of classes that are neither records nor enums: an object's attributes at first."""
    for node in ast.walk(ast.parse((ROOT / path).read_text("utf-8"))):
        if not isinstance(node, ast.ClassDef) or node.decorator_list:
            continue
        if {ast.unparse(base) for base in node.bases} & {"Enum", "NamedTuple"}:
            continue
        for each in node.body:
            if (
                isinstance(each, ast.Assign | ast.AnnAssign)
                and each.value is not None
                and "__slots__" not in ast.unparse(each)
            ):
                yield f"{node.name}: {ast.unparse(each)}", each.value


@pytest.mark.parametrize("path", setup.sources())
def test_an_attribute_s_default_is_a_literal_or_the_name_of_one(path):
    """mypyc leaves out any other, with no more than a warning: the attribute wouldn't be there."""
    for text, value in defaults(path):
        assert isinstance(value, ast.Constant | ast.Name), text


@pytest.mark.parametrize("path", setup.sources())
def test_a_slice_s_bounds_do_nothing(path):
    """Of a memoryview or a bytearray mypyc 2.4 takes each bound twice: a write in one would be made twice."""
    for node in ast.walk(ast.parse((ROOT / path).read_text("utf-8"))):
        for bound in (node.lower, node.upper, node.step) if isinstance(node, ast.Slice) else ():
            for each in ast.walk(bound or ast.Constant(None)):
                assert not isinstance(each, ast.Await | ast.NamedExpr), f"line {node.lineno}: {ast.unparse(node)}"
                if isinstance(each, ast.Call):
                    assert ast.unparse(each.func).rpartition(".")[2] in HARMLESS, (
                        f"line {node.lineno}: {ast.unparse(node)}"
                    )


def test_mypyc_finds_nothing_wrong_where_no_package_is_installed(tmp_path):
    options = [option for option in setup.OPTIONS if "cache" not in option]
    command = [sys.executable, "-m", "mypy", *options, f"--cache-dir={tmp_path}", *setup.sources()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_without_a_compiler_it_is_plain_and_says_so(tree):
    done = built(tree, "build", CC="no-such-compiler", K8S_WS_PROXY_COMPILED="")
    assert done.returncode == 0, done.stderr
    assert "stays plain Python, which is slower: there is no C compiler (no-such-compiler)" in done.stderr
    assert (tree / "build/lib/k8s_ws_proxy/relay/bridge.py").exists()
    assert not list(tree.rglob("*.so"))


def test_where_it_must_be_compiled_and_can_t_that_is_an_error(tree):
    done = built(tree, "build", CC="no-such-compiler", K8S_WS_PROXY_COMPILED="must")
    assert done.returncode == 1
    assert "k8s-ws-proxy can't be compiled here: there is no C compiler (no-such-compiler)" in done.stderr


def test_another_word_is_an_error(tree):
    done = built(tree, "build", K8S_WS_PROXY_COMPILED="yes")
    assert done.returncode == 1
    assert "must be one of try, no, must; it is 'yes'" in done.stderr


@pytest.mark.parametrize(
    ("choice", "compiler", "asked"), [("try", "sh", True), ("no", "sh", False), ("try", "-", False)]
)
def test_mypy_is_asked_for_where_there_is_something_to_do(monkeypatch, choice, compiler, asked):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("K8S_WS_PROXY_COMPILED", choice)
    monkeypatch.setenv("CC", compiler)
    monkeypatch.setattr(setup.sysconfig, "get_path", lambda _name: ROOT / "include")
    monkeypatch.setattr(setup.Path, "exists", lambda _self: True)
    monkeypatch.setattr(build_backend.build_meta, "get_requires_for_build_wheel", lambda _settings: [])
    assert bool(build_backend.get_requires_for_build_wheel()) == asked


@pytest.mark.parametrize("word", ["editable_wheel", "bdist_wheel"])
def test_an_editable_install_is_plain_unless_it_must(monkeypatch, word):
    monkeypatch.setattr(sys, "argv", ["setup.py", word])
    monkeypatch.delenv("K8S_WS_PROXY_COMPILED", raising=False)
    assert setup.wanted() == ("no" if word == "editable_wheel" else "try")
    monkeypatch.setenv("K8S_WS_PROXY_COMPILED", "must")
    assert setup.wanted() == "must"


@pytest.mark.parametrize("choice", ["try", "must"])
def test_where_one_fails_none_is_left(tmp_path, monkeypatch, capsys, choice):
    """They call each other: one without another couldn't be imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("K8S_WS_PROXY_COMPILED", choice)
    monkeypatch.setattr(sys, "argv", ["setup.py", "build"])
    Path("good.c").write_text("int PyInit_good;\n")
    Path("bad.c").write_text("this is not C\n")
    distribution = Distribution(
        {"name": "x", "ext_modules": [Extension("good", ["good.c"]), Extension("bad", ["bad.c"])]}
    )
    command = setup.AllOrNothing(distribution)
    command.ensure_finalized()
    if choice == "must":
        with pytest.raises(SystemExit, match="can't be compiled here"):
            command.run()
    else:
        command.run()
        assert "stays plain Python" in capsys.readouterr().err
        assert command.extensions == []
    assert not list(tmp_path.rglob("*.so"))
