"""How old the policy is that this node runs: what its site last said of it, kept across restarts.

The site says with each bookmark which of the FSM's revisions it has, and how many seconds ago the
FSM confirmed that there was none newer.  Ages are counted on from there by this node's own clock,
whatever the others' say.  The file is for people (`hanse dsn status`) and may lag a little behind.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import orjson

from shared.clock import Clock

_WRITTEN_EVERY: Final = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Heard:
    """The site's last word: the configuration that is its newest for this node, and its policy.

    `revision` is the FSM's, `at` the FSM's time of it, `age` how old that was when it was heard;
    None where the site has never heard its FSM.
    """

    generation: int
    hash: str
    heard_at: datetime
    revision: int | None = None
    at: str | None = None
    age: float | None = None

    def policy_age(self, now: datetime) -> float | None:
        """Return how many seconds ago the FSM had nothing newer than what the site has."""
        return None if self.age is None else round(self.age + self.silence(now), 3)

    def silence(self, now: datetime) -> float:
        """Return how many seconds ago the site was heard."""
        return max((now - self.heard_at).total_seconds(), 0.0)

    def to_json(self) -> dict[str, Any]:
        return {
            "generation": self.generation,
            "hash": self.hash,
            "heardAt": self.heard_at.isoformat(),
            "revision": self.revision,
            "at": self.at,
            "age": self.age,
        }


class Freshness:
    """The last word, in memory and in a file."""

    def __init__(self, path: Path, *, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._written: datetime | None = None
        self.heard: Heard | None = None

    def note(self, generation: int, content: str, policy: Mapping[str, Any] | None) -> None:
        """Take the site's word that this is its newest configuration for us."""
        said = policy or {}
        now = self._clock.now()
        self.heard = Heard(
            generation, content, now, said.get("revision"), said.get("at"), said.get("age")
        )
        if self._written is None or not timedelta(0) <= now - self._written < _WRITTEN_EVERY:
            self.write()

    def write(self) -> None:
        """Write the last word, if there is one; a full disk makes only the file old."""
        if self.heard is None:
            return
        draft = self._path.with_name(f".{self._path.name}.new")
        try:
            draft.write_bytes(orjson.dumps(self.heard.to_json()))
            draft.replace(self._path)
        except OSError:
            return
        self._written = self._clock.now()


def read_heard(path: Path) -> Heard | None:
    """Return the last word that was written; None if there is none, or it is damaged."""
    try:
        found = orjson.loads(path.read_bytes())
        return Heard(
            generation=found["generation"],
            hash=found["hash"],
            heard_at=datetime.fromisoformat(found["heardAt"]),
            revision=found["revision"],
            at=found["at"],
            age=found["age"],
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None
