"""No one grants what he does not hold: an admission for all that says who may do what.

Whoever writes a Role, a RoleBinding, an account or its password must himself hold whatever
somebody comes to hold by that: there is no way round it by binding first and widening later, by
making an account that is bound already, or by giving somebody else's account another password.
Whoever says who vouches for people, by an AuthenticationPolicy or an exception to one, could have
himself vouched for as any of them, so he must hold whatever anybody holds.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from shared.access.book import ACCESS_KINDS, Atom, Book
from shared.access.coverage import Lack, gains, lacks, woken
from shared.access.permissions import Permission
from shared.access.roles import book_in
from shared.errors import FieldError
from shared.ids import COMMON, Key
from shared.model.access import Credential, RoleBinding, User
from shared.model.base import Spec
from shared.model.kinds import Home
from shared.model.override import Override
from shared.objects.admission import ACCEPTED, Batch, Fault, Proposal, Review
from shared.policy.faults.fault import Fault as PolicyFault
from shared.policy.faults.roles import binding_faults
from shared.policy.inputs import Document, Documents
from shared.store.contract import Selection, Snapshot

EXCEEDS: Final = "exceeds_own_rights"

VOUCHING: Final = "AuthenticationPolicy"

CONCERNED: Final = ACCESS_KINDS | {"Credential", VOUCHING, "Override"}

_DEPENDS_ON: Final = Selection(kinds=ACCESS_KINDS)

# Of what somebody lacks; he will ask for a role that has it all, not for one permission.
_TOLD: Final = 8


class GrantingAdmission:
    """A shared.objects.admission.Admission for either home."""

    def __init__(self, home: Home) -> None:
        self._home = home

    async def review(self, batch: Batch, snapshot: Snapshot) -> Review:
        if batch.trusted or all(each.key.kind not in CONCERNED for each in batch.proposals):
            return ACCEPTED
        before = await book_in(snapshot, self._home)
        after = before.changed(
            {each.key: each.envelope.spec for each in _of_access(batch) if each.envelope},
            [each.key for each in _of_access(batch) if each.envelope is None],
        )
        change = Change(batch, before, after)
        return Review(tuple(change.faults()), depends_on=_DEPENDS_ON)


@dataclass(frozen=True, slots=True)
class Change:
    """A batch, and who holds what before and after it."""

    batch: Batch
    before: Book
    after: Book

    def faults(self) -> Iterator[Fault]:
        yield from self._names()
        yield from self._unbound()
        yield from self._beyond()
        yield from self._vouched()

    def _names(self) -> Iterator[Fault]:
        """Yield names of roles that upstream has taken."""
        for index, each in enumerate(self.batch.proposals):
            if each.key.kind == "Role" and each.envelope is not None and each.before is None:
                inherited = [key for key in self._roles() if self.after.is_inherited(key)]
                if any(key.name == each.key.name for key in inherited):
                    message = (
                        f"there is a role {each.key.name} from upstream; give this one another name"
                    )
                    yield Fault(index, FieldError("metadata.name", "role_exists", message))

    def _unbound(self) -> Iterator[Fault]:
        """Yield bindings that find no role, or not everywhere, and roles that are still bound."""
        before: set[Key | None] | None = None
        for each in _binding_faults(self.after):
            assert each.document is not None, "the faults are of bindings"
            key, spec = each.document.key, each.document.spec
            index = self._index(key)
            if index is not None:
                yield Fault(index, FieldError(each.path, each.code, each.message))
                continue
            if before is None:
                before = {fault.key for fault in _binding_faults(self.before)}
            if key not in before and isinstance(spec, RoleBinding):
                yield from self._in_use(spec.role, key)

    def _in_use(self, role: str, binding: Key) -> Iterator[Fault]:
        for index, each in enumerate(self.batch.proposals):
            if each.key.kind == "Role" and each.key.name == role:
                who = str(binding) if self._sees_bindings else "a RoleBinding"
                message = f"{who} names role {role}; change that first"
                yield Fault(index, FieldError("", "in_use", message))

    def _beyond(self) -> Iterator[Fault]:
        """Yield what somebody would come to hold and the caller doesn't."""
        held = tuple(self.batch.caller.grants)
        found = [
            (atom, lacks([each for each in grants if each not in had], (*held, *had)))
            for atom, grants, had in gains(self.before, self.after)
        ]
        accounts = woken(self.before, self.after, self._passwords())
        found += [(atom, lacks(grants, held)) for atom, grants in accounts.items()]
        told: dict[tuple[int, str], Fault] = {}
        for atom, missing in found:
            for fault in self._told(atom, missing):
                told.setdefault((fault.index, fault.error.message), fault)
        yield from told.values()

    def _vouched(self) -> Iterator[Fault]:
        """Yield whom the caller could become although they may do more than he may."""
        held = tuple(self.batch.caller.grants)
        for index, each in enumerate(self.batch.proposals):
            if not _says_who_vouches(each):
                continue
            for atom, grants in self.after.assigned.items():
                lack = next(iter(lacks(grants, held)), None)
                if lack is not None:
                    who = str(atom) if self._sees_bindings else "somebody"
                    message = (
                        "whoever says who vouches for people could be any of them, and "
                        f"{who} may do what you may not yourself: {lack}"
                    )
                    yield Fault(index, FieldError("", EXCEEDS, message))
                    break

    def _told(self, atom: Atom, found: Iterable[Lack]) -> Iterator[Fault]:
        index, path = self._place(atom)
        named = any(each.key.kind == "RoleBinding" for each in self.batch.proposals)
        who = str(atom) if named or self._sees_bindings else "somebody"
        for lack in islice(found, _TOLD):
            message = f"this would let {who} do what you may not yourself: {lack}"
            yield Fault(index, FieldError(path, EXCEEDS, message))

    def _place(self, atom: Atom) -> tuple[int, str]:
        """Return the proposal that gives an atom something, and the field that does."""
        for index, each in enumerate(self.batch.proposals):
            spec: Any = each.envelope.spec if each.envelope else None
            if isinstance(spec, RoleBinding):
                bound = (g.binding for g in self.after.assigned.get(atom, ()))
                if each.key.name in bound:
                    return index, "spec.subjects"
        for index, each in enumerate(self.batch.proposals):
            if each.key.kind == "Role":
                return index, "spec.grants"
        for index, each in enumerate(self.batch.proposals):
            if each.key.kind == atom.kind and each.key.name == atom.name.rpartition("/")[2]:
                return index, ""
        return next(
            (i for i, each in enumerate(self.batch.proposals) if each.key.kind in CONCERNED), 0
        ), ""

    def _passwords(self) -> set[str]:
        """Return the users who get another password, or are given one."""
        written = {
            each.key.name
            for each in self.batch.proposals
            if each.key.kind == "Credential" and each.key.tenant == COMMON and _sets_secret(each)
        }
        found = set()
        for key, spec in self.after.objects.items():
            if isinstance(spec, User) and spec.credential is not None:
                was = self.before.objects.get(key)
                had = was.credential if isinstance(was, User) else None
                if spec.credential in written or spec.credential != had:
                    found.add(key.name)
        return found

    @property
    def _sees_bindings(self) -> bool:
        return self.batch.may(Permission.READ_ROLE_BINDING, tenant=COMMON)

    def _index(self, key: Key) -> int | None:
        return next((i for i, each in enumerate(self.batch.proposals) if each.key == key), None)

    def _roles(self) -> list[Key]:
        return [key for key in self.after.objects if key.kind == "Role"]


def _binding_faults(book: Book) -> Iterator[PolicyFault]:
    """Yield what is wrong with the bindings of the server itself."""
    documents = [Document(key, spec) for key, spec in book.objects.items()]
    return binding_faults(
        Documents(each for each in documents if not book.is_inherited(each.key)),
        Documents(each for each in documents if book.is_inherited(each.key)),
    )


def _of_access(batch: Batch) -> list[Proposal]:
    return [each for each in batch.proposals if each.key.kind in ACCESS_KINDS]


def _sets_secret(proposal: Proposal) -> bool:
    spec: Spec | None = proposal.envelope.spec if proposal.envelope else None
    return isinstance(spec, Credential) and (spec.secret is not None or proposal.before is None)


def _says_who_vouches(proposal: Proposal) -> bool:
    if proposal.key.kind != "Override":
        return proposal.key.kind == VOUCHING
    spec: Spec | None = proposal.envelope.spec if proposal.envelope else None
    after = spec.target.kind if isinstance(spec, Override) else None
    before = proposal.before.spec["target"]["kind"] if proposal.before else None
    return VOUCHING in (after, before)
