"""Two FSM processes share a folder: each shows a certificate of its own, and follows the other."""

from pathlib import Path

import pytest

from fsm.tasks.renew_certificates import RenewCertificates
from fsm.trust import (
    FSMCredentials,
    Phase,
    announce_root,
    create_trust,
    drop_old_root,
    issue_issuing,
    issue_own,
    take_root_into_use,
)
from shared.errors import Unavailable
from shared.failpoints import armed
from shared.pki.authority import LEAF_LIFE
from shared.pki.certificates import serial_of
from shared.pki.tls import server_context
from tests.fakes.clock import VirtualClock
from tests.fakes.federation import TRUST_DOMAIN

NAMES = ("localhost",)


class Folder:
    """An FSM's folder, and the processes that share it."""

    def __init__(self, path: Path) -> None:
        self.clock = VirtualClock()
        self.credentials = FSMCredentials.beneath(path)
        self.revoked: set[str] = set()
        create_trust(self.credentials, TRUST_DOMAIN, NAMES, clock=self.clock)

    def process(self) -> RenewCertificates:
        own = issue_own(self.credentials, NAMES, clock=self.clock)
        return RenewCertificates(
            self.credentials,
            server_names=NAMES,
            context=server_context(own),
            clock=self.clock,
            revoked=self.revoked.__contains__,
        )

    @property
    def issuing(self) -> str:
        return serial_of(self.credentials.issuing.load_public()[0][0])


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


async def test_regression_a_process_renews_what_it_shows_though_another_has_renewed(
    folder: Folder,
) -> None:
    one, other = folder.process(), folder.process()
    before = [serial_of(each.shown.certificate) for each in (one, other)]
    folder.clock.advance(LEAF_LIFE.total_seconds() * 0.6)
    assert [(await each.reconcile()).changed for each in (one, other)] == [1, 1]
    after = [serial_of(each.shown.certificate) for each in (one, other)]
    assert not set(before) & set(after)
    assert [(await each.reconcile()).changed for each in (one, other)] == [0, 0]


async def test_what_another_process_has_exchanged_is_followed(folder: Folder) -> None:
    one, other = folder.process(), folder.process()
    issue_issuing(folder.credentials, clock=folder.clock)
    for each in (one, other):
        assert (await each.reconcile()).changed == 1
        assert serial_of(each.shown.chain[1]) == folder.issuing


async def test_regression_no_process_goes_on_showing_what_is_revoked(folder: Folder) -> None:
    one, other = folder.process(), folder.process()
    folder.revoked.add(serial_of(other.shown.certificate))
    assert [(await each.reconcile()).changed for each in (one, other)] == [0, 1]
    assert serial_of(other.shown.certificate) not in folder.revoked


def test_of_two_that_take_the_same_step_one_does(folder: Folder) -> None:
    credentials, clock = folder.credentials, folder.clock
    current = credentials.issuing.load_public()[0][0]
    issue_issuing(credentials, clock=clock, after=current)
    issued = folder.issuing
    issue_issuing(credentials, clock=clock, after=current)
    assert folder.issuing == issued

    for _ in range(2):
        announce_root(credentials, clock=clock)
    assert credentials.phase() is Phase.ANNOUNCED
    assert [take_root_into_use(credentials, clock=clock) for _ in range(2)] == [True, False]
    issued = folder.issuing
    announce_root(credentials, clock=clock)
    for _ in range(2):
        drop_old_root(credentials)
    assert folder.issuing == issued
    assert credentials.phase() is Phase.NONE
    assert len(credentials.roots()) == 1


@pytest.mark.parametrize("place", ["fsm.exchange.made", "fsm.exchange.linked"])
def test_regression_an_announcement_cut_short_is_made_once_more(folder: Folder, place: str) -> None:
    """It was taken for made, and nobody was ever told of the new root."""
    credentials = folder.credentials
    with armed(f"{place}=raise"), pytest.raises(Unavailable):
        announce_root(credentials, clock=folder.clock)
    assert credentials.phase() is Phase.NONE
    announce_root(credentials, clock=folder.clock)
    assert credentials.phase() is Phase.ANNOUNCED
    assert len(credentials.roots()) == 2
    assert len(credentials.links()) == 1
