"""What a node's data plane promises, whether it is a kernel or a simulation.

A data plane holds one configuration and enforces it on the traffic of the node's own workloads
only.  It is asked back what it really enforces, so that nobody has to believe what it was told.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from shared.errors import HanseError, Unavailable
from shared.policy.nodeconfig import NodeConfiguration

DEFAULT: Final = "default"
"""The counter of what no rule decided."""

INVALID: Final = "invalid"
"""The counter of packets that belong to no connection and can't begin one."""

ENDED: Final = "ended"
"""The counter of packets of connections that a new generation has ended."""


class Refused(HanseError):
    """The data plane did not take a configuration; the one before is still enforced."""

    default_code = "data_plane_refused"


class NoDataPlane(Unavailable):
    """The data plane can't be reached at all: a program, a privilege or the kernel is missing."""

    default_code = "data_plane_unavailable"


class Count(NamedTuple):
    packets: int
    bytes: int


@dataclass(frozen=True, slots=True)
class ReadBack:
    """What is really enforced.

    `hash` is comparable with NodeConfiguration.hash(); None if nothing is enforced at all.
    `faults` say in words, for the log, what stands there that no configuration could have put
    there; with faults, the hash equals no configuration's.
    """

    hash: str | None
    faults: tuple[str, ...] = ()


class DataPlane(Protocol):
    """One node's data plane.  Calls don't overlap: each waits for the one before."""

    @property
    def name(self) -> str:
        """`nftables` or `memory`."""

    async def apply(self, configuration: NodeConfiguration) -> None:
        """Enforce `configuration` from one packet to the next, without a gap; all or nothing.

        Counters of rules that stay go on counting.  Applying what already stands changes nothing.
        Invalid, if it is no configuration that can be enforced exactly; Refused or NoDataPlane, if
        the data plane doesn't take it.  After an error the one before is still enforced.
        """

    async def read_back(self, *, whole: bool = False) -> ReadBack:
        """Return what is enforced now, as the data plane says it, not as it was told.  NoDataPlane.

        Unless `whole`, what has been read back before may stand for what nobody has written since,
        if the data plane can tell that.
        """

    async def counters(self) -> Mapping[str, Count]:
        """Return what each rule has decided, by rule id, and DEFAULT, INVALID and ENDED.

        If something is staged with the configuration, also what that would decide otherwise, by
        the names of shared.policy.nodestaged.

        Rules decide on a connection's first packet, so for rules this counts connections, not
        their traffic.  NoDataPlane.
        """

    async def end_denied_connections(self, configuration: NodeConfiguration) -> int:
        """End the tracked connections that `configuration` denies, and no others; return how many.

        A connection that is part of another (an FTP transfer) is judged as that other.  Later
        packets of an ended connection, of whichever end, don't bring it back; a new connection
        between the same ends and ports is judged anew.  NoDataPlane.
        """

    async def clear(self) -> None:
        """Take everything of ours away; traffic is then as if there were no agent.  NoDataPlane."""

    async def close(self) -> None:
        """Give back what the agent holds (threads, sockets).  What is enforced stays enforced."""
