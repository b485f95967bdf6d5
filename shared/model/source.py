"""What a text says before anyone asks what it means: plain data, and where each part stands.

The readers of YAML and JSON (yaml_source, json_source) yield Sources; shared.model.documents
turns these into envelopes.  Both report faults as FieldErrors and go on where they can, so that
one reading finds all that is wrong.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from shared.errors import FieldError

MAX_DEPTH: Final = 32
"""Levels of lists and mappings; the deepest honest document has 12."""

MAX_DOCUMENT_BYTES: Final = 1024 * 1024
MAX_TRANSACTION_BYTES: Final = 8 * 1024 * 1024

MAX_VALUES: Final = 250_000
"""In a document, keys included.  One of 1 MiB full of short rules has 200,000."""

MAX_FAULTS: Final = 1000
"""Per text.  Past it a reader gives up: nobody reads on, and hostile input costs no more."""

MAX_INTEGER: Final = 2**63 - 1
"""The largest that every store and every JSON reader here can take."""

# C0 but tab, line feed and carriage return; DEL and C1; halves of surrogate pairs; non-characters.
CONTROL: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")

Part = str | int
Path = tuple[Part, ...]

_PLAIN_KEY: Final = re.compile(r"[A-Za-z_][-A-Za-z0-9_]*")
_PATH_PART: Final = re.compile(
    r"""\.?(?P<key>[A-Za-z_][-A-Za-z0-9_]*)|\[(?P<index>[0-9]+)\]|\[(?P<quoted>"(?:[^"\\]|\\.)*")\]"""
)


@dataclass(slots=True)
class Place:
    """Where a value stands (`line` from 1), how it was written, and the places within it.

    `text` is kept only for what is not text itself, such as the `1.10` that became 1.1.
    """

    line: int
    text: str | None = None
    parts: dict[Part, "Place"] | None = None

    def at(self, path: Path) -> "Place":
        """Return the place of `path`, or of the innermost part of it that exists."""
        place = self
        for part in path:
            inner = place.parts.get(part) if place.parts else None
            if inner is None:
                break
            place = inner
        return place


@dataclass(frozen=True, slots=True)
class Source:
    """One document as it was written.

    `place` tells where the document stands; it may have to look first.
    `refused` are the paths that already have a fault: what else is wrong at or beneath one of
    them follows from it and isn't reported again.  `prefix` is the path of the document itself,
    in what it was sent in.
    """

    data: Any
    place: Callable[[], Place]
    refused: frozenset[Path] = frozenset()
    prefix: Path = ()


class GiveUp(Exception):
    """Reading this text has no sense any more; its faults say why."""


@dataclass(slots=True)
class Faults:
    """Collects what is wrong with one text."""

    file: str | None = None
    found: list[FieldError] = field(default_factory=list)

    def add(self, code: str, message: str, *, path: Path = (), line: int | None = None) -> None:
        """Note a fault; GiveUp when there are too many."""
        self.found.append(FieldError(path_text(path), code, message, file=self.file, line=line))
        if len(self.found) >= MAX_FAULTS:
            self.found.append(
                FieldError(
                    "",
                    "too_many_faults",
                    f"stopped after {MAX_FAULTS} faults; mend these first",
                    file=self.file,
                    line=line,
                )
            )
            raise GiveUp


def path_text(path: Iterable[Part]) -> str:
    """Write a path as people read it: `spec.rules[2].from[0].network`, `labels["a.b/c"]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_KEY.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f"[{quoted(part)}]"
    return text


def quoted(text: str) -> str:
    """Return a word of a document for a sentence: in quotes, on one line, shortened."""
    return json.dumps(text[:80], ensure_ascii=False)


def parse_path(text: str) -> Path:
    """Read what path_text wrote, as far as it can be read."""
    return tuple(_parts(text))


def _parts(text: str) -> Iterator[Part]:
    position = 0
    while found := _PATH_PART.match(text, position):
        position = found.end()
        if found["index"] is not None:
            yield int(found["index"])
        elif found["quoted"] is not None:
            yield str(json.loads(found["quoted"]))
        else:
            yield found["key"]


def decode(data: bytes, *, limit: int, faults: Faults) -> str:
    """Return the text of `data`; GiveUp if it is too large, no UTF-8 or has control characters."""
    if len(data) > limit:
        faults.add("too_large", f"this has {len(data)} bytes; at most {limit} are read")
        raise GiveUp
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        faults.add("not_utf8", "this is not UTF-8; save the file as UTF-8", line=line)
        raise GiveUp from exc
    if found := CONTROL.search(text):
        line = text.count("\n", 0, found.start()) + 1
        faults.add("control_character", _control_sentence(found[0]), line=line)
        raise GiveUp
    return text


def check_size(size: int, text: str, start: int, faults: Faults) -> None:
    """GiveUp if the document that begins at `start` is too large; `size` is in bytes."""
    if size > MAX_DOCUMENT_BYTES:
        sentence = f"this document has {size} bytes; at most {MAX_DOCUMENT_BYTES} are read"
        faults.add("too_large", sentence, line=text.count("\n", 0, start) + 1)
        raise GiveUp


def check_text(value: str, path: Path, line: int | None, faults: Faults) -> bool:
    """Report a control character that came in by an escape; say whether there was none."""
    found = CONTROL.search(value)
    if found:
        faults.add("control_character", _control_sentence(found[0]), path=path, line=line)
    return not found


def _control_sentence(character: str) -> str:
    return f"the character U+{ord(character):04X} can't be part of a document; take it out"
