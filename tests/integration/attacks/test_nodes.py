"""A node that has gone bad: what it may not do to other nodes, sites, or the report upwards."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sdsp.app import Site
from sdsp.upstream.enroll import SiteCredentials
from shared.clock import SystemClock
from shared.errors import Forbidden, HanseError, Invalid
from shared.http.peer import PeerClient
from shared.pki.authority import Authority
from shared.pki.credentials import Credentials
from shared.pki.csr import create_csr
from shared.pki.identity import Expectation, Role
from shared.pki.keys import generate_key
from shared.pki.tls import ServerCheck, client_context
from tests.fakes.federation import TRUST_DOMAIN, Federation
from tests.integration.sdsp.test_nodes_road import site

REPORT: dict[str, Any] = {"incarnation": "i", "generation": 1, "hash": None, "outcome": "nack"}


def authority_of(data: Path) -> Authority:
    """Return the CA of a site that runs from a folder."""
    return Authority(SiteCredentials.beneath(data).authority.load(), clock=SystemClock())


@asynccontextmanager
async def calling(site: Site, credentials: Credentials) -> AsyncIterator[PeerClient]:
    check = ServerCheck(TRUST_DOMAIN, (Expectation(Role.SDSP, "s1"),), revoked=lambda _: False)
    client = PeerClient([site.server.url], tls=client_context(credentials, check=check))
    try:
        yield client
    finally:
        await client.close()


async def test_another_sites_node_or_server_is_nobody_here(tmp_path: Path) -> None:
    federation = Federation()
    other = federation.site("s2")
    async with site(tmp_path / "s1", federation) as started:
        for credentials in (federation.node(other, "node-1"), federation.sdsp(other)):
            async with calling(started, credentials) as client:
                for path, body in (
                    ("/node/v1/configuration", None),
                    ("/node/v1/renew", {"csr": create_csr(generate_key())}),
                    ("/node/v1/reports", REPORT),
                    ("/api/v1/whoami", None),
                    ("/api/v1/watch", None),
                ):
                    with pytest.raises(Forbidden) as caught:
                        await (client.post(path, body) if body else client.get(path))
                    assert caught.value.code == "wrong_identity"


NO_REPORTS: tuple[dict[str, Any], ...] = (
    {"code": "Refused: 10.0.0.1 is\nnot mine"},
    {"code": "10.0.0.1"},
    {"code": ""},
    {"hash": "../../etc/passwd"},
    {"readBack": "<script>"},
    {"generation": -1},
    {"counters": {"a": -1}},
    {"counters": {"a" * 129: 1}},
    {"counters": {"a": 1.5}},
    {"node": "node-2"},
    {"spec": {}},
)


async def test_a_node_cannot_put_into_its_report_what_is_no_report(tmp_path: Path) -> None:
    federation = Federation()
    async with site(tmp_path / "s1", federation) as started:
        credentials = federation.node(authority_of(tmp_path / "s1"))
        async with calling(started, credentials) as client:
            for said in NO_REPORTS:
                with pytest.raises(Invalid):
                    await client.post("/node/v1/reports", REPORT | said)
            await client.post("/node/v1/reports", REPORT | {"code": "invalid_ruleset"})


async def test_a_node_cannot_do_what_people_do(tmp_path: Path) -> None:
    federation = Federation()
    async with site(tmp_path / "s1", federation) as started:
        credentials = federation.node(authority_of(tmp_path / "s1"))
        async with calling(started, credentials) as client:
            for path in ("/api/v1/nodes", "/api/v1/audit", "/api/v1/status", "/metrics"):
                with pytest.raises(HanseError) as caught:
                    await client.get(path)
                assert caught.value.code == "forbidden"
