"""`make siege`: every attack, round after round, and what became of those who mean well; the table and the plot.

The figures of another state of the code stand beside them, made once by `--tree` with a work tree of it.
"""

import argparse
import datetime as dt
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import limits, rounds, versions
from benchmarks.process import ROOT
from benchmarks.siege import report
from benchmarks.siege.attacks import ALL
from benchmarks.siege.run import say, tried

_PUBLISHED = ROOT / "docs"
_UNPUBLISHED = ROOT / "build" / "docs"
_OF_INTEREST = ("k8s-ws-proxy", "Python", "aiohttp", "OpenSSL (Python's)", "kernel", "processor")


def _names(text: str) -> list[str]:
    chosen = text.split(",")
    if strangers := sorted(set(chosen) - set(ALL)):
        raise argparse.ArgumentTypeError(f"{', '.join(strangers)} not among {', '.join(ALL)}")
    return chosen


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="siege", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each half of a siege")
    parser.add_argument("--only", metavar="ATTACK,..", type=_names, default=list(ALL), help=", ".join(ALL))
    parser.add_argument("--tree", type=Path, metavar="DIR", help="besiege the daemon of this work tree: before.json")
    parser.add_argument("--out", type=Path, help="docs for a whole run, build/docs for any other")
    parser.add_argument("--redraw", action="store_true", help="measure nothing: table and plot from what is there")
    return parser.parse_args()


def _revision(tree: Path) -> str:
    command = ["git", "-C", str(tree), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _measure(arguments: argparse.Namespace, tree: Path) -> dict[str, Any]:
    load = rounds.load()
    limits.raise_open_files()
    found = versions.found()
    attacks: dict[str, list[Any]] = {name: [] for name in arguments.only}
    begin = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    for number in range(arguments.rounds):
        say(f"round {number + 1} of {arguments.rounds}")
        for name, measured in attacks.items():
            done = tried(ALL[name], tree, arguments.seconds)
            measured.append(done and done.as_json())
    return {
        "begin": begin,
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        "load_before": load,
        "versions": {name: found[name] for name in _OF_INTEREST} | {"k8s-ws-proxy": _revision(tree)},
        "attacks": attacks,
    }


def main() -> int:
    arguments = _parse()
    try:
        from benchmarks.siege import plot  # noqa: PLC0415 -- asked for before the time is spent
    except ImportError as exc:
        print(f"{exc}: pip install -r benchmarks/requirements.txt", file=sys.stderr)
        return 2
    whole = arguments.only == list(ALL)
    docs: Path = arguments.out or (_PUBLISHED if whole else _UNPUBLISHED)
    folder = docs / "siege"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / ("before.json" if arguments.tree else "results.json")
    if not arguments.redraw:
        file.write_text(json.dumps(_measure(arguments, arguments.tree or ROOT), indent=1) + "\n")
    if arguments.tree:
        return 0
    table = report.Table(json.loads(file.read_text()), report.read(folder / "before.json"))
    report.write(table, docs / "reliability.md")
    plot.draw(table, folder / "siege.png")
    print(table.summary())
    return 0 if table.holds else 1


if __name__ == "__main__":
    sys.exit(main())
