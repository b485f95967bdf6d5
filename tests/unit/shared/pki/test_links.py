"""A new root is believed only if a trusted one has signed its key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Unauthenticated
from shared.pki.authority import create_link, create_root
from shared.pki.identity import TrustDomain
from shared.pki.links import accept_roots
from tests.fakes.clock import VirtualClock
from tests.fakes.federation import TRUST_DOMAIN

CLOCK = VirtualClock()
ROOTS = [create_root(TRUST_DOMAIN, clock=CLOCK) for _ in range(4)]
CERTIFICATES = [each.certificate for each in ROOTS]
LINKS = {
    (old, new): create_link(ROOTS[old], CERTIFICATES[new], clock=CLOCK)
    for old in range(4)
    for new in range(4)
    if old != new
}


@given(
    trusted=st.sets(st.integers(0, 3), min_size=1),
    offered=st.sets(st.integers(0, 3)),
    links=st.sets(st.sampled_from(sorted(LINKS))),
)
def test_a_root_is_believed_if_and_only_if_links_lead_to_it_over_offered_ones(
    trusted: set[int], offered: set[int], links: set[tuple[int, int]]
) -> None:
    reached = set(trusted)
    while more := {new for old, new in links if old in reached and new in offered} - reached:
        reached |= more
    given_roots = [CERTIFICATES[each] for each in sorted(trusted)]
    given_links = [LINKS[each] for each in links]
    wanted = [CERTIFICATES[each] for each in sorted(offered)]
    if offered <= reached:
        accepted = accept_roots(given_roots, wanted, given_links)
        assert set(accepted) == set(wanted), "and what isn't offered any more is let go"
    else:
        with pytest.raises(Unauthenticated) as caught:
            accept_roots(given_roots, wanted, given_links)
        assert caught.value.code == "unlinked_root"


def test_another_federations_root_is_not_believed_even_if_it_was_signed() -> None:
    other = create_root(TrustDomain("other.example"), clock=CLOCK).certificate
    link = create_link(ROOTS[0], other, clock=CLOCK)
    with pytest.raises(Unauthenticated):
        accept_roots([CERTIFICATES[0]], [CERTIFICATES[0], other], [link])
