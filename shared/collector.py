"""How often Python's collector of cycles looks: rarely, for hardly any of our garbage is one."""

import gc
from typing import Final

_COLLECT_AFTER: Final = (50_000, 20, 20)
"""How many objects are made before it looks among them; see gc.

Of the thousands that the requests of one moment make, hardly any is garbage that only it can find.
With Python's 700 it took a tenth of the time of reading, and a quarter of a program's start, which
makes nothing but what stays.
"""


def look_less_often() -> None:
    gc.set_threshold(*_COLLECT_AFTER)


def calm_collector() -> None:
    """Have it also leave alone what is loaded by now."""
    gc.freeze()
    look_less_often()


def leave_alone() -> None:
    """Have a calm collector leave alone what there is by now, too, for as long as it lives.

    For whoever has just loaded what stays: at a large site, looking through all of that takes the
    better part of a second, in which nothing else runs.  Garbage in cycles that is about stays
    garbage, so this is for once, not for every now and then; and where nobody has calmed the
    collector, as in a process of many tests, nothing happens.
    """
    if gc.get_freeze_count():
        gc.freeze()
