"""What the site asks the FSM for: its wishes, and which kinds and fields it can take."""

from typing import Any

from sdsp.settings import Wishes
from shared.feed.accepts import known_fields
from shared.model.kinds import KINDS
from shared.model.subscription import Subscription


def subscription_of(wishes: Wishes) -> dict[str, Any]:
    """Return the spec of the site's Subscription.

    What this release doesn't know is announced as not accepted: the FSM then keeps it back and
    says so, instead of sending what would be refused here.
    """
    kinds = (kind.name for kind in KINDS.values() if "fsm" in kind.lives_on and not kind.secret)
    return Subscription(
        kinds=wishes.kinds,
        tenants=wishes.tenants,
        selector=wishes.selector,
        accepts=known_fields(*kinds),
    ).to_json()
