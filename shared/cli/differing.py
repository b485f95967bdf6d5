"""`hanse diff`: what an apply would change, as a unified diff of YAML."""

import difflib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

from rich.markup import escape

from shared.cli.answers import Object
from shared.cli.applying import find
from shared.cli.output import console
from shared.cli.session import Session, session
from shared.cli.sources import Sources, read_sources
from shared.ids import COMMON, Key
from shared.model.documents import Parsed, dump_yaml, to_plain
from shared.model.kinds import KINDS

# Past so many of one kind, a list of the whole kind is quicker than asking for each.
_WORTH_A_LIST: Final = 20

_COLOURS: Final = {"+": "green", "-": "red", "@": "cyan"}


async def diff(context: str | None, files: Sequence[str]) -> bool:
    """Print how live objects and files differ; return whether they do."""
    async with session(context) as opened:
        sources = read_sources(files, opened)
        live = await _live(opened, sources)
    differs = False
    for key, document in zip(sources.keys, sources.documents, strict=True):
        for line in _differences(key, live.get(key), document):
            differs = True
            _print(line)
    return differs


async def _live(opened: Session, sources: Sources) -> dict[Key, Object]:
    wanted = set(sources.keys)
    found: dict[Key, Object] = {}
    counts = Counter(key.kind for key in sources.keys)
    for kind, count in counts.items():
        if count > _WORTH_A_LIST:
            async for each in opened.client.list(kind):
                if each.key in wanted:
                    found[each.key] = each
            continue
        for key in sources.keys:
            if key.kind == kind and (one := await find(opened, key)) is not None:
                found[key] = one
    return found


def _differences(key: Key, live: Object | None, document: Parsed) -> Iterator[str]:
    """Yield the lines of a unified diff; none if the two mean the same."""
    secret = KINDS[key.kind].secret
    before = [] if live is None else _lines(live.as_written(), key, secret=secret)
    after = _lines(to_plain(document.envelope), key, secret=secret)
    name = f"{KINDS[key.kind].plural}/{key.name}"
    place = f"{document.file}:{document.line}"
    old = "/dev/null" if live is None else f"live/{name} (revision {live.revision})"
    yield from difflib.unified_diff(before, after, old, place, lineterm="")


def _lines(document: dict[str, Any], key: Key, *, secret: bool) -> list[str]:
    """Write a document with everything in one order and nothing that goes without saying."""
    metadata: dict[str, Any] = {"name": key.name}
    if key.tenant != COMMON:
        metadata["tenant"] = key.tenant
    metadata["scope"] = key.scope
    for part in ("labels", "annotations"):
        found = document["metadata"].get(part) or {}
        if ours := {name: found[name] for name in sorted(found) if not _is_systems(name)}:
            metadata[part] = ours
    # A secret's content is in no answer, so it can't be compared.
    spec = "not compared: it is secret" if secret else _sorted(_asked_for(document["spec"], key))
    return dump_yaml({"kind": key.kind, "metadata": metadata, "spec": spec}).splitlines()


def _is_systems(annotation: str) -> bool:
    return annotation.startswith("hanse/")


def _asked_for(spec: dict[str, Any], key: Key) -> dict[str, Any]:
    """Return a spec without what the server itself records in it."""
    if key.kind != "Override":
        return spec
    return {name: value for name, value in spec.items() if name != "basedOn"}


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _sorted(value[name]) for name in sorted(value)}
    return [_sorted(each) for each in value] if isinstance(value, list | tuple) else value


def _print(line: str) -> None:
    colour = _COLOURS.get(line[:1])
    text = escape(line)
    console().print(f"[{colour}]{text}[/]" if colour else text, soft_wrap=True)
