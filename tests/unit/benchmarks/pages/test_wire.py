from __future__ import annotations

from benchmarks.pages.wire import Received, received


def told(name, number, **more):
    return {"method": f"Network.{name}", "params": {"requestId": number, **more}}


def fetched(number, *, url="http://127.0.0.1/page", wire=100, plain=(200, 50), from_disk=False):
    return [
        told("requestWillBeSent", number, request={"url": url}),
        told("responseReceived", number, response={"fromDiskCache": from_disk}),
        *(told("dataReceived", number, dataLength=size) for size in plain),
        told("loadingFinished", number, encodedDataLength=wire),
    ]


def test_what_came_is_summed_over_all_answers():
    assert received([*fetched("1"), *fetched("2", wire=7, plain=[9])]) == Received(107, 259)


def test_what_came_from_a_cache_or_an_address_itself_did_not_come_over_the_wire():
    from_memory = [*fetched("3"), told("requestServedFromCache", "3")]
    data = fetched("4", url="data:,", wire=5)
    assert received([*fetched("1"), *fetched("2", from_disk=True), *from_memory, *data]) == Received(100, 250)


def test_what_has_no_request_is_nobody_s():
    assert received([{"method": "Network.policyUpdated", "params": {}}, told("webSocketCreated", "9")]) == Received(
        0, 0
    )
