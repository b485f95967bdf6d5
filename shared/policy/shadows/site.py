"""All rules of a view, held so that a changed one costs what it meets.

Which rules meet is a graph: made at once for all of them (shared.algebra.meeting), then kept up to
date by asking those that share traffic with a changed rule.  Only rules after the changed one that
meet it are judged anew, and of those not the ones that another packet is known to reach.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from pyroaring import BitMap

from shared.algebra import intervals, products
from shared.algebra.intervals import Intervals
from shared.algebra.meeting import meeting
from shared.algebra.products import Product
from shared.policy.shadows.findings import Changes, Contradiction, Finding, Shadowed
from shared.policy.shadows.judging import (
    Held,
    Rivals,
    contradiction_of,
    may_contradict,
    shadow_of,
)
from shared.policy.shadows.rules import Products, ResolvedRule

_FEW: Final = 16
_SHARE: Final = 20
"""If more rules come and go than one in so many, making all anew is cheaper (a guess)."""

_Key = tuple[str, str, str]


class _Row(NamedTuple):
    """A product of a rule, and the how-manieth."""

    held: Held
    product: Product
    number: int


class Shadows:
    """The findings about a view's rules: `shadowed_rule` and `contradicts_mandatory`.

    A rule is told from others by tenant, policy and name; ValueError where two are alike.
    """

    def __init__(self, rules: Sequence[ResolvedRule]) -> None:
        """`rules` are the installed ones in order of evaluation, tier after tier."""
        self._load(rules)

    @property
    def findings(self) -> Iterator[Finding]:
        """The findings, in order of the rules that they are about."""
        for held in self._order:
            yield from _findings(held)

    def update(self, rules: Sequence[ResolvedRule]) -> Changes:
        """Follow to what the rules are now; find out what changed, and return what came of it."""
        start, end = self._equal_ends(rules)
        stop = len(self._order) - end
        new = _by_key(rules[start : len(rules) - end])
        stay = []
        for key, rule in new.items():
            held = self._held.get(key)
            if held is not None and not start <= held.place < stop:
                raise _alike(rule)
            if held is not None and held.rule == rule:
                stay.append(held)
        kept = {stay[index] for index in _growing([held.place for held in stay])}
        gone = [held for held in self._order[start:stop] if held not in kept]
        if len(gone) + len(new) - len(kept) > max(_FEW, len(rules) // _SHARE):
            before = [*self.findings]
            self._load(rules)
            return _changes(before, [*self.findings])
        return self._exchange(gone, [*new.values()], start, stop)

    def _equal_ends(self, rules: Sequence[ResolvedRule]) -> tuple[int, int]:
        """Return how many rules are as they were at the start, and at the end."""
        order = self._order
        least = min(len(order), len(rules))
        start = 0
        while start < least and order[start].rule == rules[start]:
            start += 1
        end = 0
        while end < least - start and order[-1 - end].rule == rules[-1 - end]:
            end += 1
        return start, end

    # From nothing.

    def _load(self, rules: Sequence[ResolvedRule]) -> None:
        self._products = Products()
        self._rows: list[_Row | None] = []
        self._free_rows: list[int] = []
        self._by_traffic: dict[Intervals, BitMap] = {}
        self._order: list[Held] = []
        self._held: dict[_Key, Held] = {}
        for place, (key, rule) in enumerate(_by_key(rules).items()):
            held = self._held[key] = Held(rule, place, self._products.of(rule))
            self._order.append(held)
            for product in held.products:
                self._take_row(held, product)
        self._meeting = meeting([row.product for row in self._rows if row is not None])
        for held in self._order:
            if any(self._meeting[row] for row in held.rows):
                self._judge(held)

    def _take_row(self, held: Held, product: Product) -> int:
        entry = _Row(held, product, len(held.rows))
        if self._free_rows:
            row = self._free_rows.pop()
            self._rows[row] = entry
        else:
            row = len(self._rows)
            self._rows.append(entry)
        held.rows.append(row)
        traffic = product[2]
        if traffic not in self._by_traffic:
            self._by_traffic[traffic] = BitMap()
        self._by_traffic[traffic].add(row)
        return row

    # Changes.

    def _exchange(
        self, gone: Sequence[Held], rules: Sequence[ResolvedRule], start: int, stop: int
    ) -> Changes:
        """Let some rules go, and those from `start` to before `stop` be these; the others stay."""
        # Each rule that is met by one that went or came, with all that it met so.
        touched: dict[Held, list[Held]] = {}
        for held in gone:
            self._note(held, touched)
        before = [each for held in gone for each in _findings(held)]
        for held in gone:
            touched.pop(held, None)
            self._discard(held)
        fresh = []
        order = []
        for rule in rules:
            held_or_none = self._held.get(_key(rule))
            if held_or_none is None:
                held_or_none = self._held[_key(rule)] = Held(rule, -1, self._products.of(rule))
                fresh.append(held_or_none)
            order.append(held_or_none)
        self._order[start:stop] = order
        for place in range(start, len(self._order)):
            self._order[place].place = place
        for held in fresh:
            self._insert(held)
        for held in fresh:
            self._note(held, touched)
        for held in fresh:
            touched.pop(held, None)
            self._judge(held)
        after = [each for held in fresh for each in _findings(held)]
        for held, others in touched.items():
            before += _findings(held)
            self._judge_again(held, others)
            after += _findings(held)
        return _changes(before, after)

    def _judge(self, held: Held) -> None:
        rivals = self._rivals(held)
        held.shadowed = shadow_of(held, rivals, self._meets)
        held.contradiction = contradiction_of(held, rivals, self._meets)

    def _note(self, held: Held, touched: dict[Held, list[Held]]) -> None:
        """Note with the later rules that meet this one that they do."""
        for other in self._meets(held):
            if other.place > held.place:
                touched.setdefault(other, []).append(held)

    def _judge_again(self, held: Held, others: Sequence[Held]) -> None:
        free = held.free
        shadow = free is None or any(
            products.contains(each, free) for other in others for each in other.products
        )
        contradiction = may_contradict(held.name) and any(
            other.name.tier == "mandatory" for other in others
        )
        if shadow or contradiction:
            rivals = self._rivals(held)
            if shadow:
                held.shadowed = shadow_of(held, rivals, self._meets)
            if contradiction:
                held.contradiction = contradiction_of(held, rivals, self._meets)

    def _insert(self, held: Held) -> None:
        for product in held.products:
            found = self._meeting_rows(product)
            row = self._take_row(held, product)
            for other in found:
                self._meeting[other].add(row)
            if row == len(self._meeting):
                self._meeting.append(found)
            else:
                self._meeting[row] = found

    def _discard(self, held: Held) -> None:
        for row, product in zip(held.rows, held.products, strict=True):
            for other in self._meeting[row]:
                self._meeting[other].discard(row)
            self._meeting[row] = BitMap()
            self._rows[row] = None
            self._free_rows.append(row)
            rows = self._by_traffic[product[2]]
            rows.discard(row)
            if not rows:
                del self._by_traffic[product[2]]
        del self._held[_key(held.rule)]

    def _meeting_rows(self, product: Product) -> BitMap:
        found = []
        for traffic, rows in self._by_traffic.items():
            if intervals.overlaps(traffic, product[2]):
                for row in rows:
                    entry = self._rows[row]
                    if entry is not None and _meet(entry.product, product):
                        found.append(row)
        return BitMap(found)

    # The graph.

    def _rivals(self, held: Held) -> Rivals:
        found = []
        for row in held.rows:
            entries = [self._rows[other] for other in self._meeting[row]]
            earlier = [
                each for each in entries if each is not None and each.held.place < held.place
            ]
            # Not in the order of rows, which depends on what was there before.
            earlier.sort(key=lambda each: (each.held.place, each.number))
            found.append([(each.held, each.product) for each in earlier])
        return found

    def _meets(self, held: Held) -> dict[Held, None]:
        found: dict[Held, None] = {}
        for row in held.rows:
            for other in self._meeting[row]:
                entry = self._rows[other]
                if entry is not None and entry.held is not held:
                    found[entry.held] = None
        return found


def _meet(one: Product, other: Product) -> bool:
    return all(map(intervals.overlaps, one, other))


def _key(rule: ResolvedRule) -> _Key:
    return rule.name.tenant, rule.name.policy, rule.name.rule


def _by_key(rules: Iterable[ResolvedRule]) -> dict[_Key, ResolvedRule]:
    found: dict[_Key, ResolvedRule] = {}
    for rule in rules:
        key = _key(rule)
        if key in found:
            raise _alike(rule)
        found[key] = rule
    return found


def _alike(rule: ResolvedRule) -> ValueError:
    return ValueError(f"two rules are called {rule.name.rule} in policy {rule.name.policy}")


def _growing(values: Sequence[int]) -> list[int]:
    """Return the indices of as many values as can be of which each is greater than the last.

    Patience sorting: the longest increasing subsequence.
    """
    tops: list[int] = []
    piles: list[int] = []
    below: list[int] = []
    for index, value in enumerate(values):
        pile = bisect_left(tops, value)
        if pile == len(tops):
            tops.append(value)
            piles.append(index)
        else:
            tops[pile] = value
            piles[pile] = index
        below.append(piles[pile - 1] if pile else -1)
    found = []
    index = piles[-1] if piles else -1
    while index >= 0:
        found.append(index)
        index = below[index]
    return found


def _findings(held: Held) -> list[Finding]:
    both: tuple[Shadowed | Contradiction | None, ...] = (held.shadowed, held.contradiction)
    return [each for each in both if each is not None]


def _changes(before: Sequence[Finding], after: Sequence[Finding]) -> Changes:
    old, new = set(before), set(after)
    return Changes(
        tuple([each for each in after if each not in old]),
        tuple([each for each in before if each not in new]),
    )
