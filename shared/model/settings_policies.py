"""Policies that settle how a site runs: login, backup, network services, alerts."""

from typing import Annotated, Literal

from pydantic import Field

from shared.model.base import Duration, Flag, Integer, Name, Optional, Spec
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

    servers: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        description="ldaps://HOST:PORT or ldap://HOST:PORT, tried in order."
    )
    start_tls: Flag = Field(False, description="Whether to upgrade ldap:// by StartTLS.")
    ca_certificates: str = Field("", description="PEM of the authorities that are trusted.")
    base: str = Field(description="The DN beneath which people are found.")
    user_attribute: str = Field("uid", description="The attribute that holds the login name.")
    group_base: str = Field("", description="The DN beneath which groups are found.")
    bind_dn: str = Field("", description="The service account's DN; empty: bind as the person.")
    credential: Optional[Name] = Field(None, description="The service account's Credential.")
    nested_groups: Flag = Field(False, description="Whether groups may hold groups.")


class RADIUSSettings(Spec):
    """Where and how the RADIUS servers are asked."""

    servers: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        description="HOST:PORT, tried in order."
    )
    credential: Name = Field(description="The Credential with the shared secret.")
    group_attribute: str = Field("Class", description="The attribute that names groups.")


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
