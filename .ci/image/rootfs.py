"""The image's whole root file system, made from a base that has more: ``rootfs.py APPLICATION ROOT``.

In it are the interpreter, the standard library without what a server has no use for, the shared libraries that those
and the application link to, and the application, a virtual environment. No shell, no package tools. What Debian's
packages gave keeps its entry in dpkg's database, so that scanners see it, and its licence.

Runs in the Containerfile's build stage, by the base's own interpreter: the standard library only.
"""

from __future__ import annotations

import compileall
import os
import py_compile
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Final

UNUSED_MODULES: Final = {
    "__pycache__": "compiled anew below, so that it doesn't depend on the files' times",
    "site-packages": "the base's own packages, pip among them",
    "dist-packages": "the same, as Debian calls it",
    "ensurepip": "installs pip",
    "test": "Python's own tests",
    "idlelib": "the editor",
    "tkinter": "windows",
    "turtle.py": "windows",
    "turtledemo": "windows",
    "distutils": "builds packages",
    "lib2to3": "Python 2",
    "pydoc_data": "the interactive help",
    "sqlite3": "a database, and its library",
    "curses": "draws on a terminal; the command line passes one on untouched",
    "dbm": "databases, and their libraries",
    "sitecustomize.py": "Debian's crash reporter",
}
UNUSED_EXTENSIONS: Final = (
    "_ctypes_test.",
    "_test",
    "_crypt.",  # what nobody here asks for, and with each come the libraries that it links to
    "_curses",
    "_dbm.",
    "_gdbm.",
    "_sqlite3.",
    "_tkinter.",
    "nis.",
    "readline.",
)
UNUSED_DIRECTORIES: Final = ("config-",)  # what embedding Python in C needs

# Read at run time by name, or loaded by what is linked, so that no link shows them.
FILES: Final = (
    "/etc/ld.so.cache",  # where the loader finds libraries in /usr/local/lib
    "/etc/nsswitch.conf",
    "/etc/os-release",  # which distribution the packages below are of: scanners ask
    "/etc/ssl/certs/ca-certificates.crt",  # for an apiserver with a public certificate
    "/usr/lib/ssl/openssl.cnf",  # Debian's floor for TLS
)
LIBRARIES: Final = ("libgcc_s.so.1",)  # glibc loads it when a thread is cancelled

MOUNT_POINTS: Final = ("dev", "proc", "sys", "run", "tmp", "var")
ACCOUNTS: Final = {
    "etc/passwd": "nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n",
    "etc/group": "nogroup:x:65534:\n",
}
DPKG: Final = Path("/var/lib/dpkg")


class Root:
    """The tree that is being made, and which of the base's files are in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.placed: set[Path] = set()

    def place(self, path: Path) -> None:
        """Copy a file or a directory to where it was, and with it every symbolic link on the way there."""
        rest, at = list(path.parts[1:]), Path("/")
        while rest:
            at /= rest.pop(0)
            here = self.path / at.relative_to("/")
            if at.is_symlink():
                if not here.is_symlink():
                    here.symlink_to(at.readlink())
                target = Path(os.path.normpath(at.parent / at.readlink()))
                rest, at = [*target.parts[1:], *rest], Path("/")
            elif at.is_dir():
                here.mkdir(exist_ok=True)
                if not rest:
                    for child in sorted(at.iterdir()):
                        self.place(child)
            elif not here.exists():
                shutil.copy2(at, here)
                self.placed.add(at)


def standard_library() -> list[Path]:
    """The files of the standard library that are wanted."""
    top = Path(sysconfig.get_path("stdlib"))
    found = []
    for directory, folders, names in os.walk(top):
        unused = UNUSED_MODULES.keys() if Path(directory) == top else {"__pycache__", "test", "tests"}
        folders[:] = [name for name in folders if name not in unused and not name.startswith(UNUSED_DIRECTORIES)]
        wanted = [name for name in names if name not in unused and not name.startswith(UNUSED_EXTENSIONS)]
        found += [Path(directory) / name for name in wanted]
    return found


def is_elf(path: Path) -> bool:
    """Whether the loader would read it."""
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def linked(files: list[Path]) -> set[Path]:
    """The shared libraries and the loader that any of these files needs, as the base's loader finds them."""
    found = set()
    for file in files:
        told = subprocess.run(["ldd", str(file)], capture_output=True, text=True, check=False)  # noqa: S603, S607
        if "not found" in told.stdout:
            raise SystemExit(f"{file} needs a library that the base doesn't have:\n{told.stdout}")
        for line in told.stdout.splitlines():
            words = line.split()
            path = words[2] if len(words) > 2 and words[1] == "=>" else words[0]
            if path.startswith("/"):
                found.add(Path(path))
    return found


def by_name(libraries: set[Path]) -> list[Path]:
    """The libraries that are loaded by name, from the directories where the linked ones are."""
    directories = {path.parent for path in libraries}
    return [directory / name for name in LIBRARIES for directory in sorted(directories) if (directory / name).exists()]


def record_packages(root: Root) -> None:
    """For each Debian package with a file in the image: its entry, where scanners look for it, and its licence."""
    if not (DPKG / "status").exists():
        return
    real = {str(path.resolve()) for path in root.placed}
    names = {os.path.basename(path) for path in real}  # noqa: PTH119 - resolving every path of the base takes long
    owners = set()
    for listing in sorted((DPKG / "info").glob("*.list")):
        for line in listing.read_text(encoding="utf-8").splitlines():
            if line.rpartition("/")[2] in names and os.path.realpath(line) in real:
                owners.add(listing.stem.partition(":")[0])
                break
    target = root.path / "var/lib/dpkg/status.d"
    target.mkdir(parents=True)
    for entry in (DPKG / "status").read_text(encoding="utf-8").split("\n\n"):
        name = entry.partition("Package: ")[2].partition("\n")[0]
        if name in owners:
            (target / name).write_text(entry.strip() + "\n", encoding="utf-8")
            licence = Path("/usr/share/doc") / name / "copyright"
            if licence.exists():
                root.place(licence)


def main(application: Path, target: Path) -> None:
    """Make it."""
    target.mkdir()
    root = Root(target)
    for name in MOUNT_POINTS:
        (target / name).mkdir()
    (target / "tmp").chmod(0o1777)
    (target / "etc").mkdir()
    for name, text in ACCOUNTS.items():
        (target / name).write_text(text, encoding="utf-8")

    for path in (Path(sys.executable), *standard_library(), application):
        root.place(path)
    libraries = linked([path for path in root.placed if is_elf(path)])
    for path in (*libraries, *by_name(libraries)):
        root.place(path)
    for name in FILES:
        if Path(name).exists():
            root.place(Path(name))
    record_packages(root)

    # A .pyc that is trusted unseen: no source is looked at when a module is imported. The same sources make the same
    # bytes if one process compiles them in one order. Some files of the standard library are meant not to compile.
    compileall.compile_dir(
        target,
        maxlevels=50,
        stripdir=str(target),
        quiet=2,
        force=True,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
