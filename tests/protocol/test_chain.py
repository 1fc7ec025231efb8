"""Whether a trail is whole: every way to tamper with it that a chain can show."""

from __future__ import annotations

import json
import uuid
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.trails import run

from k8s_ws_proxy.wire.audit.chain import Chains, Kind, Spot, end_of
from k8s_ws_proxy.wire.audit.events import SessionOpened, SessionRefused
from k8s_ws_proxy.wire.audit.line import GENESIS, Place, digest, line_of


def read(*files, whole=True):
    """All of these files' lines."""
    chains = Chains()
    for index, lines in enumerate(files, 1):
        for number, data in enumerate(lines, 1):
            last = index == len(files) and number == len(lines)
            chains.feed(data, Spot(f"f{index}", number), whole=whole or not last)
    return chains


def fault(*files, **options):
    found = read(*files, **options).fault
    assert found is not None
    return found.kind, found.spot.file, found.spot.number


def test_a_trail_as_it_was_written_is_whole():
    chains = read(run())
    assert chains.fault is None
    assert (chains.lines, chains.began, chains.ended) == (
        *(10, "2025-06-01T12:00:01.000000Z", "2025-06-01T12:00:10.000000Z"),
    )


@pytest.mark.parametrize("at", range(1, 9))
def test_a_line_removed(at):
    lines = run()
    del lines[at]
    assert fault(lines) == (Kind.REMOVED, "f1", at + 1)


def test_which_lines_are_removed_is_told():
    lines = run()
    del lines[3:6]
    assert str(read(lines).fault) == (
        "f1, line 4: removed: lines 4 to 6 of the run a0 should stand before it, and are not there"
    )


@pytest.mark.parametrize("at", range(9))
def test_a_line_changed(at):
    lines = run()
    lines[at] = lines[at].replace(b'"peer": null', b'"peer": "::1"')
    assert fault(lines) == (Kind.CHANGED, "f1", at + 1)


@pytest.mark.parametrize(("first", "second"), [(2, 3), (2, 7), (7, 8), (1, 9)])
def test_two_lines_exchanged(first, second):
    lines = run()
    lines[first], lines[second] = lines[second], lines[first]
    kind, file, number = fault(lines)
    assert (kind, file) == (Kind.MOVED, "f1")
    assert number == first + 1


def test_a_line_moved_back():
    lines = run(stopped=False)
    lines.append(lines.pop(4))
    assert fault(lines) == (Kind.MOVED, "f1", 5)


def test_a_line_twice():
    lines = run(stopped=False)
    assert fault([*lines, lines[-1]]) == (Kind.MOVED, "f1", 11)


@pytest.mark.parametrize("length", [5, 20, 100, -1])
def test_a_line_cut_in_the_middle(length):
    lines = run()
    lines[4] = lines[4][:length]
    kind, _, number = fault(lines)
    assert kind in (Kind.CUT, Kind.REMOVED)  # of one cut within its mark nothing can be told but that it is missing
    assert number == (5 if kind is Kind.CUT else 6)


@pytest.mark.parametrize("length", [1, 5, 20, 100, -1])
def test_a_file_that_ends_within_a_line(length):
    lines = run()
    lines[-1] = lines[-1][:length]
    assert fault(lines, whole=False) == (Kind.CUT, "f1", 10)


def test_a_file_that_ends_without_a_line_s_end():
    assert fault(run(), whole=False) == (Kind.CUT, "f1", 10)


def test_a_line_whose_beginning_is_gone():
    lines = run()
    lines[4] = lines[4][3:]
    assert fault(lines) == (Kind.CUT, "f1", 5)


def test_a_line_put_in_is_not_of_the_chain():
    lines = run()
    forged = line_of(SessionOpened(), Place("2025-06-01T12:00:03.000000Z", 4, "n1", "a0", digest(lines[2])))
    kind, _, _ = fault([*lines[:3], forged, *lines[3:]])
    assert kind is Kind.MOVED  # two lines of one number
    assert fault(
        [*lines, line_of(SessionOpened(), Place("2025-06-01T12:00:11.000000Z", 11, "n1", "a0", digest(lines[9])))]
    ) == (*(Kind.CHANGED, "f1", 11),)


def test_rotated_files_are_one_trail_in_their_order():
    lines = run()
    assert read(lines[:3], lines[3:7], lines[7:]).fault is None
    assert fault(lines[:3], lines[7:]) == (Kind.REMOVED, "f2", 1)
    assert fault(lines[3:7], lines[:3], lines[7:])[0] is Kind.MOVED


def test_who_begins_in_the_middle_is_told_from_where():
    chains = read(run()[4:])
    assert chains.fault is None
    assert chains.runs["a0"].first == 5


def began(second, number=0, at="2025-06-01T12:00"):
    """The id of a run that began then: as a rule at twelve in the trail's day."""
    moment = datetime.fromisoformat(f"{at}:{second:02}Z")
    return str(uuid.UUID(int=int(moment.timestamp() * 1000) << 80 | 7 << 76 | 2 << 62 | number))


def test_of_two_daemons_that_were_there_before_the_oldest_file_both_begin_in_the_middle():
    """While a pod is replaced: one is ending, and has few lines, and the next is there already."""
    first, second = run(began(0), count=20), run(began(0, 1), count=40)
    kept = [*first[14:18], *second[16:], *first[18:]]
    chains = read(kept)
    assert chains.fault is None
    assert {each.daemon: each.first for each in chains.runs.values()} == {began(0): 15, began(0, 1): 17}
    assert fault([*kept[:8], *kept[9:]])[0] is Kind.REMOVED, (
        "what is missing after its first line is found all the same"
    )


def test_the_beginning_of_a_run_that_began_after_the_oldest_line_removed():
    first = run(began(0))
    second = run(began(5), prev=digest(first[6]))
    assert read(first[2:7] + second + first[7:]).fault is None
    assert fault(first[2:7] + second[3:] + first[7:]) == (Kind.REMOVED, "f1", 6)


def test_a_run_that_began_after_a_line_of_which_the_file_is_gone():
    """It looked for the last line when another daemon hadn't yet written the first one that is here."""
    first = run(began(0))
    second = run(began(1), prev=digest(first[4]))
    assert read(first[5:7] + second + first[7:]).fault is None
    assert fault(first[5:7] + run(began(7), prev=digest(first[4])) + first[7:])[0] is Kind.REMOVED


AHEAD = run(began(0, at="2030-01-01T00:00"), at="2030-01-01T00:00")
FORGED = [line_of(SessionOpened(), Place("2099-01-01T00:00:00.000000Z", 7, "n1", began(0), GENESIS))]


@pytest.mark.parametrize(
    ("kept", "place"),
    [
        ([0, *range(10, 20)], 2),
        ([*range(8), *range(10, 20)], 9),
        (range(2, 20), 1),
        ([*range(10), *range(12, 20)], 11),
    ],
    ids=["the first run but one line", "the first run's end", "the first run's begin", "the second run's begin"],
)
@pytest.mark.parametrize("before", [AHEAD, FORGED], ids=["the clock", "forged"])
def test_lines_removed_after_some_that_were_told_with_a_clock_ahead(before, kept, place):
    prev = GENESIS if before is FORGED else digest(before[-1])
    lines = run(began(0, 1), prev=prev)
    lines += run(began(0, 2, "2025-06-01T12:01"), prev=digest(lines[-1]), at="2025-06-01T12:01")
    assert read(before + lines).fault is None
    assert fault(before, [lines[each] for each in kept]) == (Kind.REMOVED, "f2", place)


@pytest.mark.parametrize("before", [AHEAD, FORGED], ids=["the clock", "forged"])
def test_a_whole_run_removed_after_lines_that_were_told_with_a_clock_ahead(before):
    gone = run(began(0, 1), prev=digest(before[-1]))
    after = run(began(0, 2, "2025-06-01T12:01"), prev=digest(gone[-1]), at="2025-06-01T12:01")
    assert fault(before, after) == (Kind.REMOVED, "f2", 1)


def test_lines_of_two_daemons_that_came_in_another_order_than_they_were_told():
    """As NATS may have them: of one that wasn't reached for a while."""
    first, second = run(began(0), at="2025-06-01T12:20"), run(began(0, 1))
    assert read([*first[5:8], *second[3:], *first[8:]]).fault is None


@pytest.mark.parametrize(
    "daemon", ["a1", str(uuid.UUID(int=uuid.UUID(began(0)).int ^ 3 << 76)), "ffffffff-ffff-7fff-bfff-ffffffffffff"]
)
def test_an_id_that_does_not_tell_when_its_run_began(daemon):
    assert fault(run()[4:] + run(daemon)[2:]) == (Kind.REMOVED, "f1", 7)


def test_a_run_goes_on_from_the_last_line_before_it():
    first = run("a0")
    second = run("a1", prev=digest(first[-1]))
    assert read(first, second).fault is None
    assert read(first + second).fault is None


def test_the_end_of_a_run_removed_is_seen_by_the_next_one():
    first = run("a0")
    second = run("a1", prev=digest(first[-1]))
    assert fault(first[:-1] + second) == (Kind.REMOVED, "f1", 10)


def test_a_whole_run_removed_is_seen_by_the_next_one():
    first = run("a0")
    second = run("a1", prev=digest(first[-1]))
    third = run("a2", prev=digest(second[-1]))
    assert fault(first + third) == (Kind.REMOVED, "f1", 11)


def test_the_beginning_of_a_later_run_removed():
    first = run("a0")
    assert fault(first + run("a1", prev=digest(first[-1]))[2:]) == (Kind.REMOVED, "f1", 11)


def test_the_last_line_of_a_run_that_was_killed_changed():
    first = run("a0", stopped=False)
    second = run("a1", prev=digest(first[-1]))
    first[-1] = first[-1].replace(b'"s10"', b'"s11"')
    assert fault(first + second) == (Kind.REMOVED, "f1", 11)


@given(st.randoms(use_true_random=False))
def test_daemons_among_each_other_and_lines_of_a_log(rng):
    chains = [run(f"a{number}", node=f"n{number}", count=rng.randint(1, 8)) for number in range(4)]
    mixed = []
    while any(chains):
        lines = rng.choice([lines for lines in chains if lines])
        mixed.append(lines.pop(0))
        mixed += rng.choice(
            [[], [b"Traceback"], [b'{"event": "session opened", "command": "\\"audit\\": true"}'], [b""]]
        )
    found = read(mixed)
    assert found.fault is None
    assert len(found.runs) == 4


def test_two_daemons_of_a_node_write_one_file_in_a_rolling_upgrade():
    old = run("a0", count=10)
    new = run("a1", prev=digest(old[4]))
    mixed = [*old[:5], new[0], old[5], *new[1:4], *old[6:], *new[4:]]
    assert read(mixed).fault is None
    assert read([*old[:3], *new[:2], *old[3:], *new[2:]]).fault is None  # as NATS may have them


def test_stderr_begins_anew():
    assert read(run("a0") + run("a1")).fault is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("daemon", "\x1b[2J"),
        ("time", "yesterday"),
        ("prev", "x"),
        ("seq", "1"),
        ("seq", 0),
        ("seq", True),
        ("node", None),
    ],
)
def test_a_line_with_a_place_that_is_none_is_told_and_not_shown(name, value):
    lines = run()
    lines[4] = json.dumps({**json.loads(lines[4]), name: value}).encode()
    found = read(lines).fault
    assert (found.kind, found.spot.number) == (Kind.CHANGED, 5)
    assert str(found).isprintable()


def test_lines_that_another_program_wrote_anew_do_not_have_their_hash():
    lines = [json.dumps(json.loads(data), sort_keys=True).encode() for data in run()]
    assert fault(lines)[0] is Kind.CHANGED


@given(st.lists(st.binary(max_size=80), max_size=20))
def test_whatever_stands_in_a_file_is_read_or_told(junk):
    chains = read([data.replace(b"\n", b"") for data in junk], whole=False)
    assert chains.lines == 0


def test_a_deep_line_is_none():
    assert read([b'{"audit": true, "x": ' + b"[" * 100_000]).fault.kind is Kind.CUT


def test_the_end_of_a_file_is_found():
    lines = run()
    text = b"\n".join(lines) + b"\n"
    assert end_of(text) == (digest(lines[-1]), 0)
    assert end_of(text + b"Traceback\n\n") == (digest(lines[-1]), 0)
    assert end_of(text + lines[0][:30]) == (digest(lines[-1]), 30)
    assert end_of(text + b'{"au') == (digest(lines[-1]), 4)
    assert end_of(text + b"root:x:0") == (digest(lines[-1]), 0)
    assert end_of(b"") == (None, 0)
    assert end_of(b"no line's end") == (None, 0)


def test_a_refusal_s_text_does_not_matter_to_the_chain():
    text = '{"audit": true, "prev": "\n'
    data = line_of(SessionRefused(path=text), Place("2025-06-01T12:00:01.000000Z", 1, "", "a", GENESIS))
    assert read([data]).fault is None
