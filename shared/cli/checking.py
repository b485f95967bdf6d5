"""All that is wrong with a policy repository: files, documents, and documents together."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from shared.cli.repository import Named, Repository, Share
from shared.errors import FieldError, Invalid
from shared.ids import COMMON, FEDERATION, Key
from shared.model.kinds import KINDS
from shared.policy.compile import SitePlanner
from shared.policy.faults.fault import Fault, Reference
from shared.policy.faults.federation import federation_faults, policytest_faults
from shared.policy.faults.placement import duplicates
from shared.policy.faults.roles import binding_faults
from shared.policy.faults.site import site_faults, site_warnings
from shared.policy.inputs import Documents


@dataclass(frozen=True, slots=True)
class Report:
    """Errors forbid using the repository; warnings don't.  Each is told once."""

    errors: tuple[FieldError, ...]
    warnings: tuple[FieldError, ...]


def check_repository(repository: Repository, *, now: datetime) -> Report:
    """Return everything that is wrong with a repository, tests included."""
    errors = [*repository.faults]
    errors += _errors(repository, _federation(repository), "federation")
    warnings: list[FieldError] = []
    for site in sorted({*repository.site_names(), *repository.sites}):
        inputs = repository.inputs(site, now=now)
        planner = SitePlanner(inputs)
        faults = _site(planner)
        if not _is_declared(repository, site):
            # Nobody knows what such a site inherits; that it is unknown was said already.
            faults = (fault for fault in faults if fault.refers is None)
        errors += _errors(repository, faults, "federation", f"sites/{site}")
        warnings += _located(repository, site_warnings(inputs, planner))
    errors += _errors(repository, _tests(repository), *repository.shares)
    return Report(_ordered(errors), _ordered(warnings))


def require_sound(repository: Repository, planner: SitePlanner) -> None:
    """Invalid, with every fault, unless the federation and the planner's site are sound.

    Other sites' faults don't count here.
    """
    inputs = planner.inputs
    errors = [*repository.faults_for(inputs.site)]
    errors += _errors(repository, _federation(repository), "federation")
    if _is_declared(repository, inputs.site):
        folders = ("federation", f"sites/{inputs.site}")
        errors += _errors(repository, _site(planner), *folders)
    if errors:
        _refuse(errors)


def require_all_sound(repository: Repository, *, now: datetime) -> None:
    """Invalid, with every fault, unless all of the repository is sound."""
    report = check_repository(repository, now=now)
    if report.errors:
        _refuse(report.errors)


def _refuse(errors: Iterable[FieldError]) -> None:
    fields = _ordered(errors)
    number = "a fault" if len(fields) == 1 else f"{len(fields)} faults"
    raise Invalid(f"the repository has {number}", fields=fields)


def _ordered(faults: Iterable[FieldError]) -> tuple[FieldError, ...]:
    """Return faults by file and line, each once."""
    return tuple(sorted(dict.fromkeys(faults), key=lambda each: (each.file or "", each.line or 0)))


def _federation(repository: Repository) -> Iterator[Fault]:
    yield from federation_faults(repository.federation)
    yield from binding_faults(repository.federation, Documents())


def _site(planner: SitePlanner) -> Iterator[Fault]:
    inputs = planner.inputs
    yield from site_faults(inputs, planner)
    yield from binding_faults(inputs.local, inputs.federation)


def _tests(repository: Repository) -> Iterator[Fault]:
    federation, sites = repository.federation, dict(repository.sites)
    yield from duplicates(repository.tests)
    yield from policytest_faults(repository.tests, federation, sites)
    yield from policytest_faults(Documents(federation.of_kind("PolicyTest")), federation, sites)


def _is_declared(repository: Repository, site: str) -> bool:
    return Key("Site", COMMON, FEDERATION, site) in repository.federation


def _errors(repository: Repository, faults: Iterable[Fault], *folders: str) -> Iterator[FieldError]:
    """Yield faults but those that may follow from what couldn't be read in these folders."""
    shares = [repository.shares[folder] for folder in folders if folder in repository.shares]
    return _located(repository, (each for each in faults if not _follows(each, shares)))


def _located(repository: Repository, faults: Iterable[Fault]) -> Iterator[FieldError]:
    for fault in faults:
        if fault.document is not None:
            yield repository.fault(fault.document, fault.path, fault.code, fault.message)
        elif fault.code != "unknown_site":  # told by the repository, with the folder
            yield FieldError(fault.path, fault.code, fault.message)


def _follows(fault: Fault, shares: Iterable[Share]) -> bool:
    """Say whether a name may be unknown only because its document has faults of its own."""
    refers = fault.refers
    if refers is None:
        return False
    return any(
        not share.is_complete or any(_explains(each, fault, refers) for each in share.unread)
        for share in shares
    )


def _explains(unread: Named, fault: Fault, refers: Reference) -> bool:
    # A misspelt kind may have been meant to be any.
    if unread.name == refers.name and (unread.kind == refers.kind or unread.kind not in KINDS):
        return True
    # Whatever isn't the federation's own may be inherited through a region or a site.
    is_global = fault.key is not None and fault.key.scope == FEDERATION
    return unread.kind in ("Region", "Site") and not is_global
