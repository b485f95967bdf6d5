"""What a server answers, as values: objects, changes, identities, results of writes.

Answers come from another version of the program perhaps: fields that aren't known here are kept
in `document` and otherwise ignored, and nothing is refused for them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from shared.errors import FieldError, Invalid, Malformed
from shared.ids import COMMON, Key
from shared.model.base import API_VERSION, Envelope
from shared.model.documents import parse_value

JSON = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Object:
    """One object as the server showed it; `document` is the whole of it."""

    document: JSON

    @classmethod
    def of(cls, document: Any) -> Self:
        """Return the object; Malformed if the document names none."""
        metadata = document.get("metadata") if isinstance(document, dict) else None
        if not isinstance(metadata, dict) or not all(
            isinstance(each, str) for each in (document.get("kind"), metadata.get("name"))
        ):
            raise Malformed("the server's answer is no object; is it a Hanse server?")
        return cls(document)

    @property
    def kind(self) -> str:
        return str(self.document["kind"])

    @property
    def metadata(self) -> JSON:
        found: JSON = self.document["metadata"]
        return found

    @property
    def name(self) -> str:
        return str(self.metadata["name"])

    @property
    def tenant(self) -> str:
        return str(self.metadata.get("tenant", COMMON))

    @property
    def scope(self) -> str:
        return str(self.metadata.get("scope", ""))

    @property
    def key(self) -> Key:
        return Key(self.kind, self.tenant, self.scope, self.name)

    @property
    def labels(self) -> Mapping[str, str]:
        found: Mapping[str, str] = self.metadata.get("labels") or {}
        return found

    @property
    def revision(self) -> int:
        """The store's revision that last wrote it: what `if_match` takes.  0 if unknown."""
        return int(self.metadata.get("revision", 0))

    @property
    def generation(self) -> int:
        return int(self.metadata.get("generation", 0))

    @property
    def origin(self) -> str | None:
        """On an SDSP `federation`, `region/NAME` or `local`; None on the FSM."""
        found: str | None = self.metadata.get("origin")
        return found

    @property
    def created_at(self) -> datetime | None:
        return moment_of(self.metadata.get("createdAt"))

    @property
    def updated_at(self) -> datetime | None:
        return moment_of(self.metadata.get("updatedAt"))

    @property
    def spec(self) -> JSON:
        found: JSON = self.document.get("spec") or {}
        return found

    @property
    def status(self) -> JSON:
        found: JSON = self.document.get("status") or {}
        return found

    def as_written(self) -> dict[str, Any]:
        """Return the document as a person would write it: nothing that the server adds."""
        metadata: dict[str, Any] = {"name": self.name}
        if self.tenant != COMMON:
            metadata["tenant"] = self.tenant
        if self.scope:
            metadata["scope"] = self.scope
        for part in ("labels", "annotations"):
            if found := self.metadata.get(part):
                metadata[part] = dict(found)
        plain = {"apiVersion": API_VERSION, "kind": self.kind, "metadata": metadata}
        return {**plain, "spec": dict(self.spec)}

    def envelope(self) -> Envelope[Any]:
        """Return the document as its kind's model (`envelope().spec` is a Network, …).

        Invalid if the server's version of the kind has fields that this one doesn't know.
        """
        envelope, faults = parse_value(self.as_written())
        if envelope is None:
            raise Invalid(f"{self.key} can't be read by this version", fields=faults)
        return envelope


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token, and when it stops counting."""

    text: str = field(repr=False)
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Login:
    """What a login, or its renewal, gives; `refresh` counts once, for the next one."""

    token: Token
    refresh: str = field(repr=False)
    ends_at: datetime | None
    session: str

    @classmethod
    def of(cls, document: JSON) -> Self:
        return cls(
            token=Token(str(document["accessToken"]), moment_of(document.get("expiresAt"))),
            refresh=str(document["refreshToken"]),
            ends_at=moment_of(document.get("sessionExpiresAt")),
            session=str(document.get("session", "")),
        )


@dataclass(frozen=True, slots=True)
class Identity:
    """Who one is to the server; `tenants` None means all of them.

    `session` is the login, `credential` the token's id.
    """

    identity: str
    display_name: str
    roles: tuple[str, ...]
    permissions: tuple[str, ...]
    tenants: tuple[str, ...] | None
    expires_at: datetime | None
    session: str | None = None
    credential: str | None = None
    is_emergency: bool = False
    bindings: tuple[tuple[str, str], ...] = ()
    """Which role was given by which RoleBinding."""

    @classmethod
    def of(cls, document: JSON) -> Self:
        tenants = document.get("tenants")
        return cls(
            identity=str(document.get("identity", "")),
            display_name=str(document.get("displayName", "")),
            roles=tuple(document.get("roles") or ()),
            permissions=tuple(document.get("permissions") or ()),
            tenants=None if tenants is None else tuple(tenants),
            expires_at=moment_of(document.get("expiresAt")),
            session=document.get("session"),
            credential=document.get("credential"),
            is_emergency=bool(document.get("emergency", False)),
            bindings=tuple(
                (str(each["role"]), str(each["binding"])) for each in document.get("bindings") or ()
            ),
        )


@dataclass(frozen=True, slots=True)
class Base:
    """A revision that something was judged against, and of which store: `1042@1f0c2e7a`."""

    revision: int
    incarnation: str = ""

    @classmethod
    def of(cls, document: JSON) -> Self:
        """Return the base that a list, or an answer about a draft, speaks of."""
        return cls(int(document["revision"]), str(document.get("incarnation", "")))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `1042` or `1042@1f0c2e7a`; Invalid (`invalid_base`)."""
        revision, _, incarnation = text.partition("@")
        if not (revision.isascii() and revision.isdecimal() and len(revision) < 19):
            raise Invalid(
                f"{text[:80]!r} is no base: give what hanse diff says, such as 1042@1f0c2e7a",
                code="invalid_base",
            )
        return cls(int(revision), incarnation)

    def __str__(self) -> str:
        return f"{self.revision}@{self.incarnation[:8]}" if self.incarnation else f"{self.revision}"

    def to_json(self) -> dict[str, Any]:
        return {"revision": self.revision, "incarnation": self.incarnation}


@dataclass(frozen=True, slots=True)
class Put:
    """An operation of a transaction: create the object of a document, or replace it.

    `if_match` is the revision that must still stand, 0 if there must be no such object.
    """

    document: JSON
    if_match: int | None = None

    def to_json(self) -> dict[str, Any]:
        return {"operation": "put", "object": self.document, **_if_match(self.if_match)}


@dataclass(frozen=True, slots=True)
class Delete:
    """An operation of a transaction: delete an object; without scope, of the server's own."""

    kind: str
    name: str
    tenant: str = COMMON
    scope: str | None = None
    if_match: int | None = None

    def to_json(self) -> dict[str, Any]:
        metadata = {"name": self.name, "tenant": self.tenant}
        if self.scope is not None:
            metadata["scope"] = self.scope
        document = {"apiVersion": API_VERSION, "kind": self.kind, "metadata": metadata}
        return {"operation": "delete", "object": document, **_if_match(self.if_match)}


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one operation; of a deletion `object` is what was deleted."""

    operation: str
    created: bool
    changed: bool
    object: Object


@dataclass(frozen=True, slots=True)
class Warned:
    """What didn't stop a write; `operation` is the index of the one concerned."""

    operation: int
    error: FieldError


@dataclass(frozen=True, slots=True)
class Applied:
    """A transaction that was committed, or with `dry_run` would have been."""

    revision: int
    dry_run: bool
    results: tuple[Result, ...]
    warnings: tuple[Warned, ...]

    @classmethod
    def of(cls, document: JSON) -> Self:
        return cls(
            revision=int(document["revision"]),
            dry_run=bool(document.get("dryRun")),
            results=tuple(
                Result(
                    str(each["operation"]),
                    bool(each["created"]),
                    bool(each["changed"]),
                    Object.of(each["object"]),
                )
                for each in document["results"]
            ),
            warnings=tuple(_warned(each) for each in document.get("warnings") or ()),
        )


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one object; of a deletion `object` is as it last was.

    `reason` is `deselected` if the object is there still, but outside of what is watched.
    """

    operation: str
    revision: int
    object: Object
    reason: str | None = None

    @classmethod
    def of(cls, document: JSON) -> Self:
        return cls(
            str(document["operation"]),
            int(document["revision"]),
            Object.of(document["object"]),
            document.get("reason"),
        )


@dataclass(frozen=True, slots=True)
class Commit:
    """All that one transaction changed, as far as it was asked for and may be seen."""

    revision: int
    changes: tuple[Change, ...]

    @classmethod
    def of(cls, document: JSON) -> Self:
        return cls(int(document["revision"]), tuple(map(Change.of, document["changes"])))

    def __iter__(self) -> Iterator[Change]:
        return iter(self.changes)


@dataclass(frozen=True, slots=True)
class StatusChange:
    """An object's newest observed status; `sequence` is its own count, no revision."""

    sequence: int
    object: Object


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what, when, and with which outcome; `document` is the whole of it."""

    number: int
    at: datetime | None
    identity: str
    action: str
    outcome: str
    object: Key | None
    revision: int | None
    reason: str | None
    document: JSON

    @classmethod
    def of(cls, document: JSON) -> Self:
        key = document.get("object")
        return cls(
            number=int(document["number"]),
            at=moment_of(document.get("at")),
            identity=str(document.get("identity", "")),
            action=str(document.get("action", "")),
            outcome=str(document.get("outcome", "")),
            object=Key(key["kind"], key["tenant"], key["scope"], key["name"]) if key else None,
            revision=document.get("revision"),
            reason=document.get("reason"),
            document=document,
        )


def moment_of(text: Any) -> datetime | None:
    """Return the time that a server wrote, or None if it wrote none that can be read."""
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _if_match(revision: int | None) -> dict[str, int]:
    return {} if revision is None else {"ifMatch": revision}


def _warned(document: JSON) -> Warned:
    path, code, message = (str(document.get(part, "")) for part in ("path", "code", "message"))
    return Warned(int(document.get("operation", 0)), FieldError(path, code, message))


def minute_of(moment: object) -> str:
    """Return a moment, or its ISO text, as people read it; empty if there is none."""
    return "" if moment is None else f"{str(moment)[:16].replace('T', ' ')} UTC"
