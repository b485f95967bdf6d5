"""Makes the data plane enforce what the site wants, and keeps it so.

One thing at a time: a configuration that is being applied is never looked at for drift.  What the
node knows of itself is one value, Standing, replaced whole; whoever reports it is told of each.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from dsn.dataplane.contract import DataPlane, ReadBack
from dsn.enforce.assignment import Assignment, Refusal, Standing, Version
from dsn.enforce.last_good import LastGood
from dsn.enforce.plan import Done, Step, compute_plan
from shared.errors import HanseError
from shared.failpoints import pause

_MOST_FAULTS = 20

log = logging.getLogger(__name__)


class Enforcer:
    """Owns the data plane.  `watchers` are called with every new Standing."""

    def __init__(self, *, plane: DataPlane, last_good: LastGood) -> None:
        self.standing = Standing()
        self.wanted: Assignment | None = None
        self.watchers: list[Callable[[Standing], None]] = []
        self._plane = plane
        self._last_good = last_good
        self._applied: Assignment | None = None
        self._done = Done()
        # What was read back after the last apply(), until it is acknowledged.
        self._found: ReadBack | None = None
        self._turn = asyncio.Lock()

    async def restore(self, node: str) -> bool:
        """Enforce the last good configuration; return whether there was one for `node`.

        An unreadable file or a data plane that refuses is logged, not raised: the site sends its
        configuration again, and what stands in the kernel still stands.
        """
        try:
            saved = self._last_good.load()
        except HanseError as exc:
            log.warning("starting without", extra={"code": exc.code, "reason": exc.message})
            return False
        if saved is None or saved.configuration.node != node:
            return False
        self.want(saved)
        self._done = replace(self._done, saved=saved.version)
        try:
            await self.enforce()
        except HanseError as exc:
            log.warning(
                "last good configuration not in force, will retry",
                extra={"code": exc.code, "reason": exc.message, "detail": exc.detail},
            )
            return False
        return True

    def want(self, assignment: Assignment) -> None:
        """Take note of what the site wants; enforce() does the rest."""
        self.wanted = assignment

    def refuse(self, version: Version, error: HanseError) -> None:
        """Take note of a configuration that can't even be read; the last good one stays."""
        refusal = Refusal(version, error.code, error.message)
        if refusal == self.standing.refused:
            return
        log.warning(
            "configuration refused, the last good one stays",
            extra={
                "generation": version.generation,
                "code": error.code,
                "reason": error.message,
                "detail": error.detail,
            },
        )
        self._set(replace(self.standing, refused=refusal))

    async def enforce(self) -> int:
        """Do what is missing for the wanted configuration; return how many steps that took.

        Raises what a step raises, after noting the refusal; a later call goes on from there.
        """
        async with self._turn:
            wanted = self.wanted
            if wanted is None:
                return 0
            steps = compute_plan(self._done, wanted.version)
            for step in steps:
                await self._take(step, wanted)
            return len(steps)

    async def verify(self) -> bool:
        """Read back all that is enforced; on drift report it, then repair.

        Return whether it drifted.  Connections that came in meanwhile end, if they are denied.

        Raises what the data plane raises.
        """
        async with self._turn:
            applied = self._applied
            if applied is None:
                return False
            found = await self._plane.read_back(whole=True)
            self._set(replace(self.standing, read_back=found.hash))
            if found.hash == applied.version.hash:
                return False
            log.warning(
                "the data plane enforces something else, repairing it",
                extra={"read_back": found.hash, "faults": list(found.faults[:_MOST_FAULTS])},
            )
            self._done = replace(self._done, applied=None)
            await self._plane.apply(applied.configuration)
            self._done = replace(self._done, applied=applied.version.hash)
            await self._plane.end_denied_connections(applied.configuration)
            found = await self._plane.read_back()
            self._set(replace(self.standing, read_back=found.hash))
            return True

    async def _take(self, step: Step, wanted: Assignment) -> None:
        version = wanted.version
        match step:
            case Step.APPLY:
                self._found = None
                try:
                    await pause("dsn.apply.before")
                    await self._plane.apply(wanted.configuration)
                    await pause("dsn.apply.after")
                except HanseError as exc:
                    self.refuse(version, exc)
                    raise
                self._applied = wanted
                self._done = replace(self._done, applied=version.hash, ended=None)
                # Looked at before open connections are: new ones are judged by it already.
                self._found = await self._plane.read_back()
                await pause("dsn.read_back.after")
            case Step.END_CONNECTIONS:
                ended = await self._plane.end_denied_connections(wanted.configuration)
                self._done = replace(self._done, ended=version.hash)
                if ended:
                    log.info("ended connections that are now denied", extra={"count": ended})
            case Step.ACKNOWLEDGE:
                found = self._found or await self._plane.read_back()
                self._found = None
                await pause("dsn.acknowledge.before")
                self._done = replace(self._done, acknowledged=version)
                self._set(Standing(enforced=wanted, refused=None, read_back=found.hash))
                await pause("dsn.acknowledge.after")
            case Step.SAVE:
                self._last_good.save(wanted)
                self._done = replace(self._done, saved=version)

    def _set(self, standing: Standing) -> None:
        if standing == self.standing:
            return
        self.standing = standing
        for watcher in self.watchers:
            watcher(standing)
