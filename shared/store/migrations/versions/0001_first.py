"""The first schema.

Every statement stands alone and may be run again, so that an upgrade killed midway goes on where
it was, and none shares a transaction with another (CockroachDB allows one schema change in each).
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ordered = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def _key() -> list[sa.Column[Any]]:
    names = ("kind", "tenant", "scope", "name")
    return [sa.Column(name, _ordered, primary_key=True) for name in names]


def _content() -> list[sa.Column[Any]]:
    return [
        sa.Column("uid", sa.Text, nullable=False),
        sa.Column("spec", sa.Text, nullable=False),
        sa.Column("labels", sa.Text, nullable=False),
        sa.Column("annotations", sa.Text, nullable=False),
        sa.Column("origin", sa.Text),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
    ]


def upgrade() -> None:
    _create_objects()
    _create_log()
    _create_records()
    _create_audit()
    # Last: who finds the counter finds everything.
    _create(
        "counter",
        sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("incarnation", sa.Text, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("oldest", sa.BigInteger, nullable=False),
        sa.Column("status_sequence", sa.BigInteger, nullable=False),
        sa.Column("audit_number", sa.BigInteger, nullable=False),
    )


def _create_objects() -> None:
    _create(
        "objects",
        *_key(),
        *_content(),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )
    _index("objects_by_tenant", "objects", ["tenant", "kind"])
    _index("objects_by_scope", "objects", ["scope", "kind"])
    _index("objects_by_name", "objects", ["name", "kind"])
    _create(
        "status",
        *_key(),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("sequence", name="status_by_sequence"),
    )


def _create_log() -> None:
    _create(
        "versions",
        *_key(),
        sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
        *_content(),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("ordinal", sa.Integer, nullable=False),
        sa.Column("previous", sa.BigInteger),
        sa.UniqueConstraint("revision", "ordinal", name="versions_by_revision"),
    )
    _create(
        "commits",
        sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
    )


def _create_records() -> None:
    _create(
        "records",
        sa.Column("space", _ordered, primary_key=True),
        sa.Column("name", _ordered, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    _create(
        "requests",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
    )
    _index("requests_by_age", "requests", ["at"])


def _create_audit() -> None:
    _create(
        "audit",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("identity", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("tenant", sa.Text),
        sa.Column("kind", sa.Text),
        sa.Column("object_tenant", sa.Text),
        sa.Column("scope", sa.Text),
        sa.Column("name", sa.Text),
        sa.Column("source_address", sa.Text),
        sa.Column("diff", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("revision", sa.BigInteger),
        sa.Column("trace_id", sa.Text),
    )
    _index("audit_by_tenant", "audit", ["tenant", "number"])
    object_columns = ["kind", "object_tenant", "scope", "name", "number"]
    _index("audit_by_object", "audit", object_columns)
    # The words of each record, to be searched; the record's text itself is not kept twice.
    if op.get_context().dialect.name == "sqlite":
        op.execute(
            "CREATE VIRTUAL TABLE IF NOT EXISTS audit_words USING fts5"
            "(words, content='', tokenize='unicode61 remove_diacritics 0')"
        )
        return
    op.execute(
        "CREATE TABLE IF NOT EXISTS audit_words"
        " (number BIGINT PRIMARY KEY, words TSVECTOR NOT NULL)"
    )
    op.execute("CREATE INDEX IF NOT EXISTS audit_by_word ON audit_words USING GIN (words)")


def _create(name: str, *columns: sa.schema.SchemaItem) -> None:
    op.create_table(name, *columns, if_not_exists=True)


def _index(name: str, table: str, columns: list[str]) -> None:
    op.create_index(name, table, columns, if_not_exists=True)
