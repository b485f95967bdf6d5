"""The generator can fail the planner: deliberate bugs in a copy of the oracle are noticed."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.property import oracle
from tests.property.borders import flows, views
from tests.property.generators import rolled_world
from tests.property.oracle_inheritance import Asking
from tests.property.oracle_printed import resolved

HERE = Path(__file__).parent
PARTS = ("oracle_inheritance.py", "oracle_names.py", "oracle.py", "oracle_printed.py")
WITHIN = 300
"""Worlds within which each bug must show."""

BUGS = {
    "a later match wins": ("for rule in seen.rules:", "for rule in seen.rules[::-1]:"),
    "pass is an allow": ('if rule.action == "pass":\n                break', "if False:\n                break"),
    "pass skips its rule only": (
        'if rule.action == "pass":\n                break', 'if rule.action == "pass":\n                continue'
    ),
    "tiers by priority alone": ("return TIERS.index(self.tier), depth, priority", "return 0, depth, priority"),
    "inner regions first": ("depth = outwards[::-1].index(origin)", "depth = outwards.index(origin)"),
    "default tier by scope": (
        'depth = self.depth if self.tier == "mandatory" else 0', "depth = self.depth"
    ),
    "priority left out is 0": ('self.spec.get("priority", 500)', 'self.spec.get("priority", 0)'),
    "name before tenant": ("priority, self.tenant, self.name", "priority, self.name, self.tenant"),
    "the farthest definition wins": ("    for scope in scopes:\n", "    for scope in scopes[::-1]:\n"),
    "of a group met twice the first place counts": (
        "if group not in met[place + 1 :]", "if group not in met[:place]"
    ),
    "groups in reverse": ('["spec"].get("groups", []):', '["spec"].get("groups", [])[::-1]:'),
    "a node doesn't see its site": (
        '*(f"group/{group}" for group in last), "site"]', '*(f"group/{group}" for group in last)]'
    ),
    "sites is ignored": ('selects(spec.get("sites", {}), site_labels)', "selects({}, site_labels)"),
    "NotIn needs the key": ('"NotIn": not among', '"NotIn": present and not among'),
    "terms are ORed": ("        if not holds:\n            return False\n    return True", "        if holds:\n            return True\n    return True"),
    "a local namesake beats a mandatory one": (
        'if tier == "default" and here is not None:', "if here is not None:"
    ),
    "a local namesake of a default policy is in tier local": (
        'placed.append(Placed("default", depth', 'placed.append(Placed("local", depth'
    ),
    "staged counts": ("return asking.staged or ", "return True or "),
    "staged never counts": ("return asking.staged or ", "return "),
    "staged overrides count": ('== "staged" and not asking.staged:', '== "staged" and False:'),
    "overrides never expire": ("asking.now >= moment(", 'asking.now < moment("1970-01-01T00:00:00Z") and asking.now >= moment('),
    "overrides last a moment longer": ("asking.now >= moment(", "asking.now > moment("),
    "the first override counts": (
        "counting = nearest(local_chain(asking), found)", "counting = found[0] if found else None"
    ),
    "overrides of policies are ignored": (
        'exception = override_of(asking, "SecurityPolicy", tenant, name, spec)', "exception = None"
    ),
    "an edit of the inherited object is ignored": (
        'if "basedOn" not in override:', "if True:"
    ),
    "the exception is kept whatever onConflict says": (
        'merge(base, local, inherited).spec if runs == "merge" else', 'override["spec"] if True else'
    ),
    "applyGlobal keeps the exception": ('if runs == "applyGlobal":', "if False:"),
    "overrides of names are ignored": (
        'exception = override_of(asking, kind, tenant, name, replaced[1]["spec"])', "exception = None"
    ),
    "an override's own labels count": ("labels_of(replaced[1]), exception", "{}, exception"),
    "nothing is sealed": ("if counting is not None and seals(", "if False and seals("),
    "networks are sealed as services are": (
        'usual = kind == "Service" and on_fsm', "usual = on_fsm"
    ),
    "services are open": ('usual = kind == "Service" and on_fsm', "usual = False"),
    "declarations seal": (
        'if counting is not None and seals(kind, counting[0], counting[1]["spec"]):',
        'if any(where == scope and each["spec"].get("sealed", kind == "Service" and scope in global_chain(asking)) for where, each in found):',
    ),
    "a declaration hides": (
        'if document["spec"].get(CONTENT[kind]):\n                # The', "if True:\n                # The"
    ),
    "a tenant's empty declaration doesn't count": (
        "return bool(of_name(on_chain(asking, kind), tenant, name))",
        "return definition(asking, kind, tenant, name) is not None",
    ),
    "names are common's": (
        'owner = tenant if declares(asking, kind, tenant, name) else "common"', 'owner = "common"'
    ),
    "names are the tenant's only": (
        'owner = tenant if declares(asking, kind, tenant, name) else "common"', "owner = tenant"
    ),
    "a selector of common sees common only": ('if tenant != "common":\n            if owner', "if True:\n            if owner"),
    "a selector of a tenant sees every tenant's": (
        'if owner not in (tenant, "common"):', "if False:"
    ),
    "a selector sees what the tenant hides": (
        'if owner == "common" and (name, tenant) in declared:', "if False:"
    ),
    "workloads of every tenant are selected": (
        'if (tenant == "common" or tenant_of(each) in (tenant, "common"))', "if True"
    ),
    "a tenant's rules are unbounded": (
        'within = None if policy.tenant == "common" else', "within = None if True else"
    ),
    "both ends must be the tenant's": (
        "not (holds(rule.within, source) or holds(", "not (holds(rule.within, source) and holds("
    ),
    "a tenant's workloads are not its own": (
        'if tenant_of(each) == tenant:\n            found += each["spec"]', 'if False:\n            found += each["spec"]'
    ),
    "what resolves to nothing is any": (
        "return [ip_network(text) for text in addresses], names", 'return [ip_network(text) for text in addresses] or "any", names'
    ),
    "services that resolve to nothing are any": ("return entries, names, unresolved", 'return entries or "any", names, unresolved'),
    "source ports are ignored": ('return "sourcePorts" not in entry or', "return True or"),
    "ranges are half open": ("any(first <= port <= last for", "any(first <= port < last or first == port for"),
    "protocols by number differ": ('protocol != number(flow["protocol"])', 'entry["protocol"] != flow["protocol"]'),
    "a site denies": ('.get("defaultAction", "deny")', '.get("defaultActions", "deny")'),
    "only the last region's parents": ('region = named(regions, region)["spec"].get("parent")', "region = None"),
}  # fmt: skip


def oracle_of(*, bug: tuple[str, str] | None = None) -> dict[str, Any]:
    """Return the oracle's names, made from its text with one piece of it replaced."""
    source = ""
    for part in PARTS:
        text = (HERE / part).read_text()
        source += re.sub(
            r"^from tests\.property\.\S+ import (\([^)]*\)|.*)$", "", text, flags=re.MULTILINE
        )
    if bug is not None:
        assert bug[0] in source, "the oracle no longer says this; bring the bug up to date"
        source = source.replace(*bug)
    made: dict[str, Any] = {"__name__": "mutant"}
    exec(compile(source, "mutant", "exec"), made)  # our own text, in a test
    return made


Asked = list[tuple[Asking, list[dict[str, Any]]]]


def answers(made: dict[str, Any], asked: Asked) -> Any:
    """Return all that an oracle says of a world, or what it stumbles over."""
    found: list[Any] = []
    for asking, tried in asked:
        try:
            seen = made["view"](asking)
            found += [tuple(made["judge"](seen, flow)) for flow in tried]
            found.append(made["resolved"](asking))
        except (KeyError, TypeError, ValueError) as exc:
            return str(exc)
    return found


class Corpus:
    """What the oracle says of the first worlds, made when first asked for."""

    def __init__(self) -> None:
        self._said: list[tuple[Asked, Any]] = []

    def __iter__(self) -> Iterator[tuple[Asked, Any]]:
        for seed in range(WITHIN):
            if seed == len(self._said):
                world = rolled_world(seed)
                asked = [
                    (asking, flows(Random(seed), world, oracle.view(asking), 15))
                    for asking in views(world)
                ]
                right = {"view": oracle.view, "judge": oracle.judge, "resolved": resolved}
                self._said.append((asked, answers(right, asked)))
            yield self._said[seed]


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return Corpus()


def test_an_unchanged_copy_agrees(corpus: Corpus) -> None:
    made = oracle_of()
    assert all(answers(made, asked) == said for asked, said in itertools.islice(corpus, 20))


@pytest.mark.parametrize("bug", [pytest.param(bug, id=name) for name, bug in BUGS.items()])
def test_a_deliberate_bug_is_noticed(bug: tuple[str, str], corpus: Corpus) -> None:
    made = oracle_of(bug=bug)
    assert any(answers(made, asked) != said for asked, said in corpus)
