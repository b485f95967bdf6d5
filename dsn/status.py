"""`hanse dsn status`: what a node enforces and how old it is, read from its folder alone."""

import fcntl
import os
from pathlib import Path
from typing import Any

from dsn.enforce.freshness import read_heard
from dsn.enforce.last_good import LastGood
from dsn.settings import Files, load_identity
from shared.clock import Clock


def status_of(data: Path, *, clock: Clock) -> dict[str, Any]:
    """Return what a node enforces, and how old its policy is.

    `policyAge` is in seconds, and None if it isn't known: the site never said, or this node
    enforces something else than the site's newest.  NotFound (`not_joined`); Invalid
    (`last_good_unreadable`).
    """
    identity, files = load_identity(data), Files.of(data)
    enforced = LastGood(files.last_good).load()
    heard = read_heard(files.heard)
    version = enforced.version if enforced else None
    is_newest = heard is not None and version is not None and heard.hash == version.hash
    now = clock.now()
    return {
        "node": identity.node,
        "site": identity.site,
        "running": _is_running(files.lock),
        "generation": version.generation if version else None,
        "hash": version.hash if version else None,
        "heardAt": heard.heard_at.isoformat() if heard else None,
        "silence": round(heard.silence(now), 3) if heard else None,
        "revision": heard.revision if heard and is_newest else None,
        "policyAt": heard.at if heard and is_newest else None,
        "policyAge": heard.policy_age(now) if heard and is_newest else None,
    }


def told(status: dict[str, Any]) -> str:
    """Return a node's status in sentences."""
    agent = "the agent runs" if status["running"] else "no agent runs; what was enforced stays"
    lines = [f"Node {status['node']} of site {status['site']}: {agent}."]
    if status["generation"] is None:
        return "\n".join([*lines, "It has not been given a configuration yet."])
    lines.append(f"It enforces generation {status['generation']} ({status['hash'][:12]}).")
    if status["heardAt"] is None:
        lines.append("Its site has not confirmed it since this was installed.")
    else:
        lines.append(f"Its site was last heard {_span(status['silence'])} ago.")
    if status["policyAge"] is not None:
        age = _span(status["policyAge"])
        lines.append(
            f"The policy is of the FSM's revision {status['revision']}, which was its latest "
            f"{age} ago."
        )
    elif status["heardAt"] is not None:
        lines.append("How old the FSM's policy in it is, is not known.")
    return "\n".join(lines)


def _span(seconds: float) -> str:
    for size, name in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f}{name}"
    return f"{seconds:.0f}s"


def _is_running(lock: Path) -> bool:
    """Return whether an agent holds the folder."""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
