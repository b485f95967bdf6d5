"""Backups as the status of a server shows them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from shared.backup.settings import OWN
from shared.backup.standing import BackupState, Task
from shared.tasks.cron import Schedule


def backups_json(
    tasks: Sequence[Task], states: Mapping[str, BackupState], *, now: datetime
) -> list[dict[str, Any]]:
    """Return, of each task, what is wanted, what became of it, and when it is due next."""
    return [_one(task, states.get(task.name), now) for task in tasks]


def upward_json(tasks: Sequence[Task], states: Mapping[str, BackupState]) -> list[dict[str, Any]]:
    """Return what the FSM is told: of each policy the last times and the code, nothing else."""
    return [
        {
            "policy": task.name if task.name != OWN else None,
            "succeededAt": _text(state.succeeded_at) if state else None,
            "failedAt": _text(state.failed_at) if state else None,
            "code": state.code if state else None,
        }
        for task in tasks
        for state in (states.get(task.name),)
    ]


def _one(task: Task, state: BackupState | None, now: datetime) -> dict[str, Any]:
    due = Schedule.parse(task.cron, task.timezone).after(state.handled if state else now)
    return {
        "policy": task.name if task.policy else None,
        "scope": task.policy.scope if task.policy else None,
        "schedule": task.cron,
        "timezone": task.timezone,
        "retain": task.retain,
        "destination": task.destination,
        "state": _word(state),
        "code": state.code if state else None,
        "succeededAt": _text(state.succeeded_at) if state else None,
        "failedAt": _text(state.failed_at) if state else None,
        "file": state.file if state else None,
        "size": state.size if state else None,
        "revision": state.revision if state else None,
        "nextAt": _text(due),
    }


def _word(state: BackupState | None) -> str:
    if state is None:
        return "waiting"
    if state.lease is not None:
        return "running"
    if state.is_failing:
        return "failing"
    return "good" if state.succeeded_at else "waiting"


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
