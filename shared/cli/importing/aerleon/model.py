"""Policies as they are written: filters of terms of keywords with words, each with its line.

Read by a reader of our own rather than by Aerleon's: that one forgets the lines of a policy, passes
over what it doesn't know, and resolves names to addresses, which a global policy may not have.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Word:
    """One value of a keyword."""

    text: str
    line: int


@dataclass(slots=True)
class Term:
    """A rule: what is after each keyword."""

    name: str
    file: str
    line: int
    fields: dict[str, list[Word]] = field(default_factory=dict)

    def words(self, keyword: str) -> list[str]:
        return [each.text for each in self.fields.get(keyword, ())]

    def line_of(self, keyword: str) -> int:
        found = self.fields.get(keyword)
        return found[0].line if found else self.line


@dataclass(frozen=True, slots=True)
class Platform:
    """One `target`: for which generator a filter is, and that one's options."""

    name: str
    options: tuple[str, ...]
    line: int


@dataclass(slots=True)
class Filter:
    """A header and its terms, of which the first that matches decides."""

    file: str
    line: int
    platforms: list[Platform] = field(default_factory=list)
    header: dict[str, list[Word]] = field(default_factory=dict)
    terms: list[Term] = field(default_factory=list)

    def names(self) -> Sequence[str]:
        """What it may be asked for by: the first option of each platform."""
        return list(dict.fromkeys(each.options[0] for each in self.platforms if each.options))
