"""The floor for a Python API: a bare aiohttp server that says hello, with client certificates.

    python -m tests.bench.peers.bare_aiohttp PORT CERTIFICATE ROOTS

The same interpreter, aiohttp, loop and TLS as ours; nothing else.
"""

import asyncio
import ssl
import sys

import uvloop
from aiohttp import web


async def hello(_: web.Request) -> web.Response:
    return web.json_response({"hello": "world"})


async def serve(port: int, certificate: str, roots: str) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=roots)
    context.load_cert_chain(certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    app = web.Application()
    app.router.add_get("/hello", hello)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context, backlog=1024).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
