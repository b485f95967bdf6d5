"""`hanse import aerleon`: one filter of Capirca's or Aerleon's into a policy repository."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

from shared.cli.asking import moment
from shared.cli.importing.aerleon.definitions import (
    Address,
    Port,
    read_definitions,
    read_text,
)
from shared.cli.importing.aerleon.model import Filter, Platform, Term
from shared.cli.importing.aerleon.terms import (
    ACTIONS,
    Asked,
    Family,
    LeftOut,
    Names,
    Translator,
)
from shared.cli.importing.aerleon.text import read_policy
from shared.cli.importing.aerleon.yaml_form import read_yaml_policy
from shared.cli.importing.findings import Gap, Report, print_report, refuse, refuse_gaps
from shared.cli.importing.folder import Target, document
from shared.cli.output import Plain
from shared.errors import FieldError, Invalid
from shared.ids import parse_dns_label, parse_name
from shared.model.network import Network, Service
from shared.model.traffic import protocol_text
from shared.policy.inputs import Documents

# Generators that make a filter for IPv4 only, unless its options say otherwise.
_INET_ONLY: Final = frozenset(
    {"juniper", "cisco", "ciscoasa", "arista", "brocade", "iptables", "speedway", "aruba"}
)
# Options that say how a filter is written down, and nothing of what it decides.
_HARMLESS: Final = frozenset(
    {"inet", "inet6", "mixed", "extended", "object-group", "not-interface-specific", "noverbose"}
)


@dataclass(frozen=True, slots=True)
class AerleonArguments:
    """What to read and how to take it."""

    policy: Path
    definitions: Path
    base: Path
    into: Path
    site: str
    name: str
    filter: str | None
    target: str | None
    family: Family | None
    priority: int
    force: bool
    accept_gaps: bool
    form: Plain


def import_aerleon(asked: AerleonArguments) -> int:
    """Write the documents and print the report; return the exit status.

    Invalid (`invalid_source`) with every fault of the files, or if it isn't said which of several
    filters is meant: then nothing is written.
    """
    parse_name(asked.name)
    parse_dns_label(asked.site)
    target = Target(asked.into, force=asked.force)
    faults: list[FieldError] = []
    definitions = read_definitions(asked.definitions, faults)
    filters = _read(asked, faults)
    refuse(faults)
    chosen = _chosen(filters, asked)
    platform = _platform(chosen, asked)
    family = asked.family or _family(platform)
    now = moment(None)
    translator = Translator(
        definitions, Asked(asked.name, platform.name, family, date.fromordinal(now.toordinal()))
    )
    rules, gaps = _rules(chosen, translator)
    gaps = [*_header_gaps(chosen, platform, rules), *gaps]
    if not refuse_gaps(gaps, accepted=asked.accept_gaps, form=asked.form):
        return 1
    documents = _documents(asked, chosen, rules, translator.names, target)
    notes = [
        f"the filter is read for {platform.name}, family {family}",
        "what no rule decides gets the site's default action, deny unless its Site says otherwise",
        *_beside(target, asked),
        *target.write(documents, now=now),
    ]
    counts = Counter(each["kind"] for found in documents.values() for each in found)
    counts["rule"] = len(rules)
    written = [str(asked.into / name) for name in documents]
    print_report(Report(dict(counts), written, gaps, notes), asked.form)
    return 1 if gaps and not asked.accept_gaps else 0


def _beside(target: Target, asked: AerleonArguments) -> list[str]:
    """Return a note on the policies that the repository has already, if there are any."""
    present = target.repository
    if present is None:
        return []
    documents = (present.federation, present.sites.get(asked.site, Documents()))
    names = [
        each.key.name
        for some in documents
        for each in some.of_kind("SecurityPolicy")
        if each.key.name != asked.name
    ]
    if not names:
        return []
    others = ", ".join(sorted(names))
    how = "of all the first that matches decides, by tier, priority and name"
    return [f"the repository has other policies, and {how}: {others}"]


def _read(asked: AerleonArguments, faults: list[FieldError]) -> list[Filter]:
    text = read_text(asked.policy, faults)
    if text is None:
        return []
    base = asked.base.resolve()

    def include(name: str, file: str, line: int) -> str | None:
        path = (base / name).resolve()
        if not path.is_relative_to(base):
            sentence = f"the include {name} is outside of {asked.base}; see --base"
            faults.append(FieldError("", "unreadable", sentence, file=file, line=line))
            return None
        if not path.is_file():
            sentence = f"there is no include {name} in {asked.base}; see --base"
            faults.append(FieldError("", "unreadable", sentence, file=file, line=line))
            return None
        return read_text(path, faults)

    read = read_yaml_policy if asked.policy.suffix in (".yaml", ".yml") else read_policy
    found = read(text, file=str(asked.policy), open_include=include, faults=faults)
    if not found and not faults:
        faults.append(FieldError("", "invalid_policy", "no filter is in it", str(asked.policy)))
    for each in found:
        seen: dict[str, Term] = {}
        for term in each.terms:
            first = seen.setdefault(term.name, term)
            if first is not term:
                sentence = f"the term {term.name} stands in {first.file}:{first.line} already"
                faults.append(FieldError("", "duplicate", sentence, file=term.file, line=term.line))
    return found


def _chosen(filters: Sequence[Filter], asked: AerleonArguments) -> Filter:
    if asked.filter is None and len(filters) == 1:
        return filters[0]
    names = [f"{number}: {' '.join(each.names())}" for number, each in enumerate(filters, 1)]
    if asked.filter is None:
        raise Invalid(
            f"{asked.policy} has {len(filters)} filters, of which each is attached elsewhere; say "
            f"which by --filter NAME or NUMBER ({'; '.join(names)})",
            code="invalid_arguments",
        )
    meant = [
        each
        for number, each in enumerate(filters, 1)
        if asked.filter in (str(number), *each.names())
    ]
    if len(meant) == 1:
        return meant[0]
    if meant:
        raise Invalid(
            f"{len(meant)} filters of {asked.policy} are called {asked.filter}; say which by its "
            f"number ({'; '.join(names)})",
            code="invalid_arguments",
        )
    raise Invalid(
        f"there is no filter {asked.filter} in {asked.policy}; there are {'; '.join(names)}",
        code="invalid_arguments",
    )


def _platform(chosen: Filter, asked: AerleonArguments) -> Platform:
    names = [each.name for each in chosen.platforms]
    if asked.target is not None:
        for each in chosen.platforms:
            if each.name == asked.target:
                return each
    elif len(chosen.platforms) == 1:
        return chosen.platforms[0]
    raise Invalid(
        f"the filter of {chosen.file}:{chosen.line} is for {', '.join(names) or 'nothing'}; say "
        "for which it is meant by --target",
        code="invalid_arguments",
    )


def _family(platform: Platform) -> Family:
    if "mixed" in platform.options:
        return "mixed"
    if "inet6" in platform.options:
        return "mixed" if "inet" in platform.options else "inet6"
    return "inet" if "inet" in platform.options or platform.name in _INET_ONLY else "mixed"


def _rules(chosen: Filter, translator: Translator) -> tuple[list[dict[str, Any]], list[Gap]]:
    """Return the rules of a filter's terms, and what is left out, in order."""
    rules: list[dict[str, Any]] = []
    gaps: list[Gap] = []
    for index, term in enumerate(chosen.terms):
        try:
            rules += translator.rules(term)
        except LeftOut as exc:
            changes = not exc.is_harmless and _opens(term, chosen.terms[index + 1 :])
            line = term.line_of(exc.keyword)
            subject = f"term {term.name}"
            gaps.append(Gap(term.file, line, subject, exc.keyword, exc.reason, changes))
            continue
        if "counter" in term.fields:
            reason = "what a rule matches is counted anyway, by the rule's own name"
            line = term.line_of("counter")
            gaps.append(Gap(term.file, line, f"term {term.name}", "counter", reason))
    return rules, gaps


def _opens(term: Term, later: Sequence[Term]) -> bool:
    """Say whether without a term some later one would let through what this one doesn't.

    Without an accepting term less passes than should, and never more.
    """
    actions = [ACTIONS.get(each) for each in term.words("action")]
    if actions == ["allow"]:
        return False
    return any("accept" in each.words("action") or not each.words("action") for each in later)


def _header_gaps(chosen: Filter, platform: Platform, rules: Sequence[Any]) -> list[Gap]:
    gaps = []
    for option in platform.options[1:]:
        if option.lower() in _HARMLESS:
            continue
        reason = "where a filter is attached can't be said: the policy holds for the whole site"
        is_default = option in ("ACCEPT", "DROP")
        if is_default:
            reason = "what no rule decides gets the site's default action, deny"
        changes = option == "ACCEPT"
        gaps.append(Gap(chosen.file, platform.line, "header", f"option {option}", reason, changes))
    for keyword, words in chosen.header.items():
        if keyword != "comment":
            line = words[0].line if words else chosen.line
            gaps.append(Gap(chosen.file, line, "header", keyword, f"{keyword} can't be said"))
    if not rules:
        gaps.append(Gap(chosen.file, chosen.line, "header", "terms", "no term could be said", True))
    return gaps


def _documents(
    asked: AerleonArguments,
    chosen: Filter,
    rules: Sequence[dict[str, Any]],
    names: Names,
    target: Target,
) -> dict[str, list[dict[str, Any]]]:
    above = [] if target.has("Site", asked.site) else [document("Site", asked.site, {})]
    here: list[dict[str, Any]] = []
    faults: list[FieldError] = []
    for name, addresses in names.networks.items():
        notes = {"aerleon": names.derived[name]} if name in names.derived else None
        if not target.has("Network", name):
            above.append(document("Network", name, {}, annotations=notes))
        fault = _defined_otherwise(target, name, addresses, asked.site)
        if fault is not None:
            faults.append(fault)
        elif not target.has("Network", name, site=asked.site):
            spec = {"subnets": [str(each) for each in addresses]}
            here.append(document("Network", name, spec, annotations=notes))
    for name, ports in names.services.items():
        fault = _means_otherwise(target, name, ports)
        if fault is not None:
            faults.append(fault)
        elif not target.has("Service", name):
            above.append(document("Service", name, {"entries": _entries(ports)}))
    refuse(faults)
    policy = document(
        "SecurityPolicy",
        asked.name,
        {"priority": asked.priority, "rules": list(rules)},
        annotations=_annotations(chosen),
    )
    found = {f"federation/{asked.name}.yaml": [policy]}
    if above:
        found[target.free_name(f"federation/{asked.name}-names")] = above
    if here:
        found[target.free_name(f"sites/{asked.site}/{asked.name}-networks")] = here
    return found


def _defined_otherwise(
    target: Target, name: str, addresses: Sequence[Address], site: str
) -> FieldError | None:
    present = target.find("Network", name, site=site)
    if present is None or not isinstance(present.spec, Network):
        return None
    if set(present.spec.subnets) == set(addresses):
        return None
    sentence = f"the repository's Network {name} has other subnets than this definition"
    return FieldError("spec.subnets", "contradiction", sentence, present.file, present.line)


def _means_otherwise(target: Target, name: str, ports: Sequence[Port]) -> FieldError | None:
    present = target.find("Service", name)
    if present is None or not isinstance(present.spec, Service):
        return None
    there = {
        (protocol_text(entry.protocol), str(each))
        for entry in present.spec.entries
        for each in entry.ports
    }
    whole = all(entry.ports and not entry.source_ports for entry in present.spec.entries)
    if whole and there == {(port.protocol, port.text) for port in ports}:
        return None
    sentence = f"the repository's Service {name} has other entries than this definition"
    return FieldError("spec.entries", "contradiction", sentence, present.file, present.line)


def _entries(ports: Sequence[Port]) -> list[dict[str, Any]]:
    found: dict[str, list[str]] = {}
    for port in ports:
        found.setdefault(port.protocol, []).append(port.text)
    return [{"protocol": protocol, "ports": texts} for protocol, texts in found.items()]


def _annotations(chosen: Filter) -> dict[str, str]:
    found = {"aerleon/source": f"{Path(chosen.file).name}:{chosen.line}"}
    if "comment" in chosen.header:
        found["aerleon/comment"] = " ".join(each.text for each in chosen.header["comment"])
    for term in chosen.terms:
        for keyword in ("comment", "owner"):
            if keyword in term.fields:
                found[f"aerleon/{keyword}/{term.name}"] = " ".join(term.words(keyword))
    return found
