from __future__ import annotations

import os
import subprocess
import sys

import pytest

from benchmarks.usage import Clock, Cpu


def test_cost_is_for_one_in_the_unit_that_the_name_says():
    spent = Cpu(3.0, 75, 25) - Cpu(1.0, 15, 5)
    assert spent.per("cpu_seconds_per_gb", 4) == {"cpu_seconds_per_gb": 0.5, "cpu_system_share": 0.25}
    assert spent.per("cpu_ms_per_session", 500)["cpu_ms_per_session"] == 4.0
    assert spent.per("cpu_us_per_keystroke", 1000)["cpu_us_per_keystroke"] == 2000.0


def test_of_a_few_ticks_nobody_can_say_whose_they_were():
    assert "cpu_system_share" not in Cpu(0.4, 20, 20).per("cpu_ms_per_session", 1)


def test_without_a_process_there_are_no_figures():
    clock = Clock(None)
    assert (clock.now() - clock.now()).per("cpu_seconds_per_gb", 1) == {}


def test_a_clock_counts_what_children_take_too():
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(flush=True)\\nwhile True: pass'])"
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
    try:
        parent.stdout.read(1)
        clock, alone = Clock(parent.pid), Clock(os.getpid())
        begun, begun_alone = clock.now(), alone.now()
        while (clock.now() - begun).seconds < 0.2 and (alone.now() - begun_alone).seconds < 20:
            pass
        spent = clock.now() - begun
        assert spent.user_ticks > 0
        assert spent.seconds == pytest.approx(
            (spent.user_ticks + spent.system_ticks) / os.sysconf("SC_CLK_TCK"), abs=0.1
        )
        assert (alone.now() - begun_alone).seconds > 0
    finally:
        os.killpg(parent.pid, 9)
        parent.wait()
        parent.stdout.close()
