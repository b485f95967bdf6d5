"""What a site noted when upstream's objects came: what their present state can't tell."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from shared.ids import Key

JSON = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class WentBack:
    """An object that has come back older: its generation and spec before, and that which came."""

    before: int
    generation: int
    known: JSON = field(hash=False)


@dataclass(frozen=True, slots=True)
class Remarks:
    """Notes by the inherited object's key.

    `arrived` says which of the site's own objects of its name were there before it, by scope: the
    revision of the site's store that had last written each.
    """

    arrived: Mapping[Key, Mapping[str, int]] = field(default_factory=dict)
    went_back: Mapping[Key, WentBack] = field(default_factory=dict)

    def touched(self, before: "Remarks") -> set[Key]:
        """Return the objects of which something else was noted before."""
        return _other(self.arrived, before.arrived) | _other(self.went_back, before.went_back)


NO_REMARKS: Final = Remarks()


def _other(these: Mapping[Key, object], those: Mapping[Key, object]) -> set[Key]:
    return {key for key in these.keys() | those.keys() if these.get(key) != those.get(key)}
