"""Read a repository and a server, and say how they differ."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shared.cli.answers import Object
from shared.cli.applying import find
from shared.cli.gitops.manifest import require_manifest
from shared.cli.gitops.plan import Plan, make_plan
from shared.cli.kinds import kind_and_names
from shared.cli.session import Session, print_note
from shared.cli.sources import Sources, is_repository, read_sources
from shared.errors import Forbidden, Invalid, NotFound
from shared.ids import Key
from shared.model.kinds import KINDS, Home

# Past so many of one kind, a list of the whole kind is quicker than asking for each.
_WORTH_A_LIST: Final = 20


@dataclass(frozen=True, slots=True)
class Owning:
    """On whose behalf a whole repository is compared.

    `keep` are objects, as KIND/NAME, that stay on the server although the repository has them no
    longer.
    """

    manifest: str | None
    keep: Sequence[str] = ()


async def compare(
    opened: Session,
    files: Sequence[str],
    owning: Owning | None,
    *,
    sources: Sources | None = None,
) -> Plan:
    """Return what an apply would do; with `owning`, and what it would prune.

    `sources` are the files, if they have been read already.

    Invalid with every fault of the files: of a repository that can't be read whole, nobody knows
    what is no longer in it.
    """
    manifest = None if owning is None else require_manifest(_folder(files), named=owning.manifest)
    keep = frozenset() if owning is None else frozenset(map(_named, owning.keep))
    sources = sources or read_sources(files, opened)
    live = await (_of_sources(opened, sources) if manifest is None else _all(opened, sources))
    pairs = zip(sources.keys, sources.documents, strict=True)
    plan = make_plan(pairs, live, manifest, keep=keep)
    _check_kept(plan, keep)
    return plan


def _folder(files: Sequence[str]) -> Path:
    if len(files) != 1 or not Path(files[0]).is_dir():
        raise Invalid(
            "pruning compares a whole repository with the server: name one folder with -f",
            code="no_repository",
        )
    folder = Path(files[0])
    for each in folder.resolve().parents:
        whole = each.parent if each.name == "federation" else each.parent.parent
        if (each.name == "federation" or each.parent.name == "sites") and is_repository(whole):
            raise Invalid(
                f"{folder} is only a part of {each}, and pruning would delete the rest: name "
                f"{each} or the repository",
                code="no_repository",
            )
    return folder


def _named(text: str) -> tuple[str, str]:
    kind, names = kind_and_names(text, ())
    return kind.name, names[0]


def _check_kept(plan: Plan, keep: frozenset[tuple[str, str]]) -> None:
    present = {(each.key.kind, each.key.name) for each in plan.steps if each.document}
    for kind, name in sorted(keep & present):
        raise Invalid(
            f"{kind} {name} is in the repository, so nothing prunes it; --keep is for what is no "
            "longer there",
            code="invalid_arguments",
        )


async def _of_sources(opened: Session, sources: Sources) -> dict[Key, Object]:
    wanted = set(sources.keys)
    found: dict[Key, Object] = {}
    for kind, count in Counter(key.kind for key in sources.keys).items():
        if count > _WORTH_A_LIST:
            async for each in opened.client.list(kind):
                if each.key in wanted:
                    found[each.key] = each
            continue
        for key in sources.keys:
            if key.kind == kind and (one := await find(opened, key)) is not None:
                found[key] = one
    return found


async def _all(opened: Session, sources: Sources) -> dict[Key, Object]:
    """Return every object that somebody may own; a kind that one may not read only if unused."""
    home: Home = "fsm" if opened.site is None else "sdsp"
    used = {key.kind for key in sources.keys}
    found: dict[Key, Object] = {}
    unread = []
    for kind in KINDS.values():
        if home not in kind.lives_on or kind.written_by == "system":
            continue
        try:
            async for each in opened.client.list(kind.name):
                found[each.key] = each
        except (Forbidden, NotFound):
            if kind.name in used:
                raise
            unread.append(kind.name)
    if unread:
        print_note(f"not looked at, for want of permission: {', '.join(unread)}")
    return found
