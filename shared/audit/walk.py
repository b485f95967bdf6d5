"""Walk a store's audit trail as it stands at one moment: to verify it, to hand it out."""

from collections.abc import AsyncIterator, Sequence
from typing import Final

from shared.audit.seals import SIGNERS
from shared.audit.verify import Report, Signers, Verifier
from shared.pki.certificates import Certificate
from shared.store.contract import Ledger, LedgerView, Link, SealText

PAGE: Final = 500


async def verify(ledger: Ledger, *, roots: Sequence[Certificate] | None = None) -> Report:
    """Verify a store's whole trail; without `roots` any signer is taken.  Unavailable."""
    async with ledger.view() as view:
        chains = {
            name: str(value["chain"]) for name, value in (await view.records(SIGNERS)).items()
        }
        seals = [each async for each in seals_of(view)]
        verifier = Verifier(seals, check=Signers(chains, roots).check)
        async for links in links_of(view):
            for each in links:
                verifier.take(each)
        return verifier.end(counted=view.counted, heads=await view.heads())


async def links_of(view: LedgerView, after: int = -(2**62)) -> AsyncIterator[Sequence[Link]]:
    """Yield all links behind a number in their order, some at a time."""
    while found := await view.links(after, PAGE):
        yield found
        last = found[-1]
        after = max(last.number, last.last or 0)


async def seals_of(view: LedgerView, after: int = -(2**62)) -> AsyncIterator[SealText]:
    """Yield all seals behind a sequence number."""
    while found := await view.seals(after, PAGE):
        for each in found:
            yield each
        after = found[-1].sequence
