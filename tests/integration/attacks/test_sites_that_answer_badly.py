"""A site that answers garbage, too much, late, never, or in another's place: it is marked, and
harms no other.  And endpoints that lead where the FSM must not go (SSRF).
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sdsp.upstream.enroll import SiteCredentials
from shared.pki.tls import server_context
from tests.integration.fsm.harness import FSM
from tests.integration.road.asking import (
    LOOPBACK,
    asked,
    fsm,
    put,
    reachable,
    second_site,
    site,
    site_of,
)
from tests.integration.road.world import RoadSite

__all__ = ["fsm", "site"]

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
DRAFT = [put("Network", "A", {"subnets": ["10.77.0.0/24"]})]
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n\r\n"


def line(document: Any) -> bytes:
    return json.dumps(document).encode() + b"\n"


BEGUN = line({"begun": 1, "site": "fra", "position": None})


def says(*data: bytes) -> Answer:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del reader
        for each in data:
            writer.write(each)
            await writer.drain()

    return answer


async def floods(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    del reader
    writer.write(OK + BEGUN)
    for _ in range(100_000):
        writer.write(line({"working": True}) * 100)
        await writer.drain()


async def one_endless_line(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    del reader
    writer.write(OK + b'{"part": "impact", "data": "')
    for _ in range(1000):
        writer.write(b"x" * 65536)
        await writer.drain()


async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(OK + BEGUN)
    await reader.read()


BAD: dict[str, tuple[Answer, str, str | None]] = {
    "no HTTP": (says(b"SSH-2.0-OpenSSH_9.6\r\n"), "unreachable", "unreachable"),
    "nothing": (says(), "unreachable", "unreachable"),
    "no JSON": (says(OK, b"<html>\n"), "error", "malformed"),
    "no object": (says(OK, b"[1, 2]\n"), "error", "malformed"),
    "another protocol": (says(OK, line({"begun": 9})), "error", "unknown_protocol"),
    "half an answer": (says(OK, BEGUN), "unreachable", "answer_broke_off"),
    "half a line": (says(OK, BEGUN, b'{"par'), "unreachable", "unreachable"),
    "another site": (
        says(OK, line({"begun": 1, "site": "sfo", "position": None}), line({"end": True})),
        "error",
        "malformed",
    ),
    "another part": (says(OK, BEGUN, line({"part": "secrets", "data": {}})), "error", "malformed"),
    "half an impact": (
        says(OK, BEGUN, line({"part": "impact", "data": {"changes": True}}), line({"end": True})),
        "error",
        "malformed",
    ),
    "redirect": (
        says(b"HTTP/1.1 307 x\r\nLocation: https://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"),
        "unreachable",
        "redirected",
    ),
    "control characters": (
        says(
            OK, line({"type": "error", "status": 422, "code": "a\u001b[31m", "title": "b\n\u202e"})
        ),
        "error",
        "a [31m",
    ),
    "a line that doesn't end": (one_endless_line, "error", "too_large"),
    "too many lines": (floods, "error", "answer_too_large"),
    "never": (never, "timeout", "deadline_passed"),
}


@asynccontextmanager
async def in_place_of(site: RoadSite, answers: dict[str, Answer]) -> AsyncIterator[int]:
    """Listen with a site's own certificate and answer as is said now; give the port."""
    context = server_context(SiteCredentials.beneath(site.data).server.load())

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await answers["now"](reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield int(server.sockets[0].getsockname()[1])


async def test_a_site_that_answers_badly_is_marked_and_harms_no_other(
    fsm: FSM, site: RoadSite, tmp_path: Path
) -> None:
    answers: dict[str, Answer] = {}
    async with second_site(fsm, tmp_path) as fra, in_place_of(fra, answers) as port:
        await reachable(fsm, fra, port=port)
        await site.heard(fsm)
        for what, (answer, outcome, code) in BAD.items():
            answers["now"] = answer
            deadline = 1.0 if what == "never" else 20.0
            lines = await asked(fsm.admin().client, DRAFT, deadline=deadline)
            said = site_of(lines, "fra")
            assert (said["outcome"], said["code"]) == (outcome, code), (what, said)
            assert said["impact"] is None, what
            assert said["message"].isprintable(), what
            assert site_of(lines, "sfo")["outcome"] == "ok", what
            assert lines[-1]["partial"], what


async def test_whoever_asked_and_left_is_not_worked_for(
    fsm: FSM, site: RoadSite, tmp_path: Path
) -> None:
    left = asyncio.Event()

    async def until_nobody_listens(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(OK + BEGUN)
        while await reader.read(65536):
            pass
        left.set()

    async with (
        second_site(fsm, tmp_path) as fra,
        in_place_of(fra, {"now": until_nobody_listens}) as port,
    ):
        await reachable(fsm, fra, port=port)
        client = fsm.admin().client
        body = {"operations": DRAFT, "deadline": 60.0}
        async with client.stream("POST", "/api/v1/impact", body=body) as lines:
            assert (await anext(lines))["type"] == "begun"
        await left.wait()


async def test_a_site_whose_asker_has_left_begins_no_further_step(fsm: FSM, site: RoadSite) -> None:
    """The other half: a real SDSP lets its answer go when the FSM has hung up."""
    assert site.running is not None
    begun, gone = asyncio.Event(), asyncio.Event()

    class Endless:
        async def answer(self, caller: Any, question: Any) -> AsyncIterator[Any]:
            del caller, question
            begun.set()
            try:
                await asyncio.Event().wait()
                yield None
            finally:
                gone.set()

    site.running.answerers["impact"] = Endless()
    client = fsm.admin().client
    body = {"operations": DRAFT, "deadline": 60.0}
    async with client.stream("POST", "/api/v1/impact", body=body) as lines:
        assert (await anext(lines))["type"] == "begun"
        await begun.wait()
    await gone.wait()


async def test_another_sites_server_in_its_place_is_told_nothing(
    fsm: FSM, site: RoadSite, tmp_path: Path
) -> None:
    async with second_site(fsm, tmp_path) as fra:
        await reachable(fsm, site, port=fra.settings.listen.port)
        lines = await asked(fsm.admin().client, DRAFT)
        said = site_of(lines, "sfo")
        assert (said["outcome"], said["code"]) == ("unreachable", "wrong_identity")
        assert site_of(lines, "fra")["outcome"] == "ok"


FORBIDDEN = (
    "https://169.254.169.254:8443",
    "https://0.0.0.0:8443",
    "https://10.0.0.1:8443",
    "https://[::1]:8443",
    "https://[::ffff:127.0.0.1]:25",
    "https://[fe80::1]:8443",
    "https://224.0.0.1:8443",
    "https://localhost:25",
    "https://127.0.0.1:25",
)


async def test_an_endpoint_leads_only_where_the_settings_allow(stopped: FSM) -> None:
    reach = LOOPBACK.model_copy(update={"ports": ("1024-65535",)})
    stopped.settings = stopped.settings.model_copy(update={"sites": reach})
    async with stopped.serving():
        admin = stopped.admin()
        await admin.put("networks", "A", {})
        for endpoint in FORBIDDEN:
            await admin.put("sites", "sfo", {"endpoint": endpoint})
            said = site_of(await asked(admin.client, DRAFT), "sfo")
            assert (said["outcome"], said["code"]) == ("error", "address_not_allowed"), endpoint


async def test_by_default_no_endpoint_leads_to_the_machine_itself(stopped: FSM) -> None:
    async with stopped.serving():
        admin = stopped.admin()
        await admin.put("networks", "A", {})
        for host in ("127.0.0.1", "localhost", "[::1]"):
            await admin.put("sites", "sfo", {"endpoint": f"https://{host}:8443"})
            said = site_of(await asked(admin.client, DRAFT), "sfo")
            assert (said["outcome"], said["code"]) == ("error", "address_not_allowed"), host
