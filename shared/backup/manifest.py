"""What a backup says of itself: the last member of its archive, checked before anything else.

The manifest names every part with its size and SHA-256, and carries a seal over its own text, so
that a part which was cut, changed, added or left out is noticed.  The seal is a checksum, no
signature: it guards against accidents, not against somebody who may write the file.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from shared.errors import Conflict, Invalid

FORMAT: Final = "hanse-backup"
VERSION: Final = 1
LARGEST: Final = 16 << 20
"""Bytes of a manifest; one of a store of a hundred gigabytes has four."""

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(strict=True, ge=0, le=2**63 - 1)]
Kind = Literal["fsm", "sdsp"]

SERVERS: Final[Mapping[str, str]] = {"fsm": "an FSM", "sdsp": "an SDSP"}


class _Part(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_alias=True,
        validate_by_name=True,
    )


class Part(_Part):
    """One member of the archive."""

    id: str = Field(pattern=r"^(store\.[a-z]+\.[0-9]{6,9}|file\.[a-z][-a-z.]{0,60})$")
    size: Count
    sha256: Digest


class Table(_Part):
    """A table's content: how many rows, and the SHA-256 of its lines in order."""

    rows: Count
    sha256: Digest


class StoreContent(_Part):
    """The store, and where it stood; the incarnation is that of the store that was backed up."""

    schema_: str = Field(alias="schema", max_length=64)
    incarnation: str = Field(max_length=128)
    revision: Count
    digest: Digest
    oldest: Count
    status_sequence: Count
    audit_number: Count
    tables: dict[str, Table]


class Manifest(_Part):
    """Everything that a reader must know before it opens a part."""

    format: Literal["hanse-backup"] = FORMAT
    version: Literal[1] = VERSION
    id: str = Field(pattern=r"^[0-9a-f]{32}$")
    created_at: AwareDatetime
    release: str = Field(max_length=64)
    server: Kind
    name: str = Field(max_length=253, description="The trust domain, or the site; may be empty.")
    policy: str = Field("", max_length=600, description="The BackupPolicy that asked for it.")
    keys: bool = Field(description="Whether private keys are inside.")
    encrypted: bool = False
    store: StoreContent
    parts: tuple[Part, ...]

    def describe(self) -> str:
        """Return what it is, as errors and answers say it."""
        named = f" {self.name}" if self.name else ""
        return f"the backup of {SERVERS[self.server]}{named}"


def seal(manifest: Manifest) -> bytes:
    """Return the manifest's text, with its seal."""
    body = manifest.model_dump(mode="json", by_alias=True)
    return _text({**body, "seal": _seal_of(body)})


def unseal(text: bytes) -> Manifest:
    """Read a manifest; Invalid (`backup_damaged`), Conflict (`backup_too_new`)."""
    try:
        body = orjson.loads(text)
    except ValueError as exc:
        raise damaged("its manifest is not JSON") from exc
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        raise Invalid("this is no backup of Hanse", code="not_a_backup")
    given = body.pop("seal", None)
    if given != _seal_of(body):
        raise damaged("its manifest has been changed")
    if body.get("version") != VERSION:
        raise Conflict(
            f"the backup has format {body.get('version')}, and this release reads {VERSION}: "
            "restore it with the release that made it, or a newer one",
            code="backup_too_new",
        )
    try:
        return Manifest.model_validate(body)
    except ValidationError as exc:
        where = ".".join(str(part) for part in exc.errors(include_url=False)[0]["loc"])
        raise damaged(f"its manifest has a wrong {where}") from exc


def damaged(why: str) -> Invalid:
    """Return the error of a backup that isn't as it was written."""
    return Invalid(f"the backup is damaged: {why}; use another one", code="backup_damaged")


def stamp(at: datetime) -> str:
    """Return a moment as file names have it: 20261123T043000Z."""
    return at.strftime("%Y%m%dT%H%M%SZ")


def _seal_of(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(_text(body)).hexdigest()


def _text(body: Mapping[str, Any]) -> bytes:
    return orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
