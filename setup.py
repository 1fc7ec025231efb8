"""Builds the session's path as extension modules by mypyc, where that can be had; else all stays plain Python.

An extension module stands beside its source, and Python takes it first. K8S_WS_PROXY_COMPILED says whether: ``try``
(the default), ``no``, or ``must``, which fails where it can't be had. ``try`` then says why not, and leaves
the package as it is. An editable install is plain unless it must: there the sources change, and an extension module
would go on as they were.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from setuptools import setup
from setuptools.command.build_ext import build_ext

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT: Final = Path(__file__).parent
PACKAGE: Final = "k8s_ws_proxy"
# What runs while bytes pass. docs/design/compiled.md says what that brought, and why not more.
COMPILED: Final = (
    "relay/*.py",
    "wire/framing/*.py",
    "wire/rules/*.py",
    "wire/http/body.py",
    "wire/http/lines.py",
    "wire/http/passage.py",
)
LIBRARY: Final = f"{PACKAGE}.session"  # k8s_ws_proxy/session__mypyc has all of it, the modules only lead there
# Where they are they aren't looked at either: the same comes out.
# Where they are they aren't looked at either, so that the same comes out.
OPTIONS: Final = (
    "--config-file=",
    "--ignore-missing-imports",
    "--no-site-packages",
    "--follow-imports=silent",
    "--python-version=3.11",
    "--cache-dir=build/mypyc",
)
CHOICES: Final = ("try", "no", "must")


def wanted() -> str:
    """What K8S_WS_PROXY_COMPILED says."""
    choice = os.environ.get("K8S_WS_PROXY_COMPILED") or "try"
    if choice not in CHOICES:
        raise SystemExit(f"K8S_WS_PROXY_COMPILED must be one of {', '.join(CHOICES)}; it is {choice!r}")
    return "no" if choice == "try" and "editable_wheel" in sys.argv else choice


def sources() -> list[str]:
    """The files that are compiled, from here."""
    found = {path for pattern in COMPILED for path in (ROOT / PACKAGE).glob(pattern) if path.name != "__init__.py"}
    return sorted(str(path.relative_to(ROOT)) for path in found)


def missing() -> str:
    """What isn't there of that which compiling needs; empty where all of it is."""
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        return f"there is no C compiler ({compiler})"
    headers = Path(sysconfig.get_path("include"), "Python.h")
    return "" if headers.exists() else f"there is no {headers}"


def extensions() -> Sequence[Any]:
    """The extension modules. Raises whatever mypyc does, SystemExit where it finds something wrong."""
    from mypyc.build import mypycify  # noqa: PLC0415 - where nothing is compiled it isn't there

    os.chdir(ROOT)
    return mypycify([*OPTIONS, *sources()], opt_level="3", debug_level="0", group_name=LIBRARY)


def go_on_plain(why: object) -> None:
    """Say that nothing is compiled, or fail where it must be."""
    if wanted() == "must":
        raise SystemExit(f"k8s-ws-proxy can't be compiled here: {why}")
    print(f"k8s-ws-proxy isn't compiled, and stays plain Python, which is slower: {why}", file=sys.stderr)


def planned() -> Sequence[Any]:
    """The extension modules that are to be built; none where that can't be had."""
    if wanted() == "no" or {"egg_info", "dist_info"} & {*sys.argv}:  # these only tell of the package
        return []
    if why := missing():
        go_on_plain(why)
        return []
    try:
        return extensions()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - no mypyc, one that finds something wrong, a broken setuptools
        go_on_plain(error)
        return []


class AllOrNothing(build_ext):
    """The extension modules need each other: where one fails, none is left behind."""

    def run(self) -> None:
        """Build them."""
        try:
            super().run()
        except Exception as error:  # noqa: BLE001 - whatever the compiler's failure is made into
            for extension in self.extensions:
                Path(self.get_ext_fullpath(extension.name)).unlink(missing_ok=True)
            self.extensions.clear()
            go_on_plain(error)


if __name__ == "__main__":
    setup(ext_modules=planned(), cmdclass={"build_ext": AllOrNothing})
