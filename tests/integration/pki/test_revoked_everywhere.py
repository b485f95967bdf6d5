"""A revoked certificate is refused wherever it counts, and its open connections are cut.

Real servers and real TLS; periods pass ten times as fast as they say.  What is revoked is known
with the commit (shared.enrolment.revocations), and open streams are looked at with each line, of
which there is one every five seconds (fsm.feed, sdsp.nodes.feed): far less than a minute.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from dsn.settings import Files
from dsn.upstream.trust import KnownRevocations
from fsm.tasks.tidy import Tidy
from fsm.trust import FSMCredentials
from sdsp.upstream.enroll import SiteCredentials
from shared.enrolment.revocations import Revocations
from shared.errors import Conflict, Invalid, NotFound, Unauthenticated
from shared.pki.certificates import serial_of
from shared.pki.credentials import CredentialsDirectory
from shared.pki.identity import Expectation, Role
from shared.pki.tls import server_context
from tests.integration.fsm.conftest import stopped, template
from tests.integration.fsm.harness import FSM, Person, connect
from tests.integration.pki.loopback import Component, caller, outcome, running
from tests.integration.road.world import HurriedClock, RoadSite, declare, joined

__all__ = ["stopped", "template"]


@pytest.fixture
async def fsm(stopped: FSM) -> AsyncIterator[FSM]:
    stopped.clock = HurriedClock()
    async with stopped.serving():
        await declare(stopped.admin())
        yield stopped


@pytest.fixture
async def site(fsm: FSM, tmp_path: Path) -> AsyncIterator[RoadSite]:
    async with joined(tmp_path, fsm, clock=HurriedClock()) as found, found.serving():
        await found.until(lambda status: bool(status["policies"]))
        await found.populate()
        yield found


async def revoke(admin: Person, target: str) -> Any:
    body = {"target": target, "reason": "stolen", "confirmed": True}
    return (await admin.client.post("/api/v1/certificates/revoke", body)).json()


async def known(site: RoadSite) -> Revocations:
    assert site.running is not None
    found = Revocations()
    async with site.running.store.snapshot() as snapshot:
        await found.read(snapshot)
    return found


async def test_a_revoked_site_is_cut_off_while_its_stream_is_open(fsm: FSM, site: RoadSite) -> None:
    await site.until(lambda status: status["upstream"]["connected"])
    revoked = (await revoke(fsm.admin(), "spiffe://sfo.hanse.example/sdsp"))["revoked"]
    await site.until(lambda status: not status["upstream"]["connected"])
    await site.until(lambda status: status["upstream"]["error"] == "certificate_revoked")
    assert len(revoked) == 1
    audit = (await fsm.admin().client.get("/api/v1/audit", params={"limit": "20"})).json()["items"]
    (record,) = [each for each in audit if each["action"] == "certificate.revoke"]
    assert record["outcome"] == "ok"
    assert revoked[0]["serial"] in str(record)


async def test_an_fsms_revoked_certificate_is_refused_by_sites_that_heard_of_it(
    fsm: FSM, site: RoadSite
) -> None:
    stolen = FSMCredentials.beneath(fsm.data).server.load()
    await site.until(lambda status: status["upstream"]["connected"])
    own = SiteCredentials.beneath(site.data).server.load()
    async with running(Component(server_context(stolen))) as impostor:
        before = caller(own, Expectation(Role.FSM), revoked=await known(site))
        assert await outcome(impostor.port, before) == "accepted spiffe://sfo.hanse.example/sdsp"
        await revoke(fsm.admin(), serial_of(stolen.certificate))
        while not (await known(site))(serial_of(stolen.certificate)):
            await site.api.status()
        # The FSM shows a new one, and the site comes back to it by itself.
        await site.heard(fsm)
        await site.until(lambda status: status["upstream"]["connected"])
        after = caller(own, Expectation(Role.FSM), revoked=await known(site))
        assert await outcome(impostor.port, after) == "client refuses certificate_revoked"
    assert serial_of(FSMCredentials.beneath(fsm.data).server.load().certificate) != serial_of(
        stolen.certificate
    )


async def test_a_node_refuses_its_sdsps_revoked_certificate_also_after_a_restart(
    fsm: FSM, site: RoadSite, tmp_path: Path
) -> None:
    await site.join_node("node-1", tmp_path / "n1")
    stolen = SiteCredentials.beneath(site.data).server.load()
    files = Files.of(tmp_path / "n1")
    async with site.agent(tmp_path / "n1"):
        await site.until_node("node-1", state="realised", connected=True)
        await site.api.revoke_certificate(
            serial_of(stolen.certificate), reason="stolen", confirmed=True
        )
        while not files.revocations.exists() or not KnownRevocations(files.revocations)(
            serial_of(stolen.certificate)
        ):
            await site.api.status()
        await site.until_node("node-1", state="realised", connected=True)
    node = CredentialsDirectory(files.credentials).load()
    expected = Expectation(Role.SDSP, "sfo")
    async with running(Component(server_context(stolen))) as impostor:
        naive = caller(node, expected)
        assert (await outcome(impostor.port, naive)).startswith("accepted ")
        knowing = caller(node, expected, revoked=KnownRevocations(files.revocations))
        assert await outcome(impostor.port, knowing) == "client refuses certificate_revoked"


async def test_a_revoked_node_is_cut_off_while_its_stream_is_open(
    site: RoadSite, tmp_path: Path
) -> None:
    await site.join_node("node-1", tmp_path / "n1")
    async with site.agent(tmp_path / "n1"):
        await site.until_node("node-1", state="realised", connected=True)
        await site.api.revoke_certificate(
            "spiffe://sfo.hanse.example/node/node-1", reason="stolen", confirmed=True
        )
        await site.until_node("node-1", connected=False)


async def test_a_cut_off_site_refuses_whoever_was_revoked_meanwhile_once_it_is_back(
    fsm: FSM, site: RoadSite
) -> None:
    stolen = FSMCredentials.beneath(fsm.data).server.load()
    site.wire.cut()
    await site.until(lambda status: not status["upstream"]["connected"])
    await revoke(fsm.admin(), serial_of(stolen.certificate))
    assert not (await known(site))(serial_of(stolen.certificate))
    site.wire.mend()
    await site.heard(fsm)
    assert (await known(site))(serial_of(stolen.certificate))


async def test_ones_own_and_somebodys_last_certificate_are_revoked_only_when_confirmed(
    fsm: FSM, site: RoadSite
) -> None:
    admin = fsm.admin()
    credentials = FSMCredentials.beneath(fsm.data)
    own = serial_of(credentials.server.load().certificate)
    issuing = serial_of(credentials.issuing.load().certificate)
    (root,) = credentials.roots()
    for target, code in (
        (own, "confirmation_needed"),
        ("sfo.hanse.example/sdsp", "confirmation_needed"),
        (issuing, "in_use"),
        (serial_of(root), "is_root"),
        ("c0ffee", "unknown_certificate"),
    ):
        body = {"target": target, "reason": "x", "confirmed": code != "confirmation_needed"}
        with pytest.raises((Conflict, NotFound)) as caught:
            await admin.client.post("/api/v1/certificates/revoke", body)
        assert caught.value.code == code, target
    items = (await admin.client.get("/api/v1/certificates")).json()["items"]
    assert {each["kind"]: each["state"] for each in items} == {
        "root": "good",
        "issuing": "good",
        "fsm": "good",
        "site": "good",
    }
    with pytest.raises(Invalid):
        await admin.client.post("/api/v1/certificates/rotate", {"what": "authority"})


async def test_an_sdsps_certificate_that_its_site_revoked_is_refused_by_the_fsm(
    fsm: FSM, site: RoadSite
) -> None:
    stolen = SiteCredentials.beneath(site.data).server.load()
    thief = connect(fsm, stolen)
    await thief.get("/feed/v1/snapshot")
    await site.api.revoke_certificate(
        serial_of(stolen.certificate), reason="stolen", confirmed=True
    )

    async def until_refused() -> None:
        while True:
            await thief.get("/feed/v1/snapshot")

    with pytest.raises(Unauthenticated) as caught:
        await until_refused()
    assert caught.value.code == "certificate_revoked"
    await site.until(lambda status: status["upstream"]["connected"])


async def test_a_site_cannot_revoke_what_is_not_its_own(fsm: FSM, site: RoadSite) -> None:
    issuing = serial_of(FSMCredentials.beneath(fsm.data).issuing.load().certificate)
    own = SiteCredentials.beneath(site.data).server.load()
    rogue = connect(fsm, own)
    page = (await rogue.get("/feed/v1/snapshot")).json()
    report = {"position": page["position"], "trust": {"revoked": [issuing]}}
    await rogue.post("/feed/v1/report", report)
    revocations = Revocations()
    await Tidy(fsm.running.store, revocations, clock=fsm.clock).reconcile()
    assert not revocations(issuing)
    await site.until(lambda status: status["upstream"]["connected"])
