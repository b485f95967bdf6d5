"""How a new root is believed: the old one has signed its key.

A link certificate ("new with old", RFC 4210 §4.4) says with the old root's signature that the new
root's key is the federation's.  So a root is only ever taken over from whoever holds the old
root's key: a stolen key of an FSM, an SDSP or even the issuing CA can hand out no root of its own.
Links vouch; they are part of no chain.
"""

from collections.abc import Iterable, Sequence

from shared.errors import Unauthenticated
from shared.pki.authority import trust_domain_of
from shared.pki.certificates import Certificate, fingerprint_of, is_signed_by


def accept_roots(
    trusted: Sequence[Certificate], offered: Iterable[Certificate], links: Iterable[Certificate]
) -> tuple[Certificate, ...]:
    """Return the offered roots, each of which is trusted already or linked to one that is.

    Unauthenticated (`unlinked_root`) if one is neither, or is another federation's: then none of
    them is to be believed.
    """
    offered = tuple(offered)
    known = {fingerprint_of(each): each for each in trusted}
    waiting = [each for each in offered if fingerprint_of(each) not in known]
    wanted = [fingerprint_of(each) for each in waiting]
    vouching = list(links)
    domain = trust_domain_of(trusted[0])
    while waiting:
        found = next((each for each in waiting if _is_linked(each, known.values(), vouching)), None)
        if found is None or trust_domain_of(found) != domain:
            raise Unauthenticated(
                "a new root was offered that no trusted root has signed; it is not believed",
                code="unlinked_root",
            )
        known[fingerprint_of(found)] = found
        waiting.remove(found)
    kept = [each for each in trusted if fingerprint_of(each) in _prints(offered)]
    return (*kept, *(known[each] for each in wanted))


def _prints(certificates: Iterable[Certificate]) -> frozenset[bytes]:
    return frozenset(fingerprint_of(each) for each in certificates)


def _is_linked(
    root: Certificate, trusted: Iterable[Certificate], links: Sequence[Certificate]
) -> bool:
    if not is_signed_by(root, root):
        return False
    for link in links:
        same = link.public_key() == root.public_key() and link.subject == root.subject
        if same and any(is_signed_by(link, each) for each in trusted):
            return True
    return False
