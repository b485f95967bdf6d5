"""Whoever says where a secret is sent could have it sent to himself.

A login policy has its Credentials shown to the servers that it names.  So naming one, or naming
other servers or other ways to them, needs the permission to write Credentials: what somebody may
replace, he needn't steal.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from shared.access.authorize import authorize
from shared.access.permissions import Permission
from shared.auth.identity import Caller
from shared.errors import FieldError, Forbidden
from shared.ids import COMMON
from shared.login.effective import KIND
from shared.model.override import Override
from shared.model.settings_policies import AuthenticationPolicy
from shared.objects.admission import ACCEPTED, Batch, Fault, Proposal, Review
from shared.store.contract import Snapshot

_WHY = (
    "it shows a Credential to servers of your choice, which needs the permission write:Credential"
)


class Exposure:
    """A shared.objects.admission.Admission."""

    async def review(self, batch: Batch, snapshot: Snapshot) -> Review:  # noqa: ARG002 - the protocol's
        faults = tuple(
            Fault(index, FieldError(path, "forbidden", _WHY))
            for index, each in enumerate(batch.proposals)
            for path in _exposing(each)
            if not batch.may(Permission.WRITE_CREDENTIAL, tenant=COMMON, scope=each.key.scope)
        )
        return Review(faults) if faults else ACCEPTED


def check_exposure(caller: Caller, policy: AuthenticationPolicy, *, scope: str) -> None:
    """Raise Forbidden unless the caller may have a policy's Credentials shown to its servers."""
    if any(_sent(policy.to_json()).values()):
        allowed = authorize(caller, Permission.WRITE_CREDENTIAL, tenant=COMMON, scope=scope)
        if not allowed.allowed:
            raise Forbidden(_WHY)


def _exposing(proposal: Proposal) -> Iterator[str]:
    """Yield where a write sends a secret to another place than before."""
    spec: Any = proposal.envelope.spec if proposal.envelope else None
    before: Mapping[str, Any] = proposal.before.spec if proposal.before else {}
    prefix = "spec"
    if isinstance(spec, Override) and spec.target.kind == KIND:
        now: Mapping[str, Any] = spec.spec
        before = before.get("spec", {})
        prefix = "spec.spec"
    elif isinstance(spec, AuthenticationPolicy):
        now = spec.to_json()
    else:
        return
    old = _sent(before)
    for name, settings in _sent(now).items():
        if settings and settings != old[name]:
            yield f"{prefix}.{name}.credential"


def _sent(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of each provider that a Credential goes with; None without one."""
    settings = {name: spec.get(name) for name in ("ldap", "radius")}
    return {
        name: each if isinstance(each, Mapping) and each.get("credential") else None
        for name, each in settings.items()
    }
