"""`hanse sdsp detach` and `attach`: a site is cut off on purpose, and let back."""

from shared.cli.answers import minute_of, moment_of
from shared.cli.conflicts.deciding import moment_ahead
from shared.cli.output import console
from shared.cli.session import session


async def detach(context: str | None, until: str, reason: str) -> None:
    """Cut the site off until a time, or for so long."""
    at = moment_ahead(until)
    async with session(context) as opened:
        opened.require_site("hanse sdsp detach")
        found = await opened.client.detach(until=at, reason=reason)
        site = opened.site
    until_at = moment_of(found["until"])
    assert until_at is not None
    _print(
        f"Site {site} is detached from its FSM until {minute_of(until_at)}, and connects again "
        "then; before that: hanse sdsp attach --reason WHY"
    )


async def attach(context: str | None, reason: str) -> None:
    """Let the site connect again before the time."""
    async with session(context) as opened:
        opened.require_site("hanse sdsp attach")
        await opened.client.attach(reason=reason)
        site = opened.site
    _print(f"Site {site} connects to its FSM again; hanse status shows how it stands.")


def _print(text: str) -> None:
    console().print(text, markup=False, soft_wrap=True)
