"""A certificate is renewed in time, or the node is told that it is too late."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dsn.settings import Identity
from dsn.tasks.renew import RenewCertificate
from shared.errors import Malformed, Unauthenticated, Unreachable
from shared.pki.authority import Authority
from shared.pki.certificates import certificates_to_pem, serial_of
from shared.pki.credentials import CredentialsDirectory
from shared.pki.identity import Expectation, Role, SpiffeId
from shared.pki.tls import ServerCheck, client_context
from tests.fakes.clock import VirtualClock
from tests.fakes.federation import TRUST_DOMAIN, Federation

HOUR = 3600.0


class Answer:
    def __init__(self, document: Any) -> None:
        self._document = document

    def json(self) -> Any:
        return self._document


class Site:
    """Renews as a site does: with its own CA."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.renewals = 0
        self.away = False
        self.node = "node-1"
        self.while_answering: Callable[[], None] = lambda: None

    async def post(self, path: str, body: Any) -> Answer:
        assert path == "/node/v1/renew"
        if self.away:
            raise Unreachable("the site is away")
        self.renewals += 1
        identity = SpiffeId.of_node(TRUST_DOMAIN, "sfo", self.node)
        chain = self.authority.issue_leaf(body["csr"], identity)
        self.while_answering()
        return Answer(
            {
                "node": self.node,
                "site": "sfo",
                "trustDomain": TRUST_DOMAIN,
                "chain": certificates_to_pem(chain),
                "roots": certificates_to_pem(self.authority.credentials.roots),
                "admission": "admitted",
            }
        )


class Renewing:
    def __init__(self, folder: Path) -> None:
        self.clock = VirtualClock(datetime(2026, 1, 1, tzinfo=UTC))
        self.federation = Federation(clock=self.clock)
        authority = self.federation.site("sfo")
        self.site = Site(authority)
        self.directory = CredentialsDirectory(folder / "credentials")
        self.directory.write(self.federation.node(authority))
        check = ServerCheck(TRUST_DOMAIN, (Expectation(Role.SDSP, "sfo"),), lambda _serial: False)
        self.context = client_context(self.directory.load(), check=check)
        self.task = RenewCertificate(
            transport=self.site,
            directory=self.directory,
            context=self.context,
            identity=Identity(("https://sdsp:8444",), TRUST_DOMAIN, "sfo", "node-1"),
            clock=self.clock,
        )


@pytest.fixture
def renewing(tmp_path: Path) -> Renewing:
    return Renewing(tmp_path)


async def test_a_young_certificate_is_left_alone(renewing: Renewing) -> None:
    renewing.clock.advance(9 * HOUR)

    assert (await renewing.task.reconcile()).changed == 0
    assert renewing.site.renewals == 0


async def test_at_half_of_its_life_it_is_renewed_with_a_new_key(renewing: Renewing) -> None:
    before, context = renewing.directory.load(), renewing.context.current
    renewing.clock.advance(13 * HOUR)

    assert (await renewing.task.reconcile()).changed == 1

    after = renewing.directory.load()
    assert after.certificate != before.certificate
    assert after.key.public_key() != before.key.public_key()
    assert renewing.context.current is not context
    assert (await renewing.task.reconcile()).changed == 0


async def test_a_site_that_is_away_leaves_the_old_certificate(renewing: Renewing) -> None:
    before = renewing.directory.load()
    renewing.site.away = True
    renewing.clock.advance(13 * HOUR)

    with pytest.raises(Unreachable):
        await renewing.task.reconcile()

    assert renewing.directory.load().certificate == before.certificate


async def test_an_expired_certificate_needs_a_person(renewing: Renewing) -> None:
    renewing.clock.advance(25 * HOUR)

    with pytest.raises(Unauthenticated, match="join anew") as refusal:
        await renewing.task.reconcile()
    assert refusal.value.code == "certificate_expired"
    assert renewing.site.renewals == 0


async def test_another_nodes_certificate_is_not_taken(renewing: Renewing) -> None:
    before = renewing.directory.load()
    renewing.site.node = "node-2"
    renewing.clock.advance(13 * HOUR)

    with pytest.raises(Malformed):
        await renewing.task.reconcile()

    assert renewing.directory.load().certificate == before.certificate


async def test_regression_a_ca_that_is_named_while_the_answer_is_under_way_is_asked_for_next(
    renewing: Renewing,
) -> None:
    """It was forgotten with the one that had been asked for, until half of the life was over."""
    task, site = renewing.task, renewing.site
    new = renewing.federation.site("sfo")

    def go_on() -> None:
        if site.renewals == 1:
            site.authority = new
            task.expect(serial_of(new.credentials.certificate))

    site.while_answering = go_on
    task.expect("the one between")
    assert [(await task.reconcile()).changed for _ in range(3)] == [1, 1, 0]
    assert renewing.directory.load().chain[1] == new.credentials.certificate
