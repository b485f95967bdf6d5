"""How rollouts look to people, at 80 columns."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from shared.cli.answers import Object, minute_of, moment_of
from shared.cli.columns import age_text
from shared.cli.output import console, print_table
from shared.ids import COMMON, FEDERATION
from shared.model.rollout import ENDED, PATIENCE

JSON = Mapping[str, Any]

_WORDS: Final = ("failed", "pending", "paused", "absent", "done", "reached", "waits")
"""As they concern somebody who looks: the pressing ones first."""
_FOLDED: Final = frozenset({"done", "reached", "waits", "absent"})
_FEW: Final = 10
"""So many sites of a wave that stand alike, and well, are told by name."""


def state_of(rollout: Object) -> str:
    """Return a rollout's state in a word."""
    state = str(rollout.spec.get("state", "running"))
    return "paused" if rollout.spec.get("paused") and state not in ENDED else state


def target_of(rollout: Object) -> str:
    """Return what goes site by site: kind and name, with tenant and scope if they are others."""
    spec = rollout.spec
    parts = [] if rollout.tenant == COMMON else [f"tenant {rollout.tenant}"]
    scope = spec.get("targetScope", FEDERATION)
    parts += [] if scope == FEDERATION else [str(scope)]
    place = f" ({', '.join(parts)})" if parts else ""
    return f"{spec.get('targetKind', 'SecurityPolicy')} {spec['target']}{place}"


def show_list(rollouts: Sequence[Object], now: datetime, *, wide: bool) -> None:
    columns = ["NAME", "POLICY", "STATE", "WAVE", "SITES", "STARTED"]
    if wide:
        columns += ["GENERATION", "MAY FAIL", "BY", "ENDED"]
    print_table(columns, [_row(each, now, wide=wide) for each in rollouts])


def show(progress: JSON, now: datetime, *, wide: bool) -> None:
    """Print one rollout, and how each site stands in it."""
    rollout = Object.of(progress["rollout"])
    for line in _lines(rollout, progress):
        console().print(line, markup=False, soft_wrap=True)
    for wave in progress["waves"]:
        console().print(f"wave {wave['wave'] + 1}: {_whom(wave)}", markup=False, soft_wrap=True)
    rows = [row for wave in progress["waves"] for row in _wave_rows(wave, now, wide=wide)]
    if rows:
        print()
        print_table(["WAVE", "SITE", "STANDS", "REACHED", "WHY"], rows)


def summary(progress: JSON) -> str:
    """Return how many sites stand how, the pressing ones first."""
    words = Counter(each["word"] for wave in progress["waves"] for each in wave["sites"])
    return ", ".join(f"{words[word]} {word}" for word in _WORDS if words[word])


def _lines(rollout: Object, progress: JSON) -> Iterator[str]:
    spec = rollout.spec
    yield f"{rollout.name}: {state_of(rollout)}; {summary(progress) or 'no site is concerned'}"
    new = "" if spec.get("before") else ", which is new"
    yield f"{target_of(rollout)}, generation {spec.get('generation')}{new}"
    yield f"started {minute_of(spec.get('startedAt'))} by {spec.get('startedBy')}"
    most = spec.get("maxFailures", 0)
    may = "No site may fail" if not most else f"At most {_sites(most)} may fail"
    yield f"{may}; one that takes longer than {spec.get('patience', PATIENCE)} has failed."
    if stopped := spec.get("stopped"):
        yield f"It stopped {minute_of(stopped['at'])}: {_sites(stopped['failed'])} had failed."
        yield f"  hanse rollout resume {rollout.name} --reason WHY, once they are mended;"
        yield f"  hanse rollout abort {rollout.name} --reason WHY takes the change back."
    if waits := progress.get("waitsFor"):
        named = ", ".join(waits[:_FEW])
        more = f" and {len(waits) - _FEW} more" if len(waits) > _FEW else ""
        yield f"It waits for {named}{more}."
    if ended := spec.get("endedAt"):
        yield f"ended {minute_of(ended)}"


def _whom(wave: JSON) -> str:
    """Return which sites a wave is of."""
    selector = wave.get("selector")
    return "all other sites" if selector is None else _terms(selector) or "every site"


def _row(each: Object, now: datetime, *, wide: bool) -> list[object]:
    spec = each.spec
    reached = sum(len(step["sites"]) for step in spec.get("reached") or ())
    row: list[object] = [
        each.name,
        target_of(each).partition(" ")[2],
        state_of(each),
        f"{spec.get('wave', -1) + 1}/{len(spec.get('order') or ()) + 1}",
        reached,
        _ago(spec.get("startedAt"), now),
    ]
    if wide:
        row += [
            spec.get("generation", ""),
            spec.get("maxFailures", 0),
            spec.get("startedBy", ""),
            minute_of(spec.get("endedAt")),
        ]
    return row


def _wave_rows(wave: JSON, now: datetime, *, wide: bool) -> Iterator[list[object]]:
    number = wave["wave"] + 1
    for word in _WORDS:
        alike = [each for each in wave["sites"] if each["word"] == word]
        if not wide and word in _FOLDED and len(alike) > _FEW:
            yield [number, _sites(len(alike)), word, "", ""]
            continue
        for each in alike:
            reached = minute_of(each["reachedAt"]) if wide else _ago(each["reachedAt"], now)
            yield [number, each["site"], word, reached, each["code"] or ""]


def _ago(moment: object, now: datetime) -> str:
    return f"{age_text(moment_of(moment), now)} ago" if moment else ""


def _terms(selector: JSON) -> str:
    """Write a selector as `--order` takes it."""
    terms = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    return ",".join([*terms, *map(_term, selector.get("matchExpressions") or ())])


def _term(expression: JSON) -> str:
    key, operator = expression["key"], expression["operator"]
    values: Sequence[str] = expression.get("values") or ()
    if operator in ("Exists", "DoesNotExist"):
        return f"!{key}" if operator == "DoesNotExist" else str(key)
    if len(values) == 1:
        return f"{key}{'!=' if operator == 'NotIn' else '='}{values[0]}"
    return f"{key} {operator.lower()} ({','.join(values)})"


def _sites(count: int) -> str:
    return "one site" if count == 1 else f"{count} sites"
