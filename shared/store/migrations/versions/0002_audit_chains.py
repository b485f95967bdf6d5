"""Audit records say why and for how long, and are chained; reads are kept in pages.

Only additions: a program of the version before works on beside it.  Every statement stands alone
and may be run again.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_ordered = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    for name in ("authority", "credential", "chain", "hash"):
        _add("audit", sa.Column(name, sa.Text))
    for name in ("duration", "position"):
        _add("audit", sa.Column(name, sa.BigInteger))
    _create(
        "pages",
        sa.Column("first", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("last", sa.BigInteger, nullable=False),
        sa.Column("chain", sa.Text, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("marks", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    _create(
        "chains",
        sa.Column("chain", _ordered, primary_key=True),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("sealed", sa.BigInteger, nullable=False),
    )
    _create(
        "seals",
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("signature", sa.Text, nullable=False),
    )


def _create(name: str, *columns: sa.schema.SchemaItem) -> None:
    op.create_table(name, *columns, if_not_exists=True)


def _add(table: str, column: sa.Column[Any]) -> None:
    # SQLite has no words for it, and changes its schema whole or not at all.
    if op.get_context().dialect.name != "sqlite":
        op.add_column(table, column, if_not_exists=True)
        return
    present = {each["name"] for each in sa.inspect(op.get_bind()).get_columns(table)}
    if column.name not in present:
        op.add_column(table, column, if_not_exists=None)  # if_not_exists=True is not for SQLite
