"""Named places where a test lets this program die, fail or stall; off unless a test arms them.

A place is one line in the code, before or after something that must not be lost or doubled: a
commit, an acknowledgement, a step of writing a file.  Armed by HANSE_FAILPOINTS in a process that
a test starts, or by armed() within the test's own:

    HANSE_FAILPOINTS="store.commit.before=exit@3,pki.*=sleep(0.2)*5,feed.*=raise%0.1,seed=7"

Each entry is PATTERN=ACTION with PATTERN as in fnmatch, the first that matches counts, and behind
the action, in this order: `@N` from the Nth time on (1), `*N` at most N times, `%P` with
probability P.  Actions:

    exit          end at once as kill -9 does: nothing is flushed, closed or undone; status 86
    raise         Unavailable, as when something that this needs is out
    raise(ENOSPC) OSError with that number
    sleep(0.2)    wait so many seconds: the event loop goes on at a `pause`, its thread stands at
                  a `failpoint`

`seed=N` draws probabilities; `record=FILE` adds the name of each place reached, once a process;
`times=FILE` adds each name every time, with the monotonic clock's nanoseconds.
After the failpoints of FreeBSD (fail(9)) and of etcd (gofail).
"""

import asyncio
import errno
import logging
import os
import random
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from shared.errors import Invalid, Unavailable

log = logging.getLogger(__name__)

VARIABLE: Final = "HANSE_FAILPOINTS"
EXIT_STATUS: Final = 86
"""Of a process that a failpoint has ended; nothing else ends with it."""

FAILPOINTS: Final[Mapping[str, str]] = {
    "store.flush.before": "a group of writes has run, nothing of it is written",
    "store.flush.disk": "SQLite's own thread is about to write",
    "store.disk.written": "SQLite's own thread has written all, and commits next",
    "store.flush.after": "all is written, nothing committed",
    "store.commit.before": "the next word to the database is COMMIT",
    "store.commit.after": "committed, and nobody knows",
    "store.compact.before": "the log is shortened, not committed",
    "store.compact.after": "the log is shortened and committed",
    "store.migrate.before": "the schema is changed, the transaction open (SQLite)",
    "store.migrate.after": "the schema is changed for good",
    "objects.acknowledge.before": "a person's write is committed, not yet answered",
    "fsm.join.before_answer": "a site's join token is spent, its certificate not yet answered",
    "sdsp.join.before_answer": "a node's join token is spent, its certificate not yet answered",
    "fsm.root.written": "`hanse fsm init` has written the root for people to copy",
    "fsm.acknowledge.before": "a site's acknowledgement has come",
    "fsm.acknowledge.after": "it is noted in memory",
    "fsm.heard.before": "sites' last words are about to be written",
    "fsm.heard.after": "they are written",
    "fsm.report.before": "a site's report has come",
    "fsm.report.after": "it is written, not yet answered",
    "feed.acknowledge.before": "a step is taken over, its acknowledgement not yet sent",
    "feed.acknowledge.after": "the server has answered the acknowledgement",
    "sdsp.replace.before": "a snapshot is fetched whole and judged",
    "sdsp.replace.after": "the snapshot is committed with its position",
    "sdsp.apply.before": "a line of changes is judged",
    "sdsp.apply.after": "the line is committed with its position",
    "sdsp.advance.before": "a bookmark tells of a later position",
    "sdsp.advance.after": "that position is committed",
    "sdsp.publish.before": "nodes' configurations are compiled, no node was told",
    "sdsp.publish.after": "those who wait for them are woken",
    "sdsp.judge.before": "the site is compiled anew, its conflicts are not yet found",
    "sdsp.report.before": "a report to the FSM is put together",
    "sdsp.report.after": "the FSM has taken it",
    "sdsp.request.before": "a change request is on record, the FSM has not got it",
    "sdsp.request.after": "the FSM has taken it, and nobody here knows",
    "sdsp.answer.before": "the federation's answer has come, the conflict doesn't say so yet",
    "sdsp.answer.after": "the conflict has its answer, the request is off the record",
    "fsm.request.before": "a site's change request has come and is judged, not written",
    "fsm.request.after": "it is written, not yet answered",
    "sdsp.node_report.before": "a node's report has come",
    "sdsp.node_report.after": "it is noted, not yet answered",
    "dsn.apply.before": "a configuration is about to be put into the data plane",
    "dsn.apply.after": "the data plane enforces it",
    "dsn.read_back.after": "it is read back, open connections not yet judged by it",
    "dsn.acknowledge.before": "open connections are judged as well, and nobody is told yet",
    "dsn.acknowledge.after": "it is told to the reporter",
    "dsn.report.before": "a report is put together",
    "dsn.report.after": "the site has taken it",
    "dsn.last_good.created": "the new file is there, empty",
    "dsn.last_good.synced": "it is written and on disk, under its temporary name",
    "dsn.last_good.replaced": "it has its name; its folder is not yet on disk",
    "dsn.identity.synced": "who the node is, is on disk, under a temporary name",
    "dsn.identity.replaced": "it has its name",
    "pki.key.created": "a new version's folder holds the key alone",
    "pki.files.synced": "key, chain and roots are on disk, `current` leads to the version before",
    "pki.link.created": "the new link is there under its temporary name",
    "pki.link.replaced": "`current` leads to the new version, the old one is there still",
    "settings.created": "a draft of the settings is there, empty",
    "settings.synced": "it is on disk under its temporary name",
    "settings.replaced": "the settings have their name",
    "token_key.synced": "a new signing key is on disk under a temporary name",
    "token_key.replaced": "it has its name",
    "sealing_key.synced": "the key that seals secrets is on disk under a temporary name",
    "sealing_key.placed": "it has its name",
    "break_glass.secret.written": "the new secret is in its file, not yet in force",
    "break_glass.sealed": "it is in force, the file has no name for people yet",
    "fsm.rollout.before": "a rollout's next step is known and about to be written",
    "fsm.rollout.after": "it is written",
    "fsm.exchange.made": "a new authority is made, nobody was told of it",
    "fsm.exchange.linked": "what vouches for a new root is written",
    "fsm.exchange.dropped": "an old authority counts no longer here",
    "fsm.exchange.deleted": "it is deleted",
    "dsn.revocations.synced": "a node's revocations are on disk under a temporary name",
    "backup.created": "a backup's file is there under a temporary name, empty",
    "backup.parts.written": "all of its parts are written, its manifest is not",
    "backup.synced": "it is whole and on disk under its temporary name, not yet tried",
    "backup.tried": "it has been restored for a trial and found good",
    "backup.replaced": "it has its name; its folder is not yet on disk",
    "restore.begun": "what is to be restored is noted, nothing of it is there",
    "restore.loaded": "the store is restored beside its place",
    "restore.decided": "all is on disk and decided, nothing has its place",
    "restore.aside": "what was in the place is moved aside",
    "restore.moved": "the restored server has its place, what led there is not yet cleared",
}
"""Every failpoint, by its name: what is the case there.  Each stands in the code once."""

_ENTRY: Final = re.compile(
    r"(?P<pattern>[a-z_.*?]+)=(?P<action>exit|raise|sleep)(?:\((?P<argument>[A-Z]+|[0-9.]+)\))?"
    r"(?:@(?P<first>[0-9]+))?(?:\*(?P<times>[0-9]+))?(?:%(?P<probability>[01]?\.?[0-9]+))?"
)


@dataclass(slots=True)
class _Entry:
    pattern: str
    action: str
    argument: str | None
    skip: int
    left: int | None
    probability: float


class _Plan:
    """What was armed, and how much of it is left."""

    def __init__(self, text: str) -> None:
        self._entries: list[_Entry] = []
        self._seed = 0
        self._record: Path | None = None
        self._times: Path | None = None
        for each in filter(None, (part.strip() for part in text.split(","))):
            self._read(each)
        self._source = random.Random(self._seed)  # noqa: S311 - draws when to fail
        self._recorded: set[str] = set()
        # Places are reached in the threads of databases and data planes as well.
        self._lock = threading.Lock()

    def reach(self, name: str) -> float:
        """Do what is due at a place; return the seconds that are left to wait there."""
        with self._lock:
            if self._record is not None and name not in self._recorded:
                self._recorded.add(name)
                _append(self._record, name)
            if self._times is not None:
                _append(self._times, f"{name} {time.monotonic_ns()}")
            entry = self._due(name)
        if entry is None:
            return 0.0
        if entry.action == "exit":
            os._exit(EXIT_STATUS)
        if entry.action == "sleep":
            return float(entry.argument or 0)
        if entry.argument is None:
            raise Unavailable(f"the failpoint {name} was armed to fail here")
        number = getattr(errno, entry.argument)
        raise OSError(number, os.strerror(number), name)

    def _due(self, name: str) -> _Entry | None:
        for entry in self._entries:
            if not fnmatchcase(name, entry.pattern):
                continue
            if entry.skip > 0:
                entry.skip -= 1
            elif entry.left != 0 and self._source.random() < entry.probability:
                if entry.left is not None:
                    entry.left -= 1
                return entry
            return None
        return None

    def _read(self, text: str) -> None:
        name, _, value = text.partition("=")
        if name == "seed" and value.isdecimal():
            self._seed = int(value)
            return
        if name == "record" and value:
            self._record = Path(value)
            return
        if name == "times" and value:
            self._times = Path(value)
            return
        found = _ENTRY.fullmatch(text)
        if found is None:
            raise _refused(f"{text!r} is no entry: write NAME=exit, NAME=raise or NAME=sleep(0.2)")
        if not any(fnmatchcase(each, found["pattern"]) for each in FAILPOINTS):
            raise _refused(f"no failpoint is named {found['pattern']}")
        argument = found["argument"]
        if found["action"] == "sleep" and not _is_number(argument):
            raise _refused(f"{text!r}: sleep takes seconds, as in sleep(0.2)")
        if found["action"] == "raise" and argument and not hasattr(errno, argument):
            raise _refused(f"{text!r}: raise takes the name of an errno, as in raise(ENOSPC)")
        self._entries.append(
            _Entry(
                found["pattern"],
                found["action"],
                argument,
                skip=int(found["first"] or 1) - 1,
                left=int(found["times"]) if found["times"] else None,
                probability=float(found["probability"] or 1),
            )
        )


_plan: _Plan | None = None


def failpoint(name: str) -> None:
    """Mark a place in code that blocks its thread anyway."""
    if _plan is not None and (seconds := _plan.reach(name)):
        time.sleep(seconds)


async def pause(name: str) -> None:
    """Mark a place on an event loop, which goes on while this waits."""
    if _plan is not None and (seconds := _plan.reach(name)):
        await asyncio.sleep(seconds)


def arm(text: str) -> None:
    """Arm what `text` says instead of what was armed; empty disarms.  Invalid."""
    global _plan  # noqa: PLW0603 - places are in the innermost code, which nobody hands anything
    _plan = _Plan(text) if text.strip() else None


def arm_from(environ: Mapping[str, str]) -> None:
    """Arm what a test's environment says; Invalid.  Without the variable nothing is armed."""
    if text := environ.get(VARIABLE, ""):
        arm(text)
        log.warning("failpoints are armed, this process will fail on purpose: %s", text)


@contextmanager
def armed(text: str) -> Iterator[None]:
    """Arm for the length of a with-block, in this process."""
    arm(text)
    try:
        yield
    finally:
        arm("")


def _append(file: Path, line: str) -> None:
    # One write of a short line to a file opened for appending isn't mixed with another process's.
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, f"{line}\n".encode("ascii"))
    finally:
        os.close(descriptor)


def _is_number(text: str | None) -> bool:
    return text is not None and re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) is not None


def _refused(message: str) -> Invalid:
    return Invalid(f"{VARIABLE}: {message}", code="invalid_settings")
