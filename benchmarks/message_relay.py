"""The relay one writes first: aiohttp on both sides, message by message.

Honest, not a straw man: no compression, no logging, no size limit, one client session, TLS verified, close
codes carried. Run as `python -m benchmarks.message_relay`.
"""

import argparse
import asyncio
import ssl

import aiohttp
from aiohttp import web

Side = aiohttp.ClientWebSocketResponse | web.WebSocketResponse
UPSTREAM: web.AppKey[str] = web.AppKey("upstream", str)
CLIENT: web.AppKey[aiohttp.ClientSession] = web.AppKey("client", aiohttp.ClientSession)


async def pump(source: Side, sink: Side) -> None:
    async for message in source:
        if message.type is aiohttp.WSMsgType.BINARY:
            await sink.send_bytes(message.data)
        elif message.type is aiohttp.WSMsgType.TEXT:
            await sink.send_str(message.data)
    await sink.close(code=source.close_code or 1011)


async def relay(request: web.Request) -> web.WebSocketResponse:
    app = request.app
    offered = [name.strip() for name in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
    url = app[UPSTREAM] + request.raw_path
    upstream = await app[CLIENT].ws_connect(url, protocols=offered, max_msg_size=0)
    async with upstream:
        protocols = [upstream.protocol] if upstream.protocol else []
        client = web.WebSocketResponse(protocols=protocols, compress=False, max_msg_size=0)
        await client.prepare(request)
        try:
            await asyncio.gather(pump(client, upstream), pump(upstream, client))
        except (ConnectionError, aiohttp.ClientError):
            await client.close(code=1011)
    return client


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True)
    parser.add_argument("--ca", required=True)
    arguments = parser.parse_args()
    context = ssl.create_default_context(cafile=arguments.ca)

    async def app() -> web.Application:
        application = web.Application()
        application[UPSTREAM] = arguments.upstream
        connector = aiohttp.TCPConnector(ssl=context, limit=0)
        headers = {"Authorization": "Bearer bench"}
        application[CLIENT] = aiohttp.ClientSession(connector=connector, headers=headers)
        application.router.add_get("/{path:.*}", relay)
        return application

    web.run_app(app(), host="127.0.0.1", port=arguments.port, access_log=None, print=None, backlog=4096)


if __name__ == "__main__":
    main()
