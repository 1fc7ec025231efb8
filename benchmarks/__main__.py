"""`make bench`: measure all rows on all targets, write the figures, the page and the plots."""

import argparse
import datetime as dt
import shutil
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks import limits, musts, noise, report, rounds, rows, targets, versions
from benchmarks.before_after import BEFORE
from benchmarks.checkout import CheckoutError, checked_out, resolve
from benchmarks.medians import Table
from benchmarks.process import ROOT
from benchmarks.rows.base import FULL, QUICK, Plan, Row
from benchmarks.targets.base import Target
from benchmarks.targets.ours import Ours

_PUBLISHED = ROOT / "docs" / "benchmarks"
_UNPUBLISHED = ROOT / "build" / "benchmarks"
_UNFINISHED = _UNPUBLISHED / "unfinished"
_NAMED = [name for name in targets.ALL if name != BEFORE]


def _names(known: list[str], text: str) -> list[str]:
    chosen = text.split(",")
    if strangers := sorted(set(chosen) - set(known)):
        raise argparse.ArgumentTypeError(f"{', '.join(strangers)} not among {', '.join(known)}")
    return chosen


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="some rows and targets, less of each: in 3 minutes")
    parser.add_argument("--before", metavar="REVISION", help="measure this revision of the repository beside ours")
    parser.add_argument("--rounds", type=int, help="instead of the plan's")
    parser.add_argument(
        "--only", metavar="ROW,..", type=lambda text: _names(list(rows.ALL), text), help=", ".join(rows.ALL)
    )
    parser.add_argument("--targets", metavar="NAME,..", type=lambda text: _names(_NAMED, text), help=", ".join(_NAMED))
    parser.add_argument("--out", type=Path, help="docs/benchmarks for a whole run, build/benchmarks for any other")
    parser.add_argument("--redraw", action="store_true", help="measure nothing: page and plots from results.json")
    return parser.parse_args()


def _plan(arguments: argparse.Namespace) -> Plan:
    plan = QUICK if arguments.quick else FULL
    return replace(plan, rounds=arguments.rounds) if arguments.rounds else plan


def _rows(arguments: argparse.Namespace) -> list[Row]:
    return [rows.ALL[name] for name in arguments.only or (rows.QUICK if arguments.quick else rows.ALL)]


def _targets(arguments: argparse.Namespace, before: Ours | None) -> list[Target]:
    """In the tables' order, so that `before` stands beside ours."""
    usual = targets.QUICK if arguments.quick else [name for name in targets.ALL if name not in targets.EXTRA]
    chosen = {*(arguments.targets or usual), *([BEFORE] if before else [])}
    return [before if before and name == BEFORE else target for name, target in targets.ALL.items() if name in chosen]


def _measure(arguments: argparse.Namespace, commit: str | None) -> dict[str, Any]:
    """All of it. What there is after each round is kept in build/benchmarks/unfinished until the run is over."""
    load = rounds.load()
    limits.raise_open_files()
    plan = _plan(arguments)
    began = time.monotonic()
    known: dict[str, Any] = {
        "begin": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "quick": arguments.quick,
        "plan": asdict(plan),
        "load_before": load,
        "versions": versions.found(),
    }

    def so_far(results: rounds.Results) -> dict[str, Any]:
        return {**known, "minutes": round((time.monotonic() - began) / 60, 1), **results.as_json()}

    run = rounds.Run(plan, lambda results: report.write_figures(so_far(results), _UNFINISHED))
    with ExitStack() as stack:
        before = None
        if commit:
            try:
                checkout = stack.enter_context(checked_out(commit))
            except CheckoutError as exc:
                run.results.left_out[BEFORE] = str(exc)
                print(exc, file=sys.stderr)
            else:
                known["versions"] = {"k8s-ws-proxy, before": checkout.described, **known["versions"]}
                before = replace(targets.BEFORE, folder=checkout.folder, python=checkout.python)
        return so_far(run.measure(_rows(arguments), _targets(arguments, before)))


def _whole(arguments: argparse.Namespace) -> bool:
    return not (arguments.quick or arguments.only or arguments.targets or arguments.rounds)


def main() -> int:
    arguments = _parse()
    try:
        from benchmarks import plots  # noqa: PLC0415 -- asked for before an hour is spent, with a word on what to do
    except ImportError as exc:
        print(f"{exc}: pip install -r benchmarks/requirements.txt", file=sys.stderr)
        return 2
    try:
        commit = resolve(arguments.before) if arguments.before else None
    except CheckoutError as exc:
        print(f"--before {arguments.before} is no revision here: {exc}", file=sys.stderr)
        return 2
    folder: Path = arguments.out or (_PUBLISHED if _whole(arguments) else _UNPUBLISHED)
    results = report.read(folder) if arguments.redraw else _measure(arguments, commit)
    # The figures first: a mistake in what is drawn from them costs no run.
    report.write_figures(results, folder)
    shutil.rmtree(_UNFINISHED, ignore_errors=True)
    report.write_page(results, folder)
    table = Table(results["rounds"])
    plots.draw(table, folder)
    if arguments.quick:
        print("a quick run, not for comparison with others")
    for must in musts.all_of(table):
        if must.measured is not None:
            doubt = f" {noise.MARK} the rounds don't agree" if must.is_noise else ""
            print(f"{must.what}: {must.figure} (must be {must.demand}): {'met' if must.met else 'NOT MET'}{doubt}")
    print(f"{folder / 'README.md'} has the tables")
    return 1 if results["failures"] or results.get("left_out") else 0


if __name__ == "__main__":
    sys.exit(main())
