"""Weakened copies of a policy repository: each differs from it by one deliberate mistake."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.cli.repository import Repository
from shared.model.policy import Action, Rule, SecurityPolicy
from shared.model.policytest import PolicyTest
from shared.policy.compile import SitePlanner
from shared.policy.inputs import Document, SiteInputs
from shared.policy.policytest import FlowResult, run_test

OTHERWISE: dict[Action, tuple[Action, ...]] = {
    "allow": ("deny",),
    "deny": ("allow",),
    "reject": ("allow",),
    "pass": ("allow", "deny"),
}


@dataclass(frozen=True)
class Mutant:
    """A document to put in the place of its namesake, and what is wrong with it."""

    document: Document
    mistake: str
    about: frozenset[str | None]

    def __str__(self) -> str:
        return f"{self.document.key.name}: {self.mistake}"


def policy_mutants(policy: Document) -> Iterator[Mutant]:
    """Yield the policy without each rule, with each action turned, each list shorter by one,
    and each side or the services of an `allow` or `pass` widened to `any`.
    """
    spec = policy.spec
    assert isinstance(spec, SecurityPolicy)
    for index, rule in enumerate(spec.rules):
        before, after = spec.rules[:index], spec.rules[index + 1 :]
        yield _mutant(policy, (*before, *after), rule, "it is gone")
        for changed, mistake in _rule_mutants(rule):
            yield _mutant(policy, (*before, changed, *after), rule, mistake)


def label_mutants(network: Document) -> Iterator[Mutant]:
    """Yield a site's network without each of its labels."""
    for key in network.labels:
        labels = {each: value for each, value in network.labels.items() if each != key}
        document = Document(network.key, network.spec, labels)
        yield Mutant(document, f"label {key} is forgotten", frozenset({network.key.name}))


def _rule_mutants(rule: Rule) -> Iterator[tuple[Rule, str]]:
    for action in OTHERWISE[rule.action]:
        yield rule.model_copy(update={"action": action}), f"{rule.action} becomes {action}"
    for field in ("from_", "to", "services"):
        listed = getattr(rule, field)
        if listed == "any":
            continue
        name = field.rstrip("_")
        if len(listed) > 1:
            for place in range(len(listed)):
                shorter = (*listed[:place], *listed[place + 1 :])
                yield rule.model_copy(update={field: shorter}), f"{name}[{place}] is gone"
        if rule.action in ("allow", "pass"):
            yield rule.model_copy(update={field: "any"}), f"{name} becomes any"


def _mutant(policy: Document, rules: Sequence[Rule], rule: Rule, mistake: str) -> Mutant:
    spec = policy.spec.model_copy(update={"rules": tuple(rules)})
    peers = (peer for side in (rule.from_, rule.to) if side != "any" for peer in side)
    services = () if rule.services == "any" else rule.services
    about = {policy.key.name, f"{policy.key.name}/{rule.name}"}
    about |= {each for peer in peers if (each := peer.network)}
    about |= {each for service in services if (each := service.service)}
    return Mutant(
        Document(policy.key, spec, policy.labels), f"rule {rule.name}: {mistake}", frozenset(about)
    )


class Trial:
    """Runs a repository's tests against its mutants, flow by flow, until one notices.

    `staged` counts staged policies as enforced.
    """

    def __init__(self, repository: Repository, *, now: datetime, staged: bool = False) -> None:
        self._repository = repository
        self._now = now
        self._staged = staged
        self._planners = {site: SitePlanner(self._inputs(site, None)) for site in repository.sites}
        self._flows = [
            self._expect(Document(test.key, spec.model_copy(update={"flows": (flow,)})))
            for test in repository.tests
            if isinstance(spec := test.spec, PolicyTest)
            for flow in spec.flows
        ]

    def failing(self) -> list[str]:
        """The tests that fail without any mistake, by name, as often as flows of theirs do."""
        return [each.test.key.name for each in self._flows if not each.holds]

    def is_noticed(self, mutant: Mutant) -> bool:
        """Whether a flow comes out otherwise than it does without the mistake."""
        planners: dict[str, SitePlanner] = {}
        # Those that the changed rule decides, or that speak of the changed network, are most likely
        # to notice; it only saves time.
        for flow in sorted(self._flows, key=lambda each: -len(mutant.about & each.about)):
            site = flow.site
            if site not in planners:
                planners[site] = SitePlanner(self._inputs(site, mutant))
            if self._run(flow.test, planners[site]).holds != flow.holds:
                return True
        return False

    def _expect(self, test: Document) -> "_Flow":
        assert isinstance(test.spec, PolicyTest)
        result = self._run(test, self._planners[test.spec.site])
        about = {result.flow.from_.network, result.flow.to.network, result.flow.service}
        for rule in (each.decision.rule for each in result.outcomes):
            about |= {rule.policy, f"{rule.policy}/{rule.rule}"} if rule is not None else set()
        return _Flow(test, test.spec.site, result.holds, frozenset(about))

    def _run(self, test: Document, planner: SitePlanner) -> FlowResult:
        (result,) = run_test(test, planner, staged=self._staged)
        return result

    def _inputs(self, site: str, mutant: Mutant | None) -> SiteInputs:
        inputs = self._repository.inputs(site, now=self._now)
        if mutant is None:
            return inputs
        put = (mutant.document,)
        if mutant.document.key in inputs.local:
            return SiteInputs(site, inputs.federation, inputs.local.changed(put), self._now)
        return SiteInputs(site, inputs.federation.changed(put), inputs.local, self._now)


@dataclass(frozen=True)
class _Flow:
    """One flow as a test of its own, and how it comes out of the repository as it stands."""

    test: Document
    site: str
    holds: bool
    about: frozenset[str | None]
