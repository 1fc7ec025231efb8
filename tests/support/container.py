"""A built image, run as a cluster would: by number, on a read-only root, without a privilege, as process 1.

The engine only builds and mounts it. Running is util-linux's and the kernel's doing: a mount and a PID namespace, a
bind mount that is read-only, chroot to the user's number. Needs root.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).parents[2]
WORK = ROOT / "build" / "image-test"
WHEELS = WORK / "wheels"
BASE = "localhost/python-debian"

# $1 is the root, $2 the user's number; then come pairs of a path in the root and what is mounted there, an empty word,
# and the command.
RUN = """\
root=$1 user=$2; shift 2
mount --bind "$root" "$root"
mount -t proc -o ro,nosuid,nodev,noexec proc "$root/proc"
mount -t tmpfs -o nosuid,noexec,mode=755,size=64k dev "$root/dev"
for device in null zero full random urandom; do
  : > "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
while [ -n "$1" ]; do mount --bind "$2" "$root$1"; mount -o remount,bind,ro "$root$1"; shift 2; done; shift
mount -o remount,bind,ro "$root"
exec "$@"
"""


def storage() -> dict[str, str]:
    """The environment for the engine: a storage of the tests' own, and no need for a container runtime."""
    WORK.mkdir(parents=True, exist_ok=True)
    configuration = WORK / "storage.conf"
    configuration.write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{WORK / "storage"}"\nrunroot = "{WORK / "run"}"\n'
    )
    return {**os.environ, "CONTAINERS_STORAGE_CONF": str(configuration), "BUILDAH_ISOLATION": "chroot"}


def buildah(*arguments: str) -> str:
    """Run it; what it printed."""
    done = subprocess.run(["buildah", *arguments], env=storage(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"buildah {arguments}: {done.stderr}"
    return done.stdout.strip()


@dataclass(frozen=True, slots=True)
class Image:
    """A container of the image. ``root`` is its root file system, ``config`` what the image says of itself."""

    name: str
    root: Path
    config: Mapping[str, Any]

    def files(self) -> list[Path]:
        """Every regular file in it."""
        return [path for path in self.root.rglob("*") if path.is_file() and not path.is_symlink()]

    @property
    def size(self) -> int:
        """Of all files, in bytes."""
        return sum(path.stat().st_size for path in self.files())

    def command(
        self, *arguments: str, mounts: Mapping[str, Path] | None = None, entrypoint: Sequence[str] | None = None
    ) -> list[str]:
        """The command line that runs it. Without ``arguments`` it is the image's own; all but PATH is inherited."""
        mounted = []
        for target, source in (mounts or {}).items():
            point = self.root / target.lstrip("/")
            if source.is_dir():
                point.mkdir(parents=True, exist_ok=True)
            else:
                point.parent.mkdir(parents=True, exist_ok=True)
                point.touch()
            mounted += [target, str(source)]
        variables = list(self.config["Env"])
        tool = {name: shutil.which(name) for name in ("unshare", "sh", "env", "setpriv", "chroot")}
        user = self.config["User"]
        own = [*(self.config["Entrypoint"] if entrypoint is None else entrypoint), *(arguments or self.config["Cmd"])]
        return [
            *(tool["unshare"], "--mount", "--pid", "--fork", "--kill-child", "--"),
            *(tool["sh"], "-euc", RUN, "sh", str(self.root), user, *mounted, ""),
            *(tool["setpriv"], "--no-new-privs", "--"),
            *(tool["env"], *variables),
            *(tool["chroot"], f"--userspec={user}", "--groups=", str(self.root), *own),
        ]


def built(name: str) -> Image:
    """Build the image on a base made from Debian's packages, and mount it.

    Slow, if the base isn't there from an earlier run: `make clean` takes it away.
    """
    assert os.geteuid() == 0, "run this as root: it mounts the image and changes into it"
    buildah("rm", "--all")  # what a run that was broken off has left mounted
    if not buildah("images", "--noheading", "--filter", f"reference={BASE}"):
        subprocess.run([ROOT / ".ci/image/base.sh", BASE], env=storage(), check=True)
    shutil.rmtree(WHEELS, ignore_errors=True)
    locks = [word for lock in ("requirements.lock", "requirements-build.lock") for word in ("-r", str(ROOT / lock))]
    download = ["download", "--quiet", "--require-hashes", "--no-deps", "--only-binary", ":all:"]
    target = ["--python-version", "3.11", "--dest", str(WHEELS)]
    subprocess.run([sys.executable, "-m", "pip", *download, *target, *locks], check=True)
    build(name)
    container = buildah("from", "--pull-never", name)
    return Image(container, Path(buildah("mount", container)), config(name))


def build(name: str) -> None:
    """Build it anew, of what is there."""
    arguments = f"--volume {WHEELS}:/wheels:ro --build-arg PIP_NO_INDEX=1 --build-arg PIP_FIND_LINKS=/wheels"
    subprocess.run(
        ["make", "image", f"IMAGE={name}", f"PYTHON_IMAGE={BASE}", "IMAGE_ENGINE=buildah", f"IMAGE_ARGS={arguments}"],
        env=storage(),
        cwd=ROOT,
        check=True,
    )


def image_id(name: str) -> str:
    """The digest of its configuration, and so of all its layers."""
    return buildah("images", "--quiet", "--no-trunc", name)


def config(name: str) -> dict[str, Any]:
    """What the image says of itself."""
    inspected: dict[str, Any] = json.loads(buildah("inspect", "--type", "image", name))
    return {**inspected["Docker"]["config"], **inspected["OCIv1"]["config"]}


def remove(image: Image) -> None:
    """Take the container and what earlier builds left away; the base stays for the next run."""
    buildah("rm", image.name)
    buildah("rmi", "--prune", "--force")
