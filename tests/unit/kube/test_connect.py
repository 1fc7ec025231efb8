"""A connection to the apiserver: by address or by name, and what is said where there is none."""

from __future__ import annotations

import asyncio
import errno
import socket

import pytest

from k8s_ws_proxy.kube.config import Endpoint
from k8s_ws_proxy.kube.connect import connect


def endpoint(host, port):
    return Endpoint(host, port, "", host, None, None)


@pytest.fixture(params=["127.0.0.1", "::1"])
def listener(request):
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.create_server((request.param, 0), family=family) as made:
        yield made


async def test_by_address_nothing_is_looked_up(listener, monkeypatch):
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", None)
    host, port = listener.getsockname()[:2]
    stream = await connect(endpoint(host, port))
    with listener.accept()[0] as peer:
        assert stream.write(b"x") == 1
        assert peer.recv(2) == b"x"
    stream.close()


async def test_by_name():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stream = await connect(endpoint("localhost", listener.getsockname()[1]))
        listener.accept()[0].close()
        stream.close()


async def test_nobody_listens(listener):
    host, port = listener.getsockname()[:2]
    listener.close()
    with pytest.raises(ConnectionRefusedError, match=rf"refused: {host}, port {port}"):
        await connect(endpoint(host, port))


async def test_a_connection_that_takes_its_time():
    """The queue of the listener is full: the kernel answers the next one when there is room again."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        first = socket.create_connection(address)
        waiting = asyncio.ensure_future(connect(endpoint(*address)))  # noqa: TID251
        await asyncio.sleep(0)
        assert not waiting.done()
        listener.accept()[0].close()
        (await waiting).close()
        first.close()


async def test_without_a_descriptor_it_says_so(monkeypatch):
    def none(*_args, **_kwargs):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(socket, "socket", none)
    with pytest.raises(OSError, match="Too many open files") as raised:
        await connect(endpoint("127.0.0.1", 1))
    assert raised.value.errno == errno.EMFILE
