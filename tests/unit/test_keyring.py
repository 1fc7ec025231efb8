"""The accepted keys: what is read, and that nothing that happens to the files loses the last good ones."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import threading
import time

import pytest
from structlog.testing import capture_logs

from k8s_ws_proxy import keyring, reload
from k8s_ws_proxy.errors import KeySourceError
from k8s_ws_proxy.keyring import Keyring, KeySource
from k8s_ws_proxy.observe import metrics

A, B, C = (letter * 44 for letter in (b"a", b"b", b"c"))


def value(gauge):
    return gauge._value.get()


class Ring:
    """A keyring under test; what it logs is in ``log`` after each look."""

    def __init__(self, *, file=None, directory=None, clock=time.time):
        self.source = KeySource(file, directory)
        with capture_logs() as self.log:
            self.ring = Keyring(self.source, self.source.read(), clock)

    def look(self):
        with capture_logs() as self.log:
            asyncio.run(self.ring.look())
        return self

    @property
    def keys(self):
        return {key.id: key.secret for key in self.ring.keys}

    @property
    def levels(self):
        return [line["log_level"] for line in self.log]


class Mount:
    """A Secret as the kubelet mounts it: entries are links through ``..data``, which is swapped as a whole."""

    def __init__(self, path, entries):
        self.path = path
        self.version = 0
        path.mkdir()
        self.swap(entries)

    def swap(self, entries):
        """All of what the kubelet does."""
        before = (self.path / "..data").readlink() if self.version else None
        self.swap_only(entries)
        for name in entries:
            if not (self.path / name).is_symlink():
                (self.path / name).symlink_to(f"..data/{name}")
        for entry in self.path.iterdir():
            if not entry.name.startswith("..") and entry.name not in entries:
                entry.unlink()
        if before:
            shutil.rmtree(self.path / before)

    def swap_only(self, entries):
        """Its first step."""
        self.version += 1
        fresh = self.path / f"..2025_01_01_00_00_00.{self.version:09d}"
        fresh.mkdir()
        for name, secret in entries.items():
            (fresh / name).write_bytes(secret)
        link = self.path / "..data_tmp"
        link.symlink_to(fresh.name)
        link.rename(self.path / "..data")


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret"
    path.write_bytes(A)
    return path


@pytest.fixture
def mount(tmp_path):
    return Mount(tmp_path / "keys", {"2024": A, "2025": B})


def replace(path, data):
    fresh = path.with_suffix(".new")
    fresh.write_bytes(data)
    fresh.rename(path)


@pytest.mark.parametrize("around", [b"", b"\n", b"\r\n", b" \t\n", b"\n\n"])
def test_white_space_around_a_key_is_trimmed(secret, around):
    secret.write_bytes(around + A + around)
    assert Ring(file=secret).keys == {"secret": A}


def test_the_bytes_of_a_key_are_not_decoded(secret):
    secret.write_bytes(b"\xff\x00 aGVsbG8= " * 4)
    assert Ring(file=secret).keys == {"secret": (b"\xff\x00 aGVsbG8= " * 4).strip()}


def test_a_short_key_in_a_file_is_warned_of_and_accepted(secret):
    secret.write_bytes(b"k" * 31)
    ring = Ring(file=secret)
    assert ring.keys == {"secret": b"k" * 31}
    assert [line["event"] for line in ring.log] == ["weak key", "keys loaded"]
    assert "31 bytes" in ring.log[0]["problem"]
    secret.write_bytes(b"k" * 32)
    assert [line["event"] for line in Ring(file=secret).log] == ["keys loaded"]


def test_every_entry_of_a_mounted_secret_is_a_key_with_its_name_for_an_id(mount):
    ring = Ring(directory=mount.path)
    assert ring.keys == {"2024": A, "2025": B}
    assert value(metrics.KEYS_LOADED) == 2


def test_a_short_entry_is_refused_and_said_so(mount):
    mount.swap({"2024": A, "just": b"k" * 32, "short": b"k" * 31 + b"\n", "empty": b"\n"})
    ring = Ring(directory=mount.path)
    assert ring.keys == {"2024": A, "just": b"k" * 32}
    assert [line["problem"] for line in ring.log if line["event"] == "weak key"] == [
        "the key empty is refused: 0 bytes, and 32 are needed",
        "the key short is refused: 31 bytes, and 32 are needed",
    ]


def test_hidden_files_and_directories_are_no_keys(mount):
    (mount.path / ".hidden").write_bytes(C)
    (mount.path / "directory").mkdir()
    assert Ring(directory=mount.path).keys == {"2024": A, "2025": B}


def test_a_file_and_a_directory_together(secret, mount):
    assert Ring(file=secret, directory=mount.path).keys == {"secret": A, "2024": A, "2025": B}


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.unlink(), "can't be read"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_bytes(b" \n\t "), "is empty"),
        (lambda path: (path.unlink(), path.mkdir()), "can't be read"),
        (lambda path: (path.unlink(), path.symlink_to(path.name)), "can't be read"),
    ],
    ids=["vanished", "emptied", "blank", "a directory", "a link to itself"],
)
def test_a_file_that_is_spoilt_keeps_the_last_good_key_until_it_is_mended(secret, spoil, words):
    ring = Ring(file=secret)
    assert value(metrics.KEYS_RELOAD_OK) == 1
    spoil(secret)
    with pytest.raises(KeySourceError, match=words):
        ring.source.read()
    assert ring.look().keys == {"secret": A}
    (line,) = ring.log
    assert (line["log_level"], line["key_ids"]) == ("error", ["secret"])
    assert words in line["error"]
    assert A.decode() not in str(line)
    assert value(metrics.KEYS_RELOAD_OK) == 0
    assert value(metrics.KEYS_LOADED) == 1
    assert ring.look().log == []  # told once
    if secret.is_dir():
        secret.rmdir()
    replace(secret, B)
    assert ring.look().keys == {"secret": B}
    assert ring.log == [{"event": "keys loaded", "log_level": "info", "key_ids": ["secret"]}]
    assert value(metrics.KEYS_RELOAD_OK) == 1


@pytest.mark.parametrize("left", [b"", b" \n"], ids=["emptied", "blank"])
def test_an_entry_that_has_become_empty_keeps_the_last_good_keys_until_it_is_mended(mount, left):
    ring = Ring(directory=mount.path)
    mount.swap({"2024": left, "2025": B, "2026": C})
    assert ring.look().keys == {"2024": A, "2025": B, "2026": C}
    weak, loaded, line = ring.log
    assert (weak["event"], loaded["event"]) == ("weak key", "keys loaded")
    assert line["log_level"] == "error"
    assert line["error"] == "these have become empty: 2024. Put a key there, or remove the entry"
    assert value(metrics.KEYS_RELOAD_OK) == 0
    assert ring.look().log == []  # told once
    mount.swap({"2025": B, "2026": C})
    assert ring.look().keys == {"2025": B, "2026": C}, "one that has gone is a key that has gone"
    assert value(metrics.KEYS_RELOAD_OK) == 1


def test_an_entry_that_was_empty_all_along_holds_up_nothing(secret, mount):
    mount.swap({"2024": A, "secret": b"", "empty": b""})
    ring = Ring(file=secret, directory=mount.path)
    mount.swap({"2024": C, "secret": b"", "empty": b"", "fresh": b""})
    assert ring.look().keys == {"secret": A, "2024": C}
    assert value(metrics.KEYS_RELOAD_OK) == 1


def test_a_file_that_comes_back_as_it_was_is_good_again(secret):
    ring = Ring(file=secret)
    away = secret.with_suffix(".away")
    secret.rename(away)
    assert ring.look().levels == ["error"]
    away.rename(secret)
    assert ring.look().log == []  # the same key: nothing to tell
    assert ring.keys == {"secret": A}
    assert value(metrics.KEYS_RELOAD_OK) == 1


def test_a_file_that_gets_shorter_than_it_should_be_is_warned_of(secret):
    ring = Ring(file=secret)
    secret.write_bytes(b"short")
    assert ring.look().keys == {"secret": b"short"}
    assert ring.levels == ["warning", "info"]


def test_a_new_key_is_taken_and_told_without_the_secret(secret):
    ring = Ring(file=secret)
    assert ring.look().log == []
    replace(secret, B)
    assert ring.look().keys == {"secret": B}
    assert ring.log == [{"event": "keys loaded", "log_level": "info", "key_ids": ["secret"]}]


def test_a_key_written_over_in_place_within_the_same_size_is_taken(secret):
    ring = Ring(file=secret)
    before = secret.stat().st_mtime_ns
    secret.write_bytes(B)
    os.utime(secret, ns=(before, before + 1))
    assert ring.look().keys == {"secret": B}


def test_a_rotation_by_the_kubelet_with_overlap(mount):
    ring = Ring(directory=mount.path)
    mount.swap({"2025": B, "2026": C})
    assert ring.look().keys == {"2025": B, "2026": C}
    mount.swap({"2026": C})
    assert ring.look().keys == {"2026": C}
    assert value(metrics.KEYS_LOADED) == 1
    assert ring.look().log == []


def test_between_the_kubelet_s_swap_and_its_mending_of_the_links_no_key_is_missed(mount):
    """It renames ``..data`` first; the link of a new entry isn't there yet, that of an old one leads nowhere."""
    ring = Ring(directory=mount.path)
    mount.swap_only({"2025": C, "moved": B})
    assert ring.look().keys == {"2025": C, "moved": B}
    assert [line["log_level"] for line in ring.log] == ["info"]


def test_a_swap_in_the_middle_of_a_reading_is_read_anew(mount, monkeypatch):
    ring = Ring(directory=mount.path)
    mount.swap({"2024": C, "2025": B})

    def swap_once(path):
        monkeypatch.undo()
        mount.swap({"2025": C, "2026": A})
        return keyring._read(path)

    monkeypatch.setattr(keyring, "_read", swap_once)
    assert ring.look().keys == {"2025": C, "2026": A}
    assert [line["log_level"] for line in ring.log] == ["info"]


class Clock:
    """Unix seconds that a test sets."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def test_since_when_a_key_is_there_and_when_it_was_last_used(mount):
    clock = Clock()
    ring = Ring(directory=mount.path, clock=clock).ring
    first, second = ring.keys
    clock.now = 1010.0
    ring.used(first, "v1")
    assert (ring.use(first).since, ring.use(first).last_used) == (1000.0, 1010.0)
    assert (ring.use(second).since, ring.use(second).last_used) == (1000.0, None)


def test_a_key_that_moves_to_another_entry_keeps_its_history_and_a_key_that_comes_anew_has_none(mount):
    clock = Clock()
    kept = Ring(directory=mount.path, clock=clock)
    kept.ring.used(kept.ring.keys[0], "v1")
    clock.now = 2000.0
    mount.swap({"2024": C, "2025": B, "previous": A})
    kept.look()
    keys = {key.id: kept.ring.use(key) for key in kept.ring.keys}
    assert (keys["previous"].since, keys["previous"].last_used) == (1000.0, 1000.0)
    assert (keys["2024"].since, keys["2024"].last_used) == (2000.0, None)
    mount.swap({"2025": B})
    kept.look()
    clock.now = 3000.0
    mount.swap({"2025": B, "again": A})
    kept.look()
    assert kept.ring.use(kept.ring.keys[1]).since == 3000.0


def test_there_are_no_more_series_than_keys(mount):
    metrics.KEY_REQUESTS.clear()  # of other keyrings in this process
    ring = Ring(directory=mount.path)
    for number in range(5):
        mount.swap({"2025": B, f"key{number}": C})
        ring.look()
    page = metrics.exposition().decode()
    assert set(re.findall(r'key_requests_total\{key_id="([^"]*)",scheme="v[12]"\}', page)) == {"2025", "key4"}


def test_the_time_of_the_last_good_reading_stands_in_a_metric(secret):
    clock = Clock()
    ring = Ring(file=secret, clock=clock)
    assert value(metrics.KEYS_RELOAD_TIME) == 1000.0
    clock.now = 2000.0
    secret.write_bytes(b"")
    ring.look()
    assert (value(metrics.KEYS_RELOAD_TIME), value(metrics.KEYS_RELOAD_OK)) == (1000.0, 0)
    replace(secret, B)
    ring.look()
    assert (value(metrics.KEYS_RELOAD_TIME), value(metrics.KEYS_RELOAD_OK)) == (2000.0, 1)


def test_a_swap_that_changes_a_value_and_no_name(mount):
    ring = Ring(directory=mount.path)
    mount.swap({"2024": C, "2025": B})
    assert ring.look().keys == {"2024": C, "2025": B}


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda mount: mount.swap({}), "no usable key"),
        (lambda mount: mount.swap({"2024": b"", "2025": b"short"}), "no usable key"),
        (lambda mount: shutil.rmtree(mount.path), "can't be read"),
        (lambda mount: (mount.path / "..data").unlink(), "can't be read"),
        (lambda mount: (mount.path / "..data" / "broken").symlink_to("nowhere"), "can't be read"),
        (lambda mount: (shutil.rmtree(mount.path), mount.path.write_bytes(A)), "can't be read"),
    ],
    ids=["emptied", "all too short", "vanished", "without ..data", "an entry that leads nowhere", "a file"],
)
def test_a_mounted_secret_that_is_spoilt_keeps_the_last_good_keys(mount, spoil, words):
    ring = Ring(directory=mount.path)
    spoil(mount)
    assert ring.look().keys == {"2024": A, "2025": B}
    (line,) = ring.log
    assert line["log_level"] == "error"
    assert words in line["error"]
    assert line["key_ids"] == ["2024", "2025"]
    assert value(metrics.KEYS_RELOAD_OK) == 0
    assert ring.look().log == []
    if mount.path.is_file():
        mount.path.unlink()
    if not mount.path.exists():
        mount.path.mkdir()
    if not (mount.path / "..data").exists():
        mount.version = 0
        for stale in mount.path.iterdir():
            stale.unlink() if stale.is_symlink() else shutil.rmtree(stale)
    mount.swap({"2026": C})
    assert ring.look().keys == {"2026": C}
    assert value(metrics.KEYS_RELOAD_OK) == 1


def test_of_several_sources_one_that_is_spoilt_keeps_all_the_last_good_keys(secret, mount):
    ring = Ring(file=secret, directory=mount.path)
    mount.swap({"2026": C})
    secret.unlink()
    assert ring.look().keys == {"secret": A, "2024": A, "2025": B}
    assert ring.levels == ["error"]


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_the_first_reading_may_fail_and_says_so(tmp_path, kind):
    with pytest.raises(KeySourceError, match="can't be read"):
        Ring(**{kind: tmp_path / "nothing"})


def test_callers_at_the_same_time_share_one_look(secret):
    ring = Ring(file=secret)
    replace(secret, B)
    looks = []
    original = ring.ring._reloader._look_at

    def counted():
        looks.append(threading.current_thread() is threading.main_thread())
        return original()

    ring.ring._reloader._look_at = counted

    async def several():
        await asyncio.gather(*(ring.ring.look() for _ in range(20)))

    asyncio.run(several())
    assert looks == [False]  # once, and not on the event loop's thread
    assert ring.keys == {"secret": B}
    asyncio.run(several())
    assert len(looks) == 2


def test_a_caller_that_gives_up_does_not_end_the_look_of_the_others(secret):
    ring = Ring(file=secret)
    replace(secret, B)

    async def one_leaves():
        first, second = (asyncio.ensure_future(ring.ring.look()) for _ in range(2))  # noqa: TID251
        await asyncio.sleep(0)
        first.cancel()
        await second
        assert first.cancelled()

    asyncio.run(one_leaves())
    assert ring.keys == {"secret": B}


def test_it_looks_again_for_ever(secret, monkeypatch):
    ring = Ring(file=secret)
    waited = []

    class Stop(Exception):
        pass

    async def sleep(seconds):
        waited.append(seconds)
        if len(waited) == 2:
            await asyncio.to_thread(replace, secret, B)
        if len(waited) == 4:
            raise Stop

    monkeypatch.setattr(reload.asyncio, "sleep", sleep)
    with pytest.raises(Stop):
        asyncio.run(ring.ring.keep_fresh())
    assert waited == [1.0] * 4
    assert ring.keys == {"secret": B}
