"""Label selectors: which objects a peer, a policy or a subscription means."""

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from shared.model.base import LabelKey, LabelValue, Spec

Operator = Literal["In", "NotIn", "Exists", "DoesNotExist"]


class Expression(Spec):
    """One term over one key."""

    key: LabelKey = Field(description="The label's key.")
    operator: Operator = Field(
        description="NotIn and DoesNotExist also match an object without the key."
    )
    values: tuple[LabelValue, ...] = Field((), description="For In and NotIn: at least one.")

    @model_validator(mode="after")
    def _values_fit(self) -> Self:
        takes_values = self.operator in ("In", "NotIn")
        if takes_values != bool(self.values):
            need = "needs at least one value" if takes_values else "takes no values"
            raise PydanticCustomError(
                "invalid_selector", "{operator} {need}", {"operator": self.operator, "need": need}
            )
        return self

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "In":
                return value is not None and value in self.values
            case "NotIn":
                return value is None or value not in self.values
            case "Exists":
                return value is not None
            case "DoesNotExist":
                return value is None


class Selector(Spec):
    """All terms must hold; `{}` matches everything."""

    match_labels: dict[LabelKey, LabelValue] = Field(
        default_factory=dict, description="Each key must have exactly this value."
    )
    match_expressions: tuple[Expression, ...] = Field((), description="Each must hold.")

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(labels.get(key) == value for key, value in self.match_labels.items()) and all(
            expression.matches(labels) for expression in self.match_expressions
        )
