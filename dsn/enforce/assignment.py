"""A configuration as the node was given it, and what became of the last one."""

from dataclasses import dataclass

from shared.policy.nodeconfig import NodeConfiguration


@dataclass(frozen=True, slots=True)
class Version:
    """Which configuration is spoken of.

    Generations compare only within one incarnation of the site's store; the hash means the same
    in every one.
    """

    incarnation: str
    generation: int
    hash: str

    def is_older_than(self, other: "Version | None") -> bool:
        return (
            other is not None
            and self.incarnation == other.incarnation
            and self.generation < other.generation
        )


@dataclass(frozen=True, slots=True)
class Assignment:
    """A configuration and which one it is."""

    version: Version
    configuration: NodeConfiguration


@dataclass(frozen=True, slots=True)
class Refusal:
    """A configuration that the node did not take, and why; the last good one stays."""

    version: Version
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Standing:
    """How the node stands: what it enforces, what it refused last, what it read back.

    `spoken_of` is the version that the site last sent, taken or refused.
    """

    enforced: Assignment | None = None
    refused: Refusal | None = None
    read_back: str | None = None

    @property
    def spoken_of(self) -> Version | None:
        if self.refused is not None:
            return self.refused.version
        return self.enforced.version if self.enforced else None
