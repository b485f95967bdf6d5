"""Asks before somebody locks himself out: would he still get in by the policy that he writes?

Judged is the author's own login on this server, by the provider that vouched for him: whether the
policy that would count then asks it at all, and whether by its settings it can be asked and knows
him.  Who writes with force has been asked.
"""

import secrets
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final

from shared.auth.identity import Caller, CallerKind
from shared.auth.providers.contract import Provider, ProviderUnreachable
from shared.errors import FieldError
from shared.ids import COMMON, Key
from shared.login.effective import DECIDING, KIND, EffectivePolicy, Judge, deciding
from shared.login.providers import EXTERNAL, Providers, counting
from shared.login.session_records import SESSIONS
from shared.model.access import Credential
from shared.model.override import Override
from shared.model.settings_policies import AuthenticationPolicy
from shared.objects.admission import ACCEPTED, Batch, Fault, Proposal, Review
from shared.policy.inputs import Document
from shared.store.contract import Selection, Snapshot

CODE: Final = "would_lock_out"

_RESTS_ON: Final = Selection(kinds=DECIDING)


class LockOut:
    """A shared.objects.admission.Admission."""

    def __init__(self, *, judge: Judge, now: Callable[[], datetime], providers: Providers) -> None:
        self._judge = judge
        self._now = now
        self._providers = providers

    async def review(self, batch: Batch, snapshot: Snapshot) -> Review:
        concerned = [i for i, each in enumerate(batch.proposals) if _concerns_logins(each)]
        caller = batch.caller
        is_asked = not (batch.force or batch.trusted) and caller.kind is CallerKind.PERSON
        if not concerned or not is_asked:
            return ACCEPTED
        documents = await deciding(snapshot)
        before = self._judged(documents.values())
        after = self._judged(_changed(documents, batch.proposals).values())
        if before.spec == after.spec:
            return Review(depends_on=_RESTS_ON)
        why = await self.why(caller, snapshot, after.spec, given=_secrets(batch))
        if why is None:
            return Review(depends_on=_RESTS_ON)
        message = (
            f"{why}: by the policy that would count then, you would be locked out; if that is "
            "meant, write with --force"
        )
        return Review(
            (Fault(concerned[0], FieldError("spec", CODE, message)),), depends_on=_RESTS_ON
        )

    def _judged(self, documents: Iterable[Document]) -> EffectivePolicy:
        return self._judge(documents, self._now())

    async def why(
        self,
        caller: Caller,
        snapshot: Snapshot,
        policy: AuthenticationPolicy,
        *,
        given: Mapping[str, str] = MappingProxyType({}),
    ) -> str | None:
        """Return why the caller couldn't log in again by a policy; None if he could.

        `given` are secrets of Credentials, by name, that aren't in the store yet.
        """
        if caller.session is None:
            return None
        if caller.is_emergency:
            forbids = policy.break_glass == "forbidden"
            return "you are in by the emergency account, which it forbids" if forbids else None
        record = await snapshot.record(SESSIONS, caller.session)
        provider = record["provider"] if record else None
        if record is None or provider is None:
            return None
        if provider not in counting(policy):
            return f"you are logged in by the provider {provider}, which it doesn't let count"
        if provider not in EXTERNAL:
            return None
        only = policy.model_copy(update={"providers": (provider,)})
        async with self._providers.tried(only, given=given) as providers:
            for each in providers:
                return await _why_not(each, str(record["username"]))
        return None


async def _why_not(provider: Provider, username: str) -> str | None:
    try:
        try:
            known = await provider.look_up(username) is not None
        except NotImplementedError:
            # It tells nothing without a password; that it answers at all is what can be known.
            # A name of nobody, so that nobody's account is locked by it.
            await provider.authenticate("hanse-probe", secrets.token_urlsafe(12))
            known = True
    except ProviderUnreachable as exc:
        return exc.message
    return None if known else f"the provider {provider.name} doesn't know you"


def _concerns_logins(proposal: Proposal) -> bool:
    key = proposal.key
    if key.kind == KIND:
        return key.tenant == COMMON
    if key.kind != "Override":
        return False
    before = proposal.before.spec["target"]["kind"] if proposal.before else None
    spec = proposal.envelope.spec if proposal.envelope else None
    return KIND in (before, spec.target.kind if isinstance(spec, Override) else None)


def _changed(
    documents: Mapping[Key, Document], proposals: Iterable[Proposal]
) -> Mapping[Key, Document]:
    changed = dict(documents)
    for each in proposals:
        if each.key.kind not in DECIDING:
            continue
        changed.pop(each.key, None)
        if each.envelope is not None:
            metadata = each.envelope.metadata
            changed[each.key] = Document(each.key, each.envelope.spec, metadata.labels)
    return changed


def _secrets(batch: Batch) -> Mapping[str, str]:
    """Return the secrets that are written along with the policy, by their Credential's name."""
    return {
        each.key.name: each.envelope.spec.secret
        for each in batch.proposals
        if each.envelope is not None
        and isinstance(each.envelope.spec, Credential)
        and each.key.tenant == COMMON
        and each.envelope.spec.secret is not None
    }
