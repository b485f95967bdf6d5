"""A component's server and client on loopback, and what each end makes of the other."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from shared.errors import HanseError
from shared.pki.credentials import Credentials
from shared.pki.identity import Expectation
from shared.pki.peer import Revoked, peer_identity
from shared.pki.tls import ServerCheck, client_context, refusal
from tests.fakes.federation import TRUST_DOMAIN


def none_revoked(_serial: str) -> bool:
    return False


class Component:
    """A server that answers each line with who the caller is, or why it is refused."""

    def __init__(
        self,
        context: ssl.SSLContext,
        *,
        expected: Sequence[Expectation] | None = None,
        revoked: Revoked = none_revoked,
    ) -> None:
        self.context = context
        self.port = 0
        self.received: list[bytes] = []
        self._expected = expected
        self._revoked = revoked

    def judge(self, ssl_object: ssl.SSLObject) -> str:
        try:
            identity = peer_identity(
                ssl_object,
                trust_domain=TRUST_DOMAIN,
                revoked=self._revoked,
                expected=self._expected,
            )
        except HanseError as exc:
            return f"refused {exc.code}"
        return f"accepted {identity.id}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                self.received.append(line)
                answer = self.judge(writer.get_extra_info("ssl_object"))
                writer.write(f"{answer}\n".encode())
                await writer.drain()
        except OSError:
            pass  # the other end has had enough
        finally:
            writer.close()


@asynccontextmanager
async def running(component: Component, *, host: str = "127.0.0.1") -> AsyncIterator[Component]:
    server = await asyncio.start_server(component.serve, host, 0, ssl=component.context)
    component.port = server.sockets[0].getsockname()[1]
    async with server:
        yield component


class Connection:
    """One open TLS connection to a Component."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @property
    def ssl_object(self) -> ssl.SSLObject:
        found = self._writer.get_extra_info("ssl_object")
        assert isinstance(found, ssl.SSLObject)
        return found

    async def ask(self) -> str:
        self._writer.write(b"who am I?\n")
        await self._writer.drain()
        answer = await self._reader.readline()
        if not answer:
            raise ConnectionResetError("closed without an answer")
        return answer.decode().strip()


@asynccontextmanager
async def connected(
    port: int, context: ssl.SSLContext, *, host: str = "127.0.0.1", name: str | None = None
) -> AsyncIterator[Connection]:
    """Connect to `host`; `name` is what the client believes that it calls, if another."""
    reader, writer = await asyncio.open_connection(
        host, port, ssl=context, server_hostname=name or host
    )
    try:
        yield Connection(reader, writer)
    finally:
        writer.transport.abort()


async def outcome(
    port: int, context: ssl.SSLContext, *, host: str = "127.0.0.1", name: str | None = None
) -> str:
    """Return the server's answer, or which end ended the handshake and why."""
    try:
        async with connected(port, context, host=host, name=name) as connection:
            return await connection.ask()
    except ssl.SSLCertVerificationError as exc:
        why = refusal(exc)
        assert why is not None
        return f"client refuses {why.code}"
    except (ssl.SSLError, ConnectionError):
        # In TLS 1.3 a client has finished before the server has seen its certificate, so the
        # server's refusal comes with the first read.
        return "server ends the handshake"


def caller(
    credentials: Credentials,
    expected: Expectation,
    *,
    revoked: Callable[[str], bool] = none_revoked,
) -> ssl.SSLContext:
    return client_context(credentials, check=ServerCheck(TRUST_DOMAIN, (expected,), revoked))
