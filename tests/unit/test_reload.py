"""Files that are read again when they change, for any reader."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from k8s_ws_proxy.reload import Reloader, fingerprint


class BadReading(Exception):
    """What the reader documents."""


class World:
    """A reader under test: ``state`` is what a look finds, ``read`` what a reading gives or raises."""

    def __init__(self):
        self.state = 0
        self.reading = "first"
        self.events = []
        self.reloader = Reloader(
            period=7.0,
            look=lambda: (self.state,),
            read=self._read,
            error=BadReading,
            accept=lambda reading: self.events.append(("accepted", reading)),
            refuse=lambda error: self.events.append(("refused", str(error))),
            known=(0,),
        )

    def _read(self):
        self.events.append("read")
        if isinstance(self.reading, Exception):
            raise self.reading
        return self.reading

    async def look(self, state, reading=None):
        self.state, self.reading = state, reading
        self.events.clear()
        await self.reloader.look()
        return self.events


async def test_nothing_is_read_while_nothing_changes():
    assert await World().look(0) == []


async def test_what_changed_is_read_once_and_taken():
    world = World()
    assert await world.look(1, "second") == ["read", ("accepted", "second")]
    assert await world.look(1, "third") == []


async def test_a_bad_reading_is_told_once_for_each_change():
    world = World()
    assert await world.look(1, BadReading("spoilt")) == ["read", ("refused", "spoilt")]
    assert await world.look(1, BadReading("spoilt")) == ["read"]
    assert await world.look(1, BadReading("worse")) == ["read", ("refused", "worse")]
    assert await world.look(2, BadReading("worse")) == ["read", ("refused", "worse")]
    assert await world.look(0, "as it was") == ["read", ("accepted", "as it was")]


@pytest.mark.parametrize("state", [0, 1], ids=["nothing had changed", "the files had changed"])
async def test_what_could_not_be_read_is_read_as_soon_as_it_can_be(state):
    """The files stay as they are: what was wrong was elsewhere, descriptors for one."""
    world = World()
    await world.look(7, BadReading("too many open files"))
    assert await world.look(state, "renewed") == ["read", ("accepted", "renewed")]
    assert await world.look(state, "not again") == []


async def test_the_same_failure_is_told_again_after_a_success():
    world = World()
    await world.look(1, BadReading("spoilt"))
    await world.look(2, "mended")
    assert await world.look(1, BadReading("spoilt")) == ["read", ("refused", "spoilt")]


async def test_another_error_is_the_callers_and_the_log_has_it():
    world = World()
    with capture_logs() as log:
        with pytest.raises(ZeroDivisionError):
            await world.look(1, ZeroDivisionError("a mistake of ours"))
        await asyncio.sleep(0)
    assert [(line["event"], line["task"]) for line in log] == [("background task failed", "look at files")]
    assert await world.look(2, "mended") == ["read", ("accepted", "mended")]


def test_a_fingerprint_changes_with_each_thing_that_can_happen_to_a_file(tmp_path):
    path = tmp_path / "file"
    seen = []

    def changed():
        now = fingerprint([path])
        new = now not in seen
        seen.append(now)
        return new

    assert changed()
    path.write_bytes(b"a")
    assert changed()
    assert not changed()
    path.write_bytes(b"ab")
    assert changed()
    path.chmod(0o400)
    assert changed()
    path.rename(tmp_path / "away")
    assert not changed()  # gone, as it was at first
    path.mkdir()
    assert changed()
    path.rmdir()
    path.symlink_to("file")
    assert changed()  # a link to itself
    path.unlink()
    (tmp_path / "away").rename(path)
    assert not changed()


def test_a_fingerprint_tells_files_apart(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    assert fingerprint([tmp_path / "a", tmp_path / "b"]) != fingerprint([tmp_path / "b", tmp_path / "a"])
    assert fingerprint([]) == ()
