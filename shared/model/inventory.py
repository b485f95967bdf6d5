"""Places and things: regions, sites, tenants, groups, nodes, workloads."""

from typing import Literal

from pydantic import Field

from shared.model.base import Address, Name, Optional, Spec
from shared.model.rollout import SitePause

ServiceRequirement = Literal["mandatory", "optional"]


class Region(Spec):
    """A part of the federation: sites and other regions."""

    parent: Optional[Name] = Field(None, description="The region around it.")


class Site(Spec):
    """A place with an SDSP of its own.  Its labels are matched by `sites` selectors."""

    region: Optional[Name] = Field(None, description="Left out: directly under the federation.")
    endpoint: Optional[str] = Field(
        None,
        pattern=r"^https://[^/?#@\s]+/?$",
        max_length=300,
        description="Where the FSM reaches the site's SDSP, as https://HOST:PORT.",
    )
    server_names: tuple[str, ...] = Field(
        (),
        description="DNS names and addresses that certificates of the site's servers may carry, "
        "beside the endpoint's host.",
    )
    default_action: Literal["deny", "allow"] = Field(
        "deny", description="What becomes of traffic that no rule decides."
    )
    paused: Optional[SitePause] = Field(
        None,
        description="That the site takes no changes of policy; set by `hanse sites pause` alone.",
    )


class Tenant(Spec):
    """Somebody with policies and addresses of their own at shared sites."""

    display_name: str = Field("", max_length=253, description="For people.")


class NodeGroup(Spec):
    """Nodes that share definitions; groups nest."""

    parent: Optional[Name] = Field(None, description="The group around it.")


class Node(Spec):
    """One DSN.  What is observed of it is in its status."""

    groups: tuple[Name, ...] = Field((), description="The groups it is in, the nearest first.")
    services: tuple[Name, ...] = Field((), description="The network services it runs.")
    image: Optional[Name] = Field(None, description="The Image it should run.")
    admission: Literal["pending", "admitted", "refused"] = Field(
        "admitted", description="Whether it may enforce; a joined node is pending until admitted."
    )


class Workload(Spec):
    """What policy protects: hosts by their addresses, chosen by labels."""

    addresses: tuple[Address, ...] = Field((), description="Its hosts' addresses, both families.")
    node: Optional[Name] = Field(
        None, description="The node that enforces for it; left out: a peer only."
    )
