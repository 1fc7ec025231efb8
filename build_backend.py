"""setuptools, and mypy, whose mypyc compiles, where something is to be compiled: what PEP 517 calls a backend."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

from setuptools import build_meta
from setuptools.build_meta import (
    build_editable,
    build_sdist,
    build_wheel,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

import setup

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]


def get_requires_for_build_wheel(config_settings: Mapping[str, Any] | None = None) -> list[str]:
    """What has to be installed before a wheel is built."""
    needed: list[str] = build_meta.get_requires_for_build_wheel(config_settings)
    if setup.wanted() == "no" or setup.missing():
        return needed
    groups = tomllib.loads((setup.ROOT / "pyproject.toml").read_text("utf-8"))["dependency-groups"]
    return [*needed, *groups["compile"]]
