"""What can't be taken is refused in words, at the place where it arrives, and nothing is lost."""

import asyncio
import ssl
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from dsn.dataplane.memory import MemoryDataPlane
from dsn.settings import DSNSettings
from dsn.upstream.joining import join_site as join_node
from sdsp.upstream.enroll import SiteCredentials, join_federation
from shared.clock import SystemClock
from shared.errors import HanseError, Unauthenticated
from shared.pki.certificates import certificates_to_pem
from shared.pki.jointoken import JoinKind, JoinToken
from shared.pki.keys import key_to_pem
from shared.policy.nodeconfig import NodeConfiguration
from tests.fakes.federation import Federation
from tests.integration.fsm.harness import FSM
from tests.integration.road.world import MANDATORY, RoadSite

REJECT = {
    "enforcement": "mandatory",
    "rules": [{"name": "no", "from": "any", "to": [{"network": "A"}], "action": "reject"}],
}


class PlaneWithoutReject(MemoryDataPlane):
    """A data plane that can't do what a rule asks for."""

    async def apply(self, configuration: NodeConfiguration) -> None:
        if any(rule.action == "reject" for rule in configuration.rules):
            self.refuse_next("no reject here")
        await super().apply(configuration)


async def test_a_policy_that_a_node_cant_apply_leaves_the_last_good_one_and_is_failed_everywhere(
    fsm: FSM, site: RoadSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def choose(_settings: DSNSettings, _links: object) -> MemoryDataPlane:
        return PlaneWithoutReject()

    monkeypatch.setattr("dsn.app.choose_data_plane", choose)
    await site.populate()
    await site.join_node("node-1", tmp_path / "n1")
    admin = fsm.admin()
    async with site.agent(tmp_path / "n1"):
        good = await site.until_node("node-1", state="realised")
        await admin.put("securitypolicies", "p", REJECT)

        failed = await site.until_node("node-1", state="failed")
        assert failed["code"] == "data_plane_refused"
        assert failed["hash"] == failed["readBack"] == good["hash"] != failed["wanted"]["hash"]
        at_site = await site.until(lambda status: status["policies"][0]["state"] == "failed")
        assert at_site["policies"][0]["nodes"]["failed"] == 1

        at_fsm = await _standing(fsm)
        while at_fsm["state"] != "failed":
            at_fsm = await _standing(fsm)
        assert at_fsm["failing"] == [{"node": "node-1", "code": "data_plane_refused"}]

        await admin.put("securitypolicies", "p", MANDATORY)
        await site.until_node("node-1", state="realised")
        while (await _standing(fsm))["state"] != "realised":
            pass


async def _standing(fsm: FSM) -> dict[str, Any]:
    (policy,) = (await fsm.admin().status())["policies"]
    (found,) = policy["sites"]
    return dict(found)


async def test_a_late_join_token_is_refused_by_the_site(site: RoadSite, tmp_path: Path) -> None:
    token = await site.api.join_token("Node", "node-1")
    site.clock.ahead += timedelta(minutes=61)
    with pytest.raises(Unauthenticated) as late:
        await join_node([site.url], token.text, tmp_path / "n1", overwrite=False)
    assert late.value.code == "join_token_refused"


async def test_a_join_token_of_another_site_or_federation_is_refused(
    fsm: FSM, site: RoadSite, tmp_path: Path
) -> None:
    other = str(JoinToken.create(JoinKind.NODE, site="fra", name="node-1", root=fsm.roots[0]))
    with pytest.raises(HanseError) as elsewhere:
        await join_node([site.url], other, tmp_path / "n1", overwrite=False)
    assert elsewhere.value.code == "wrong_identity"

    stranger = Federation().root.certificate
    foreign = str(JoinToken.create(JoinKind.NODE, site="sfo", name="node-1", root=stranger))
    with pytest.raises(HanseError) as unknown:
        await join_node([site.url], foreign, tmp_path / "n2", overwrite=False)
    assert unknown.value.code == "wrong_root"

    # A site's token is no node's, and the other way round.
    with pytest.raises(HanseError) as kind:
        await join_node(
            [site.url],
            await fsm.admin().token("sfo", replace=True),
            tmp_path / "n3",
            overwrite=False,
        )
    assert kind.value.code == "join_token_kind"
    node = await site.api.join_token("Node", "node-1")
    with pytest.raises(HanseError) as other_kind:
        await join_federation(
            SiteCredentials.beneath(tmp_path / "s"), fsm.url, node.text, clock=SystemClock()
        )
    assert other_kind.value.code == "join_token_kind"
    # None of them has spent the true one.
    await join_node([site.url], node.text, tmp_path / "n4", overwrite=False)


async def test_a_node_with_a_certificate_of_another_ca_is_not_let_in(
    site: RoadSite, tmp_path: Path
) -> None:
    foreign = Federation()
    credentials = foreign.node(foreign.site("sfo"))
    # It trusts the site, so that only the site can refuse.
    context = ssl.create_default_context(cadata=site.ca)
    chain = tmp_path / "foreign.pem"
    chain.write_text(key_to_pem(credentials.key) + certificates_to_pem(credentials.chain))
    assert (await _ask(site, context)).startswith(b"HTTP/1.1 401 "), "without any certificate"
    context.load_cert_chain(chain)
    # The handshake fails: not even an answer in HTTP comes back.
    assert await _ask(site, context) == b""


async def _ask(site: RoadSite, context: ssl.SSLContext) -> bytes:
    port = site.settings.listen.port
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        request = "GET /node/v1/configuration HTTP/1.1", "Host: localhost", "Connection: close"
        writer.write("\r\n".join((*request, "", "")).encode())
        return await reader.read()
    except (ssl.SSLError, ConnectionError):
        return b""
    finally:
        writer.transport.abort()
