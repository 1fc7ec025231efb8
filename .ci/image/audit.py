"""Are there known vulnerabilities in what the locks name? ``audit.py LOCK... [--advisories DIRECTORY]``.

Asks the package index by pip-audit. Where that can't be reached, give a directory with advisories in the OSV format,
for example a clone of the Python Packaging Advisory Database (its files are YAML) or OSV's own export (JSON).

Exit status: 0, nothing is known of any of them; 1, something is; 2, not everything could be looked up, which is no
pass. pip-audit itself passes then, with "No known vulnerabilities found".
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

CLEAN: Final = 0
VULNERABLE: Final = 1
NOT_AUDITED: Final = 2

ELSEWHERE: Final = """\
The advisories can be had where there is a network, and carried here:
  git clone --depth 1 https://github.com/pypa/advisory-database
  make audit ADVISORIES=advisory-database/vulns"""


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One advisory that one locked package falls under."""

    package: str
    version: str
    advisory: str
    fixed: tuple[str, ...]


class NotAuditedError(Exception):
    """Of at least one package nothing can be said."""


def locked(files: Sequence[Path]) -> dict[str, str]:
    """Name to version of every package in the locks."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    return {
        canonicalize_name(name): version for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE)
    }


def online(files: Sequence[Path], packages: Mapping[str, str]) -> list[Finding]:
    """Ask by pip-audit. Raises NotAuditedError."""
    command = [sys.executable, "-m", "pip_audit", "--require-hashes", "--disable-pip", "--progress-spinner", "off"]
    arguments = [word for path in files for word in ("--requirement", str(path))]
    done = subprocess.run([*command, "--format", "json", *arguments], capture_output=True, text=True, check=False)  # noqa: S603
    try:
        answers = {str(canonicalize_name(each["name"])): each for each in json.loads(done.stdout)["dependencies"]}
    except (ValueError, LookupError, TypeError) as error:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise NotAuditedError(f"pip-audit gave no answer: {last}") from error
    unknown = sorted(name for name in packages if "vulns" not in answers.get(name, {}))
    if unknown:
        some = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        raise NotAuditedError(
            f"The package index has no advisories for {len(unknown)} of {len(packages)} packages ({some}): "
            "it can't be reached, or is a mirror without them."
        )
    return [
        Finding(name, packages[name], found["id"], tuple(found["fix_versions"]))
        for name in packages
        for found in answers[name]["vulns"]
    ]


def offline(directory: Path, packages: Mapping[str, str]) -> list[Finding]:
    """Look into advisories that were carried here. Raises NotAuditedError."""
    read, newest, findings = 0, "", []
    for advisory in advisories(directory):
        read += 1
        newest = max(newest, str(advisory.get("modified", "")))
        if advisory.get("withdrawn"):
            continue
        for affected in advisory.get("affected", ()):
            package = affected.get("package", {})
            name = canonicalize_name(package.get("name", ""))
            if package.get("ecosystem") == "PyPI" and name in packages and falls_under(packages[name], affected):
                fixed = tuple(event["fixed"] for event in events(affected) if "fixed" in event)
                findings.append(Finding(name, packages[name], advisory["id"], fixed))
    if not read:
        raise NotAuditedError(f"There is no advisory in {directory}.")
    print(f"{read} advisories, the newest of {newest[:10]}: what became known later isn't among them.")
    return findings


def advisories(directory: Path) -> Iterator[dict[str, Any]]:
    """All that are below it. Raises NotAuditedError."""
    for path in sorted(directory.rglob("*")):
        if path.suffix in (".json", ".yaml", ".yml"):
            text = path.read_text(encoding="utf-8")
            try:
                # The base loader leaves dates and versions as they are written.
                found = json.loads(text) if path.suffix == ".json" else yaml.load(text, yaml.BaseLoader)  # noqa: S506
            except (ValueError, yaml.YAMLError) as error:
                raise NotAuditedError(f"{path} can't be read as an advisory: {error}") from error
            if isinstance(found, dict) and "id" in found:
                yield found


def events(affected: Mapping[str, Any]) -> list[Mapping[str, str]]:
    """Where a range begins and ends, of all ranges that count in the package's own versions."""
    ranges = [each for each in affected.get("ranges", ()) if each.get("type") == "ECOSYSTEM"]
    return [event for each in ranges for event in each["events"]]


def falls_under(version: str, affected: Mapping[str, Any]) -> bool:
    """Whether an advisory means this version: it is listed, or in a range (the OSV schema's evaluation)."""
    if version in affected.get("versions", ()):
        return True
    mine, inside = Version(version), False
    for event in sorted(events(affected), key=lambda event: at(next(iter(event.values())))):
        (kind, where), *_ = event.items()
        if kind == "introduced" and at(where) <= mine:
            inside = True
        elif (kind == "fixed" and at(where) <= mine) or (kind == "last_affected" and at(where) < mine):
            inside = False
    return inside


def at(version: str) -> Version:
    """A version in an event; "0" is before all others. One that isn't a version is taken for the first, to be safe."""
    try:
        return Version("0.dev0" if version == "0" else version)
    except InvalidVersion:
        return Version("0.dev0")


def main() -> int:
    """Audit; the exit status."""
    parser = argparse.ArgumentParser(description="Look up the locked packages among the known vulnerabilities.")
    parser.add_argument("locks", nargs="+", type=Path, metavar="LOCK")
    parser.add_argument("--advisories", type=Path, metavar="DIRECTORY", help="OSV files, in the place of the network")
    arguments = parser.parse_args()
    packages = locked(arguments.locks)
    try:
        if arguments.advisories:
            findings = offline(arguments.advisories, packages)
        else:
            findings = online(arguments.locks, packages)
    except NotAuditedError as error:
        print(f"NOT AUDITED. {error}\n{ELSEWHERE}", file=sys.stderr)
        return NOT_AUDITED
    for found in sorted(set(findings)):
        fix = f"fixed in {', '.join(found.fixed)}" if found.fixed else "no fix yet"
        print(f"{found.package} {found.version}: {found.advisory}, {fix}")
    if findings:
        print("Take a fixed version: make lock LOCK_ARGS=--upgrade", file=sys.stderr)
        return VULNERABLE
    print(f"Nothing is known of {len(packages)} packages.")
    return CLEAN


if __name__ == "__main__":
    sys.exit(main())
