"""The attacks of `make siege` in a small form, one after the other on one daemon: who means well loses nothing by them.

How long anybody waits is measured there; here a wait only has an end.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from benchmarks import certs, limits
from benchmarks.siege.attacks import ALL
from benchmarks.siege.attacks.base import Attackers
from benchmarks.siege.bed import LIMIT_MIB, laid
from benchmarks.siege.run import Watched

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 1.0  # of each attack
SCALE = 0.05


@pytest.fixture(scope="module", autouse=True)
def _descriptors():
    limits.raise_open_files()


GROUPS = sorted({(attack.access, attack.log_is_read) for attack in ALL.values()})


@pytest.mark.slow
@pytest.mark.parametrize(("access", "log_is_read"), GROUPS)
def test_who_means_well_loses_nothing_by_attacks(access, log_is_read, tmp_path):
    attacks = [attack for attack in ALL.values() if (attack.access, attack.log_is_read) == (access, log_is_read)]
    with laid(certs.make(tmp_path), tmp_path, ROOT, log_is_read=log_is_read) as bed:
        watched = Watched(bed)
        try:
            for attack in attacks:
                seen = under(attack, dataclasses.replace(bed, scale=SCALE), watched)
                assert not seen["lost"], (attack.name, seen)
                assert seen["peak_mib"] < LIMIT_MIB, (attack.name, seen)
            assert watched.end() == {}
        finally:
            watched.stop()


def under(attack, bed, watched):
    """What is seen during the attack, of which nothing stays but what the daemon keeps."""
    with watched.at_ease():
        attackers = Attackers(attack, bed)
    try:
        return watched.for_seconds(SECONDS, attackers.begin)
    finally:
        attackers.stop()
