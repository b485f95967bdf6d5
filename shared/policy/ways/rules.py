"""Ways out where rules come before others: `contradicts_mandatory`, `shadowed_rule`.

They are found anew from the site as it is, so that what is written fits it exactly.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, Final

from shared.ids import Key
from shared.model.override import Conflict
from shared.policy.compile import POLICY, SitePlanner
from shared.policy.conflicts.outcome import target_name
from shared.policy.definitions import Name, read_exemption
from shared.policy.exceptions import combine
from shared.policy.inputs import Document, is_inherited_scope
from shared.policy.merging import exempted
from shared.policy.narrowing.contradictions import Contradictions
from shared.policy.narrowing.exceptions import TOO_MANY
from shared.policy.narrowing.front import uniquely_named
from shared.policy.plan import PlannedPolicy
from shared.policy.shadows.findings import Contradiction, Shadowed
from shared.policy.shadows.rules import resolved_rules
from shared.policy.shadows.site import Shadows
from shared.policy.ways.contract import Barred, Step, Terms, Way
from shared.policy.ways.exceptions import kept, new_exception

JSON = Mapping[str, Any]

MOST_AT_ONCE: Final = 100
"""Rules that are narrowed, or kept, at once: each takes milliseconds at a large site."""

_GONE: Final = "the rule isn't there any more, or packets reach it"


def of_contradicts_mandatory(
    planner: SitePlanner, conflict: Conflict, proposal: JSON, terms: Terms
) -> Way | Barred:
    name = proposal["name"]
    policy = policy_of(planner, conflict)
    if policy is None:
        return Barred(name, _GONE)
    rules = rules_of(planner, conflict)
    if not conflict.subject and name == "acceptGlobal":
        return _without(planner, policy, rules, name) if rules else Barred(name, _GONE)
    if len(rules) > MOST_AT_ONCE:
        return Barred(name, f"more than {MOST_AT_ONCE} rules of the policy are concerned")
    found = Contradictions(planner, policy, rules)
    if not found.contradicted:
        return Barred(name, "no mandatory rule decides its packets the other way any more")
    if name == "acceptGlobal":
        return _without(planner, policy, found.contradicted, name)
    if name == "narrow":
        left = found.narrowed()
        if left is None:
            return Barred(name, TOO_MANY)
        return _with_rules(planner, policy, left, name)
    front = found.front()
    if front is None or isinstance(front, str):
        return Barred(name, front or TOO_MANY)
    target = front.policy.effective
    said = exempted(target.spec.to_json())
    taken = [each["name"] for each in said["rules"]]
    spec = {**said, "rules": [*uniquely_named(front.rules, taken), *said["rules"]]}
    left = found.without_idle()
    if left is None:
        return Barred(name, TOO_MANY)
    own: tuple[Step, ...] = ()
    if left != _rules(policy.effective.source):
        own = _with_rules(planner, policy, left, name).steps
    if target.override is not None:
        return _added(target.override, target.document, spec, terms, own)
    exception = new_exception(
        planner, target.document, spec, scope=policy.effective.source.key.scope, terms=terms
    )
    if isinstance(exception, str):
        return Barred(name, exception)
    return Way(name, spec, (exception, *own), keeps_exception=True)


def _added(
    override: Document, target: Document, spec: JSON, terms: Terms, own: tuple[Step, ...]
) -> Way | Barred:
    """Return the writing of an exception that stands there already, with another spec, beside
    that of the site's own.
    """
    if _has_parted(override, target):
        why = f"{override.key} stands for it, and that has parted: settle that first"
        return Barred("keepLocal", why)
    said = {each: value for each, value in override.spec.to_json().items() if each != "basedOn"}
    way = kept("keepLocal", override, {**said, "spec": dict(spec)}, target, terms)
    return replace(way, steps=(*way.steps, *own))


def of_shadowed_rule(
    planner: SitePlanner, conflict: Conflict, proposal: JSON, terms: Terms
) -> Way | Barred:
    del terms  # no exception is left
    name = proposal["name"]
    policy = policy_of(planner, conflict)
    if policy is None:
        return Barred(name, _GONE)
    if name == "keepLocal":
        # That it has no effect is known, and meant.
        return Way(name, exempted(policy.effective.spec.to_json()))
    gone = [
        each.rule.rule
        for each in Shadows(resolved_rules(planner.plan())).findings
        if isinstance(each, Shadowed)
        and (each.rule.tenant, each.rule.policy) == (policy.tenant, policy.name)
    ]
    wanted = rules_of(planner, conflict)
    gone = [each for each in gone if each in wanted]
    if not gone:
        return Barred(name, _GONE)
    return _without(planner, policy, gone, name)


def policy_of(planner: SitePlanner, conflict: Conflict) -> PlannedPolicy | None:
    """Return the policy that a conflict is about, as the site's own view has it."""
    target = target_name(conflict)
    return next(
        (
            each
            for each in planner.plan().policies
            if (each.tenant, each.name) == (target.tenant, target.name)
        ),
        None,
    )


def rules_of(planner: SitePlanner, conflict: Conflict) -> Collection[str]:
    """Return the rules that a conflict is about: one, or all of its type in the policy."""
    if conflict.subject:
        return {conflict.subject}
    wanted = Contradiction if conflict.type == "contradicts_mandatory" else Shadowed
    target = target_name(conflict)
    return {
        each.rule.rule
        for each in Shadows(resolved_rules(planner.plan())).findings
        if isinstance(each, wanted)
        and (each.rule.tenant, each.rule.policy) == (target.tenant, target.name)
    }


def _has_parted(override: Document, target: Document) -> bool:
    """Return whether an exception and its target have both changed since."""
    exemption = read_exemption(override)
    return exemption is None or combine(exemption, target).parted is not None


def _without(
    planner: SitePlanner, policy: PlannedPolicy, gone: Collection[str], name: Any
) -> Way | Barred:
    source = policy.effective.source
    if is_inherited_scope(source.key.scope):
        return Barred(name, f"{source.key} is inherited: its rules are not the site's to remove")
    left = [each for each in _rules(source) if each["name"] not in set(gone)]
    if len(left) == len(_rules(source)):
        # What runs is the merge of an exception with its target, and the rule is the target's.
        return Barred(name, f"{source.key} doesn't hold the rule itself")
    if source.key.kind == "Override" and _has_parted(source, policy.effective.document):
        return Barred(name, f"{source.key} and what it stands for have parted: settle that first")
    return _with_rules(planner, policy, left, name)


def _with_rules(planner: SitePlanner, policy: PlannedPolicy, rules: list[Any], name: Any) -> Way:
    """Return the writing of a local policy, or an exception, with other rules."""
    source = policy.effective.source
    spec = dict(source.spec.to_json())
    if source.key.kind == "Override":
        spec.pop("basedOn", None)
        spec["spec"] = {**spec["spec"], "rules": rules}
        way = kept(name, source, spec, policy.effective.document, Terms())
        return replace(way, keeps_exception=False)
    after = {**spec, "rules": rules}
    gone = not rules and not _replaces(planner, source.key)
    return Way(name, after, (Step(source.key, None if gone else after),))


def _replaces(planner: SitePlanner, key: Key) -> bool:
    """Return whether what is inherited of a name would come back if a local policy went."""
    by_scope = planner.definitions.of(Name(POLICY, key.tenant, key.name))
    return any(is_inherited_scope(scope) for scope in by_scope)


def _rules(source: Document) -> list[Any]:
    spec: Any = source.spec.to_json()
    return [*(spec["spec"] if source.key.kind == "Override" else spec)["rules"]]
