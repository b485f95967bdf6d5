"""Whom a site believes, and what it tells its FSM of that, from a real store."""

from pathlib import Path

from sdsp.upstream.apply import Inbound
from sdsp.upstream.enroll import SiteCredentials
from sdsp.upstream.trust import SiteTrust
from shared.enrolment.anchors import ANCHORS, Anchors, anchor
from shared.enrolment.register import record_certificate
from shared.feed.wire import Snapshot
from shared.pki.authority import create_issuing, create_root
from shared.pki.identity import TrustDomain
from shared.store.contract import Store, Transaction
from tests.fakes.clock import VirtualClock
from tests.fakes.federation import Federation
from tests.integration.sdsp.test_apply import document, held, inbound, position

__all__ = ["inbound"]


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


async def test_regression_of_issuing_cas_only_what_the_fsm_lists_counts(
    store: Store, inbound: Inbound, clock: VirtualClock
) -> None:
    """That of before a restore was held, and the site followed whichever had the greater serial."""
    root = create_root(TrustDomain("hanse.test"), clock=clock)
    anchors = [
        anchor(create_issuing(root, clock=clock).certificate, "issuing", "current")
        for _ in range(2)
    ]
    for number, each in enumerate([*anchors, *anchors]):
        listed = document(each.key, each.spec)
        await inbound.replace(Snapshot(position(5, f"i{number}"), (listed,)))

        async with store.snapshot() as snapshot:
            followed = Anchors.of(await snapshot.list(ANCHORS))
        assert followed.issuing_serial == each.key.name
        assert await held(inbound) == {}
