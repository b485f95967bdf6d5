"""The tables, as SQLAlchemy Core sees them; migrations/ makes them.

Times are whole microseconds since 1970 in UTC, and JSON is text, so that every database gives
back exactly what was written.  `versions` is history and watch log in one: `commits` says which
revisions can still be watched.
"""

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

# Lists come in the order of code points everywhere; PostgreSQL's own default is the locale's.
_ORDERED = Text().with_variant(Text(collation="C"), "postgresql")


def _key() -> tuple[Column[str], ...]:
    return tuple(
        Column(name, _ORDERED, primary_key=True) for name in ("kind", "tenant", "scope", "name")
    )


def _content() -> tuple[Column[Any], ...]:
    return (
        Column("uid", Text, nullable=False),
        Column("spec", Text, nullable=False),
        Column("labels", Text, nullable=False),
        Column("annotations", Text, nullable=False),
        Column("origin", Text),
        Column("generation", BigInteger, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("updated_at", BigInteger, nullable=False),
    )


# One row, id 1: the lock on which writers queue, and what they count.
counter = Table(
    "counter",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("incarnation", Text, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("digest", Text, nullable=False),
    Column("oldest", BigInteger, nullable=False),
    Column("status_sequence", BigInteger, nullable=False),
    Column("audit_number", BigInteger, nullable=False),
)

objects = Table(
    "objects",
    metadata,
    *_key(),
    *_content(),
    Column("revision", BigInteger, nullable=False),
    # Lists that name no kind; those that do use the primary key.
    Index("objects_by_tenant", "tenant", "kind"),
    Index("objects_by_scope", "scope", "kind"),
    Index("objects_by_name", "name", "kind"),
)

# A deletion has a row too; its content is that of the version before it, without the spec.
versions = Table(
    "versions",
    metadata,
    *_key(),
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    *_content(),
    Column("operation", Text, nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("previous", BigInteger),
    UniqueConstraint("revision", "ordinal", name="versions_by_revision"),
)

commits = Table(
    "commits",
    metadata,
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("digest", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
)

status = Table(
    "status",
    metadata,
    *_key(),
    Column("status", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    UniqueConstraint("sequence", name="status_by_sequence"),
)

records = Table(
    "records",
    metadata,
    Column("space", _ORDERED, primary_key=True),
    Column("name", _ORDERED, primary_key=True),
    Column("value", Text, nullable=False),
)

requests = Table(
    "requests",
    metadata,
    Column("id", Text, primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("digest", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Index("requests_by_age", "at"),
)

audit = Table(
    "audit",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("identity", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("tenant", Text),
    Column("kind", Text),
    Column("object_tenant", Text),
    Column("scope", Text),
    Column("name", Text),
    Column("source_address", Text),
    Column("diff", Text, nullable=False),
    Column("reason", Text),
    Column("revision", BigInteger),
    Column("trace_id", Text),
    Column("authority", Text),
    Column("credential", Text),
    # Microseconds.
    Column("duration", BigInteger),
    # The record's place in its process's chain; none of one from before there were chains.
    Column("chain", Text),
    Column("position", BigInteger),
    Column("hash", Text),
    Index("audit_by_tenant", "tenant", "number"),
    Index("audit_by_object", "kind", "object_tenant", "scope", "name", "number"),
)

# Many audit records in a row, of reads: `body` is their lines (shared.store.pages), `marks` the
# first digits of each one's hash, `hash` that of the last.
pages = Table(
    "pages",
    metadata,
    Column("first", BigInteger, primary_key=True, autoincrement=False),
    Column("last", BigInteger, nullable=False),
    Column("chain", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("hash", Text, nullable=False),
    Column("marks", Text, nullable=False),
    Column("body", Text, nullable=False),
)

# The last link of each process's chain, and how much of it is sealed.
chains = Table(
    "chains",
    metadata,
    Column("chain", _ORDERED, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("hash", Text, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("sealed", BigInteger, nullable=False),
)

seals = Table(
    "seals",
    metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("body", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Column("signature", Text, nullable=False),
)

KEY: Final = ("kind", "tenant", "scope", "name")
OBJECT: Final = (
    *KEY,
    *("uid", "spec", "labels", "annotations", "origin", "generation"),
    *("created_at", "updated_at", "revision"),
)
"""The columns of an object's version, in the order in which mapping.stored_of reads them."""
