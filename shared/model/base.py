"""The envelope around every document, and what all specs have in common.

Documents are frozen values that know nothing of stores, sites or requests.  Unknown fields and
nulls are errors; numbers are never taken for text, nor text for numbers.
"""

import re
from datetime import datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Annotated, Any, Final, Generic, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
    field_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from shared.errors import HanseError
from shared.ids import COMMON, Key, parse_dns_label, parse_name

API_VERSION: Final = "hanse/v1"

T = TypeVar("T")


def _named(value: str) -> str:
    try:
        return parse_name(value)
    except HanseError as exc:
        raise PydanticCustomError("invalid_name", "{text}", {"text": exc.message}) from exc


def _dns_label(value: str) -> str:
    try:
        return parse_dns_label(value)
    except HanseError as exc:
        raise PydanticCustomError("invalid_name", "{text}", {"text": exc.message}) from exc


def _not_null(value: Any) -> Any:
    if value is None:
        raise PydanticCustomError("null", "null is no value here; leave the field out instead")
    return value


def _printable(value: str) -> str:
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise PydanticCustomError("invalid_label", "labels can't hold control characters")
    return value


Name = Annotated[str, AfterValidator(_named)]
DNSLabel = Annotated[str, AfterValidator(_dns_label)]
Optional = Annotated[T | None, BeforeValidator(_not_null)]
"""May be left out, but not be null."""

Integer = Annotated[int, Field(strict=True)]
Flag = Annotated[bool, Field(strict=True)]
LabelKey = Annotated[str, Field(min_length=1, max_length=317), AfterValidator(_printable)]
LabelValue = Annotated[str, Field(max_length=253), AfterValidator(_printable)]


def _parse_network(value: Any) -> IPv4Network | IPv6Network:
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    if not isinstance(value, str):
        raise PydanticCustomError(
            "invalid_subnet", "write the subnet as text, for example 10.0.0.0/8"
        )
    _, slash, length = value.partition("/")
    # ipaddress also takes netmasks and zones, which mean different things to different people.
    if "%" in value or (slash and not (length.isascii() and length.isdigit())):
        raise PydanticCustomError("invalid_subnet", "write the subnet as ADDRESS/PREFIX-LENGTH")
    try:
        return ip_network(value)
    except ValueError as exc:
        raise PydanticCustomError("invalid_subnet", "{text}", {"text": str(exc)}) from exc


def _parse_address(value: Any) -> IPv4Address | IPv6Address:
    if isinstance(value, IPv4Address | IPv6Address):
        return value
    if not isinstance(value, str) or "%" in value:
        raise PydanticCustomError("invalid_address", "write the address as text, without a zone")
    try:
        return ip_address(value)
    except ValueError as exc:
        raise PydanticCustomError("invalid_address", "{text}", {"text": str(exc)}) from exc


Subnet = Annotated[
    IPv4Network | IPv6Network,
    BeforeValidator(_parse_network),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "examples": ["10.1.10.0/24", "2001:db8::/64"]}),
]
"""A CIDR of either family; bits beyond the prefix are an error."""

Address = Annotated[
    IPv4Address | IPv6Address,
    BeforeValidator(_parse_address),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "examples": ["10.1.10.11", "2001:db8::11"]}),
]
"""One host's address."""

Duration = Annotated[
    str,
    Field(
        pattern=r"^([1-9][0-9]*)(s|m|h|d)$",
        description="A number and a unit: 90s, 15m, 8h or 30d.",
    ),
]


def _time_as_text(value: Any) -> Any:
    # pydantic would also take a number for seconds since 1970, and "5" for the same.
    if isinstance(value, str) and not _TIME.match(value):
        raise PydanticCustomError("invalid_time", "write a time as 2027-03-31T00:00:00Z")
    if not isinstance(value, str | datetime):
        raise PydanticCustomError("invalid_time", "write a time as text: 2027-03-31T00:00:00Z")
    return value


def _with_zone(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise PydanticCustomError(
            "time_without_zone", "say in which time zone, for example 2027-03-31T00:00:00Z"
        )
    return value


_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}")

Time = Annotated[datetime, BeforeValidator(_time_as_text), AfterValidator(_with_zone)]
"""A moment, with its zone (RFC 3339)."""


class Spec(BaseModel):
    """Base of everything inside a document's spec."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_alias=True,
        validate_by_name=False,
        serialize_by_alias=True,
    )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data as a person would write it: nothing that is a default's default.

        Two specs that mean the same for the schema give equal data.
        """
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)


class Metadata(Spec):
    """What identifies and labels an object.  The system fills in the last six fields."""

    name: Name = Field(description="Unique per kind, tenant and scope.")
    tenant: Name = Field(COMMON, description="Whose object it is.")
    scope: Optional[str] = Field(
        None,
        description="federation or region/NAME on the FSM; site, group/NAME or node/NAME on an "
        "SDSP. Left out: federation, site.",
    )
    labels: dict[LabelKey, LabelValue] = Field(
        default_factory=dict, description="What selectors and subscriptions match."
    )
    annotations: dict[str, str] = Field(default_factory=dict, description="Never interpreted.")
    uid: Optional[str] = Field(None, description="Set by the server.")
    revision: Optional[Integer] = Field(
        None, description="The store's revision that last wrote it; set by the server."
    )
    generation: Optional[Integer] = Field(
        None, description="Counts changes of spec; set by the server."
    )
    created_at: Optional[Time] = Field(None, description="Set by the server.")
    updated_at: Optional[Time] = Field(None, description="Set by the server.")
    origin: Optional[str] = Field(
        None, description="On an SDSP: federation, region/NAME or local; set by the server."
    )


SpecT = TypeVar("SpecT", bound=Spec)


class Envelope(Spec, Generic[SpecT]):
    """A document: a kind, what identifies it, and its spec."""

    api_version: Literal["hanse/v1"] = Field(description="The version of the schema.")
    kind: str = Field(description="What kind of object this is.")
    metadata: Metadata = Field(description="What identifies and labels the object.")
    spec: SpecT = Field(description="What is wanted.")
    status: dict[str, Any] = Field(
        default_factory=dict, description="Observed by the system; refused from a user."
    )

    @field_validator("status", mode="before")
    @classmethod
    def _status_is_ours(cls, value: Any) -> Any:
        if value:
            raise PydanticCustomError(
                "status_refused", "status is written by the system only; leave it out"
            )
        return value

    def key(self, default_scope: str) -> Key:
        """Return the object's key; `default_scope` is the home's: federation or site."""
        metadata = self.metadata
        return Key(self.kind, metadata.tenant, metadata.scope or default_scope, metadata.name)
