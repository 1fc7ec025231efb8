"""What a page has fetched by HTTP, from what Chromium tells of its network."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Received:
    """Bytes: of the answers as they came, heads included, and of their bodies unpacked."""

    wire: int
    plain: int

    def __add__(self, other: "Received") -> "Received":
        return Received(self.wire + other.wire, self.plain + other.plain)


def received(events: Iterable[dict[str, Any]]) -> Received:
    """By all answers that came from a server: what the browser had already, or a `data:` URL holds, isn't counted."""
    asked: set[str] = set()
    wire: dict[str, int] = {}
    plain: dict[str, int] = {}
    for event in events:
        told = event["params"]
        request = told.get("requestId", "")
        match event["method"]:
            case "Network.requestWillBeSent" if told["request"]["url"].startswith("http"):
                asked.add(request)
            case "Network.requestServedFromCache":
                asked.discard(request)
            case "Network.responseReceived" if told["response"].get("fromDiskCache"):
                asked.discard(request)
            case "Network.dataReceived":
                plain[request] = plain.get(request, 0) + told["dataLength"]
            case "Network.loadingFinished":
                wire[request] = int(told["encodedDataLength"])
    return Received(sum(wire.get(each, 0) for each in asked), sum(plain.get(each, 0) for each in asked))
