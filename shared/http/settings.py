"""Where a server listens."""

from pydantic import Field

from shared.http.connections import ConnectionLimits
from shared.settings import Settings


class ListenSettings(Settings):
    """Where the one port is, and how many may hold connections to it.

    Each program has a default port of its own.
    """

    host: str = Field("127.0.0.1", description="The address to listen at; :: for all.")
    port: int = Field(ge=0, le=65535)
    per_address: int = Field(
        512, ge=1, description="Connections that one address may hold; the others are cut off."
    )
    connections: int = Field(8192, ge=1, description="Connections from everywhere together.")

    def limits(self) -> ConnectionLimits:
        return ConnectionLimits(per_address=self.per_address, total=self.connections)
