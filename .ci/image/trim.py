"""Take out of an installed application what it doesn't need at run time: ``trim.py VIRTUAL_ENVIRONMENT``.

Nearly all of it is the Kubernetes client: a class for every object of every API, twice, 120 MB with its bytecode. Kept
are the classes that our own source names, and those that their modules import.

Runs in the Containerfile's build stage: the standard library only.
"""

from __future__ import annotations

import csv
import os
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

UNUSED: Final = {
    "k8s_ws_proxy/devcluster": "the embedded cluster: it runs processes for whoever asks, and needs the extra `dev`",
    "kubernetes/aio/setup.py": "installs the package",
    "**/*.c": "sources of extensions that are here compiled",
    "**/*.h": "the same",
    "**/*.pyx": "the same",
    "**/*.pxd": "the same",
    "**/*.pyi": "for type checkers",
}
SCRIPT: Final = "k8s-ws-proxy"
CLIENTS: Final = {"kubernetes.client": "kubernetes/client", "kubernetes.aio.client": "kubernetes/aio/client"}
IMPORT: Final = re.compile(r"^\s*from (kubernetes\.[\w.]+) import", re.MULTILINE)
EXPORT: Final = re.compile(r'^\s*"(\w+)": "\.((?:api|models)\.\w+)",$', re.MULTILINE)


def named(packages: Path) -> dict[str, set[str]]:
    """What our source names of the Kubernetes client's APIs and models, by flavour: words of files that import it."""
    sources = [path.read_text(encoding="utf-8") for path in sorted((packages / "k8s_ws_proxy").rglob("*.py"))]
    found = {}
    for client, directory in CLIENTS.items():
        package = re.escape(client.rpartition(".")[0])
        imports = re.compile(rf"^\s*(from {package}(\.client\S*)? import |import {package}\b(?!\.aio))", re.MULTILINE)
        words = {word for source in sources if imports.search(source) for word in re.findall(r"\w+", source)}
        found[client] = words & exported(packages / directory).keys()
    return found


def exported(client: Path) -> dict[str, str]:
    """Which module, relative to the client's package, each API and model is in: it is imported when it is asked for."""
    exports = dict(EXPORT.findall((client / "__init__.py").read_text(encoding="utf-8")))
    if not exports:
        raise SystemExit(f"{client}/__init__.py no longer lists its exports as this script reads them")
    return exports


def unused_kubernetes(packages: Path) -> set[Path]:
    """The modules of the Kubernetes client's two flavours, APIs and models, that nothing here leads to."""
    everything, kept = set(), set()
    for client, names in named(packages).items():
        top = packages / CLIENTS[client]
        exports = exported(top)
        everything |= {path for part in ("api", "models") for path in (top / part).glob("*.py")}
        kept |= {top / "api" / "__init__.py", top / "models" / "__init__.py"}
        kept |= closure(packages, (top / f"{exports[name].replace('.', '/')}.py" for name in names))
    return everything - kept


def closure(packages: Path, roots: Iterable[Path]) -> set[Path]:
    """These modules, and all of the client's that they import, and so on."""
    seen: set[Path] = set()
    rest = list(roots)
    while rest:
        path = rest.pop()
        if path in seen or not path.exists():
            continue
        seen.add(path)
        rest += [packages / f"{name.replace('.', '/')}.py" for name in IMPORT.findall(path.read_text(encoding="utf-8"))]
    return seen


def forget(packages: Path, gone: set[Path]) -> None:
    """Take removed files out of the packages' own lists, so that those stay true."""
    for record in packages.glob("*.dist-info/RECORD"):
        with record.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
        left = [row for row in rows if Path(os.path.normpath(packages / row[0])) not in gone]
        if len(left) < len(rows):
            with record.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file, lineterminator="\n").writerows(left)


def main(environment: Path) -> None:
    """Trim it."""
    (packages,) = environment.glob("lib/python3.*/site-packages")
    doomed = {path for pattern in UNUSED for path in packages.glob(pattern)}
    gone = {path for top in doomed for path in (top.rglob("*") if top.is_dir() else [top]) if path.is_file()}
    gone |= unused_kubernetes(packages)
    gone |= {path for path in (environment / "bin").iterdir() if not path.name.startswith(("python", SCRIPT))}
    before = sum(path.stat().st_size for path in packages.rglob("*") if path.is_file())
    for path in gone:
        path.unlink()
    for top in doomed:
        if top.is_dir():
            shutil.rmtree(top)
    forget(packages, gone)
    after = sum(path.stat().st_size for path in packages.rglob("*") if path.is_file())
    print(f"{len(gone)} files taken out: {before / 1e6:.0f} MB of packages are now {after / 1e6:.0f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
