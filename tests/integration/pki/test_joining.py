"""A joiner that knows nothing but its token finds the right server, or sends the token nowhere."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from shared.errors import Unauthenticated
from shared.pki.certificates import certificates_to_pem
from shared.pki.credentials import Credentials
from shared.pki.jointoken import JoinKind, JoinToken, check_root
from shared.pki.tls import (
    refusal,
    server_context,
    unverified_context_for_root_download,
    visitor_context,
)
from tests.fakes.federation import Federation


class Server:
    """Gives out its root to whoever asks, and takes join tokens."""

    def __init__(self, credentials: Credentials, root: str) -> None:
        self.credentials = credentials
        self.root = root
        self.port = 0
        self.tokens: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = (await reader.readline()).decode().strip()
        if line == "root":
            writer.write(self.root.encode())
        elif line:
            self.tokens.append(line)
            writer.write(b"welcome")
        await writer.drain()
        writer.close()


@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[Server]:
    context = server_context(server.credentials)
    running = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=context)
    server.port = running.sockets[0].getsockname()[1]
    async with running:
        yield server


async def join(line: str, port: int) -> str:
    """Join as a component does; return the server's answer."""
    token = JoinToken.parse(line)
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=unverified_context_for_root_download()
    )
    writer.write(b"root\n")
    root = check_root((await reader.read()).decode(), token.root)
    writer.close()

    context = visitor_context([root], check=token.server_check(root))
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.write(f"{token}\n".encode())
    answer = (await reader.read()).decode()
    writer.close()
    return answer


@pytest.fixture(scope="module")
def federation() -> Federation:
    return Federation()


def _server(federation: Federation, credentials: Credentials) -> Server:
    return Server(credentials, certificates_to_pem(federation.roots))


async def test_a_joiner_finds_the_server_that_its_token_is_for(federation: Federation) -> None:
    root = federation.root.certificate
    site = federation.site("sfo")
    for kind, name, credentials in (
        (JoinKind.SDSP, "sfo", federation.fsm()),
        (JoinKind.NODE, "node-1", federation.sdsp(site)),
    ):
        line = str(JoinToken.create(kind, site="sfo", name=name, root=root))
        async with serving(_server(federation, credentials)) as server:
            assert await join(line, server.port) == "welcome"
            assert server.tokens == [line]


async def test_a_server_of_another_federation_never_sees_the_token(federation: Federation) -> None:
    token = JoinToken.create(
        JoinKind.SDSP, site="sfo", name="sfo", root=federation.root.certificate
    )
    other = Federation()
    async with serving(_server(other, other.fsm())) as server:
        with pytest.raises(Unauthenticated) as refused:
            await join(str(token), server.port)
        assert refused.value.code == "wrong_root"
        assert server.tokens == []


async def test_who_repeats_the_true_root_but_isnt_beneath_it_never_sees_the_token(
    federation: Federation,
) -> None:
    token = JoinToken.create(
        JoinKind.SDSP, site="sfo", name="sfo", root=federation.root.certificate
    )
    # The root is public; the man in the middle shows it, with a chain of his own.
    middle = Server(Federation().fsm(), certificates_to_pem(federation.roots))
    async with serving(middle) as server:
        with pytest.raises(OSError, match="certificate verify failed") as refused:
            await join(str(token), server.port)
        why = refusal(refused.value)
        assert why is not None
        assert why.code == "wrong_root"
        assert server.tokens == []


@pytest.mark.parametrize("kind", list(JoinKind))
async def test_another_component_of_the_federation_never_sees_the_token(
    federation: Federation, kind: JoinKind
) -> None:
    name = "sfo" if kind is JoinKind.SDSP else "node-1"
    token = JoinToken.create(kind, site="sfo", name=name, root=federation.root.certificate)
    fra = federation.sdsp(federation.site("fra"))
    async with serving(_server(federation, fra)) as server:
        with pytest.raises(OSError, match="expected here") as refused:
            await join(str(token), server.port)
        why = refusal(refused.value)
        assert why is not None
        assert why.code == "wrong_identity"
        assert server.tokens == []
