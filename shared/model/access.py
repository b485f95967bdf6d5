"""Who may do what, and who may join."""

from typing import Annotated, Literal

from pydantic import Field

from shared.model.base import Flag, Name, Optional, Spec, Time
from shared.model.selectors import Selector


class Grant(Spec):
    """Verbs on kinds, in some tenants and scopes, on objects with some labels."""

    verbs: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        description="What may be done: read, write; override, allot, force, admit, decide, "
        "confirm, revoke and trace, which take kinds '*'; '*' for all."
    )
    kinds: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        description="Kinds of objects, and to read: status, audit, metrics; '*' for all."
    )
    tenants: tuple[str, ...] = Field(("*",), description="Tenants by name; '*' for all.")
    scopes: tuple[str, ...] = Field(
        ("*",),
        description="Exactly these scopes, none within them; '*' for all.",
    )
    selector: Selector = Field(
        default_factory=Selector,
        description="Only objects with such labels; nothing that concerns no object.",
    )


class Role(Spec):
    """A set of permissions, bound to people by RoleBindings."""

    grants: tuple[Grant, ...] = Field((), description="Each adds to what is allowed.")
    flows_down: Flag = Field(False, description="FSM only: whether every site has it, too.")


class Subject(Spec):
    """Somebody who has a role."""

    kind: Literal["User", "Group", "ServiceAccount"] = Field(description="Who is meant.")
    name: str = Field(
        min_length=1,
        max_length=1024,
        description="The login; a directory group's name or DN; an account, of a tenant other "
        "than common as TENANT/NAME.",
    )


class RoleBinding(Spec):
    """Who has a role, in which tenants and scopes."""

    role: Name = Field(description="A Role's name, or a built-in role's.")
    subjects: Annotated[tuple[Subject, ...], Field(min_length=1)] = Field(description="Who has it.")
    tenants: tuple[str, ...] = Field(
        ("*",), description="Only in these tenants, of those that the role names; '*' for all."
    )
    scopes: tuple[str, ...] = Field(
        ("*",), description="Only in these scopes, of those that the role names; '*' for all."
    )
    flows_down: Flag = Field(False, description="FSM only: whether every site has it, too.")


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
