"""The question what a draft would do at a site, and its answer.

The FSM sends what would be delivered to the site if the draft were applied, and no more.  The site
works out what that would do to what it has now, and writes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from shared.errors import Malformed
from shared.feed.wire import (
    FeedObject,
    Removal,
    key_to_json,
    parse_key,
    parse_object,
    parse_removal,
)
from shared.ids import Key

IMPACT: Final = "impact"
"""What is asked, and the name of the part that answers it."""

MAX_BOXES: Final = 1000
_MOST: Final = 10_000
"""Names of a sort in an answer."""

JSON = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Draft:
    """What would be delivered to one site.

    `after` is the FSM's revision that the site is to have reached before it judges: the last that
    it was sent.
    """

    puts: Sequence[FeedObject]
    removals: Mapping[Key, Removal]
    after: int
    max_boxes: int

    @classmethod
    def parse(cls, given: JSON) -> "Draft":
        """Return the draft that a question holds; Malformed if it is none."""
        puts, removals = given.get("puts"), given.get("removals")
        if not isinstance(puts, list) or not isinstance(removals, list):
            raise Malformed("puts and removals of a draft are lists")
        gone = {}
        for each in removals:
            if not isinstance(each, dict):
                raise Malformed("a removal is a JSON object")
            gone[parse_key(each.get("key"))] = parse_removal(each.get("reason"))
        return cls(
            tuple(parse_object(each) for each in puts),
            gone,
            _number(given, "after", most=2**53),
            _number(given, "maxBoxes", most=MAX_BOXES),
        )


def draft_json(
    puts: Sequence[Any], removals: Sequence[tuple[Key, Removal]], *, after: int, max_boxes: int
) -> dict[str, Any]:
    """Return a draft as a question holds it; `puts` are documents, or fragments of JSON."""
    return {
        "puts": list(puts),
        "removals": [{"key": key_to_json(key), "reason": why.value} for key, why in removals],
        "after": after,
        "maxBoxes": max_boxes,
    }


Text = Annotated[str, Field(max_length=600, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028-\u202e]*$")]
Count = Annotated[str, Field(max_length=100, pattern=r"^[0-9]+$")]
Protocol = Annotated[int, Field(ge=0, le=255)] | Text
Names = Annotated[list[Text], Field(max_length=_MOST)]


class _Part(BaseModel):
    """Base of what a site answers: what isn't known here isn't passed on."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", strict=True, alias_generator=to_camel, validate_by_name=True
    )


class Packet(_Part):
    from_: Text = Field(alias="from")
    to: Text
    protocol: Protocol
    port: int | None = None
    source_port: int | None = None


class Box(_Part):
    from_: Text = Field(alias="from")
    to: Text
    protocol: Protocol
    ports: Text
    source_ports: Text


class Packets(_Part):
    """A set of packets: how many, one of them, and disjoint boxes of them."""

    packets: Count
    example: Packet | None
    boxes: Annotated[list[Box], Field(max_length=MAX_BOXES)]
    truncated: bool


class Named(_Part):
    """An object at a site, by its key."""

    kind: Text
    tenant: Text
    scope: Text
    name: Text


class Refused(Named):
    """An object that the site wouldn't take, and why."""

    code: Text


class Unresolved(_Part):
    """A name that a rule uses and that has no meaning at the site."""

    policy: Text
    tenant: Text
    rule: Text
    side: Text
    reference: Text


class Target(_Part):
    kind: Text
    tenant: Text
    name: Text


class Conflict(_Part):
    """A conflict that would open, or close."""

    name: Text
    type: Text
    tenant: Text
    target: Target
    subject: Text
    urgency: Text


class NewAndGone(_Part):
    new: Annotated[list[Unresolved], Field(max_length=_MOST)]
    gone: Annotated[list[Unresolved], Field(max_length=_MOST)]


class Conflicts(_Part):
    new: Annotated[list[Conflict], Field(max_length=_MOST)]
    gone: Annotated[list[Conflict], Field(max_length=_MOST)]


class Decider(_Part):
    """What decides a flow: a rule, or in tier `site` none."""

    verdict: Text
    tier: Text
    policy: Text | None
    tenant: Text | None
    rule: Text | None


class ChangedFlow(_Part):
    """Observed flows of equal ends and service, with what decides them before and after."""

    from_: Text = Field(alias="from")
    to: Text
    protocol: Protocol
    port: int | None = None
    from_workload: Text | None = None
    to_workload: Text | None = None
    flows: int
    bytes: int | None
    last_seen: Text | None
    recorded: Text | None
    before: Decider
    after: Decider


class ChangedFlows(_Part):
    flows: int
    bytes: int | None
    last_seen: Text | None
    examples: Annotated[list[ChangedFlow], Field(max_length=MAX_BOXES)]
    truncated: bool


class Flows(_Part):
    """The observed flows of a window, and those whose verdict would change; or why not."""

    unreadable: Text | None = None
    since: Text | None = None
    judged: int = 0
    newly_allowed: ChangedFlows | None = None
    newly_denied: ChangedFlows | None = None


class Dependent(Named):
    """An object that depends on what changes, with the objects that tie it to that."""

    chain: Names


class SiteImpact(_Part):
    """What a draft would do at a site.

    `tenants` are those whose policy alone was looked at, None for all; `revision` is the site's
    own store's.  `held` are objects that the draft takes away and that would stay in force until a
    person confirms, since so much goes at once.  `flows` is None where none are recorded, as by a
    site of an earlier release.
    """

    tenants: Names | None
    revision: int
    changes: bool
    newly_allowed: Packets
    newly_denied: Packets
    networks: Names
    workloads: Names
    nodes: Names
    unresolved: NewAndGone
    conflicts: Conflicts
    refused: Annotated[list[Refused], Field(max_length=_MOST)]
    held: Annotated[list[Named], Field(max_length=_MOST)]
    dependents: Annotated[list[Dependent], Field(max_length=_MOST)] = []
    more_dependents: int = 0
    flows: Flows | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as `hanse compare` writes an impact, with what else was found."""
        said = self.model_dump(mode="json", by_alias=True)
        for side in ("newlyAllowed", "newlyDenied"):
            example = said[side]["example"] or {}
            kept = {name: value for name, value in example.items() if value is not None}
            said[side]["example"] = kept or None
        if self.flows is not None:
            said["flows"] = _flows_json(said["flows"])
        return said


def _flows_json(said: dict[str, Any]) -> dict[str, Any]:
    why = said.pop("unreadable")
    kinds = [said[side] for side in ("newlyAllowed", "newlyDenied")]
    if why is not None or None in kinds:
        return {"unreadable": why or "the site doesn't say which would change"}
    for kind in kinds:
        for example in kind["examples"]:
            for name in ("port", "fromWorkload", "toWorkload"):
                if example[name] is None:
                    del example[name]
    return said


def parse_impact(data: JSON) -> SiteImpact:
    """Return what a site answered; Malformed if it isn't an answer to this question."""
    try:
        return SiteImpact.model_validate(data)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        path = ".".join(map(str, first["loc"]))[:200]
        raise Malformed(f"the site's answer can't be read: {path}: {first['msg'][:200]}") from exc


def _number(given: JSON, name: str, *, most: int) -> int:
    value = given.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise Malformed(f"{name} is a whole number up to {most}")
    return value
