"""Certificates are renewed in time, and names that were registered arrive in them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sdsp.tasks.certificates import RenewCertificates
from sdsp.upstream.enroll import RENEW, SiteCredentials, issue_own, make_ready, names_of
from shared.errors import Unavailable, Unreachable
from shared.model.inventory import Site
from shared.pki.authority import LEAF_LIFE, SITE_LIFE, registered_names
from shared.pki.certificates import certificates_to_pem, serial_of
from shared.pki.names import HostNames, parse_host_names
from shared.pki.tls import HotContext, server_context
from tests.fakes.clock import VirtualClock
from tests.fakes.federation import Federation

DAY, YEAR = LEAF_LIFE.total_seconds(), SITE_LIFE.total_seconds()


class Answer:
    def __init__(self, body: Any) -> None:
        self.body = body

    def json(self) -> Any:
        return self.body


class Upstream:
    """The FSM's half of a renewal, by its real authority."""

    def __init__(self, federation: Federation) -> None:
        self.federation = federation
        self.names: Sequence[str] = ("localhost",)
        self.is_away = False
        self.asked = 0

    async def post(self, path: str, body: Any) -> Answer:
        assert path == RENEW
        self.asked += 1
        if self.is_away:
            raise Unreachable("away")
        chain = self.federation.authority.issue_site_intermediate(
            body["csr"], "s1", dns_names=self.names, ip_addresses=()
        )
        roots = certificates_to_pem(self.federation.roots)
        return Answer({"chain": certificates_to_pem(chain), "roots": roots})


class World:
    def __init__(self, folder: Path) -> None:
        self.clock = VirtualClock()
        self.federation = Federation(clock=self.clock)
        self.credentials = SiteCredentials.beneath(folder)
        authority = self.federation.site("s1", ip_addresses=())
        self.credentials.authority.write(authority.credentials)
        self.context: HotContext = server_context(issue_own(self.credentials, clock=self.clock))
        self.upstream = Upstream(self.federation)
        self.wanted: HostNames | None = None
        self.task = RenewCertificates(
            self.credentials,
            upstream=self.upstream,  # type: ignore[arg-type]  # all that it uses of a PeerClient
            contexts=(self.context,),
            registered=lambda: self.wanted,
            clock=self.clock,
        )

    @property
    def serials(self) -> tuple[str, str]:
        both = (self.credentials.authority, self.credentials.server)
        ca, own = (serial_of(each.load().certificate) for each in both)
        return ca, own


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_nothing_is_renewed_before_its_time(world: World) -> None:
    before = world.serials
    world.clock.advance(DAY * 0.44)
    assert (await world.task.reconcile()).changed == 0
    assert world.serials == before


async def test_the_own_certificate_is_renewed_at_half_of_its_life_without_the_fsm(
    world: World,
) -> None:
    ca, own = world.serials
    used = world.context.current
    world.upstream.is_away = True
    world.clock.advance(DAY * 0.51)
    assert (await world.task.reconcile()).changed == 1
    assert world.serials[0] == ca
    assert world.serials[1] != own
    assert world.context.current is not used


async def test_the_cas_renewal_waits_for_the_fsm_and_the_own_certificate_does_not(
    world: World,
) -> None:
    world.upstream.is_away = True
    world.clock.advance(YEAR * 0.51)
    ca, own = world.serials
    outcome = await world.task.reconcile()
    assert outcome.failed == {"the site's CA": "unreachable"}
    assert world.serials[0] == ca
    assert world.serials[1] != own

    world.upstream.is_away = False
    assert not (await world.task.reconcile()).failed
    assert world.serials[0] != ca


async def test_names_that_the_fsm_registers_are_asked_for_once(world: World) -> None:
    world.wanted = parse_host_names(["localhost", "sdsp.example"])
    world.upstream.names = ("localhost", "sdsp.example")
    await world.task.reconcile()
    found = registered_names(world.credentials.authority.load().certificate)
    assert found == world.wanted
    assert (await world.task.reconcile()).changed == 0

    world.wanted = parse_host_names(["localhost", "other.example"])
    await world.task.reconcile()
    await world.task.reconcile()
    assert world.upstream.asked == 2


def test_a_sites_names_are_its_server_names_and_its_endpoints_host() -> None:
    site = Site.model_validate(
        {"endpoint": "https://SDSP.example:8444", "serverNames": ["10.0.0.1", "a.example", "::1"]}
    )
    assert names_of(site) == parse_host_names(["a.example", "sdsp.example"], ["10.0.0.1", "::1"])


def test_a_join_that_was_cut_short_is_finished_at_the_start(tmp_path: Path) -> None:
    clock = VirtualClock()
    credentials = SiteCredentials.beneath(tmp_path)
    credentials.authority.write(Federation(clock=clock).site("s1").credentials)
    make_ready(credentials, clock=clock)
    first = serial_of(credentials.server.load().certificate)
    make_ready(credentials, clock=clock)
    assert serial_of(credentials.server.load().certificate) == first
    clock.advance(3 * DAY)
    make_ready(credentials, clock=clock)
    assert serial_of(credentials.server.load().certificate) != first


def test_a_site_whose_ca_has_expired_starts_with_what_it_has(tmp_path: Path) -> None:
    clock = VirtualClock()
    credentials = SiteCredentials.beneath(tmp_path / "a")
    credentials.authority.write(Federation(clock=clock).site("s1").credentials)
    make_ready(credentials, clock=clock)
    clock.advance(2 * YEAR)
    make_ready(credentials, clock=clock)

    bare = SiteCredentials.beneath(tmp_path / "b")
    bare.authority.write(credentials.authority.load())
    with pytest.raises(Unavailable) as caught:
        make_ready(bare, clock=clock)
    assert caught.value.code == "issuer_expired"
