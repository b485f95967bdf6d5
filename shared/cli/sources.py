"""The documents that `-f` names: files, folders and stdin, read strictly and all faults at once."""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from shared.cli.repository import FORMATS, IGNORED
from shared.cli.session import Session, print_note
from shared.errors import FieldError, HanseError, Invalid
from shared.ids import Key
from shared.model.documents import Parsed, parse_documents
from shared.model.source import MAX_TRANSACTION_BYTES

STDIN: Final = "-"

# What shows that a folder called federation belongs to a policy repository.
_BESIDE: Final = ("sites", "tests", "hanse.yaml")

_OPERATION: Final = "operations["
_OBJECT: Final = "].object"


class Sources:
    """Documents in the order in which they were read, each object once."""

    def __init__(self, documents: Sequence[Parsed], *, default_scope: str) -> None:
        self.documents = tuple(documents)
        self.keys: tuple[Key, ...] = tuple(
            each.envelope.key(default_scope) for each in self.documents
        )

    def located(self, fault: FieldError) -> FieldError:
        """Return a server's fault with the file and line of the document that it is in.

        Of several operations the path says which one; of a single one it may be left out.
        """
        path, index = fault.path, 0
        if path.startswith(_OPERATION):
            number, found, rest = path.removeprefix(_OPERATION).partition(_OBJECT)
            if not found or not number.isdecimal():
                return fault
            path, index = rest.removeprefix("."), int(number)
        elif len(self.documents) != 1:
            return fault
        if index >= len(self.documents):
            return fault
        document = self.documents[index]
        return replace(fault, path=path, file=document.file, line=document.line_of(path))

    def locate(self, error: HanseError) -> None:
        """Give an error's fields the places in the files that they are about."""
        error.fields = tuple(self.located(each) for each in error.fields)


def read_sources(names: Sequence[str], session: Session) -> Sources:
    """Read files, folders and `-`; Invalid with every fault, and if there is no document.

    Of a policy repository, the folder that is meant for the server.
    """
    documents: list[Parsed] = []
    faults: list[FieldError] = []
    for name in names:
        for file in _files(name, session, faults):
            reading = _read(file, faults)
            documents += reading
    sources = Sources(documents, default_scope=session.default_scope)
    faults += _duplicates(sources)
    if faults:
        count = "one fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise Invalid(f"{count}; nothing was sent", code="invalid_documents", fields=faults)
    if not documents:
        raise Invalid(f"there are no documents in {', '.join(names)}", code="no_documents")
    return sources


def _files(name: str, session: Session, faults: list[FieldError]) -> Iterator[str]:
    if name == STDIN:
        yield name
        return
    _check_meant(Path(name), session)
    if not Path(name).is_dir():
        yield name
        return
    yield from _walk(_folder_for(Path(name), session), faults, ())


def _check_meant(path: Path, session: Session) -> None:
    """Invalid (`wrong_server`) if a repository holds the path for another server than this."""
    for part in (real := path.resolve(), *real.parents):
        whole = part.parent if part.name == "federation" else part.parent.parent
        if not is_repository(whole):
            continue
        if part.name == "federation":
            meant, whose = None, "the FSM"
        elif part.parent.name == "sites":
            meant, whose = part.name, f"site {part.name}"
        else:
            continue
        if meant != session.site:
            asked = "the FSM's" if session.site is None else f"site {session.site}'s"
            raise Invalid(
                f"{path} is for {whose}, by the repository that it is in, and context "
                f"{session.context.name} is {asked}: choose another with --context",
                code="wrong_server",
            )
        return


def is_repository(folder: Path) -> bool:
    """Say whether a folder holds a policy repository, and not just one called federation."""
    beside = any((folder / each).exists() for each in _BESIDE)
    return (folder / "federation").is_dir() and beside


def _folder_for(folder: Path, session: Session) -> Path:
    """Return the part of a policy repository that the server takes; of another folder, all."""
    if not (folder / "federation").is_dir() and not (folder / "sites").is_dir():
        return folder
    part = folder / ("federation" if session.site is None else f"sites/{session.site}")
    if not part.is_dir():
        whom = "the FSM" if session.site is None else f"site {session.site}"
        raise Invalid(
            f"{folder} is a policy repository without {part.relative_to(folder)}/, so it has "
            f"nothing for {whom}",
            code="nothing_for_server",
        )
    print_note(f"{folder} is a policy repository; using {part}")
    return part


def _walk(folder: Path, faults: list[FieldError], above: tuple[str, ...]) -> Iterator[str]:
    real = os.path.realpath(folder)
    if real in above:
        faults.append(_fault(str(folder), "link_loop", "this link leads back to its own folder"))
        return
    for entry in sorted(folder.iterdir()):
        if any(fnmatchcase(entry.name, pattern) for pattern in IGNORED):
            continue
        if entry.is_dir():
            yield from _walk(entry, faults, (*above, real))
        elif entry.suffix in FORMATS:
            yield str(entry)
        else:
            sentence = "only .yaml, .yml and .json belong here (README*, *.md, *.csv are left)"
            faults.append(_fault(str(entry), "unexpected_file", sentence))


def _read(name: str, faults: list[FieldError]) -> Sequence[Parsed]:
    """Return a file's sound documents, and add the faults of the others."""
    try:
        if name == STDIN:
            data = sys.stdin.buffer.read(MAX_TRANSACTION_BYTES + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(MAX_TRANSACTION_BYTES + 1)
    except OSError as exc:
        faults.append(_fault(name, "unreadable", f"this can't be read: {exc.strerror or exc}"))
        return ()
    shown = "stdin" if name == STDIN else name
    shape = FORMATS.get(Path(name).suffix, "yaml")
    reading = parse_documents(data, file=shown, format=shape, limit=MAX_TRANSACTION_BYTES)
    faults += reading.faults
    return reading.documents


def _duplicates(sources: Sources) -> Iterator[FieldError]:
    first: dict[Key, Parsed] = {}
    for key, document in zip(sources.keys, sources.documents, strict=True):
        other = first.setdefault(key, document)
        if other is not document:
            sentence = f"{key} stands in {other.file}:{other.line} already"
            line = document.line_of("metadata.name")
            yield FieldError("metadata.name", "duplicate", sentence, document.file, line)


def _fault(file: str, code: str, message: str) -> FieldError:
    return FieldError("", code, message, file=file)
