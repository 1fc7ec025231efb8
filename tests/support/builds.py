"""Which build is tested: the compiled modules, where `make compiled` has made them, or plain Python."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from k8s_ws_proxy.build import BUILD

ROOT = Path(__file__).parents[2]


def check() -> None:
    """What TESTED_BUILD asks for has to be there, and extension modules as new as what they were made of."""
    wanted = os.environ.get("TESTED_BUILD") or BUILD
    if wanted != BUILD:
        raise pytest.UsageError(f"TESTED_BUILD is {wanted}, and what is here is {BUILD}: run `make {wanted}`")
    for library in ROOT.glob("k8s_ws_proxy/session__mypyc.*.so"):
        made = library.stat().st_mtime
        for module in (*ROOT.glob("k8s_ws_proxy/relay/*.so"), *ROOT.glob("k8s_ws_proxy/wire/*/*.so")):
            source = module.with_name(f"{module.name.partition('.')[0]}.py")
            if source.stat().st_mtime > made:
                raise pytest.UsageError(
                    f"{source} is newer than what is compiled of it: `make compiled`, or `make plain`"
                )
