"""What happens and is told: the signals of telemetry.  Pure.

An event says that something happened once, at one moment, to one thing; it is no log line (which
is for those who look after a process) and no audit record (which is of what somebody did).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from shared.ids import Key


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Event:
    """`type` is what happened (`backup.failed`), `code` why, if there is a why, and `message` a
    sentence for people.  `object` is the document that it is about.  `fields` are more facts,
    plain JSON.
    """

    type: str
    severity: Severity
    at: datetime
    message: str
    object: Key | None = None
    code: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "type": self.type,
            "severity": self.severity.value,
            "at": self.at.isoformat(),
            "message": self.message,
            "object": self.object._asdict() if self.object else None,
            "code": self.code,
            "fields": dict(self.fields),
        }


def event_of(value: Mapping[str, Any]) -> Event:
    """Read what Event.to_json wrote."""
    return Event(
        type=value["type"],
        severity=Severity(value["severity"]),
        at=datetime.fromisoformat(value["at"]),
        message=value["message"],
        object=Key(**value["object"]) if value["object"] else None,
        code=value["code"],
        fields=value["fields"],
    )
