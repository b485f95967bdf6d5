"""How a server keeps its audit trail, and where else it goes."""

from pathlib import Path

from pydantic import Field

from shared.settings import Settings


class SyslogSettings(Settings):
    """A receiver of RFC 5424 messages over TLS (RFC 5425)."""

    host: str = Field(description="Its name, as its certificate has it.")
    port: int = Field(6514, ge=1, le=65535)
    roots: Path | None = Field(
        None, description="The CAs that its certificate may come from; the system's if left out."
    )
    certificate: Path | None = Field(
        None, description="A PEM file with our certificate and key, if it asks for one."
    )


class AuditSettings(Settings):
    """The audit trail."""

    retention: float = Field(
        400 * 86400.0,
        ge=2 * 86400.0,
        description="Seconds for which records are kept; older ones are removed by the day.",
    )
    syslog: SyslogSettings | None = None
