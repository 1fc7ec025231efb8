"""Another revision of this repository, installed beside it: `make bench BEFORE=REVISION` measures that, too."""

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.process import ROOT

_EXTRAS = "store,audit"  # what the image has
_SECONDS = 900.0


class CheckoutError(Exception):
    """It can't be had; the text says what was tried, and what was answered."""


@dataclass(frozen=True)
class Checkout:
    """The Python that has it, a folder to run it in that isn't its sources', and what it is called."""

    folder: Path
    python: Path
    described: str


def resolve(revision: str) -> str:
    """The commit that is meant. Raises CheckoutError."""
    return _run("git", "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}").strip()


@contextmanager
def checked_out(commit: str) -> Iterator[Checkout]:
    """It in a worktree and a virtual environment of its own, for as long as the block lasts. Raises CheckoutError."""
    with tempfile.TemporaryDirectory(prefix="bench-before-", ignore_cleanup_errors=True) as name:
        tree, venv = Path(name, "tree"), Path(name, "venv")
        _run("git", "worktree", "add", "--detach", str(tree), commit)
        try:
            constraints = Path(name, "constraints.txt")
            constraints.write_text(pins((tree / "requirements.lock").read_text()))
            _run(sys.executable, "-m", "venv", str(venv))
            python = venv / "bin" / "python"
            # As it is shipped: what that revision does when it is built is its own affair.
            install = [str(python), "-m", "pip", "install", "--quiet", "--use-pep517"]
            _run(*install, "--constraint", str(constraints), f"{tree}[{_EXTRAS}]")
            described = _run("git", "describe", "--always", commit).strip()
            yield Checkout(Path(name), python, f"{described}, {build_of(venv)}")
        finally:
            # After an hour of measuring it is no reason to lose what was measured.
            with suppress(CheckoutError):
                _run("git", "worktree", "remove", "--force", str(tree))


def pins(lock: str) -> str:
    """A lock's versions without its hashes, which a folder can't have."""
    return "".join(f"{pin}\n" for pin in re.findall(r"^[a-z0-9.-]+==[^ ]+", lock, re.MULTILINE))


def build_of(folder: Path) -> str:
    """Whether the package somewhere below has extension modules, which Python takes before their sources."""
    return "compiled" if any("k8s_ws_proxy" in file.parts for file in folder.rglob("*.so")) else "plain Python"


def _run(*argv: str) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_SECONDS, check=False, cwd=ROOT)
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise CheckoutError(f"{' '.join(argv)}: {exc}") from exc
    if done.returncode:
        raise CheckoutError(
            f"{' '.join(argv)} (exit {done.returncode}): {(done.stderr or done.stdout)[-1000:].strip()}"
        )
    return done.stdout
