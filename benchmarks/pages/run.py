"""The run: round after round, each row in turn."""

import datetime as dt
import json
import time
from dataclasses import asdict
from importlib import metadata
from typing import Any

from benchmarks import rounds, versions
from benchmarks.pages import bed, rows
from benchmarks.pages.chromium import Chromium
from benchmarks.process import ROOT

_OF_INTEREST = ("k8s-ws-proxy", "Python", "aiohttp")
_MACHINE = ("kernel", "processor")
_LOCK = ROOT / "k8s_ws_proxy" / "web" / "pages" / "package-lock.json"


def measure(plan: rows.Plan) -> dict[str, Any]:
    """Whatever one measurement ends with, the next one is begun."""
    load = rounds.load()
    began = time.monotonic()
    known = {"begin": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"), "quick": plan == rows.QUICK}
    results = rounds.Results()
    with bed.laid() as laid:
        found = _versions(laid.browser)
        for number in range(1, plan.rounds + 1):
            for name in rows.ALL:
                _measure_one(laid, plan, name, number, results)
    return {
        **known,
        "plan": asdict(plan),
        "load_before": load,
        "load_after": rounds.load(),
        "minutes": round((time.monotonic() - began) / 60, 1),
        "versions": found,
        "rounds": results.rounds,
        "failures": results.failures,
    }


def _measure_one(laid: bed.Bed, plan: rows.Plan, name: str, number: int, results: rounds.Results) -> None:
    began = time.monotonic()
    try:
        measured = rows.ALL[name](laid, plan)
    except Exception as exc:  # noqa: BLE001 -- the others are measured whatever it is
        results.failures.append(f"{name}, round {number}: {exc!r}")
        rounds.say(results.failures[-1])
        return
    for target, figures in measured.items():
        results.rounds.setdefault(name, {}).setdefault(target, []).append(figures)
        took = time.monotonic() - began
        rounds.say(f"{name} {number}/{plan.rounds} {target} ({took:.1f} s): {rounds.brief(figures)}")


def _versions(browser: Chromium) -> dict[str, str]:
    known = versions.found()
    lock = json.loads(_LOCK.read_text("utf-8"))["packages"]
    return {
        **{name: known[name] for name in _OF_INTEREST},
        "Chromium": browser.call("Browser.getVersion")["product"].rpartition("/")[2],
        "xterm.js": lock["node_modules/@xterm/xterm"]["version"],
        "websockets, the bare one": metadata.version("websockets"),
        **{name: known[name] for name in _MACHINE},
    }
