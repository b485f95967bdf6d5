"""Kinds as people write them: `securitypolicies`, `SecurityPolicy`, `policy`."""

from collections.abc import Mapping, Sequence
from typing import Final

from shared.errors import Invalid
from shared.model.kinds import KINDS, Kind
from shared.model.schema import suggestion

# Only those that need no explanation.
_SHORT: Final[Mapping[str, str]] = {
    "policy": "SecurityPolicy",
    "policies": "SecurityPolicy",
    "net": "Network",
    "nets": "Network",
    "svc": "Service",
    "lb": "LoadBalancer",
    "group": "NodeGroup",
    "groups": "NodeGroup",
}

_WORDS: Final[Mapping[str, Kind]] = {
    **{word: KINDS[name] for word, name in _SHORT.items()},
    **{kind.plural: kind for kind in KINDS.values()},
    **{name.lower(): kind for name, kind in KINDS.items()},
}


def kind_called(word: str) -> Kind | None:
    """Return the kind of a name, plural or short name in any case; None if there is none."""
    return _WORDS.get(word.lower())


def find_kind(word: str) -> Kind:
    """Return the kind of a name, plural or short name in any case; Invalid (`unknown_kind`)."""
    kind = kind_called(word)
    if kind is None:
        hint = suggestion(word, [*KINDS, *(each.plural for each in KINDS.values())])
        raise Invalid(
            f"there is no kind {word[:80]!r}{hint or '; see hanse explain'}", code="unknown_kind"
        )
    return kind


def kind_and_names(subject: str, names: Sequence[str]) -> tuple[Kind, list[str]]:
    """Return what `KIND NAME…` or `KIND/NAME…` means: one kind, and at least one name.

    Invalid (`unknown_kind`, `invalid_arguments`).
    """
    word, slash, name = subject.partition("/")
    kind = find_kind(word)
    found = [name] if slash else []
    for each in names:
        before, slash, after = each.partition("/")
        if slash and find_kind(before) is not kind:
            raise Invalid(
                f"{each} is another kind than {subject}; give one kind at a time",
                code="invalid_arguments",
            )
        found.append(after if slash else each)
    if not found:
        raise Invalid(f"say which {kind.name}: give its name", code="invalid_arguments")
    return kind, found
