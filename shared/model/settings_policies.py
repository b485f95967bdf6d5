"""Policies that settle how a site runs: login, backup, network services, alerts."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from shared.model.base import Duration, Flag, Integer, Name, Optional, Spec
from shared.model.login_servers import (
    AttributeName,
    DirectoryFilter,
    DirectoryURL,
    RADIUSServer,
    is_loopback,
    parse_directory_url,
)
from shared.model.policy import Enforcement
from shared.model.schedule import CronText, ZoneName
from shared.model.selectors import Selector

Severity = Literal["info", "warning", "critical"]


class SettingsPolicy(Spec):
    """What all policies of settings carry: how binding they are, and where."""

    enforcement: Optional[Enforcement] = Field(
        None, description="FSM only: a mandatory one wins over any nearer one."
    )
    sites: Optional[Selector] = Field(None, description="FSM only; left out: every site.")


class LDAPSettings(Spec):
    """Where and how the directory is asked."""

    servers: Annotated[tuple[DirectoryURL, ...], Field(min_length=1, max_length=16)] = Field(
        description="ldaps://HOST:PORT, or ldap://HOST:PORT with startTls, tried in order. Without "
        "TLS only a server on loopback is asked."
    )
    start_tls: Flag = Field(False, description="Whether to upgrade ldap:// by StartTLS.")
    ca_certificates: str = Field(
        "",
        max_length=262_144,
        description="PEM of the authorities that are trusted; empty: the system's.",
    )
    base: str = Field(min_length=1, description="The DN beneath which people are found.")
    user_attribute: AttributeName = Field(
        "uid",
        description="The attribute that holds the login name; Active Directory: sAMAccountName.",
    )
    user_filter: DirectoryFilter = Field(
        "(objectClass=person)", description="Only entries that match it may log in."
    )
    display_name_attribute: AttributeName = Field(
        "displayName", description="The attribute with the name for people."
    )
    group_base: str = Field(
        "",
        description="The DN beneath which groups are found; groups elsewhere don't count. Empty: "
        "groups are not searched, and those of memberOf count wherever they are.",
    )
    group_members: tuple[AttributeName, ...] = Field(
        ("member", "uniqueMember"),
        max_length=8,
        description="A group's attributes that hold its members' DNs; memberUid holds their names.",
    )
    member_of: str = Field(
        "memberOf",
        pattern=r"^([A-Za-z][A-Za-z0-9-]{0,62})?$",
        description="The attribute of a person or group that holds its groups' DNs; empty: none.",
    )
    bind_dn: str = Field(
        "",
        description="The service account's DN; empty: bind as the person, whose DN is then "
        "userAttribute=NAME,base.",
    )
    credential: Optional[Name] = Field(None, description="The service account's Credential.")
    nested_groups: Flag = Field(False, description="Whether groups may hold groups.")

    @model_validator(mode="after")
    def _no_password_in_the_clear(self) -> Self:
        for server in self.servers:
            scheme, host, _ = parse_directory_url(server)
            if scheme == "ldap" and not self.start_tls and not is_loopback(host):
                raise PydanticCustomError(
                    "password_in_the_clear",
                    "{server} would get passwords in the clear: use ldaps:// or startTls "
                    "(without TLS only loopback is asked)",
                    {"server": server},
                )
        return self

    @model_validator(mode="after")
    def _a_service_account_is_complete(self) -> Self:
        if bool(self.bind_dn) != bool(self.credential):
            raise PydanticCustomError(
                "invalid_service_account", "bindDn and credential go together: give both or none"
            )
        return self


class RADIUSSettings(Spec):
    """Where and how the RADIUS servers are asked."""

    servers: Annotated[tuple[RADIUSServer, ...], Field(min_length=1, max_length=16)] = Field(
        description="HOST:PORT or [IPv6]:PORT, tried in order; without a port: 1812. They must "
        "sign their answers with Message-Authenticator."
    )
    credential: Name = Field(description="The Credential with the shared secret.")
    group_attribute: str = Field(
        "Class",
        pattern=r"^(Class|Filter-Id|[1-9][0-9]{0,7}\.[1-9][0-9]{0,2})$",
        description="The attribute of an Access-Accept that names groups, one in each: Class, "
        "Filter-Id, or a vendor's as VENDOR.TYPE in numbers (9.1 is Cisco-AVPair).",
    )
    group_prefix: str = Field(
        "",
        max_length=128,
        description="Only values that begin with it count, without it: shell:roles=",
    )
    case_sensitive: Flag = Field(
        False,
        description="Whether Alice and alice are two people to the servers; if not, names are sent "
        "in lower case, so that one person has one name.",
    )


class TokenLifetimes(Spec):
    """How long logins last."""

    access: Duration = Field("15m", description="How long an access token is good.")
    refresh: Duration = Field("12h", description="How long a login lasts without a new password.")


class AuthenticationPolicy(SettingsPolicy):
    """How people log in: which providers are asked, in which order, and for how long it holds."""

    providers: tuple[Literal["ldap", "radius", "local"], ...] = Field(
        ("local",), min_length=1, description="Asked in this order."
    )
    ldap: Optional[LDAPSettings] = Field(None, description="Settings of the provider ldap.")
    radius: Optional[RADIUSSettings] = Field(None, description="Settings of the provider radius.")
    local_users: Literal["forbidden", "allowed"] = Field(
        "allowed", description="Whether users with a password of ours may log in."
    )
    break_glass: Literal["forbidden", "allowed"] = Field(
        "allowed", description="Whether an audited emergency account may log in."
    )
    tokens: TokenLifetimes = Field(
        default_factory=TokenLifetimes, description="How long logins last."
    )


class BackupPolicy(SettingsPolicy):
    """When a server backs itself up, where to, and how much is kept."""

    schedule: CronText = Field(description="Five cron fields, for example '30 2 * * *'.")
    timezone: ZoneName = Field("UTC", description="An IANA time zone, for example Europe/Berlin.")
    retain: Integer = Field(7, ge=1, description="How many backups to keep.")
    destination: Name = Field("local", description="A destination from the server's settings.")


class ServicePolicy(SettingsPolicy):
    """Which network services nodes must or may run."""

    services: dict[Name, Literal["mandatory", "optional"]] = Field(
        description="Which network services a node must or may run."
    )


class AlertCondition(Spec):
    """What must hold, and for how long, for an alert."""

    signal: Literal["metrics", "events"] = Field(description="What is looked at.")
    query: str = Field(min_length=1, description="An expression over the signal.")
    for_: Duration = Field("1m", alias="for", description="How long it must hold.")


class AlertPolicy(SettingsPolicy):
    """When people are told that something is wrong, and who is told."""

    conditions: Annotated[tuple[AlertCondition, ...], Field(min_length=1)] = Field(
        description="Any of them raises the alert."
    )
    severity: Severity = Field("warning", description="How bad it is.")
    receivers: tuple[Name, ...] = Field((), description="Who is told, from the server's settings.")
