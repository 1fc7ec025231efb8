"""The proxies' pods, and what each was last heard to say of its keys."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from k8s_ws_proxy.rfc3339 import unix

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping


@dataclass(frozen=True, slots=True)
class Pod:
    """One that runs; ``node`` is where."""

    uid: str
    name: str
    node: str


@dataclass(frozen=True, slots=True)
class Report:
    """What a pod said of its keys. Times are Unix seconds by the apiserver's clock.

    ``asked``: when the question was sent, so that all until then is in it. ``keys``: by fingerprint, when each was
    last used since ``started``, None for never.
    """

    asked: float
    started: float
    keys: Mapping[str, float | None]


@dataclass(slots=True)
class Fleet:
    """All pods that run now. ``starting`` counts those that don't yet: they read the Secret when they start.

    ``silent`` says, by a pod's uid, why its last answer couldn't be had. A pod's answer is kept while the pod runs: a
    Secret that it has mounted stays mounted.
    """

    pods: tuple[Pod, ...] = ()
    starting: int = 0
    reports: dict[str, Report] = field(default_factory=dict)
    silent: dict[str, str] = field(default_factory=dict)
    tried: dict[str, float] = field(default_factory=dict)  # when each was last asked, by the apiserver's clock

    def now_runs(self, pods: Iterable[Pod], starting: int) -> None:
        """Take a new list of pods; what those said that are gone is forgotten."""
        self.pods = tuple(sorted(pods, key=lambda pod: (pod.node, pod.name)))
        self.starting = starting
        here = {pod.uid for pod in self.pods}
        for kept in (self.reports, self.silent, self.tried):
            for gone in kept.keys() - here:
                del kept[gone]

    def answered(self, pod: Pod, report: Report) -> None:
        """The pod said this."""
        self.tried[pod.uid] = report.asked
        self.reports[pod.uid] = report
        self.silent.pop(pod.uid, None)

    def didnt_answer(self, pod: Pod, why: str, asked: float) -> None:
        """The pod could not be asked. What it said before stands."""
        self.tried[pod.uid] = asked
        self.silent[pod.uid] = why

    def counted(self, waived: Collection[str]) -> list[Pod]:
        """The pods on nodes that nobody has waived."""
        return [pod for pod in self.pods if pod.node not in waived]

    def last_used(self, fingerprint: str) -> float | None:
        """When any of the pods last let somebody in by this key."""
        uses = (report.keys.get(fingerprint) for report in self.reports.values())
        return max((use for use in uses if use is not None), default=None)


class NotAReportError(ValueError):
    """A pod's answer isn't what ``/keys`` says."""


def parse_report(body: bytes, *, asked: float, answered: float) -> Report:
    """``/keys``, asked for and answered at these times. Raises NotAReportError.

    The pod's own times are taken as ages, by the ``now`` it tells, so that its clock may be off. A key without a
    fingerprint is too short to be one of a rotation's.
    """
    try:
        told = json.loads(body)
        ahead = unix(told["now"]) - answered if "now" in told else 0.0
        keys = {
            str(key["fingerprint"]): None if key["last_used"] is None else unix(key["last_used"]) - ahead
            for key in told["keys"]
            if key["fingerprint"] is not None
        }
        return Report(asked=asked, started=unix(told["started"]) - ahead, keys=keys)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise NotAReportError(str(error)) from error


def parse_pods(
    items: Iterable[Mapping[str, Any]], *, owner: str | None, leaving: bool = False
) -> tuple[list[Pod], int]:
    """Those of a PodList's items that run, and how many are still starting; ``owner``: only that DaemonSet's, by uid.

    A pod that is being deleted takes no new sessions, and one that has ended doesn't either. But it may still have
    some: with ``leaving`` it is among those that run.
    """
    pods, starting = [], 0
    for item in items:
        metadata, status = item["metadata"], item.get("status") or {}
        owners = {one.get("uid") for one in metadata.get("ownerReferences") or () if one.get("controller")}
        if (owner is not None and owner not in owners) or (metadata.get("deletionTimestamp") and not leaving):
            continue
        if status.get("phase") == "Running":
            node = (item.get("spec") or {}).get("nodeName") or "?"
            pods.append(Pod(str(metadata["uid"]), str(metadata["name"]), str(node)))
        elif status.get("phase") == "Pending":
            starting += 1
    return pods, starting
