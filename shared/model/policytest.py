"""Expectations about flows, kept beside the policy they test."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from shared.model.base import Address, Integer, Name, Optional, Spec
from shared.model.selectors import Selector


class End(Spec):
    """One end of a flow, named in exactly one way; stands for every address it means."""

    network: Optional[Name] = Field(None, description="A Network by name.")
    networks: Optional[Selector] = Field(None, description="Networks by their labels.")
    workload: Optional[Name] = Field(None, description="A Workload by name.")
    workloads: Optional[Selector] = Field(None, description="Workloads by their labels.")
    address: Optional[Address] = Field(None, description="One address.")

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise PydanticCustomError(
                "invalid_end", "give exactly one of network, networks, workload, workloads, address"
            )
        return self


class ExpectedFlow(Spec):
    """Every packet from one end to the other gets the expected verdict."""

    from_: End = Field(alias="from", description="Where the flow comes from.")
    to: End = Field(description="Where it goes.")
    service: str = Field(
        min_length=1, description="A Service's name, tcp/5432, or icmp where there are no ports."
    )
    source_port: Optional[Integer] = Field(None, ge=0, le=65535, description="Left out: every.")
    expect: Literal["allow", "deny", "reject"] = Field(description="deny also accepts reject.")


class PolicyTest(Spec):
    """Flows and the verdicts that they must get, run by `hanse policy test`."""

    site: Name = Field(description="The site whose view is tested.")
    node: Optional[Name] = Field(None, description="The node whose view is tested.")
    flows: Annotated[tuple[ExpectedFlow, ...], Field(min_length=1)] = Field(
        description="At least one."
    )
