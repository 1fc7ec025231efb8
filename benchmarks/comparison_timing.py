"""Does the time that a wrong signature takes tell how much of it is right? ``python benchmarks/comparison_timing.py``

Signatures that are wrong from the first digit, from the middle, and in the last digit only are verified in turn, in
random order, many times each; Welch's t compares their times, extreme ones cut off. Were the comparison to stop at the
first difference, the later it is the longer it would take: |t| would grow with the number of rounds. Under about 4.5
nothing can be told (the bound that leakage tests such as dudect use).

For comparison the same is done with ``==`` on digests of 4,096 equal bytes and a difference at either end, which shows
that the method finds a leak where there is one.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import random
import statistics
import time
from functools import partial

from k8s_ws_proxy.errors import CredentialRefused
from k8s_ws_proxy.wire.requests.signing import Key, signed_headers, verify

PATH = "/proxy/exec/default/web/web"
NOW = 1_700_000_000
KEY = Key("secret", b"3q2+7wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")


def wrong_at(signature, index):
    """``signature`` with another digit at ``index``."""
    other = (int(signature[index], 16) + random.randrange(1, 16)) % 16
    return f"{signature[:index]}{other:x}{signature[index + 1 :]}"


def times(classes, rounds):
    """Nanoseconds of a call of each class, in random order; each class makes what it is called with anew."""
    measured = {name: [] for name in classes}
    names = list(classes)
    for _ in range(rounds):
        random.shuffle(names)
        for name in names:
            prepare, call = classes[name]
            value = prepare()
            begin = time.perf_counter_ns()
            call(value)
            measured[name].append(time.perf_counter_ns() - begin)
    return measured


def welch(one, other):
    """Welch's t of the two, without their slowest tenth."""
    cut = sorted(one + other)[int(0.9 * (len(one) + len(other)))]
    one, other = ([value for value in values if value <= cut] for values in (one, other))
    error = statistics.variance(one) / len(one) + statistics.variance(other) / len(other)
    return (statistics.fmean(one) - statistics.fmean(other)) / error**0.5


def report(title, classes, rounds):
    measured = times(classes, rounds)
    print(f"{title}, {rounds} rounds")
    names = list(classes)
    for name in names:
        print(f"  {name:32} median {statistics.median(measured[name]):8.0f} ns")
    for name in names[1:]:
        print(f"  {names[0]} / {name}: t = {welch(measured[names[0]], measured[name]):+.2f}")


def verifying(timestamp):
    def call(signature):
        with contextlib.suppress(CredentialRefused):
            verify([timestamp], [signature], path=PATH, keys=[KEY], now=NOW, skew=300)

    return call


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200_000)
    rounds = parser.parse_args().rounds
    timestamp, right = signed_headers(KEY.secret, PATH, NOW).values()
    gc.disable()
    call = verifying(timestamp)
    places = {"wrong in the first digit": 0, "wrong in the middle": 32, "wrong in the last digit": 63}
    report("verify()", {name: (partial(wrong_at, right, at), call) for name, at in places.items()}, rounds)
    equal = b"x" * 4096
    ends = {"first byte": b"y" + equal[1:], "last byte": equal[:-1] + b"y"}
    report(
        "==, for comparison",
        {name: (lambda end=end: bytes(bytearray(end)), equal.__eq__) for name, end in ends.items()},
        rounds,
    )


if __name__ == "__main__":
    main()
