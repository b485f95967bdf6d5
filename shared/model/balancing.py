"""A virtual address in front of workloads: the LoadBalancer kind."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from shared.model.base import Address, Integer, Name, Optional, Spec
from shared.model.selectors import Selector
from shared.model.traffic import PortRange

BalancedProtocol = Literal["tcp", "udp", "sctp"]


class BalancedPort(Spec):
    """What is balanced: a Service by name, or a protocol and its port; not both."""

    service: Optional[Name] = Field(None, description="A Service by name, with ports.")
    protocol: Optional[BalancedProtocol] = Field(
        None, description="tcp, udp or sctp, if no Service is named."
    )
    port: Optional[PortRange] = Field(None, description="The port, or a range, with protocol.")
    target_port: Optional[Integer] = Field(
        None, ge=1, le=65535, description="The backends' port; left out: the one that was asked."
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.service is None) == (self.protocol is None):
            raise PydanticCustomError("invalid_service", "give exactly one of service and protocol")
        if (self.protocol is None) != (self.port is None):
            raise PydanticCustomError(
                "invalid_service", "protocol and port go together; a named service brings its own"
            )
        return self


class Backends(Spec):
    """Who answers."""

    workloads: Selector = Field(description="The site's workloads by labels.")


class LoadBalancer(Spec):
    """A virtual address, whose connections are spread over workloads."""

    sites: Optional[Selector] = Field(
        None, description="FSM only: the sites it applies to; left out: every site."
    )
    network: Name = Field(
        description="The Network in which the virtual addresses lie; without `addresses` it "
        "stands for them, and may have 16 addresses at most."
    )
    addresses: tuple[Address, ...] = Field(
        (),
        max_length=16,
        description="The virtual addresses; only in a site's own balancers and Overrides.",
    )
    ports: Annotated[tuple[BalancedPort, ...], Field(min_length=1, max_length=64)] = Field(
        description="What is balanced; all else that is sent to the address is left alone."
    )
    backends: Backends = Field(description="The workloads over which it is spread.")
    algorithm: Literal["hash", "random"] = Field(
        "hash",
        description="hash: a client's connections all go to one backend as long as it is there; "
        "random: each connection goes to any.",
    )
