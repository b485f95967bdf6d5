"""What the commands on repositories begin with: read, check, and make the planner."""

from datetime import UTC, datetime
from pathlib import Path

from shared.cli.checking import require_sound
from shared.cli.repository import Repository, read_repository
from shared.clock import Clock, SystemClock
from shared.errors import Invalid
from shared.policy.compile import SitePlanner


def moment(at: str | None, *, clock: Clock | None = None) -> datetime:
    """Return the time asked for, or now; Invalid if `at` is no time."""
    if at is None:
        return (clock or SystemClock()).now()
    try:
        found = datetime.fromisoformat(at)
    except ValueError as exc:
        raise Invalid(f"{at!r} is no time; write it as 2027-03-31T00:00:00Z") from exc
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def sound_site(repo: Path, site: str, *, at: datetime) -> tuple[Repository, SitePlanner]:
    """Read a repository for one site.

    Invalid with all faults of the federation and the site; NotFound if there is no such site.
    """
    repository = read_repository(repo)
    planner = SitePlanner(repository.inputs(site, now=at))
    require_sound(repository, planner)
    _ = planner.places.site
    return repository, planner
