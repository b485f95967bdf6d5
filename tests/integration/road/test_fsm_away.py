"""A site whose FSM is away goes on with all it has, and catches up when it is back."""

from pathlib import Path

import pytest

from dsn.settings import Files
from sdsp.upstream.enroll import SiteCredentials
from shared.cli.client import Client
from shared.errors import HanseError
from shared.pki.certificates import serial_of
from shared.pki.credentials import CredentialsDirectory
from tests.integration.fsm.harness import FSM, PASSWORD
from tests.integration.road.world import MANDATORY, RoadSite, behind, declare, document, joined

TO_W1 = {"from": "192.0.2.1", "to": "10.0.0.5", "protocol": "tcp", "port": 443}


async def test_a_site_cut_off_lets_people_in_takes_changes_resolves_and_feeds_its_nodes(
    fsm: FSM, site: RoadSite, tmp_path: Path
) -> None:
    await site.populate()
    await site.join_node("node-1", tmp_path / "n1")
    async with site.agent(tmp_path / "n1"):
        before = await site.until_node("node-1", state="realised", connected=True)
        site.wire.cut()
        await site.until(lambda status: not status["upstream"]["connected"])

        async with Client(site.url, ca=site.ca) as person:
            await person.login("admin", PASSWORD)
            assert (await person.whoami()).display_name == "admin"
            block = {"rules": [{"name": "r", "from": "any", "to": "any", "action": "deny"}]}
            await person.put(document("SecurityPolicy", "ours", block))
            await person.put(document("Network", "A", {"subnets": ["10.0.0.0/25"]}))
            resolved = await person.resolve()
            while [rule["to"] for rule in resolved["rules"]] != [["10.0.0.0/25"], "any"]:
                resolved = await person.resolve()
            assert (await person.trace(TO_W1))["outcome"] == "allow"
            assert (await person.trace({**TO_W1, "to": "10.0.0.200"}))["outcome"] == "deny"
        after = await site.until_node("node-1", state="realised")
        while after["generation"] == before["generation"]:
            after = await site.until_node("node-1", state="realised")

        # A node may even join meanwhile, with a certificate of the site's own CA.
        await site.join_node("node-2", tmp_path / "n2")
        await site.put("Node", "node-2", {})
        async with site.agent(tmp_path / "n2"):
            await site.until_node("node-2", state="realised", connected=True)

        await fsm.admin().put("securitypolicies", "later", MANDATORY)
        site.wire.mend()
        await site.heard(fsm)
        names = {rule["policy"] for rule in (await site.api.resolve())["rules"]}
        while names != {"p", "later", "ours"}:
            names = {rule["policy"] for rule in (await site.api.resolve())["rules"]}


async def test_a_site_cut_off_renews_its_own_certificate_and_those_of_its_nodes(
    stopped: FSM, tmp_path: Path
) -> None:
    # Thirteen hours ago they were issued: more than half of their day has gone.
    clock = behind(hours=13)
    node = tmp_path / "n1"
    async with stopped.serving():
        await declare(stopped.admin())
        async with joined(tmp_path, stopped, clock=clock) as site:
            async with site.serving():
                await site.until(lambda status: bool(status["policies"]))
                await site.populate()
                await site.join_node("node-1", node)
            credentials = SiteCredentials.beneath(site.data)
            places = (credentials.server, CredentialsDirectory(Files.of(node).credentials))
            before = [serial_of(each.load().certificate) for each in places]
            site.wire.cut()
            clock.ahead *= 0
            async with site.serving(), site.agent(node):
                await site.until_node("node-1", state="realised")
                while serial_of(places[1].load().certificate) == before[1]:
                    await site.until_node("node-1", state="realised")
                after = [serial_of(each.load().certificate) for each in places]
                assert not set(before) & set(after)
                # The renewed ones are used, too: a new connection of each end works.
                async with Client(site.url, ca=site.ca) as person:
                    await person.login("admin", PASSWORD)
            async with site.serving(), site.agent(node):
                await site.until_node("node-1", state="realised", connected=True)


async def test_a_site_that_starts_while_its_fsm_is_away_serves_what_it_has(
    fsm: FSM, tmp_path: Path
) -> None:
    async with joined(tmp_path, fsm) as site:
        async with site.serving():
            await site.until(lambda status: bool(status["policies"]))
            await site.populate()
        site.wire.cut()
        async with site.serving():
            status = await site.until(lambda found: bool(found["policies"]))
            assert not status["upstream"]["connected"]
            with pytest.raises(HanseError) as refused:
                await site.put("SecurityPolicy", "p", {"rules": MANDATORY["rules"]})
            assert refused.value.code == "mandatory_policy_exists"
