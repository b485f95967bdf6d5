"""Conflicts in sentences: what disagrees, what counts meanwhile, what a way out would do.  Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from shared.cli.answers import minute_of
from shared.cli.conflicts import telling_apart
from shared.cli.conflicts.case import Case
from shared.cli.observed import dependents, sentences
from shared.ids import COMMON, SITE
from shared.model.documents import dump_line

JSON = Mapping[str, Any]

# Names that a sentence can hold.
_SHOWN: Final = 5


def what(case: Case) -> str:
    """Return what disagrees."""
    tell = _WHAT.get(case.type)
    return tell(case) if tell else f"{case.target}: {case.type or 'a conflict'}."


def meanwhile(case: Case) -> str:
    """Return what counts as long as it is open; empty if this version doesn't know."""
    tell = _MEANWHILE.get(case.type)
    if tell is None:
        return ""
    return f"{'Until it is decided' if case.proposals else 'Meanwhile'}, {tell(case)}"


def remedy(case: Case) -> str:
    """Return what to do about one that offers nothing to choose."""
    found = _REMEDIES.get(case.type)
    tell = f"{found} " if found else ""
    return f"There is nothing to choose here. {tell}Once it is no more, it closes itself."


def question(case: Case) -> list[str]:
    """Return what the federation was asked, and what it answered; empty if it wasn't asked."""
    asked = case.asked
    if not asked:
        return []
    who, when = f"{asked.get('by')} asked the federation", minute_of(asked.get("at"))
    told = [f"{who} at {when} ({asked.get('request')}): {dump_line(asked.get('reason'))}"]
    answer = dump_line(asked.get("answer") or "")
    state = asked.get("state", "waiting")
    if state == "waiting":
        told.append("It has not answered yet.")
    elif state == "withdrawn":
        told.append("The question was withdrawn.")
    elif code := asked.get("code"):
        told.append(f"The FSM does not take the question ({code}): {answer}")
    else:
        at = minute_of(asked.get("decidedAt"))
        told.append(f"{asked.get('decidedBy')} {state} it at {at}: {answer}")
    return told


def effect(case: Case, proposal: str) -> str:
    """Return what choosing a proposal does to the site's own objects."""
    told = _EFFECTS_OF_TYPES.get((case.type, proposal)) or _EFFECTS.get(proposal, "")
    if case.facts.get("counts") == "local" and proposal == "keepLocal":
        told = "changes nothing; it stays settled as long as it says the same"
    return told.format(
        kind=case.kind,
        override=_override(case),
        rule=_named_rules(case),
        scope=_scope(case.facts),
        target=case.target,
    )


def impact(proposal: JSON) -> list[str]:
    """Return what a proposal would do to packets; empty if the server doesn't say."""
    found = proposal.get("impact")
    if not isinstance(found, Mapping):
        return []
    lines = []
    for word, part in (("allow", "newlyAllowed"), ("deny", "newlyDenied")):
        packets = found.get(part) or {}
        count = int(packets.get("packets", 0))
        example = packet(packets.get("example"))
        if count:
            such = f", such as {example}" if example else ""
            lines.append(f"would newly {word} {count:,} packets{such}")
    touched = [
        f"{word} {_listed(_shortened(found.get(word) or ()))}"
        for word in ("networks", "workloads", "nodes")
        if found.get(word)
    ]
    if not found.get("changes", bool(lines or touched)):
        return ["would change no packet's verdict"]
    if not lines:
        # A node's own view may change where the site's doesn't.
        lines = ["would change verdicts at nodes only"]
    if touched:
        lines.append(f"touches {'; '.join(touched)}")
    if "flows" in found:
        lines += sentences(found["flows"])
    used = found.get("dependents") or ()
    if told := dependents(used, int(found.get("moreDependents", 0)), _SHOWN):
        lines.append(f"depending on it: {told}")
    return lines


def packet(found: Any) -> str:
    """Return a packet in words; empty if it is none."""
    if not isinstance(found, Mapping):
        return ""
    text = f"{found.get('from')} to {found.get('to')}, {found.get('protocol')}"
    if "port" in found:
        text += f" port {found['port']} from port {found.get('sourcePort')}"
    return text


def _edited_both(case: Case) -> str:
    count = len(case.overlaps)
    if count:
        fields = "a field" if count == 1 else f"{count} fields"
        more = f"Both sides changed {fields}, and not alike."
    elif case.merges:
        more = "The sides changed different fields, or alike."
    else:
        more = f"The sides changed different fields, but together they are no valid {case.kind}."
    return (
        f"{_capital(_override(case))} stands here for {case.target}, which has changed upstream "
        f"since. {more}"
    )


def _deleted_upstream(case: Case) -> str:
    return (
        f"{_capital(_override(case))} stands here for {case.target}, which is no longer inherited."
    )


def _name_taken(case: Case) -> str:
    default = case.facts.get("counts") == "local"
    which = f"{case.target}, a default," if default else f"mandatory {case.target}"
    return (
        f"{_capital(which)} has come from upstream, and the site has its own of that name"
        f"{_scope(case.facts)}."
    )


def _unresolved_name(case: Case) -> str:
    reference = case.facts.get("reference", case.about)
    return f"{case.target} names {reference}, which has no meaning here."


def _shadowed_rule(case: Case) -> str:
    if case.many_rules:
        return (
            f"No packet reaches {_many_rules(case)}. Rules before them take all of their packets."
        )
    text = f"No packet reaches {_rule(case)}: all are taken before it by {_before(case)}."
    how = _DECIDED.get(str(case.facts.get("decided", "")))
    return f"{text} {how}" if how else text


def _contradicts_mandatory(case: Case) -> str:
    if case.many_rules:
        return f"Mandatory policy decides packets the other way of {_many_rules(case)}."
    part = "every packet" if case.facts.get("extent") == "whole" else "some packets"
    return f"Mandatory policy decides {part} of {_rule(case)} the other way: {_before(case)}."


_DECIDED: Final = {
    "alike": "Its packets are all decided as it would.",
    "otherwise": "Its packets are all decided the other way.",
    "both": "Some of its packets are decided the other way.",
}


def _service_missing(case: Case) -> str:
    service, node = case.facts.get("service"), case.facts.get("node")
    why = (
        "declares it and doesn't run it"
        if case.facts.get("why") == "notRunning"
        else "doesn't declare it"
    )
    return f"{_capital(case.target)} asks that node {node} runs {service}; the node {why}."


def _without_service(case: Case) -> str:
    names: Sequence[str] = case.facts.get("workloads") or ()
    count = int(case.facts.get("workloadCount") or 0)
    if not count:
        return "no workload is without it: the node has none."
    told = f": {_listed(_shortened(names))}" if names else ""
    return f"{count} workload{'s are' if count > 1 else ' is'} without it{told}."


_WHAT: Final[Mapping[str, Callable[[Case], str]]] = {
    "edited_both": _edited_both,
    "deleted_upstream": _deleted_upstream,
    "name_taken": _name_taken,
    "unresolved_name": _unresolved_name,
    "shadowed_rule": _shadowed_rule,
    "contradicts_mandatory": _contradicts_mandatory,
    "mandatory_service_missing": _service_missing,
    **telling_apart.WHAT,
}


def _what_runs(case: Case) -> str:
    if case.runs == "merge":
        sides = "; where both changed a field, the site's side counts" if case.overlaps else ""
        return f"the merge of both runs{sides}."
    if case.runs == "applyGlobal":
        return "what is inherited runs; the override has no effect."
    return "the override runs as it is; what changed upstream has no effect here."


def _unresolved_meanwhile(case: Case) -> str:
    rules = _listed(map(str, case.facts.get("rules") or ()))
    text = f"rules that need it are not installed, or only in part: {rules}."
    if case.facts.get("failsOpen"):
        text += " One of them would deny: traffic passes that must not."
    return text


def _shadowed_meanwhile(case: Case) -> str:
    if case.many_rules:
        return "these rules have no effect; the rules before them count."
    if case.facts.get("decided") == "alike":
        return "the rule has no effect, and nothing changes if it goes."
    return "the rule has no effect; the rules before it count."


def _taken_meanwhile(case: Case) -> str:
    if case.facts.get("counts") == "local":
        return "the site's own is in force in its place, in the default tier."
    return "the mandatory one is in force, and the site's own is suspended."


_MEANWHILE: Final[Mapping[str, Callable[[Case], str]]] = {
    "edited_both": _what_runs,
    "deleted_upstream": lambda _: "the override has no effect.",
    "name_taken": _taken_meanwhile,
    "unresolved_name": _unresolved_meanwhile,
    "shadowed_rule": _shadowed_meanwhile,
    "contradicts_mandatory": lambda _: "the mandatory rules count.",
    "mandatory_service_missing": _without_service,
    **telling_apart.MEANWHILE,
}
_REMEDIES: Final = {
    "unresolved_name": "Give the name a meaning here (hanse apply), or have the rule changed.",
    "shadowed_rule": "Remove the rule, or have it come before those that take its packets.",
    "contradicts_mandatory": "Change the rule, or write an Override of the mandatory policy.",
    "mandatory_service_missing": "Declare the service in the Node's spec.services, see with "
    "hanse nodes whether it runs (an older agent can't), or have the policy changed.",
    **telling_apart.REMEDIES,
}
_EFFECTS: Final = {
    "acceptGlobal": "deletes {override}; what is inherited counts",
    "keepLocal": "keeps {override} as it is, based on what is inherited now",
    "merge": "writes the merge of both into {override}, based on what is inherited now",
    "narrow": "writes into {override} what is inherited now, with what the site's side changed and "
    "upstream didn't",
    "askFederation": "asks the federation to take over what the site says; until it has answered, "
    "what runs now goes on",
}
_EFFECTS_OF_TYPES: Final = {
    ("name_taken", "acceptGlobal"): "deletes the site's own {kind}{scope}",
    ("name_taken", "keepLocal"): "makes the site's own{scope} an exception to {target}",
    ("name_taken", "merge"): "makes the merge of both{scope} an exception to {target}",
    ("deleted_upstream", "acceptGlobal"): "deletes {override}",
    ("deleted_upstream", "keepLocal"): "makes {override} the site's own {target}",
    ("contradicts_mandatory", "acceptGlobal"): "removes {rule}",
    ("contradicts_mandatory", "keepLocal"): "makes an exception to the mandatory policy, with "
    "{rule} in front",
    ("contradicts_mandatory", "narrow"): "leaves of {rule} what no mandatory rule decides the "
    "other way",
    ("shadowed_rule", "acceptGlobal"): "removes {rule}",
    ("shadowed_rule", "keepLocal"): "changes nothing; it stays settled as long as it says the same",
    **telling_apart.EFFECTS,
}


def _override(case: Case) -> str:
    key = case.facts.get("override")
    if not isinstance(key, Mapping):
        return "the override"
    tenant = key.get("tenant", COMMON)
    whose = "" if tenant == COMMON else f" (tenant {tenant})"
    return f"override {key.get('name', '')}{whose}{_scope(key)}"


def _named_rules(case: Case) -> str:
    return "these rules" if case.many_rules else f"rule {case.about}"


def _many_rules(case: Case) -> str:
    told = [f"{each.get('rule')} ({each.get('action')})" for each in case.facts.get("rules") or ()]
    first = told[:_SHOWN]
    rest = case.many_rules - len(first)
    return f"{case.many_rules} rules of {case.target}: {_listed([*first, f'{rest} more'])}"


def _rule(case: Case) -> str:
    action = case.facts.get("action")
    would = f" ({action})" if action else ""
    name = case.facts.get("rule", case.about) if case.facts.get("scope") else case.about
    return f"rule {name}{would} of {case.target}{_scope(case.facts)}"


def _before(case: Case) -> str:
    """Return the rules that decide instead, with their policies; others' are not told."""
    found = case.facts.get("by") or ()
    names = [
        f"{each.get('rule', '')} ({each.get('action', '')}) of {_policy(each)}" for each in found
    ]
    told = []
    if names:
        told.append(f"{'rule' if len(names) == 1 else 'rules'} {_listed(_shortened(names))}")
    if case.facts.get("byOthers"):
        told.append("rules of other tenants")
    return ", and ".join(told) or "other rules"


def _policy(rule: JSON) -> str:
    tenant = rule.get("tenant", COMMON)
    whose = "" if tenant == COMMON else f" (tenant {tenant})"
    return f"{rule.get('policy', '')}{whose}"


def _scope(key: JSON) -> str:
    scope = key.get("scope", SITE)
    return "" if scope == SITE else f" in {scope}"


def _shortened(words: Sequence[str]) -> list[str]:
    if len(words) <= _SHOWN:
        return [*words]
    return [*words[:_SHOWN], f"{len(words) - _SHOWN} more"]


def _listed(words: Iterable[str]) -> str:
    *most, last = list(words) or ["none"]
    return f"{', '.join(most)} and {last}" if most else last


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
