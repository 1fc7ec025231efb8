from __future__ import annotations

from benchmarks.pages.tasks import MARKS, longest


def event(name, at, *, pid=2, tid=2, **more):
    return {"name": name, "pid": pid, "tid": tid, "ts": at, **more}


BEGIN, END = (event(name, at) for name, at in zip(MARKS, (1000, 9000), strict=True))


def test_it_is_the_longest_of_the_flooded_page_s_main_thread_while_it_was_flooded():
    events = [
        END,  # a trace is in no order
        event("RunTask", 2000, dur=70_000, tdur=11_000),
        event("RunTask", 3000, dur=12_500, tdur=12_000),
        event("RunTask", 3000, pid=1, dur=90_000, tdur=90_000),
        event("RunTask", 3000, tid=5, dur=90_000, tdur=90_000),
        event("RunTask", 900, dur=90_000, tdur=90_000),
        event("RunTask", 9100, dur=90_000, tdur=90_000),
        event("FunctionCall", 4000, dur=90_000, tdur=90_000),
        {"name": "thread_name", "pid": 2, "tid": 2, "args": {}},
        BEGIN,
    ]
    assert longest(events) == {"task_ms": 70.0, "task_cpu_ms": 12.0}


def test_where_a_trace_has_no_cpu_there_is_none():
    assert longest([BEGIN, event("RunTask", 2000, dur=1000), END]) == {"task_ms": 1.0}
    assert longest([BEGIN, END]) == {}
