"""Every attack, in the order of the table. The first line of its docstring is what the table says of it."""

from benchmarks.siege.attacks import callers, containers, operators, strangers
from benchmarks.siege.attacks.base import Attack

ALL: dict[str, Attack] = {
    attack.name: attack
    for group in (strangers.ATTACKS, callers.ATTACKS, operators.ATTACKS, containers.ATTACKS)
    for attack in group
}
