"""`make bench-pages`: measure the pages in a browser, write the figures and the page."""

import argparse
import sys
from pathlib import Path

from benchmarks.medians import Table
from benchmarks.pages import musts, report, rows, run
from benchmarks.process import ROOT
from benchmarks.report import read, write_figures

_PUBLISHED = ROOT / "docs" / "benchmarks"
_UNPUBLISHED = ROOT / "build" / "benchmarks"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.pages", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round, less of everything")
    parser.add_argument("--out", type=Path, help="docs/benchmarks for a whole run, build/benchmarks for a quick one")
    parser.add_argument("--redraw", action="store_true", help=f"measure nothing: the page from {report.FIGURES}")
    return parser.parse_args()


def main() -> int:
    arguments = _parse()
    folder: Path = arguments.out or (_UNPUBLISHED if arguments.quick else _PUBLISHED)
    if arguments.redraw:
        results = read(folder, report.FIGURES)
    else:
        results = run.measure(rows.QUICK if arguments.quick else rows.FULL)
        write_figures(results, folder, report.FIGURES)
    report.write_page(results, folder)
    for must in musts.all_of(Table(results["rounds"])):
        print(f"{must.what}: {must.figure} at the worst (must be {must.demand}): {'met' if must.met else 'NOT MET'}")
    print(f"{folder / report.PAGE} has the tables")
    return 1 if results["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
