"""Rules to put in front of a policy's own, so that some packets are decided otherwise there.

For each action there are packets that such rules must decide, and packets that they may match
because nothing comes of it: those that are to be decided so anyway, and those that never come as
far as the policy.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from shared.algebra.packets import PacketSet, Universe
from shared.model.policy import Rule
from shared.policy.narrowing.covering import cover
from shared.policy.narrowing.named import Names
from shared.policy.nodeconfig import Verdict

JSON = Mapping[str, Any]

_LONGEST: Final = 240


def front_rules(
    musts: Mapping[Verdict, PacketSet],
    mays: Mapping[Verdict, PacketSet],
    *,
    rules: Sequence[Rule],
    names: Names,
    universe: Universe,
    is_brief: bool = False,
) -> list[dict[str, Any]] | None:
    """Return rules that decide what they must by each action; None if it takes too many.

    `rules` are those whose words are used, and whose names and `log` they get; with `is_brief`
    only words that are needed.
    """
    found = []
    for action, must in musts.items():
        if not must:
            continue
        own = [each for each in rules if each.action == action]
        parts = cover(
            must, mays[action], rules=own, names=names, universe=universe, is_brief=is_brief
        )
        if parts is None:
            return None
        for part in parts:
            like = _like(part.to_json(), own)
            found.append(named(like, part.to_json(), action))
    return found


def named(like: Rule | None, said: JSON, action: str) -> dict[str, Any]:
    """Return a rule that says something, with the name and `log` of the one that it comes from."""
    rule: dict[str, Any] = {"name": like.name if like else f"kept-{action}", **said}
    rule["action"] = action
    if like is not None and like.log:
        rule["log"] = True
    return rule


def uniquely_named(rules: Iterable[JSON], taken: Iterable[str] = ()) -> list[dict[str, Any]]:
    """Return rules with names that differ from each other and from those that are taken: the
    first keeps its own, the others are numbered.
    """
    names = set(taken)
    found = []
    for rule in rules:
        name = str(rule["name"])
        count = 1
        while name in names:
            count += 1
            name = f"{str(rule['name'])[:_LONGEST]}-{count}"
        names.add(name)
        found.append({**rule, "name": name})
    return found


def _like(said: JSON, rules: Sequence[Rule]) -> Rule | None:
    """Return the rule that a part shares most words with."""

    def shared(rule: Rule) -> int:
        spec = rule.to_json()
        return sum(
            len([each for each in _words(said.get(field)) if each in _words(spec.get(field))])
            for field in ("from", "to", "services")
        )

    return max(rules, key=shared, default=None)


def _words(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else [value]
