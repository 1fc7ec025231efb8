"""What is measured, in the order in which it is."""

from benchmarks.rows import base, fifty, growth, interrupt, keystroke, logs, opening, throughput, watched

_IN_ORDER: tuple[base.Row, ...] = (
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
    interrupt.Interrupt(),
)
ALL = {row.name: row for row in _IN_ORDER}
