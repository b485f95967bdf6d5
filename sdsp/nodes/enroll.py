"""Nodes join with a token, are admitted, and renew their certificates.

A node's certificate comes from the site's own CA, so nodes join and renew while the FSM is away.
Joining proves who a node is; what it may do is admission's matter: a node that nobody has
declared joins `pending` and gets no configuration until a person, or an AdmissionRule, admits it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from sdsp.nodes.states import node_key
from shared.auth.limiter import Limiter, origin_of
from shared.clock import Clock
from shared.enrolment.register import (
    JOIN_ATTEMPTS,
    GivenToken,
    add_token,
    drop_tokens,
    live_certificates,
    record_certificate,
    revoke_live,
    spend_token,
)
from shared.enrolment.revocations import Revocations
from shared.errors import HanseError, TooManyRequests
from shared.failpoints import pause
from shared.ids import COMMON, SITE, Key, parse_dns_label
from shared.model.access import AdmissionRule
from shared.objects.call import Call
from shared.objects.service import Written
from shared.objects.trail import Trail
from shared.pki.authority import Authority
from shared.pki.certificates import Certificate, certificates_to_pem
from shared.pki.identity import SpiffeId
from shared.pki.jointoken import JoinKind, JoinToken
from shared.store.contract import Draft, Operation, Selection, Store, Stored, Transaction

# A node renews twice a day; each certificate is on record until it expires.
_MOST_LIVE: Final = 20

_RULES: Final = Selection(kinds=frozenset({"AdmissionRule"}))


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A node's certificate chain and the roots it is to trust, as PEM."""

    node: str
    site: str
    trust_domain: str
    chain: str
    roots: str
    admission: str


class NodeEnrolment:
    """Gives out tokens, takes them back for certificates, and renews those."""

    def __init__(
        self,
        store: Store,
        *,
        authority: Callable[[], Authority],
        revocations: Revocations,
        trail: Trail,
        limiter: Limiter,
        clock: Clock,
    ) -> None:
        """`authority` reads the site's CA of now: it is renewed while we live."""
        self._store = store
        self._authority = authority
        self._revocations = revocations
        self._trail = trail
        self._limiter = limiter
        self._clock = clock

    async def give_token(self, call: Call, node: str, *, replace: bool) -> GivenToken:
        """Return a token with which `node` may join within the hour.

        Invalid if that is no node's name; Conflict (`certificate_exists`) as add_token() has it.
        """
        parse_dns_label(node)
        authority = self._authority()
        root = authority.credentials.root
        token = JoinToken.create(JoinKind.NODE, site=_site_of(authority), name=node, root=root)
        identity = str(identity_of(authority, node))
        audit = self._trail.record(call, "jointoken.create", reason=f"for node {node}")

        async def work(transaction: Transaction) -> GivenToken:
            given = await add_token(
                transaction,
                token,
                identity=identity,
                scope=SITE,
                now=self._clock.now(),
                replace=replace,
            )
            await transaction.audit(audit)
            return given

        return (await self._store.transact(work)).result

    async def join(self, call: Call, text: str, csr: str) -> Enrolled:
        """Trade a token and a signing request (PEM) for a certificate.

        Raises as spend_token() and Authority.issue_leaf() do, and TooManyRequests; refusals are
        audited too.
        """
        self._limiter.check((JOIN_ATTEMPTS, f"join:{origin_of(call.caller.address)}"))
        try:
            return await self._join(call, text, csr)
        except HanseError as exc:
            await self._trail.refused(call, "node.join", exc)
            raise

    async def _join(self, call: Call, text: str, csr: str) -> Enrolled:
        audit = self._trail.record(call, "node.join")
        authority = self._authority()
        site = _site_of(authority)

        async def work(transaction: Transaction) -> Enrolled:
            now = self._clock.now()
            token, replaces = await spend_token(
                transaction, text, kind=JoinKind.NODE, site=site, scope=SITE, now=now
            )
            identity = identity_of(authority, token.name)
            if replaces:
                await revoke_live(
                    transaction, str(identity), scope=SITE, now=now, reason="joined anew"
                )
            chain = authority.issue_leaf(csr, identity)
            declared = await _declare(transaction, token.name)
            await record_certificate(transaction, chain, identity=str(identity), owner=declared.uid)
            await transaction.audit(audit)
            return _enrolled(authority, token.name, chain, _admission_of(declared))

        enrolled = (await self._store.transact(work)).result
        async with self._store.snapshot() as snapshot:
            await self._revocations.read(snapshot)
        await pause("sdsp.join.before_answer")
        return enrolled

    async def renew(self, call: Call, node: str, csr: str) -> Enrolled:
        """Return a new certificate for a node that has proved itself with its old one.

        TooManyRequests if it has renewed over and over.
        """
        authority = self._authority()
        identity = identity_of(authority, node)
        chain = authority.issue_leaf(csr, identity)
        audit = self._trail.record(call, "node.renew")

        async def work(transaction: Transaction) -> Enrolled:
            live = await live_certificates(transaction, str(identity), now=self._clock.now())
            if len(live) >= _MOST_LIVE:
                raise TooManyRequests(
                    f"node {node} has {len(live)} certificates that are still good; use the "
                    "newest, and renew it at half of its life",
                    retry_after=3600.0,
                )
            stored = await transaction.get(node_key(node))
            await record_certificate(
                transaction, chain, identity=str(identity), owner=stored.uid if stored else None
            )
            await transaction.audit(audit)
            admission = _admission_of(stored) if stored else "pending"
            return _enrolled(authority, node, chain, admission)

        return (await self._store.transact(work)).result

    async def after_writes(self, transaction: Transaction, written: Sequence[Written]) -> None:
        """Revoke the certificates of nodes that a batch deletes, and void their tokens, with it."""
        deleted = [
            each.stored.key.name
            for each in written
            if each.operation is Operation.DELETE and each.stored.key.kind == "Node"
        ]
        if not deleted:
            return
        authority, now = self._authority(), self._clock.now()
        for node in deleted:
            identity = str(identity_of(authority, node))
            reason = f"Node {node} was deleted"
            await revoke_live(transaction, identity, scope=SITE, now=now, reason=reason)
        await drop_tokens(transaction, JoinKind.NODE, deleted)


def identity_of(authority: Authority, node: str) -> SpiffeId:
    return SpiffeId.of_node(authority.trust_domain, _site_of(authority), node)


def _site_of(authority: Authority) -> str:
    assert authority.site is not None, "an SDSP has a site's CA"
    return authority.site


def _enrolled(
    authority: Authority, node: str, chain: tuple[Certificate, ...], admission: str
) -> Enrolled:
    return Enrolled(
        node=node,
        site=_site_of(authority),
        trust_domain=str(authority.trust_domain),
        chain=certificates_to_pem(chain),
        roots=certificates_to_pem(authority.credentials.roots),
        admission=admission,
    )


def _admission_of(node: Stored) -> str:
    admission: str = node.spec.get("admission", "admitted")
    return admission


async def _declare(transaction: Transaction, node: str) -> Stored:
    """Make sure that there is a Node object; return it.

    What a person has declared stays as it is; else a matching AdmissionRule admits it.
    """
    stored = await transaction.get(node_key(node))
    if stored is not None:
        return stored
    groups: tuple[str, ...] = ()
    admission = "pending"
    for each in await transaction.list(_RULES):
        rule = AdmissionRule.model_validate(each.spec)
        # A node that has just joined has no labels: they are given by people, not by nodes.
        if (not rule.names or node in rule.names) and rule.nodes.matches({}):
            admission, groups = "admitted", await _present(transaction, rule.groups)
            break
    spec: dict[str, object] = {"admission": admission} if admission != "admitted" else {}
    if groups:
        spec["groups"] = list(groups)
    return await transaction.put(Draft(key=node_key(node), spec=spec, origin="local"))


async def _present(transaction: Transaction, groups: Sequence[str]) -> tuple[str, ...]:
    """Return the groups that there are: a rule may be older than its groups' deletion."""
    keys = {group: Key("NodeGroup", COMMON, SITE, group) for group in groups}
    return tuple([group for group, key in keys.items() if await transaction.get(key) is not None])
