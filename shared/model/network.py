"""Names that policies use: networks and services."""

from pydantic import Field

from shared.model.base import Flag, Integer, Optional, Spec, Subnet
from shared.model.traffic import Entry


class Network(Spec):
    """A name for subnets, which each site may define differently."""

    subnets: tuple[Subnet, ...] = Field(
        (), description="IPv4 and IPv6; none: only declares a name that sites must define."
    )
    vlan: Optional[Integer] = Field(
        None,
        ge=1,
        le=4094,
        description="Carried to the node, shown and checked for clashes; nothing tags frames.",
    )
    sealed: Optional[Flag] = Field(
        None, description="Whether a nearer definition is refused; default false."
    )


class Service(Spec):
    """A name for protocols and ports."""

    entries: tuple[Entry, ...] = Field((), description="What the name stands for.")
    sealed: Optional[Flag] = Field(
        None,
        description="Whether a nearer definition is refused; default true on the FSM, else false.",
    )
