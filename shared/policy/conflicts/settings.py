"""What a site's own settings want and mandatory ones of the federation don't.

`local_login_forbidden`: the AuthenticationPolicy that counts here is a mandatory one that forbids
local users, and the site has such users, or a policy of its own, by another name, that would let
them in.  Facts: how many `users` can't log in, and the site's own `policies`.

`schedule_differs`: the site backs itself up by a BackupPolicy of its own at other times than a
mandatory one asks for, to the same destination.  Both run.  Facts: the site's `policy`, and both
schedules.  A namesake of a mandatory policy is suspended, and `name_taken`.
"""

from collections.abc import Iterator
from typing import Any, Final

from shared.ids import COMMON
from shared.model.access import User
from shared.model.settings_policies import AuthenticationPolicy, BackupPolicy
from shared.policy.compile import SitePlanner
from shared.policy.conflicts.contract import Finding
from shared.policy.conflicts.exceptions import without_targets
from shared.policy.definitions import name_of
from shared.policy.inherit import Effective, effective_settings
from shared.policy.inputs import Document, is_inherited_scope
from shared.policy.services import settings_rank

LOGIN: Final = "AuthenticationPolicy"
BACKUP: Final = "BackupPolicy"
KINDS_OF_SETTINGS: Final = frozenset({LOGIN, BACKUP, "User"})
"""The kinds that decide these conflicts."""


def conflicts_of_settings(planner: SitePlanner) -> Iterator[Finding]:
    yield from local_login_forbidden(planner)
    yield from schedule_differs(planner)


def local_login_forbidden(planner: SitePlanner) -> Iterator[Finding]:
    counts = next(iter(_effective(planner, LOGIN)), None)
    if counts is None or not counts.is_mandatory or _lets_in(counts.spec):
        return
    users = [
        each
        for each in planner.inputs.local.of_kind("User")
        if isinstance(each.spec, User) and not each.spec.disabled and each.spec.credential
    ]
    # A namesake is suspended, which is a conflict of its own.
    wanted = [
        each
        for each in _own(planner, LOGIN)
        if _lets_in(each.spec) and each.key.name != counts.document.key.name
    ]
    if not users and not wanted:
        return
    yield Finding(
        "local_login_forbidden",
        name_of(counts.document.key),
        inherited=without_targets(counts.document),
        facts={
            "users": len(users),
            "policies": sorted({each.key.name for each in wanted}),
            "breakGlass": getattr(counts.spec, "break_glass", "allowed"),
        },
    )


def schedule_differs(planner: SitePlanner) -> Iterator[Finding]:
    effective = _effective(planner, BACKUP)
    for mandatory in effective:
        theirs = mandatory.spec
        if not mandatory.is_mandatory or not isinstance(theirs, BackupPolicy):
            continue
        for own in effective:
            ours = own.spec
            if is_inherited_scope(own.document.key.scope) or not isinstance(ours, BackupPolicy):
                continue
            if ours.destination != theirs.destination or _times(ours) == _times(theirs):
                continue
            yield Finding(
                "schedule_differs",
                name_of(mandatory.document.key),
                own.document.key.name,
                urgency="deferrable",
                local=ours.to_json(),
                inherited=without_targets(mandatory.document),
                facts={
                    "policy": own.document.key.name,
                    "schedule": _times(ours),
                    "mandatory": _times(theirs),
                },
            )


def _effective(planner: SitePlanner, kind: str) -> list[Effective]:
    """Return the settings of a kind that count at the site, the weightiest first."""
    chain = planner.places.chain()
    found = effective_settings(planner.inheritance(), planner.definitions, kind, chain)
    ranked = [
        (settings_rank(each, chain, name.name), each)
        for name, each in found.items()
        if name.tenant == COMMON
    ]
    return [each for _, each in sorted(ranked, key=lambda each: each[0])]


def _own(planner: SitePlanner, kind: str) -> list[Document]:
    found = planner.inputs.local.of_kind(kind)
    return [each for each in found if (each.key.tenant, each.key.scope) == (COMMON, "site")]


def _lets_in(spec: Any) -> bool:
    return (
        isinstance(spec, AuthenticationPolicy)
        and "local" in spec.providers
        and spec.local_users == "allowed"
    )


def _times(spec: BackupPolicy) -> dict[str, str]:
    return {"schedule": spec.schedule, "timezone": spec.timezone}
