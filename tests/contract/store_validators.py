"""The six promises of a watch, each checked over a recorded history.

After etcd's robustness tests (tests/robustness/validate).  A recording is what one watcher saw:
parts, each begun at a position, of events in the order of their arrival.  The log is what the
store holds in the end, by revision.  Each validator returns what is wrong, in sentences.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Log = Mapping[int, Mapping[str, Any]]
"""By revision: {"commit", "digest", "changes"}, as store_worker.said makes them."""


@dataclass
class Part:
    """What came of one watch begun after a revision."""

    after: int
    events: list[Mapping[str, Any]] = field(default_factory=list)

    @property
    def commits(self) -> list[Mapping[str, Any]]:
        return [event for event in self.events if "commit" in event]


Recording = Sequence[Part]


def recording_of(lines: Sequence[Mapping[str, Any]]) -> list[Part]:
    """Read what a watching worker said."""
    parts: list[Part] = []
    for line in lines:
        if "start" in line:
            parts.append(Part(line["start"]))
        elif "commit" in line or "bookmark" in line:
            parts[-1].events.append(line)
    return parts


def ordered(recording: Recording, _log: Log) -> Iterator[str]:
    """Revisions never fall, bookmarks included."""
    for part in recording:
        last = part.after
        for event in part.events:
            revision = event.get("commit", event.get("bookmark"))
            if revision < last:
                yield f"{revision} came after {last}"
            last = revision


def unique(recording: Recording, _log: Log) -> Iterator[str]:
    """No commit comes twice, and none that lies before the watch's beginning."""
    for part in recording:
        seen: set[int] = {part.after}
        for commit in part.commits:
            if commit["commit"] in seen or commit["commit"] <= part.after:
                yield f"{commit['commit']} came again, in a watch after {part.after}"
            seen.add(commit["commit"])


def atomic(recording: Recording, log: Log) -> Iterator[str]:
    """A commit comes whole, as the log has it."""
    for part in recording:
        for commit in part.commits:
            if log.get(commit["commit"]) != commit:
                yield f"{commit['commit']} came as {commit}, not as {log.get(commit['commit'])}"


def reliable(recording: Recording, log: Log) -> Iterator[str]:
    """Between a watch's beginning and its last commit none is missing."""
    for part in recording:
        came = [commit["commit"] for commit in part.commits]
        if not came:
            continue
        expected = [revision for revision in sorted(log) if part.after < revision <= max(came)]
        for revision in sorted(set(expected) - set(came)):
            yield f"{revision} never came in a watch after {part.after}"


def resumable(recording: Recording, log: Log) -> Iterator[str]:
    """A watch begun at a position goes on with the very next commit."""
    for part in recording:
        if not part.commits:
            continue
        following = min((revision for revision in log if revision > part.after), default=None)
        if part.commits[0]["commit"] != following:
            first = part.commits[0]["commit"]
            yield f"a watch after {part.after} began with {first}, not with {following}"


def bookmarkable(recording: Recording, log: Log) -> Iterator[str]:
    """At a bookmark all up to it has come, and nothing up to it comes later; its digest is right."""
    for part in recording:
        marked = part.after
        last = part.after
        for event in part.events:
            if "commit" in event:
                last = event["commit"]
                if last <= marked:
                    yield f"{last} came after the bookmark {marked}"
                continue
            marked = event["bookmark"]
            missing = [revision for revision in log if last < revision <= marked]
            if missing:
                yield f"the bookmark {marked} came before {missing}"
            if marked in log and log[marked]["digest"] != event["digest"]:
                yield f"the bookmark {marked} has another digest than the log"


VALIDATORS = (ordered, unique, atomic, reliable, resumable, bookmarkable)


def faults_in(recording: Recording, log: Log) -> list[str]:
    return [
        f"{validator.__name__}: {fault}"
        for validator in VALIDATORS
        for fault in validator(recording, log)
    ]


def load_of(recordings: Sequence[Recording], log: Log) -> dict[str, int]:
    """Return how much a run carried; one that carried too little proves nothing."""
    parts = [part for recording in recordings for part in recording]
    return {
        "commits": len(log),
        "changes": sum(len(commit["changes"]) for commit in log.values()),
        "batches": sum(len(commit["changes"]) > 1 for commit in log.values()),
        "watchers": len(recordings),
        "resumptions": len(parts) - len(recordings),
        "delivered": sum(len(part.commits) for part in parts),
        "bookmarks": sum(len(part.events) - len(part.commits) for part in parts),
    }
