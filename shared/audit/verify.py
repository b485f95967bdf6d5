"""Is the trail what was written?  Pure: links and seals in, findings out.

Links are followed in the order of their numbers, which leave no gap, each as the next of its chain;
a seal is held against the chains where its number is reached.  After something wrong it goes on
from the next hash that is there whole, so that one fault is told as one.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import orjson

from shared.audit.seals import PURPOSE, Seal
from shared.errors import HanseError
from shared.pki.certificates import Certificate, certificates_from_pem, thumbprint_of
from shared.pki.signatures import is_signature, leads_to
from shared.store.chain import MARK, genesis, link
from shared.store.contract import Head, Link, SealText

MOST_FINDINGS: Final = 100
RETIRE: Final = "audit.retire"
"""The action with which retention records what it removes."""

_RETIRE_MARK: Final = RETIRE.encode()
_WHOLE: Final = 64


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it was written, and where exactly.

    Codes: `changed`, `removed`, `inserted`, `reordered`, `truncated`, `fork` of records;
    `seal_missing`, `seal_changed`, `seal_forged`, `seal_untrusted` of seals.
    """

    code: str
    message: str
    number: int | None = None
    sequence: int | None = None


@dataclass(slots=True)
class Report:
    """What was looked at and found.  `unsealed` records came after the last seal: nothing but the
    store itself vouches for the end of them.  `unchained` are from before there were chains.
    """

    records: int = 0
    chains: int = 0
    seals: int = 0
    first: int | None = None
    last: int = 0
    unsealed: int = 0
    unchained: int = 0
    sealed_at: datetime | None = None
    last_seal: SealText | None = None
    findings: list[Finding] = field(default_factory=list)
    hashes: dict[int, str] = field(default_factory=dict, repr=False)
    """Of the seals, by their sequence number."""

    @property
    def sound(self) -> bool:
        return not self.findings


@dataclass(slots=True)
class _Tip:
    """Where a chain has been followed to; without a digest it isn't known how it went on."""

    position: int
    digest: bytes | None
    number: int = 0
    """Of the last record that was seen of it; 0 if none was."""


SignerCheck = Callable[[Seal, SealText], Finding | None]


class Signers:
    """Judges seals' signatures by the certificates that are kept beside them."""

    def __init__(self, chains: Mapping[str, str], roots: Sequence[Certificate] | None) -> None:
        """`chains` are PEM texts by thumbprint; without `roots` any signer is taken."""
        self._chains = dict(chains)
        self._roots = roots
        self._known: dict[str, tuple[Certificate, ...]] = {}
        self._untrusted: set[str] = set()

    def check(self, seal: Seal, text: SealText) -> Finding | None:
        """Return what is wrong with a seal's signature."""
        certificates = self._certificates(seal.signer)
        if not certificates:
            return _of_seal(
                "seal_forged", seal.sequence, "the certificate of its signer is not there"
            )
        if not is_signature(certificates[0], PURPOSE, text.body.encode(), text.signature):
            return _of_seal("seal_forged", seal.sequence, "it is not signed by the one it names")
        if self._roots is None or seal.signer in self._untrusted:
            return None
        if leads_to(certificates, self._roots, at=seal.at):
            return None
        self._untrusted.add(seal.signer)
        return _of_seal(
            "seal_untrusted",
            seal.sequence,
            "its signer leads to none of the roots; was one exchanged? give that one too",
        )

    def _certificates(self, signer: str) -> tuple[Certificate, ...]:
        if signer not in self._known:
            try:
                found = certificates_from_pem(self._chains.get(signer, ""))
            except HanseError:
                found = ()
            self._known[signer] = found if found and thumbprint_of(found[0]) == signer else ()
        return self._known[signer]


class Verifier:
    """Takes seals and then links, in order, and says in the end what it found."""

    def __init__(self, seals: Iterable[SealText], *, check: SignerCheck) -> None:
        self.report = Report()
        self._check = check
        self._tips: dict[str, _Tip] = {}
        self._moved: set[str] = set()
        self._sealed_to: dict[str, int] = {}
        self._skipped: set[tuple[str, int]] = set()
        self._unchained_until: int | None = None
        self._begin = 0
        self._expected = 1
        self._retired: set[int] = set()
        self._first_seal: Seal | None = None
        self._sealed = 0
        self._last_sequence = 0
        self._previous: SealText | None = None
        self._seals = iter(self._judged(seals))
        self._next = next(self._seals, None)
        if self._next is not None:
            self._start(self._next)

    def _start(self, seal: Seal) -> None:
        self._first_seal = seal
        if seal.sequence == 1:
            self._unchained_until = seal.unchained
            return
        if not seal.whole:
            self._find(_of_seal("seal_missing", seal.sequence, "the seals before it are gone"))
        self._unchained_until = 0
        self._begin, self._expected = seal.number, seal.number + 1
        for name, (position, digest) in seal.heads.items():
            self._tips[name] = _Tip(position, _digest(digest))

    def take(self, each: Link) -> None:
        """Take the next link."""
        if each.number <= self._begin:
            # Retired, and perhaps not removed yet; whoever puts one there puts it outside.
            if each.number < 1:
                self._find_at("inserted", each.number, "its number is none that is ever given")
            return
        while self._next is not None and each.number > self._next.number:
            self._close(self._next)
        report = self.report
        if report.first is None:
            report.first = each.number
        if not self._take_number(each):
            return
        report.records += 1
        if each.chain is None or each.position is None:
            self._take_unchained(each)
        else:
            self._take_link(each, each.chain, each.position)

    def end(self, *, counted: int | None = None, heads: Sequence[Head] = ()) -> Report:
        """Return the report; `counted` and `heads` are what the store itself says of the end."""
        while self._next is not None:
            self._close(self._next)
        report = self.report
        report.last = max(self._expected - 1, self._begin)
        report.chains = len(self._tips)
        report.unsealed = max(0, report.last - self._sealed)
        if counted is not None and counted > report.last:
            self._find_at(
                "truncated",
                report.last + 1,
                f"the store counts {counted} records, and the last is {report.last}",
            )
        elif counted is not None and counted < report.last:
            self._find_at("inserted", counted + 1, f"the store counts {counted} records only")
        if counted is not None:
            self._hold_heads(heads)
        first = self._first_seal
        if first is not None and first.sequence > 1 and first.sequence not in self._retired:
            self._find(
                _of_seal(
                    "seal_missing",
                    first.sequence,
                    "it is the first there is, and no record of retention says so",
                )
            )
        return report

    def _take_number(self, each: Link) -> bool:
        if each.number < self._expected:
            self._find_at("inserted", each.number, "there are two records of this number")
            return False
        if each.number > self._expected:
            last = each.number - 1
            which = f"records {self._expected} to {last} are" if last > self._expected else "it is"
            self._find_at("removed", self._expected, f"{which} not there")
        self._expected = (each.last if each.last and each.last >= each.number else each.number) + 1
        return True

    def _take_unchained(self, each: Link) -> None:
        limit = self._unchained_until
        if (
            each.hash is not None
            or (limit is not None and each.number > limit)
            or (limit is None and self._tips)
        ):
            self._find_at("inserted", each.number, "it is in no chain")
        else:
            self.report.unchained += 1

    def _take_link(self, each: Link, name: str, position: int) -> None:
        tip = self._tips.setdefault(name, _Tip(0, genesis(name)))
        tip.number = each.last or each.number
        self._moved.add(name)
        if each.line is None:
            last = each.last or each.number
            self._find_at("changed", each.number, f"the page up to record {last} can't be read")
            tip.position = position + last - each.number
            tip.digest = _digest(each.hash)
            return
        if position <= tip.position:
            if (name, position) in self._skipped:
                self._skipped.discard((name, position))
            else:
                message = f"chain {name} has two links at position {position}"
                self._find_at("fork", each.number, message)
            return
        if position > tip.position + 1:
            self._jump(each, name, tip, position)
            return
        self._extend(each, name, tip, position)

    def _jump(self, each: Link, name: str, tip: _Tip, position: int) -> None:
        """Note that links are missing from a chain, unless their numbers are, which was told."""
        found = self.report.findings
        told = bool(found) and found[-1].code == "removed"
        if not told:
            message = f"it is link {position} of chain {name}, whose last was {tip.position}"
            self._find_at("reordered", each.number, message)
        missing = range(tip.position + 1, min(position, tip.position + MOST_FINDINGS))
        self._skipped.update((name, at) for at in missing)
        tip.position = position
        tip.digest = _digest(each.hash)

    def _extend(self, each: Link, name: str, tip: _Tip, position: int) -> None:
        assert each.line is not None, "the caller has looked"
        tip.position = position
        if tip.digest is None:
            # How the chain went on isn't known: it is from the next whole hash.
            tip.digest = _digest(each.hash)
            return
        digest = link(tip.digest, each.line)
        place = orjson.dumps([each.number, name, position])[:-1] + b","
        stored = each.hash or ""
        said = len(stored) in (MARK, _WHOLE) and digest.hex().startswith(stored)
        if said and each.line.startswith(place):
            tip.digest = digest
            if _RETIRE_MARK in each.line:
                self._take_retirement(each.line)
            return
        self._find_at("changed", each.number, "it is not what its hash is of")
        tip.digest = _digest(stored)

    def _take_retirement(self, line: bytes) -> None:
        values = orjson.loads(line)
        if RETIRE in values:
            try:
                self._retired.add(int(orjson.loads(values[14])["firstSeal"]))
            except (ValueError, KeyError, TypeError):
                return

    def _judged(self, seals: Iterable[SealText]) -> Iterable[Seal]:
        """Yield the seals that can be read, having judged each beside the one before it."""
        for text in seals:
            before, self._previous = self._previous, text
            self._last_sequence = text.sequence
            self.report.hashes[text.sequence] = text.hash
            self.report.seals += 1
            if before is not None and text.sequence != before.sequence + 1:
                gap = _of_seal("seal_missing", before.sequence + 1, "it is not there")
                self._find(gap)
            try:
                seal = Seal.parse(text)
            except ValueError as exc:
                self._find(_of_seal("seal_changed", text.sequence, str(exc)))
                continue
            follows = before is not None and text.sequence == before.sequence + 1
            if before is not None and follows and seal.previous != before.hash:
                message = "it follows another seal than the one before it"
                self._find(_of_seal("fork", seal.sequence, message))
            elif before is None and seal.sequence == 1 and seal.previous is not None:
                self._find(_of_seal("fork", 1, "it follows a seal, and is the first"))
            if (finding := self._check(seal, text)) is not None:
                self._find(finding)
            self.report.sealed_at = seal.at
            self.report.last_seal = text
            yield seal

    def _close(self, seal: Seal) -> None:
        """Hold the chains against a seal whose number has been reached."""
        first = seal is self._first_seal and seal.sequence > 1
        for name, end in () if first else seal.heads.items():
            tip = self._tips.setdefault(name, _Tip(0, genesis(name)))
            self._hold(name, tip, end, f"seal {seal.sequence}", seal.number)
        self._sealed_to |= {name: position for name, (position, _) in seal.heads.items()}
        for name in sorted(self._moved - seal.heads.keys()):
            message = f"chain {name} has records that seal {seal.sequence} doesn't know"
            self._find_at("inserted", seal.number, message)
        self._moved.clear()
        self._sealed = seal.number
        self._next = next(self._seals, None)

    def _hold_heads(self, heads: Sequence[Head]) -> None:
        """Compare the store's own heads with where the chains ended."""
        named = {head.chain for head in heads}
        for name, tip in self._tips.items():
            if tip.number and name not in named:
                self._find_at("removed", tip.number, f"the head of chain {name} is not there")
        for head in heads:
            name, found = head.chain, self._tips.get(head.chain)
            if found is None or not found.number:
                if head.number > self._begin:
                    message = f"chain {name} is said to end here, and has no such record"
                    self._find_at("removed", head.number, message)
                continue
            end = head.position, head.hash
            if not self._hold(name, found, end, "the store's head", head.number):
                continue
            if head.number != found.number:
                message = f"the head of chain {name} is said to be record {head.number}"
                self._find_at("changed", found.number, message)
            sealed = self._sealed_to.get(name, 0)
            if head.sealed > sealed:
                message = f"chain {name} is said to be sealed to {head.sealed}, and is to {sealed}"
                self._find(_of_seal("seal_missing", self._last_sequence + 1, message))
            elif head.sealed < sealed:
                message = f"chain {name} is sealed to {sealed}, and said to be to {head.sealed}"
                self._find_at("changed", found.number, message)

    def _hold(self, name: str, tip: _Tip, end: tuple[int, str], who: str, number: int) -> bool:
        """Compare where a chain ended with what somebody says; return whether it is so."""
        position, digest = end
        if tip.position < position:
            message = f"chain {name} ends at {tip.position}, and {who} says {position}"
            self._find_at("truncated", number, message)
        elif tip.position > position:
            message = f"chain {name} goes on to {tip.position}, and {who} says {position}"
            self._find_at("inserted", number, message)
        elif tip.digest is not None and tip.digest.hex() != digest:
            message = f"chain {name} at {position} is not what {who} says: it was written anew"
            self._find_at("changed", number, message)
        else:
            return True
        tip.position, tip.digest = position, _digest(digest)
        return False

    def _find_at(self, code: str, number: int, message: str) -> None:
        self._find(Finding(code, f"record {number}: {message}", number=number))

    def _find(self, finding: Finding) -> None:
        if len(self.report.findings) < MOST_FINDINGS:
            self.report.findings.append(finding)


def _of_seal(code: str, sequence: int, message: str) -> Finding:
    return Finding(code, f"seal {sequence}: {message}", sequence=sequence)


def _digest(text: str | None) -> bytes | None:
    """Return a whole hash's bytes; None for anything else."""
    if text is None or len(text) != _WHOLE:
        return None
    try:
        return bytes.fromhex(text)
    except ValueError:
        return None
