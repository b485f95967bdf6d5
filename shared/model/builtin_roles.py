"""The roles that every server has, written as people would write theirs.

A binding may name them wherever it is; none can be changed, and no Role may take such a name.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from shared.model.access import Role
from shared.model.kinds import KINDS
from shared.model.verbs import EVERY, READ, READ_ONLY_KINDS, WRITE


@dataclass(frozen=True, slots=True)
class BuiltInRole:
    """A role with what it is for, in a sentence."""

    why: str
    spec: Role


GLOBAL_ADMIN: Final = "global-admin"

_ACCESS: Final = frozenset(
    {"Role", "RoleBinding", "User", "ServiceAccount", "Credential", "LoginRevocation"}
)
_SENSITIVE: Final = _ACCESS | {"JoinToken", "audit"}
_ORDINARY: Final = tuple(each for each in (*KINDS, *READ_ONLY_KINDS) if each not in _SENSITIVE)

_POLICY: Final = (
    "Network",
    "Service",
    "SecurityPolicy",
    "LoadBalancer",
    "Rollout",
    "ServicePolicy",
    "AlertPolicy",
    "Silence",
    "PolicyTest",
    "SavedQuery",
    "Report",
)
_SITE: Final = (
    *_POLICY,
    "BackupPolicy",
    "Workload",
    "NodeGroup",
    "Node",
    "Override",
    "JoinToken",
    "AdmissionRule",
)
_TENANT: Final = (*_POLICY, "Workload", "ServiceAccount", "Credential")


def _role(why: str, *grants: tuple[Iterable[str], Iterable[str]]) -> BuiltInRole:
    written = [{"verbs": list(verbs), "kinds": list(kinds)} for verbs, kinds in grants]
    return BuiltInRole(why, Role.model_validate({"grants": written}))


BUILT_IN_ROLES: Final[Mapping[str, BuiltInRole]] = MappingProxyType(
    {
        GLOBAL_ADMIN: _role(
            "Runs the federation or a site, and says who else may: everything.",
            ([EVERY], [EVERY]),
        ),
        "policy-author": _role(
            "Writes names, policies and their tests; neither places, accounts nor exceptions.",
            ([READ], _ORDINARY),
            ([WRITE], _POLICY),
            (["trace"], [EVERY]),
        ),
        "auditor": _role(
            "Sees everything, the audit trail and who may do what included, and changes nothing.",
            ([READ, "trace"], [EVERY]),
        ),
        "site-operator": _role(
            "Runs a site day and night: its policy, nodes, exceptions and conflicts; no accounts.",
            ([READ], (*_ORDINARY, "JoinToken")),
            ([WRITE], _SITE),
            (
                (
                    "override",
                    "allot",
                    "force",
                    "admit",
                    "decide",
                    "confirm",
                    "detach",
                    "revoke",
                    "trace",
                ),
                [EVERY],
            ),
        ),
        "tenant-admin": _role(
            "Looks after tenants, to be named by the binding: their names, policies, workloads and "
            "service accounts, but not which addresses they get.",
            ([READ], (*_ORDINARY, "ServiceAccount", "Credential")),
            ([WRITE], _TENANT),
            (["trace"], [EVERY]),
        ),
        "viewer": _role(
            "Sees policy, how it stands and what it means; neither accounts nor the audit trail.",
            ([READ], _ORDINARY),
            (["trace"], [EVERY]),
        ),
    }
)
