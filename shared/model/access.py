"""Who may do what, and who may join."""

from typing import Annotated, Literal

from pydantic import Field

from shared.model.base import Flag, Name, Optional, Spec, Time
from shared.model.selectors import Selector


class Grant(Spec):
    """Verbs on kinds, where and on what."""

    verbs: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        description="What may be done; '*' for all."
    )
    kinds: Annotated[tuple[str, ...], Field(min_length=1)] = Field(description="'*' for all.")
    tenants: tuple[str, ...] = Field(("*",), description="'*' for all.")
    scopes: tuple[str, ...] = Field(("*",), description="'*' for all.")
    selector: Selector = Field(default_factory=Selector, description="Objects, by labels.")


class Role(Spec):
    """A set of permissions, bound to people by RoleBindings."""

    grants: tuple[Grant, ...] = Field((), description="Each adds to what is allowed.")
    flows_down: Flag = Field(False, description="FSM only: whether sites take it over.")


class Subject(Spec):
    """Somebody who has a role."""

    kind: Literal["User", "Group", "ServiceAccount"] = Field(description="Who is meant.")
    name: str = Field(min_length=1, description="The login, group or account.")


class RoleBinding(Spec):
    """Who has a role, in which tenants and scopes."""

    role: Name = Field(description="The Role by name.")
    subjects: Annotated[tuple[Subject, ...], Field(min_length=1)] = Field(description="Who has it.")
    tenants: tuple[str, ...] = Field(("*",), description="'*' for all.")
    scopes: tuple[str, ...] = Field(("*",), description="'*' for all.")


class User(Spec):
    """A person with a login of ours."""

    display_name: str = Field("", description="For people.")
    disabled: Flag = Field(False, description="Whether the login is refused.")
    credential: Optional[Name] = Field(None, description="The Credential with the password.")


class ServiceAccount(Spec):
    """A program with a login of ours."""

    description: str = Field("", description="What it is for.")
    disabled: Flag = Field(False, description="Whether the login is refused.")


class Credential(Spec):
    """A secret, named by others.  Write-only: no answer, feed, history or audit holds it."""

    secret: Optional[Annotated[str, Field(min_length=1, max_length=65536)]] = Field(
        None,
        repr=False,
        description="Never shown again. Left out: the secret that is there stays.",
    )
    use: Literal["any", "password"] = Field(
        "any",
        description="password: only a hash is kept, for a User; nobody can read it, not even "
        "the server.",
    )


class JoinToken(Spec):
    """One permission to join; the token itself is shown once and only its hash is stored."""

    kind: Literal["sdsp", "node"] = Field(description="What may join with it.")
    joins: Name = Field(description="The site or node that may join with it.")
    hash: Optional[str] = Field(None, description="SHA-256 (hex) of the token; set by the server.")
    expires_at: Optional[Time] = Field(None, description="Set by the server: in an hour.")
    replace: Flag = Field(False, description="Whether a live certificate of that name is revoked.")


class AdmissionRule(Spec):
    """Admits nodes without a person."""

    nodes: Selector = Field(description="Labels of the nodes that are admitted.")
    names: tuple[str, ...] = Field((), description="Names that are admitted; none: any.")
    groups: tuple[Name, ...] = Field((), description="The groups that they are put in.")
