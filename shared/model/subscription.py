"""What a site wants beyond what it must have."""

from pydantic import Field

from shared.model.base import Name, Spec
from shared.model.selectors import Selector


class Subscription(Spec):
    """Written by an SDSP; chooses among optional content only."""

    kinds: tuple[str, ...] = Field((), description="Kinds wanted; none: all that may be had.")
    tenants: tuple[Name, ...] = Field((), description="Tenants wanted; none: all.")
    selector: Selector = Field(default_factory=Selector, description="Labels wanted.")
    accepts: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="The kinds and fields that the site knows."
    )
