"""`make bench`: measure all rows on all targets, write the figures, the page and the plots."""

import argparse
import datetime as dt
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks import limits, musts, report, rounds, rows, targets, versions
from benchmarks.medians import Table
from benchmarks.process import ROOT
from benchmarks.rows.base import FULL, QUICK

_PUBLISHED = ROOT / "docs" / "benchmarks"
_UNPUBLISHED = ROOT / "build" / "benchmarks"


def _names(known: list[str], text: str) -> list[str]:
    chosen = text.split(",")
    if strangers := sorted(set(chosen) - set(known)):
        raise argparse.ArgumentTypeError(f"{', '.join(strangers)} not among {', '.join(known)}")
    return chosen


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less of everything, for development")
    parser.add_argument("--rounds", type=int, help="instead of the plan's")
    parser.add_argument(
        "--only", metavar="ROW,..", type=lambda text: _names(list(rows.ALL), text), help=", ".join(rows.ALL)
    )
    parser.add_argument(
        "--targets", metavar="NAME,..", type=lambda text: _names(list(targets.ALL), text), help=", ".join(targets.ALL)
    )
    parser.add_argument("--out", type=Path, help="docs/benchmarks for a whole run, build/benchmarks for any other")
    parser.add_argument("--redraw", action="store_true", help="measure nothing: page and plots from results.json")
    return parser.parse_args()


def _measure(arguments: argparse.Namespace) -> dict[str, Any]:
    load = rounds.load()
    limits.raise_open_files()
    plan = QUICK if arguments.quick else FULL
    if arguments.rounds:
        plan = replace(plan, rounds=arguments.rounds)
    chosen_rows = arguments.only or list(rows.ALL)
    chosen = arguments.targets or [name for name in targets.ALL if name not in targets.EXTRA]
    begin = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    measured = rounds.run([rows.ALL[name] for name in chosen_rows], [targets.ALL[name] for name in chosen], plan)
    return {
        "begin": begin,
        "quick": arguments.quick,
        "plan": asdict(plan),
        "load_before": load,
        "versions": versions.found(),
        **measured.as_json(),
    }


def _whole(arguments: argparse.Namespace) -> bool:
    return not (arguments.quick or arguments.only or arguments.targets or arguments.rounds)


def main() -> int:
    arguments = _parse()
    try:
        from benchmarks import plots  # noqa: PLC0415 -- asked for before an hour is spent, with a word on what to do
    except ImportError as exc:
        print(f"{exc}: pip install -r benchmarks/requirements.txt", file=sys.stderr)
        return 2
    folder: Path = arguments.out or (_PUBLISHED if _whole(arguments) else _UNPUBLISHED)
    results = report.read(folder) if arguments.redraw else _measure(arguments)
    folder.mkdir(parents=True, exist_ok=True)
    report.write(results, folder)
    table = Table(results["rounds"])
    plots.draw(table, folder)
    for must in musts.all_of(table):
        if must.measured is not None:
            print(f"{must.what}: {must.figure} (must be {must.demand}): {'met' if must.met else 'NOT MET'}")
    return 1 if results["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
