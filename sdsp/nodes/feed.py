"""The stream of one node's configuration: a step to the present, then a line per change.

The node says what it has; the first line names the protocol and the store's incarnation, the next
brings it to the newest configuration by a snapshot or a delta, or says that it has it already.
While nothing changes, a bookmark at least every ten seconds shows that the site is there.

The first line, and a bookmark whenever it changes, also carry `trust`: roots, revocations, the
site's CA of now (sdsp.nodes.trust).  It comes first, so that a node that was away refuses whoever
is revoked before it takes a step; agents of earlier releases pass over it.  Bookmarks say how old
the site's own policy is, so that a node knows the age of what it runs.
"""

from collections.abc import AsyncIterator
from typing import Final

import orjson

from sdsp.compile.nodes import Published
from sdsp.nodes.publication import Publications
from shared.clock import Clock
from shared.errors import Forbidden, Unavailable

PROTOCOL: Final = 1

# protocols.md asks for ten seconds at most; half leaves room for a slow network.
BOOKMARK_PERIOD: Final = 5.0


def admitted_or_refuse(publications: Publications, node: str) -> None:
    """Raise Forbidden (`admission_pending`) unless the node has a configuration to get.

    Unavailable (`not_compiled`) while that isn't known: the site has just begun.
    """
    if not publications.is_complete:
        raise Unavailable(
            "this site has not made its nodes' configurations yet; come back in a moment",
            code="not_compiled",
        )
    if publications.newest(node) is None:
        raise Forbidden(
            f"node {node} is not admitted at this site; a site operator admits it with: "
            f"hanse nodes admit {node}",
            code="admission_pending",
        )


async def configuration_lines(
    publications: Publications,
    node: str,
    *,
    have: str | None,
    clock: Clock,
) -> AsyncIterator[bytes]:
    """Yield the lines of the stream until the node is no longer admitted.

    `have` is the hash of what the node enforces; it means the same in every incarnation.
    """
    trust = publications.trust
    hello = {"protocol": PROTOCOL, "incarnation": publications.incarnation}
    yield _line(hello | ({"trust": trust} if trust else {}))
    told_generation: int | None = None
    with publications.waiting(node) as changed:
        while True:
            changed.clear()
            newest = publications.newest(node)
            if newest is None:
                yield _line({"end": "admission_pending"})
                return
            if newest.hash != have or told_generation is None:
                line = publications.step(node, have)
                if line is None:
                    whole = await publications.snapshots(node)
                    if whole is None:
                        # It is about to be published that the node is admitted no longer.
                        await clock.wait(changed, BOOKMARK_PERIOD)
                        continue
                    newest, line = whole
                yield line
                have, told_generation = newest.hash, newest.generation
                continue
            if publications.trust is not trust:
                trust = publications.trust
                yield _line(_bookmark(newest, publications) | {"trust": trust})
            elif not await clock.wait(changed, BOOKMARK_PERIOD):
                yield _line(_bookmark(newest, publications))


def _bookmark(newest: Published, publications: Publications) -> dict[str, object]:
    age = publications.policy_age()
    said = {"bookmark": True, "generation": newest.generation, "hash": newest.hash}
    return said | ({"policy": age} if age else {})


def _line(frame: dict[str, object]) -> bytes:
    return orjson.dumps(frame, option=orjson.OPT_APPEND_NEWLINE)
