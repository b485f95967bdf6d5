"""Join token used twice, for another site, or late; node claiming another's name: refused and
audited; identity comes from the certificate alone.

Here: each of them, at the FSM and at a site, and that guessing is slowed down.  That a joiner sends
its token to nobody but the server that it leads to is in tests/integration/pki/test_joining.py.
"""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from dsn.settings import Files
from dsn.upstream.joining import join_site as join_node
from shared.errors import HanseError
from shared.http.peer import PeerClient
from shared.pki.credentials import CredentialsDirectory
from shared.pki.csr import create_csr
from shared.pki.identity import Expectation, Role
from shared.pki.jointoken import JoinKind, JoinToken
from shared.pki.keys import generate_key
from shared.pki.tls import ServerCheck, client_context
from tests.fakes.federation import Federation
from tests.integration.fsm.harness import FSM, TRUST_DOMAIN, Person, join_site
from tests.integration.road.world import RoadSite, declare, joined


@pytest.fixture
async def site(fsm: FSM, tmp_path: Path) -> AsyncIterator[RoadSite]:
    await declare(fsm.admin())
    async with joined(tmp_path, fsm) as found, found.serving():
        await found.until(lambda status: bool(status["policies"]))
        yield found


async def refusal_at_fsm(fsm: FSM, token: str) -> str:
    with pytest.raises(HanseError) as caught:
        await join_site(fsm, token)
    return caught.value.code


async def outcomes(admin: Person, action: str) -> list[str]:
    items = (await admin.client.get("/api/v1/audit", params={"limit": "200"})).json()["items"]
    return [each["outcome"] for each in items if each["action"] == action]


async def test_a_sites_token_used_twice_late_or_for_another_is_refused_and_audited(
    fsm: FSM, admin: Person
) -> None:
    token = await admin.token("sfo")
    parsed = JoinToken.parse(token)
    for_another = JoinToken(JoinKind.SDSP, "fra", "fra", parsed.root, parsed.secret)
    assert await refusal_at_fsm(fsm, str(for_another)) == "join_token_refused"
    await join_site(fsm, token)
    assert await refusal_at_fsm(fsm, token) == "join_token_refused"

    late = await admin.token("fra")
    fsm.clock.ahead += timedelta(minutes=61)
    assert await refusal_at_fsm(fsm, late) == "join_token_refused"
    fsm.clock.ahead -= timedelta(minutes=61)

    stranger = Federation().root.certificate
    elsewhere = JoinToken.create(JoinKind.SDSP, site="fra", name="fra", root=stranger)
    assert await refusal_at_fsm(fsm, str(elsewhere)) == "wrong_root", "and it is never sent"
    assert sorted(await outcomes(admin, "site.join")) == ["join_token_refused"] * 3 + ["ok"]


async def test_a_nodes_token_used_twice_late_or_for_another_is_refused_and_audited(
    site: RoadSite, tmp_path: Path
) -> None:
    async def refused(token: str, name: str) -> str:
        with pytest.raises(HanseError) as caught:
            await join_node([site.url], token, tmp_path / name, overwrite=False)
        return caught.value.code

    token = (await site.api.join_token("Node", "node-1")).text
    parsed = JoinToken.parse(token)
    renamed = JoinToken(JoinKind.NODE, "sfo", "node-2", parsed.root, parsed.secret)
    assert await refused(str(renamed), "a") == "join_token_refused", "another node's name"
    moved = JoinToken(JoinKind.NODE, "fra", "node-1", parsed.root, parsed.secret)
    assert await refused(str(moved), "b") == "wrong_identity", "another site's, never sent"
    await join_node([site.url], token, tmp_path / "n1", overwrite=False)
    assert await refused(token, "c") == "join_token_refused", "used twice"
    late = (await site.api.join_token("Node", "node-3")).text
    site.clock.ahead += timedelta(minutes=61)
    assert await refused(late, "d") == "join_token_refused", "late"
    site.clock.ahead -= timedelta(minutes=61)
    joins = [each async for each in site.api.audit(limit=200) if each.action == "node.join"]
    assert sorted(each.outcome for each in joins) == ["join_token_refused"] * 3 + ["ok"]


async def test_guessing_of_join_tokens_is_slowed_down(fsm: FSM, admin: Person) -> None:
    client = fsm.visitor()
    codes = []
    for _ in range(33):
        guess = JoinToken.create(JoinKind.SDSP, site="sfo", name="sfo", root=fsm.roots[0])
        body = {"token": str(guess), "csr": create_csr(generate_key())}
        with pytest.raises(HanseError) as caught:
            await client.post("/enroll/v1/join", body)
        codes.append(caught.value.code)
    assert codes == ["join_token_refused"] * 30 + ["too_many_requests"] * 3
    assert await outcomes(admin, "site.join") == ["join_token_refused"] * 30


async def test_a_node_that_asks_for_anothers_name_gets_its_own(
    site: RoadSite, tmp_path: Path
) -> None:
    await site.join_node("node-1", tmp_path / "n1")
    credentials = CredentialsDirectory(Files.of(tmp_path / "n1").credentials).load()
    check = ServerCheck(TRUST_DOMAIN, (Expectation(Role.SDSP, "sfo"),), lambda _: False)
    client = PeerClient([site.url], tls=client_context(credentials, check=check))
    try:
        answer = (await client.post("/node/v1/renew", {"csr": create_csr(generate_key())})).json()
    finally:
        await client.close()
    assert answer["node"] == "node-1", "whatever a request says, the certificate decides"
