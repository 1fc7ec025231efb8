"""Whatever happens on the way, a rotation refuses nobody, makes one key, and ends: the core in a world of virtual time.

Each node has a kubelet that is late, and a caller that calls now and then with the key it read some time ago. Pods
come, go, restart and fall silent; operators stop and others take over, much later; somebody else writes the Secret.
Where callers have entries of their own, these are rotated at the same time.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import math
from dataclasses import dataclass
from operator import itemgetter
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from support.rotating import KEYS, PRINTS, ROTATE, Secret

from k8s_ws_proxy.errors import RotationRefused
from k8s_ws_proxy.rotation.fleet import Fleet, Pod, Report
from k8s_ws_proxy.rotation.plan import Done, Replace, Stage, Wait, decide
from k8s_ws_proxy.rotation.record import Phase

OVERLAP = 600.0
BEGAN = 1_735_689_600.0
FAR = BEGAN + 100 * OVERLAP


@dataclass
class Node:
    """One pod's life, with the kubelet and the caller beside it."""

    name: str
    kubelet: float
    caller: float
    every: float
    entry: str
    caller_born: float
    born: float
    started: float
    died: float = FAR
    silent_until: float = 0.0


class World:
    """The Secret as it was at each time, and the nodes that there ever were."""

    def __init__(self, random, *others):
        self.random = random
        self.now = BEGAN
        self.entries = ("secret", *others)
        self.secret = Secret(secret=KEYS[0], **{name: KEYS[-number] for number, name in enumerate(others, 1)})
        self.past = [(0.0, self.secret.keys)]
        self.numbers = itertools.count()
        self.nodes = [self.new_node() for _ in range(random.randint(1, 6))]
        self.gone = []

    def new_node(self, before=None):
        late = self.random.choice([0.0, 5.0, 60.0, 119.0])
        if before:
            caller, every, entry, since = before.caller, before.every, before.entry, before.caller_born
        else:
            # A caller may be later than any overlap: its use is what keeps the old key.
            caller = self.random.choice([0.0, 30.0, OVERLAP * 0.9, OVERLAP * 2.5])
            every, since = self.random.choice([7.0, OVERLAP * 0.8]), self.now
            entry = self.random.choice(self.entries)
        return Node(f"n{next(self.numbers)}", late, caller, every, entry, since, self.now, self.now)

    def as_of(self, when):
        return self.past[bisect.bisect_right(self.past, when, key=itemgetter(0)) - 1][1]

    def accepts(self, node, when):
        """What its pod has mounted: new when it was born, late from then on."""
        return self.as_of(max(node.born, when - node.kubelet)).values()

    def signs_with(self, node, when):
        return self.as_of(max(node.caller_born, when - node.caller))[node.entry]

    def calls(self, node):
        """When its caller called this pod."""
        ends = min(node.died, self.now)
        first = math.ceil((node.born - node.caller_born) / node.every)
        times = (node.caller_born + number * node.every for number in itertools.count(first))
        return list(itertools.takewhile(lambda when: when < ends, times))

    def report(self, node):
        uses = {self.signs_with(node, when): when for when in self.calls(node) if when >= node.started}
        keys = {PRINTS[KEYS.index(key)]: uses.get(key) for key in self.accepts(node, self.now)}
        return Report(asked=self.now, started=node.started, keys=keys)

    def wrote(self):
        self.past.append((self.now, self.secret.keys))

    def something_happens(self):
        """To the nodes."""
        node = self.random.choice(self.nodes)
        match self.random.randint(0, 9):
            case 0:  # its container restarts: it forgets, and its mount stays
                node.started = self.now
            case 1:  # its pod is replaced; the caller is who it was
                node.died = self.now
                self.gone.append(node)
                self.nodes[self.nodes.index(node)] = self.new_node(node)
            case 2:
                self.nodes.append(self.new_node())
            case 3 if len(self.nodes) > 1:
                node.died = self.now
                self.gone.append(node)
                self.nodes.remove(node)
            case 4:
                node.silent_until = self.now + self.random.choice([10.0, 300.0])
            case _:
                pass

    def assert_nobody_was_refused(self, *entries):
        for node in self.nodes + self.gone:
            if node.entry not in (entries or self.entries):
                continue
            for when in self.calls(node):
                assert self.signs_with(node, when) in self.accepts(node, when), (node, when - BEGAN)


class Operator:
    """What run.py does, one turn at a time."""

    def __init__(self, world, key="secret", intent=ROTATE):
        self.world = world
        self.key = key
        self.intent = intent
        self.fleet = Fleet()

    def turn(self):
        """Look, ask, decide, do: how long to wait, or None when it is done."""
        world = self.world
        state = world.secret.state(self.key)
        self.fleet.now_runs([Pod(node.name, node.name, node.name) for node in world.nodes], 0)
        began = world.now
        step = decide(state, self.fleet, self.intent, now=world.now)
        while isinstance(step, Wait):
            pods = [pod for pod in step.ask if self.fleet.tried.get(pod.uid, 0.0) < began]
            if not pods:
                break
            for pod in pods:
                self.ask(pod)
            step = decide(state, self.fleet, self.intent, now=world.now)
        under_way = state.record is not None and state.record.phase is not Phase.DONE
        if self.intent.id is None and under_way and not isinstance(step, Stage | Replace):
            self.intent = dataclasses.replace(self.intent, id=state.record.id, since=world.now)
        if isinstance(step, Done):
            return None
        if isinstance(step, Wait):
            return step.pause
        if world.random.random() < 0.2:  # somebody else was faster, and the patch is a conflict
            world.secret.touch()
            return 0.0
        patch = world.secret.carry_out(step, self.intent, now=world.now, overlap=OVERLAP, key=self.key)
        world.wrote()
        if isinstance(step, Stage | Replace):
            self.intent = dataclasses.replace(self.intent, id=patch.record.id, since=world.now, immediate=False)
        return 0.0

    def ask(self, pod):
        self.world.now += self.world.random.choice([0.0, 0.01, 3.0])
        node = next(node for node in self.world.nodes if node.name == pod.uid)
        if node.silent_until > self.world.now:
            self.fleet.didnt_answer(pod, "silent", self.world.now)
        else:
            self.fleet.answered(pod, self.world.report(node))


@settings(max_examples=200)
@given(st.integers(0, 2**32))
def test_nobody_is_refused_whatever_happens(seed):
    random = Random(seed)
    world = World(random)
    operators = [Operator(world) for _ in range(random.randint(1, 2))]
    done = 0
    for turn in range(3000):
        operator = random.choice(operators)
        pause = operator.turn()
        if pause is None:
            operators.remove(operator)
            done += 1
            if not operators:
                break
            continue
        world.now += pause + random.choice([0.0, 0.3])
        if turn < 400 and random.random() < 0.15:
            world.something_happens()
        if turn < 400 and random.random() < 0.1:  # it is stopped, and somebody begins anew
            world.now += random.choice([0.0, OVERLAP, 3 * OVERLAP])
            if random.random() < 0.5:
                world.something_happens()
            operators[operators.index(operator)] = Operator(world)
    world.now += 1000.0
    world.assert_nobody_was_refused()
    assert done, "it never ended"
    assert world.secret.state().record.phase is Phase.DONE
    assert set(world.secret.keys) == {"secret"}


@settings(max_examples=100)
@given(st.integers(0, 2**32), st.booleans())
def test_entries_are_rotated_at_the_same_time_and_a_leaked_key_is_refused_to_its_own_callers_only(seed, leaks):
    random = Random(seed)
    world = World(random, "billing")
    operators = [Operator(world), Operator(world, "billing")]
    leak = random.randint(0, 60) if leaks else None
    for turn in range(3000):
        if turn == leak:
            operators.append(Operator(world, "billing", dataclasses.replace(ROTATE, immediate=True)))
        operator = random.choice(operators)
        try:
            pause = operator.turn()
        except RotationRefused as refused:
            if not leaks or operator.key != "billing" or "somebody else has begun another" not in str(refused):
                raise
            pause = None
        if pause is None:
            operators.remove(operator)
            if not operators and turn >= (leak or 0):
                break
            operators = operators or [Operator(world)]
            continue
        world.now += pause + random.choice([0.0, 0.3])
        if turn < 400 and random.random() < 0.15:
            world.something_happens()
        if turn < 400 and random.random() < 0.1:
            world.now += random.choice([0.0, OVERLAP, 3 * OVERLAP])
            operators[operators.index(operator)] = Operator(world, operator.key)
    world.now += 1000.0
    world.assert_nobody_was_refused(*(["secret"] if leaks else []))
    records = world.secret.state().records
    assert {record.key: record.phase for record in records} == dict.fromkeys(world.entries, Phase.DONE)
    assert set(world.secret.keys) == {"secret", "billing"}
