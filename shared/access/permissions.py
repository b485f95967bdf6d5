"""What may be done, as data, and what the words of Roles come to.

A permission is a verb on a kind (`read:Network`), or one of the special ones that a rule of the
product asks for by name.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import cache
from types import MappingProxyType
from typing import Final

from shared.model.builtin_roles import BUILT_IN_ROLES, GLOBAL_ADMIN
from shared.model.verbs import EVERY, SPECIAL_VERBS


class Permission(StrEnum):
    READ_REGION = "read:Region"
    WRITE_REGION = "write:Region"
    READ_SITE = "read:Site"
    WRITE_SITE = "write:Site"
    READ_TENANT = "read:Tenant"
    WRITE_TENANT = "write:Tenant"
    READ_NETWORK = "read:Network"
    WRITE_NETWORK = "write:Network"
    READ_SERVICE = "read:Service"
    WRITE_SERVICE = "write:Service"
    READ_SECURITY_POLICY = "read:SecurityPolicy"
    WRITE_SECURITY_POLICY = "write:SecurityPolicy"
    READ_LOAD_BALANCER = "read:LoadBalancer"
    WRITE_LOAD_BALANCER = "write:LoadBalancer"
    READ_AUTHENTICATION_POLICY = "read:AuthenticationPolicy"
    WRITE_AUTHENTICATION_POLICY = "write:AuthenticationPolicy"
    READ_BACKUP_POLICY = "read:BackupPolicy"
    WRITE_BACKUP_POLICY = "write:BackupPolicy"
    READ_SERVICE_POLICY = "read:ServicePolicy"
    WRITE_SERVICE_POLICY = "write:ServicePolicy"
    READ_ALERT_POLICY = "read:AlertPolicy"
    WRITE_ALERT_POLICY = "write:AlertPolicy"
    READ_SILENCE = "read:Silence"
    WRITE_SILENCE = "write:Silence"
    READ_INCIDENT = "read:Incident"
    WRITE_INCIDENT = "write:Incident"
    READ_SOFTWARE_POLICY = "read:SoftwarePolicy"
    WRITE_SOFTWARE_POLICY = "write:SoftwarePolicy"
    READ_IMAGE = "read:Image"
    WRITE_IMAGE = "write:Image"
    READ_ROLLOUT = "read:Rollout"
    WRITE_ROLLOUT = "write:Rollout"
    READ_ROLE = "read:Role"
    WRITE_ROLE = "write:Role"
    READ_ROLE_BINDING = "read:RoleBinding"
    WRITE_ROLE_BINDING = "write:RoleBinding"
    READ_USER = "read:User"
    WRITE_USER = "write:User"
    READ_SERVICE_ACCOUNT = "read:ServiceAccount"
    WRITE_SERVICE_ACCOUNT = "write:ServiceAccount"
    READ_CREDENTIAL = "read:Credential"
    WRITE_CREDENTIAL = "write:Credential"
    READ_JOIN_TOKEN = "read:JoinToken"  # noqa: S105 - a permission's name
    WRITE_JOIN_TOKEN = "write:JoinToken"  # noqa: S105 - a permission's name
    READ_ADMISSION_RULE = "read:AdmissionRule"
    WRITE_ADMISSION_RULE = "write:AdmissionRule"
    READ_REVOCATION = "read:Revocation"
    WRITE_REVOCATION = "write:Revocation"
    READ_LOGIN_REVOCATION = "read:LoginRevocation"
    WRITE_LOGIN_REVOCATION = "write:LoginRevocation"
    READ_VERIFICATION_KEY = "read:VerificationKey"
    WRITE_VERIFICATION_KEY = "write:VerificationKey"
    READ_TRUST_ANCHOR = "read:TrustAnchor"
    WRITE_TRUST_ANCHOR = "write:TrustAnchor"
    READ_SUBSCRIPTION = "read:Subscription"
    WRITE_SUBSCRIPTION = "write:Subscription"
    READ_WORKLOAD = "read:Workload"
    WRITE_WORKLOAD = "write:Workload"
    READ_NODE_GROUP = "read:NodeGroup"
    WRITE_NODE_GROUP = "write:NodeGroup"
    READ_NODE = "read:Node"
    WRITE_NODE = "write:Node"
    READ_OVERRIDE = "read:Override"
    WRITE_OVERRIDE = "write:Override"
    READ_CONFLICT = "read:Conflict"
    WRITE_CONFLICT = "write:Conflict"
    READ_CHANGE_REQUEST = "read:ChangeRequest"
    WRITE_CHANGE_REQUEST = "write:ChangeRequest"
    READ_POLICY_TEST = "read:PolicyTest"
    WRITE_POLICY_TEST = "write:PolicyTest"
    READ_SAVED_QUERY = "read:SavedQuery"
    WRITE_SAVED_QUERY = "write:SavedQuery"
    READ_REPORT = "read:Report"
    WRITE_REPORT = "write:Report"

    OVERRIDE = "override"
    """Make a local exception to inherited policy."""
    ALLOT = "allot"
    """Give a tenant addresses at the site."""
    FORCE = "force"
    """Write in spite of a refusal that `force` may pass."""
    ADMIT = "admit"
    """Let a node in that has joined, or put it out."""
    DECIDE = "decide"
    """Settle a conflict or a change request."""
    CONFIRM = "confirm"
    """Let a large removal from upstream take effect, or drop what is held."""
    DETACH = "detach"
    """Cut the site off from its FSM for a planned time, and let it back."""
    REVOKE = "revoke"
    """Revoke a certificate, a token or a login, and change the keys of tokens."""
    TRACE = "trace"
    """Ask what the policy says of a flow, and what its rules resolve to."""
    READ_STATUS = "read:status"
    """See which site and node runs which generation, and why not."""
    READ_AUDIT = "read:audit"
    READ_METRICS = "read:metrics"


@cache
def reading(kind: str) -> Permission:
    """Return the permission to read objects of a kind."""
    return Permission(f"read:{kind}")


@cache
def writing(kind: str) -> Permission:
    """Return the permission to write objects of a kind."""
    return Permission(f"write:{kind}")


ADMIN: Final = GLOBAL_ADMIN

RENAMED: Final[Mapping[str, str]] = MappingProxyType({"admin": ADMIN})
"""What built-in roles were called before: accounts made then still name them so."""

_ALL: Final = frozenset(each.value for each in Permission)
_SPECIAL: Final = _ALL & frozenset(SPECIAL_VERBS)


def permissions_of(verbs: Iterable[str], kinds: Iterable[str]) -> frozenset[str]:
    """Return the permissions that verbs on kinds are, as a Role's grant has them.

    `*` stands for all that this release knows; a special verb concerns no one kind and counts
    with kinds `*` only.  What isn't known here gives nothing.
    """
    does, on = frozenset(verbs), frozenset(kinds)
    found = set()
    for permission in _ALL - _SPECIAL:
        verb, _, kind = permission.partition(":")
        if (verb in does or EVERY in does) and (kind in on or EVERY in on):
            found.add(permission)
    if EVERY in on:
        found |= _SPECIAL if EVERY in does else _SPECIAL & does
    return frozenset(found)


ROLES: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        name: frozenset[str]().union(
            *(permissions_of(each.verbs, each.kinds) for each in role.spec.grants)
        )
        for name, role in BUILT_IN_ROLES.items()
    }
)
"""The permissions of the built-in roles."""

NEVER_OF_OBJECTS: Final = frozenset({Permission.READ_AUDIT, Permission.READ_METRICS})
"""What concerns no object, so that a grant on objects with some labels can't mean it."""


def current_role(name: str) -> str:
    """Return what a built-in role is called now."""
    return RENAMED.get(name, name)
