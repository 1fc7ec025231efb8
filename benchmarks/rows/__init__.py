"""What is measured, in the order in which it is."""

from benchmarks.rows import (
    base,
    fifty,
    growth,
    interrupt,
    keystroke,
    logs,
    opening,
    real,
    throughput,
    typing,
    watched,
    whole,
)

_IN_ORDER: tuple[base.Row, ...] = (
    real.RealOut(),
    real.RealIn(),
    whole.Whole(),
    *(throughput.Stdout(size) for size in throughput.SIZES),
    throughput.Stdin(),
    *(logs.LogBody(*shape) for shape in logs.SHAPES),
    *(logs.LogLines(*shape) for shape in logs.SHAPES),
    fifty.Fifty(),
    growth.Growth(),
    growth.Held("held-untouched", touched=False, client_tls=False),
    growth.Held("held-tls", touched=True, client_tls=True),
    *(watched.Watched(number) for number in watched.WATCHERS),
    watched.WatchersHeld(),
    opening.Opening(),
    keystroke.Keystroke(),
    typing.Typing(),
    interrupt.Interrupt(),
)
ALL = {row.name: row for row in _IN_ORDER}
# What a quick run has time for.
QUICK = (
    "real-out",
    "real-in",
    "echo-hi",
    "stdout-64",
    "stdout-32768",
    "stdin-32768",
    "held-untouched",
    "opening",
    "typing",
)
