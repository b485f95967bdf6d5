"""Which backups stay: the newest good ones, as many as a policy says; never less than one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.backup.archive import opened
from shared.backup.contents import Home
from shared.backup.partial import SUFFIX, owner_of
from shared.errors import HanseError


@dataclass(frozen=True, slots=True)
class Kept:
    """A backup in a destination; a damaged one is not good.  `stamp` orders them by age."""

    path: Path
    stamp: str
    is_good: bool


def superfluous(found: Sequence[Kept], retain: int) -> list[Kept]:
    """Return what may go: all that is older than the newest `retain` good ones.  Pure.

    Where there are fewer good ones, nothing may go.
    """
    newest = sorted(found, key=lambda each: (each.stamp, each.path.name), reverse=True)
    good = 0
    for position, each in enumerate(newest):
        good += each.is_good
        if good == max(retain, 1):
            return newest[position + 1 :]
    return []


def backups_in(folder: Path, home: Home, policy: str) -> list[Kept]:
    """Return the backups that a policy of this server has made, good or not.

    A backup counts as good if it is whole as far as its manifest and sizes tell: each was
    restored for a trial when it was made.
    """
    prefix = f"{owner_of(home, policy)}-"
    paths = (path for path in folder.iterdir() if path.name.startswith(prefix))
    return [
        Kept(path, path.name.removeprefix(prefix), _is_good(path))
        for path in sorted(paths)
        if path.name.endswith(SUFFIX) and path.is_file()
    ]


def _is_good(path: Path) -> bool:
    try:
        with opened(path):
            return True
    except HanseError:
        return False
