"""Real programs on real terminals: who joins late sees what is on the screen of who was there from the beginning."""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from urllib.parse import urlencode

import pyte
import pytest
from aiohttp.test_utils import make_mocked_request
from support.watched import Peer, connection

from k8s_ws_proxy import settings
from k8s_ws_proxy.auth.principal import Mode, Principal
from k8s_ws_proxy.kube.access import Access
from k8s_ws_proxy.kube.apiserver import Apiserver
from k8s_ws_proxy.kube.pods import Defaults
from k8s_ws_proxy.relay.read_budget import ReadBudget
from k8s_ws_proxy.relay.stream import Stream
from k8s_ws_proxy.sessions.quotas import quotas
from k8s_ws_proxy.sessions.record import WatchMode
from k8s_ws_proxy.sessions.registry import Registry
from k8s_ws_proxy.sessions.watching import Watching
from k8s_ws_proxy.web.call import Call
from k8s_ws_proxy.web.opening import Opening
from k8s_ws_proxy.web.plan import PlanParts
from k8s_ws_proxy.web.terminals import TerminalPlan
from k8s_ws_proxy.web.turns import Turns
from k8s_ws_proxy.web.upgrade import Offer
from k8s_ws_proxy.web.watch import WatchPlan
from k8s_ws_proxy.wire.framing.channels import RESIZE, STATUS, STDIN, STDOUT, V5, terminal_size
from k8s_ws_proxy.wire.requests.target import parse_path, parse_target

OFFER = Offer("dGhlIHNhbXBsZSBub25jZQ==", V5)


class ACall(Call):
    """One whose client is an end of a connection."""

    @property
    def peer(self):
        return "127.0.0.1"

    def hijack(self):
        return Stream(self.request.near, asyncio.get_running_loop()), b""


class Screen(pyte.Screen):
    """pyte's, which doesn't know that vim asks for some colours' private forms."""

    def select_graphic_rendition(self, *attrs, private=False):
        if not private:
            super().select_graphic_rendition(*attrs)


class Person:
    """Somebody at a terminal of their own, and what is on its screen."""

    def __init__(self, far):
        self.peer = Peer(far, masks=True)
        self.screen = Screen(80, 24)
        self._terminal = pyte.ByteStream(self.screen)
        self.size = None
        self.status = b""
        self.changed = asyncio.Event()
        self.looking = asyncio.get_running_loop().create_task(self._look())

    async def _look(self):
        while (said := await self.peer.message()) is not None:
            channel, data = said
            if channel == STDOUT:
                self._terminal.feed(data)
            elif channel == RESIZE:
                self.size = terminal_size(data)
                self.screen.resize(self.size[1], self.size[0])
            elif channel == STATUS:
                self.status = data
            self.changed.set()
        self.changed.set()

    @property
    def shown(self):
        """The lines, and where the cursor is."""
        return self.screen.display, (self.screen.cursor.x, self.screen.cursor.y)

    async def type(self, text):
        await self.peer.say(STDIN, text.encode())

    async def resize(self, columns, rows):
        self.screen.resize(rows, columns)
        await self.peer.say(RESIZE, b'{"Width":%d,"Height":%d}' % (columns, rows))

    async def until(self, seen):
        """Wait until this is so. The test's time-out bounds the wait; what was seen until then is shown with it."""
        while not seen():
            assert not self.looking.done() or not self.looking.exception()
            self.changed.clear()
            await self.changed.wait()

    async def sees(self, text):
        await self.until(lambda: any(text in line for line in self.screen.display))


class House:
    """The daemon's parts before the embedded cluster, and its sessions."""

    def __init__(self, kubeconfig):
        loop = asyncio.get_running_loop()
        self.access = Access({"KUBECONFIG": str(kubeconfig)})
        self.apiserver = Apiserver(self.access)
        self.registry = Registry(quotas(99), loop.time)
        self.budget = ReadBudget(loop.time)
        self.parts = PlanParts(
            settings.parse({"SHARED_SECRET_FILE": "-"})[0], self.apiserver, Defaults(time.monotonic), None, self.budget
        )
        self.opening = Opening(self.registry, self.budget, Turns(), ping_period=30.0, limits=None)
        self.watching = Watching(loop, notices=False)
        self.people = []

    def _call(self, path, user):
        near, far = connection(small=False)
        request = make_mocked_request("GET", path)
        request.near = near
        now = asyncio.get_running_loop().time()
        principal = Principal(Mode.RFC9421, "2025", user=user)
        return ACall(request, parse_path(path), principal, self.apiserver, now, 60.0), far

    async def open(self, *command, size=(80, 24)):
        """A terminal in a container."""
        self.path = "/proxy/exec/default/shell/shell?" + urlencode([("command", word) for word in command])
        call, far = self._call(self.path, "owner")
        plan = TerminalPlan(self.parts, call, parse_target(call.route, self.path), OFFER)
        await self.opening.open(plan)
        (self.slot,) = self.registry.open_slots()
        self.people.append(owner := Person(far))
        if size is not None:
            await owner.resize(*size)
        return owner

    async def join(self, mode=WatchMode.OBSERVE):
        """Somebody joins it."""
        call, far = self._call(self.path, "bob")
        await self.opening.open(WatchPlan(self.parts, call, OFFER, self.slot, mode, self.watching))
        self.people.append(joiner := Person(far))
        return joiner

    async def same(self, owner, joiner):
        """Wait until both see the same, and see it still a little later."""
        alike = 0
        while alike < 3:
            await asyncio.sleep(0.05)
            alike = alike + 1 if owner.shown == joiner.shown else 0

    async def close(self):
        for person in self.people:
            sys.stderr.write("\n".join([*person.screen.display, f"{person.shown[1]}\n"]))  # shown with a failure
            person.looking.cancel()
            person.peer.sock.close()
        await asyncio.gather(*(person.looking for person in self.people), return_exceptions=True)
        while self.registry.open:  # noqa: ASYNC110 - they are given back in passing
            await asyncio.sleep(0.01)


@pytest.fixture
async def house(cluster, tmp_path):
    house = House(cluster.write_kubeconfig(tmp_path / "kubeconfig", "proxy"))
    await house.access.reread()
    yield house
    await house.close()


async def joins(house, owner, *, cut=False):
    """Somebody joins, and soon sees what the owner sees; if it is ``cut``, not all was there to be shown again."""
    assert house.slot.bridge.fanout._tail.replay()[1] is not cut
    joiner = await house.join()
    await house.same(owner, joiner)
    assert joiner.size == (owner.screen.columns, owner.screen.lines)
    return joiner


async def shell(house, **options):
    owner = await house.open("env", "PS1=$ ", "TERM=xterm", "sh", **options)
    await owner.sees("$ ")
    return owner


async def test_a_shell_that_has_said_little(house):
    owner = await shell(house)
    await owner.type("echo one; echo two\r")
    await owner.sees("two")
    joiner = await joins(house, owner)
    await owner.type("echo th''ree\r")
    await joiner.sees("three")
    await house.same(owner, joiner)


async def test_a_shell_after_ten_thousand_lines(house):
    owner = await shell(house, size=(132, 43))
    await owner.type("seq -f 'line %g, which is a long one' 10000; echo do''ne\r")
    await owner.sees("done")
    await joins(house, owner, cut=True)


@pytest.mark.slow
async def test_a_shell_after_one_large_block(house):
    owner = await shell(house)
    await owner.type("head -c 1000000 /dev/zero | tr '\\0' x | fold -w 99; echo; echo do''ne\r")
    await owner.sees("done")
    await joins(house, owner, cut=True)


@pytest.mark.parametrize("much", [False, True], ids=["from its beginning", "after much else"])
async def test_an_editor(house, tmp_path, much):
    file = tmp_path / "file"
    file.write_text("".join(f"{number} bottles of beer\n" for number in range(2000)))
    owner = await shell(house, size=(100, 30))
    # By a short name: it is said in a line, and one that doesn't fit has to be answered.
    await owner.type(f"cd {file.parent}; vi -u NONE {file.name}\r")
    await owner.sees("0 bottles of beer")
    await owner.type(":set number\r500G")
    await owner.sees("499 bottles")
    if much:
        for number in itertools.chain(range(1, 1900, 8), [1234]):
            await owner.type(f"{number}G")
            await owner.sees(f"{number - 1} bottles")
    await owner.type("cwchanged")
    await owner.sees("changed")
    await joins(house, owner, cut=much)


async def test_top(house):
    owner = await shell(house)
    await owner.type("top -d 0.5\r")
    await owner.sees("load average")
    await joins(house, owner)


async def test_a_pager_after_much_else(house, tmp_path):
    file = tmp_path / "file"
    file.write_text("".join(f"{number} bottles of beer\n" for number in range(5000)))
    owner = await shell(house)
    await owner.type(f"less {file}\r")
    await owner.sees("0 bottles of beer")
    for number in [*range(1, 4000, 25), 4444]:
        await owner.type(f"{number}g")
        await owner.sees(f"{number - 1} bottles")
    await joins(house, owner, cut=True)


@pytest.mark.parametrize("steps", [100, 9000])
async def test_a_progress_bar_on_one_line(house, steps):
    owner = await shell(house)
    await owner.type("echo this goes before\r")
    bar = f"i=0; while [ $i -lt {steps} ]; do i=$((i+1)); printf '\\r%d of {steps}' $i; done; sleep 99\r"
    await owner.type(bar)
    await owner.sees(f"{steps} of {steps}")
    joiner = await joins(house, owner, cut=steps > 100)
    await joiner.sees("this goes before")


async def test_the_client_s_size_follows(house):
    owner = await shell(house)
    joiner = await joins(house, owner)
    await owner.resize(100, 40)
    await joiner.until(lambda: joiner.size == (100, 40))


async def test_where_the_client_says_no_size_the_terminal_has_the_peer_s(house):
    """By the kernel's word for the pty in which the command runs, and by the signal that its program gets."""
    script = (
        "trap 'echo size=$(stty size)' WINCH; echo ready; while :; do read line && echo $line size=$(stty size); done"
    )
    owner = await house.open("sh", "-c", script, size=None)
    await owner.sees("ready")
    await owner.type("\r")
    await owner.sees("size=0 0")
    peer, watcher = await house.join(WatchMode.PEER), await house.join()
    await peer.resize(101, 31)
    await owner.sees("size=31 101")
    for size in ((90, 20), (77, 33)):
        await peer.resize(*size)
    await owner.sees("size=33 77")
    for each in (peer, watcher):
        await each.until(lambda each=each: each.size == (77, 33))
    peer.peer.sock.close()
    await owner.type("\r")
    await watcher.sees("size=33 77")
    other = await house.join(WatchMode.PEER)
    await other.resize(120, 40)
    await owner.sees("size=40 120")
    await owner.resize(80, 24)
    await owner.sees("size=24 80")
    await other.resize(50, 10)
    await other.type("last\r")
    for each in (other, watcher):
        await each.sees("last size=24 80")
        assert each.size == (80, 24)
    assert not any("size=10 50" in line for line in owner.screen.display)


async def test_a_peer_types_into_an_editor_and_ends_the_shell(house):
    owner = await shell(house)
    await owner.type("vi -u NONE\r")
    await owner.sees("~")
    peer = await house.join(WatchMode.PEER)
    await peer.sees("~")
    await peer.type("ihello from afar\x1b")
    await owner.sees("hello from afar")
    await house.same(owner, peer)
    await peer.type(":q!\r")
    await owner.sees("$ ")
    await owner.type("exit 7\r")
    await peer.until(lambda: peer.status)
    await owner.until(lambda: owner.status)
    assert peer.status == owner.status
    assert b'"message": "7"' in owner.status or b'"message":"7"' in owner.status
