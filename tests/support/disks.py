"""File systems made for a test: small ones, and one that can be broken. Needs root, as a mount does."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def small(at: Path, size: str) -> Iterator[Path]:
    """A tmpfs of ``size``, as mount(8) takes it, mounted at the new folder ``at``."""
    at.mkdir()
    _run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(at))
    try:
        yield at
    finally:
        _run("umount", "--lazy", str(at))


def replace(at: Path) -> None:
    """Another one, which is empty, in the place of what is mounted there, whoever has files open on it."""
    _run("umount", "--lazy", str(at))
    _run("mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(at))


class Breakable:
    """An ext4 that turns read-only when its disk fails."""

    def __init__(self, at: Path) -> None:
        self.at = at

    def fail(self) -> None:
        """What ext4 does when it finds an error: from here on nothing is written (ext4(5), errors=remount-ro)."""
        (device,) = [
            line.split()[0] for line in Path("/proc/mounts").read_text().splitlines() if f" {self.at} " in line
        ]
        Path(f"/sys/fs/ext4/{Path(device).name}/trigger_fs_error").write_text("1")

    def replace(self) -> None:
        """Another disk in its place."""
        replace(self.at)


@contextlib.contextmanager
def breakable(folder: Path) -> Iterator[Breakable]:
    """One of 16 MiB, mounted below ``folder``."""
    image, at = folder / "image", folder / "disk"
    at.mkdir()
    with image.open("wb") as file:
        file.truncate(16 * 1024 * 1024)
    _run("mkfs.ext4", "-q", "-F", str(image))
    _run("mount", "-o", "loop,errors=remount-ro", str(image), str(at))
    try:
        yield Breakable(at)
    finally:
        _run("umount", "--lazy", str(at))


def _run(*command: str) -> None:
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, f"{command}: {ran.stderr}"
