"""Receivers of syslog over TLS: a small one of our own, and Debian's rsyslog where it is there."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from shared.audit.syslog import frames_in
from tests.authority import ServerFiles
from tests.servers import await_port, free_port, require


class Receiver:
    """Keeps what it is sent; `patience` is how many bytes it takes before it hangs up."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.data: list[bytes] = []
        self.patience: int | None = None
        self._arrived = asyncio.Event()

    @property
    def messages(self) -> list[bytes]:
        return [message for each in self.data for message in frames_in(each)]

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.data.append(b"")
        at = len(self.data) - 1
        try:
            while piece := await reader.read(4096):
                self.data[at] += piece
                self._arrived.set()
                if self.patience is not None and len(self.data[at]) >= self.patience:
                    self.patience = None
                    return
        finally:
            writer.transport.abort()

    async def silence(self) -> None:
        """Return when nothing has arrived for a moment."""
        while self._arrived.is_set():
            self._arrived.clear()
            for _ in range(50):
                await asyncio.sleep(0.001)

    async def until(self, count: int) -> list[bytes]:
        """Return the messages once there are so many."""
        while len(self.messages) < count:
            self._arrived.clear()
            await self._arrived.wait()
        return self.messages


@asynccontextmanager
async def receiving(files: ServerFiles) -> AsyncIterator[Receiver]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    receiver = Receiver(0)
    server = await asyncio.start_server(receiver.take, "127.0.0.1", 0, ssl=context)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()


@contextmanager
def rsyslog(files: ServerFiles, roots: Path, folder: Path) -> Iterator[tuple[int, Path]]:
    """Run rsyslogd with its OpenSSL driver; give its port and the file that it writes."""
    program = require("rsyslogd")["rsyslogd"]
    port, out = free_port(), folder / "received.log"
    config = folder / "rsyslog.conf"
    config.write_text(
        f"""
global(workDirectory="{folder}" defaultNetstreamDriver="ossl"
       defaultNetstreamDriverCAFile="{roots}"
       defaultNetstreamDriverCertFile="{files.certificate}"
       defaultNetstreamDriverKeyFile="{files.key}")
module(load="imtcp" streamDriver.name="ossl" streamDriver.mode="1" streamDriver.authMode="anon")
template(name="fields" type="list") {{
  property(name="app-name") constant(value="|") property(name="msgid") constant(value="|")
  property(name="pri") constant(value="|") property(name="structured-data") constant(value="|")
  property(name="msg") constant(value="\\n")
}}
input(type="imtcp" port="{port}")
action(type="omfile" file="{out}" template="fields")
""",
        "ascii",
    )
    command = [program, "-n", "-f", str(config), "-i", str(folder / "pid"), "-C"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        await_port(port, process)
        yield port, out
    finally:
        process.terminate()
        process.wait()
