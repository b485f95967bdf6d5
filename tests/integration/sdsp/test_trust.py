"""Whom the FSM is told that a site and its nodes believe, from a real store."""

from pathlib import Path

from sdsp.upstream.enroll import SiteCredentials
from sdsp.upstream.trust import SiteTrust
from shared.enrolment.register import record_certificate
from shared.store.contract import Store, Transaction
from tests.fakes.clock import VirtualClock
from tests.fakes.federation import Federation


async def test_regression_a_node_with_two_certificates_of_one_second_has_followed(
    store: Store, clock: VirtualClock, tmp_path: Path
) -> None:
    """Whichever serial came last counted as the newest, and half of the nodes never followed."""
    federation = Federation(clock=clock)
    before, now = federation.site("sfo"), federation.site("sfo")
    credentials = SiteCredentials.beneath(tmp_path)
    credentials.authority.write(now.credentials)
    credentials.server.write(federation.sdsp(now))
    trust = SiteTrust(store, credentials, clock=clock)
    nodes = [f"node-{number}" for number in range(8)]

    async def issue(transaction: Transaction) -> None:
        for node in nodes:
            for authority in (before, now):
                chain = federation.node(authority, node).chain
                await record_certificate(
                    transaction, chain, identity=f"spiffe://sfo.hanse.test/node/{node}"
                )
        late = federation.node(before, "late").chain
        await record_certificate(transaction, late, identity="spiffe://sfo.hanse.test/node/late")

    await store.transact(issue)
    assert await trust.nodes_behind() == ["late"]
    said = dict.fromkeys(nodes, trust.roots)
    assert await trust.nodes_untrusting(said.get) == ["late"]
