"""The registry of kinds: where each lives, how it is named and who writes it."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from shared.model.access import (
    AdmissionRule,
    Credential,
    JoinToken,
    Role,
    RoleBinding,
    ServiceAccount,
    User,
)
from shared.model.balancing import LoadBalancer
from shared.model.base import Spec
from shared.model.inventory import Node, NodeGroup, Region, Site, Tenant, Workload
from shared.model.network import Network, Service
from shared.model.operations import (
    Image,
    Incident,
    Report,
    SavedQuery,
    Silence,
    SoftwarePolicy,
)
from shared.model.override import ChangeRequest, Conflict, Override
from shared.model.policy import SecurityPolicy
from shared.model.policytest import PolicyTest
from shared.model.rollout import Rollout
from shared.model.settings_policies import (
    AlertPolicy,
    AuthenticationPolicy,
    BackupPolicy,
    ServicePolicy,
)
from shared.model.subscription import Subscription
from shared.model.trust import LoginRevocation, Revocation, TrustAnchor, VerificationKey

Home = Literal["fsm", "sdsp"]
ScopeLevel = Literal["federation", "region", "site", "group", "node"]

DEFAULT_SCOPE: Final[Mapping[Home, str]] = MappingProxyType({"fsm": "federation", "sdsp": "site"})

_FSM: Final[Mapping[Home, tuple[ScopeLevel, ...]]] = {"fsm": ("federation",)}
_FSM_SCOPED: Final[Mapping[Home, tuple[ScopeLevel, ...]]] = {"fsm": ("federation", "region")}
_SDSP: Final[Mapping[Home, tuple[ScopeLevel, ...]]] = {"sdsp": ("site",)}
_SDSP_SCOPED: Final[Mapping[Home, tuple[ScopeLevel, ...]]] = {"sdsp": ("site", "group", "node")}
_BOTH: Final[Mapping[Home, tuple[ScopeLevel, ...]]] = {**_FSM, **_SDSP}
_BOTH_SCOPED: Final[Mapping[Home, tuple[ScopeLevel, ...]]] = {**_FSM_SCOPED, **_SDSP_SCOPED}


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of object.

    `scopes` maps each home to the levels of scope that its objects may have there.
    `inheritance` says how definitions along the chain combine: a policy's nearest wins whole
    and is evaluated in tiers, a name's nearest defining one counts, settings resolve to one
    document by enforcement; None: the kind isn't inherited.
    """

    name: str
    plural: str
    spec: type[Spec]
    scopes: Mapping[Home, tuple[ScopeLevel, ...]]
    tenanted: bool = False
    dns_label: bool = False
    inheritance: Literal["policy", "name", "settings"] | None = None
    written_by: Literal["person", "system"] = "person"
    secret: bool = False

    @property
    def lives_on(self) -> frozenset[Home]:
        return frozenset(self.scopes)


_KINDS: Final = (
    Kind("Region", "regions", Region, _FSM),
    Kind("Site", "sites", Site, _FSM, dns_label=True),
    Kind("Tenant", "tenants", Tenant, _FSM),
    Kind("Network", "networks", Network, _BOTH_SCOPED, tenanted=True, inheritance="name"),
    Kind("Service", "services", Service, _BOTH_SCOPED, tenanted=True, inheritance="name"),
    Kind(
        "SecurityPolicy",
        "securitypolicies",
        SecurityPolicy,
        _BOTH_SCOPED,
        tenanted=True,
        inheritance="policy",
    ),
    Kind(
        "LoadBalancer",
        "loadbalancers",
        LoadBalancer,
        _BOTH_SCOPED,
        tenanted=True,
        inheritance="policy",
    ),
    Kind(
        "AuthenticationPolicy",
        "authenticationpolicies",
        AuthenticationPolicy,
        _BOTH_SCOPED,
        tenanted=True,
        inheritance="settings",
    ),
    Kind(
        "BackupPolicy",
        "backuppolicies",
        BackupPolicy,
        _BOTH_SCOPED,
        tenanted=True,
        inheritance="settings",
    ),
    Kind(
        "ServicePolicy",
        "servicepolicies",
        ServicePolicy,
        _BOTH_SCOPED,
        tenanted=True,
        inheritance="settings",
    ),
    Kind(
        "AlertPolicy",
        "alertpolicies",
        AlertPolicy,
        _BOTH_SCOPED,
        tenanted=True,
        inheritance="settings",
    ),
    Kind("Silence", "silences", Silence, _BOTH, tenanted=True),
    Kind("Incident", "incidents", Incident, _BOTH, tenanted=True, written_by="system"),
    Kind("SoftwarePolicy", "softwarepolicies", SoftwarePolicy, _FSM_SCOPED),
    Kind("Image", "images", Image, _FSM),
    Kind("Rollout", "rollouts", Rollout, _FSM, tenanted=True, written_by="system"),
    Kind("Role", "roles", Role, _BOTH),
    Kind("RoleBinding", "rolebindings", RoleBinding, _BOTH),
    Kind("User", "users", User, _BOTH),
    Kind("ServiceAccount", "serviceaccounts", ServiceAccount, _BOTH, tenanted=True),
    Kind("Credential", "credentials", Credential, _BOTH, tenanted=True, secret=True),
    Kind("JoinToken", "jointokens", JoinToken, _BOTH, written_by="system"),
    Kind("AdmissionRule", "admissionrules", AdmissionRule, _BOTH),
    Kind("Revocation", "revocations", Revocation, _BOTH, written_by="system"),
    Kind("LoginRevocation", "loginrevocations", LoginRevocation, _BOTH, written_by="system"),
    Kind("VerificationKey", "verificationkeys", VerificationKey, _BOTH, written_by="system"),
    Kind("TrustAnchor", "trustanchors", TrustAnchor, _FSM, written_by="system"),
    Kind("Subscription", "subscriptions", Subscription, _FSM, written_by="system"),
    Kind("Workload", "workloads", Workload, _SDSP, tenanted=True),
    Kind("NodeGroup", "nodegroups", NodeGroup, _SDSP),
    Kind("Node", "nodes", Node, _SDSP, dns_label=True),
    Kind("Override", "overrides", Override, _SDSP_SCOPED, tenanted=True),
    Kind("Conflict", "conflicts", Conflict, _SDSP, tenanted=True, written_by="system"),
    Kind(
        "ChangeRequest", "changerequests", ChangeRequest, _BOTH, tenanted=True, written_by="system"
    ),
    Kind("PolicyTest", "policytests", PolicyTest, _FSM, tenanted=True),
    Kind("SavedQuery", "savedqueries", SavedQuery, _BOTH, tenanted=True),
    Kind("Report", "reports", Report, _BOTH, tenanted=True),
)

KINDS: Final[Mapping[str, Kind]] = MappingProxyType({kind.name: kind for kind in _KINDS})
PLURALS: Final[Mapping[str, Kind]] = MappingProxyType({kind.plural: kind for kind in _KINDS})
