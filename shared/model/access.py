"""Who may do what, and who may join."""

from typing import Annotated, Literal

from pydantic import Field

from shared.model.base import Flag, Name, Optional, Spec, Time
from shared.model.selectors import Selector


class Grant(Spec):
    """Verbs on kinds, where and on what."""

    verbs: Annotated[tuple[str, ...], Field(min_length=1)]
    kinds: Annotated[tuple[str, ...], Field(min_length=1)] = Field(description="'*' for all.")
    tenants: tuple[str, ...] = Field(("*",), description="'*' for all.")
    scopes: tuple[str, ...] = Field(("*",), description="'*' for all.")
    selector: Selector = Field(default_factory=Selector, description="Objects, by labels.")


class Role(Spec):
    grants: tuple[Grant, ...] = ()
    flows_down: Flag = Field(False, description="FSM only: whether sites take it over.")


class Subject(Spec):
    kind: Literal["User", "Group", "ServiceAccount"]
    name: str = Field(min_length=1)


class RoleBinding(Spec):
    role: Name
    subjects: Annotated[tuple[Subject, ...], Field(min_length=1)]
    tenants: tuple[str, ...] = ("*",)
    scopes: tuple[str, ...] = ("*",)


class User(Spec):
    display_name: str = ""
    disabled: Flag = False
    credential: Optional[Name] = Field(None, description="The Credential with the password.")


class ServiceAccount(Spec):
    description: str = ""
    disabled: Flag = False


class Credential(Spec):
    """A secret, named by others.  Write-only: no answer, feed, history or audit holds it."""

    secret: str = Field(min_length=1, max_length=65536)


class JoinToken(Spec):
    """One permission to join; the token itself is shown once and only its hash is stored."""

    kind: Literal["sdsp", "node"]
    joins: Name = Field(description="The site or node that may join with it.")
    hash: Optional[str] = Field(None, description="SHA-256 (hex) of the token; set by the server.")
    expires_at: Optional[Time] = Field(None, description="Set by the server: in an hour.")
    replace: Flag = Field(False, description="Whether a live certificate of that name is revoked.")


class AdmissionRule(Spec):
    """Admits nodes without a person."""

    nodes: Selector = Field(description="Labels of the nodes that are admitted.")
    names: tuple[str, ...] = Field((), description="Names that are admitted; none: any.")
    groups: tuple[Name, ...] = Field((), description="The groups that they are put in.")
