"""What the core of a rotation is tested with: a Secret that takes patches, and pods that say what they like."""

from __future__ import annotations

import base64
import json
from typing import Any

from k8s_ws_proxy.rotation import state as states
from k8s_ws_proxy.rotation.fleet import Fleet, Pod, Report
from k8s_ws_proxy.rotation.plan import Finish, Intent, Promote, Remember, Remove, Replace, Stage, Step, Verb, decide
from k8s_ws_proxy.wire.requests.signing import key_fingerprint

KEYS = [f"key number {number:2} of thirty-two bytes.".encode() for number in range(40)]
PRINTS = [key_fingerprint(key) for key in KEYS]


def b64(key: bytes) -> str:
    """As a Secret's data has it."""
    return base64.b64encode(key).decode()


class Secret:
    """A Secret in the API's JSON. A patch with an old resourceVersion is a conflict, and changes nothing."""

    def __init__(self, **entries: bytes) -> None:
        self.object: dict[str, Any] = {
            "metadata": {"name": "hmac", "resourceVersion": "1"},
            "data": {name: b64(key) for name, key in entries.items()},
        }
        self.made = 1  # keys that were generated

    @property
    def keys(self) -> dict[str, bytes]:
        """Its entries."""
        return {name: base64.b64decode(value) for name, value in self.object["data"].items()}

    @property
    def annotations(self) -> dict[str, str]:
        """As the API has them."""
        return self.object["metadata"].setdefault("annotations", {})

    def state(self, key: str = "secret") -> states.State:
        """As the core reads it, who rotates the entry ``key``."""
        return states.read(json.loads(json.dumps(self.object)), key)

    def patch(self, patch: states.Patch) -> bool:
        """Whether it was taken."""
        metadata = patch.body["metadata"]
        if metadata["resourceVersion"] != self.object["metadata"]["resourceVersion"]:
            return False
        for held, changes in (
            (self.annotations, metadata["annotations"]),
            (self.object["data"], patch.body.get("data")),
        ):
            for name, value in (changes or {}).items():
                if value is None:
                    held.pop(name, None)
                else:
                    held[name] = value
        self.touch()
        return True

    def touch(self) -> None:
        """Another version."""
        self.object["metadata"]["resourceVersion"] = str(int(self.object["metadata"]["resourceVersion"]) + 1)

    def carry_out(
        self, step: Step, intent: Intent, *, now: float, overlap: float = 600.0, key: str = "secret"
    ) -> states.Patch:
        """The patch for a step of the entry ``key``, sent; a new key is the next of KEYS, and its id the rotation's."""
        state = self.state(key)
        match step:
            case Stage():
                new, id_ = self._next()
                patch = states.stage(state, new, id_=id_, until=intent.until, overlap=overlap, now=now)
            case Replace():
                new, id_ = self._next()
                patch = states.replace_at_once(state, new, id_=id_, now=now)
            case Promote():
                patch = states.promote(state, until=intent.until, overlap=overlap, now=now)
            case Remember(last_used):
                patch = states.remember(state, last_used)
            case Remove():
                patch = states.retire(state, now=now)
            case Finish():
                patch = states.finish(state, now=now)
            case _:
                raise AssertionError(step)
        assert self.patch(patch)
        return patch

    def _next(self) -> tuple[bytes, str]:
        key = KEYS[self.made]
        self.made += 1
        return key, f"rotation-{self.made}"


def fleet(*nodes: str) -> Fleet:
    """A pod on each of these nodes, none of which has said anything."""
    made = Fleet()
    made.now_runs([Pod(f"uid-{node}", f"pod-{node}", node) for node in nodes], 0)
    return made


def says(
    of: Fleet, node: str, *keys: int, at: float, started: float = 0.0, used: dict[int, float] | None = None
) -> None:
    """The pod on ``node`` answers at ``at`` that it accepts the keys of these numbers, last used so."""
    pod = next(pod for pod in of.pods if pod.node == node)
    uses = used or {}
    of.answered(pod, Report(asked=at, started=started, keys={PRINTS[key]: uses.get(key) for key in keys}))


ROTATE = Intent(Verb.ROTATE)
RETIRE = Intent(Verb.RETIRE)

__all__ = ["KEYS", "PRINTS", "RETIRE", "ROTATE", "Secret", "b64", "decide", "fleet", "says"]
