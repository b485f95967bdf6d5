"""One answer of many sites': what all of them say together, and who is missing.  Pure."""

from collections.abc import Sequence
from typing import Any

from fsm.query.fanout import SiteAnswer
from shared.query.impact import SiteImpact


def site_json(
    answer: SiteAnswer, *, is_current: bool, withheld: Sequence[dict[str, str]]
) -> dict[str, Any]:
    """Return what is told of one site.

    `is_current` says whether the site had all that it was to have when it judged.
    """
    found = impact_of(answer)
    return {
        "site": answer.site,
        "outcome": answer.outcome,
        "seconds": round(answer.seconds, 4),
        "position": answer.position.to_json() if answer.position else None,
        "current": is_current and found is not None,
        "code": answer.code,
        "message": answer.message,
        "withheld": list(withheld),
        "impact": found.to_json() if found else None,
    }


def impact_of(answer: SiteAnswer) -> SiteImpact | None:
    return next((each for each in answer.parts if isinstance(each, SiteImpact)), None)


def total_json(answers: Sequence[SiteAnswer]) -> dict[str, Any]:
    """Return what the sites that answered say together, and which are missing, and why."""
    found = [each for each in map(impact_of, answers) if each is not None]
    missing = sorted((each for each in answers if each.outcome != "ok"), key=lambda a: a.site)
    return {
        "asked": len(answers),
        "answered": len(found),
        "partial": bool(missing),
        "missing": [
            {"site": each.site, "outcome": each.outcome, "code": each.code} for each in missing
        ],
        "changing": sum(each.changes for each in found),
        "newlyAllowed": str(sum(int(each.newly_allowed.packets) for each in found)),
        "newlyDenied": str(sum(int(each.newly_denied.packets) for each in found)),
        "newConflicts": sum(len(each.conflicts.new) for each in found),
        "goneConflicts": sum(len(each.conflicts.gone) for each in found),
        "unresolved": sum(len(each.unresolved.new) for each in found),
    }
