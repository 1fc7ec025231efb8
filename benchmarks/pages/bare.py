"""`python -m benchmarks.pages.bare PORT`: a WebSocket that says again what it is told, and nothing else."""

import asyncio
import sys

from websockets.asyncio.server import ServerConnection, serve

from benchmarks.certs import HOST


async def _echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def _serve(port: int) -> None:
    async with serve(_echo, HOST, port, compression=None) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
