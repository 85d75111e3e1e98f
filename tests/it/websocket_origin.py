"""An origin of WebSockets: says back what it hears. Prints its port."""

import asyncio
import http

from websockets.asyncio.server import serve


def page(connection, request):
    if request.path == "/page":
        return connection.respond(http.HTTPStatus.OK, "a page\n")
    return None


async def echo(connection):
    async for message in connection:
        await connection.send(message)


async def main():
    async with serve(echo, "127.0.0.1", 0, process_request=page) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().create_future()


asyncio.run(main())
