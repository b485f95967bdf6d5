"""Read a policy repository: federation/, sites/NAME/ and tests/.

One reading collects every fault of files and documents; what the documents mean together is
judged by shared.policy.  Files are named relative to the repository.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, NamedTuple

from shared.errors import FieldError, Invalid
from shared.ids import COMMON, FEDERATION, Key
from shared.model.documents import Format, Parsed, Reading, parse_documents
from shared.model.kinds import DEFAULT_SCOPE, Home
from shared.model.source import MAX_TRANSACTION_BYTES
from shared.policy.inputs import Document, Documents, SiteInputs

FORMATS: Final[Mapping[str, Format]] = {".yaml": "yaml", ".yml": "yaml", ".json": "json"}
IGNORED: Final = (".*", "README*", "*.md", "*.csv")


class Named(NamedTuple):
    """An object that a document speaks of, in whatever scope."""

    kind: str
    tenant: str
    name: str


@dataclass(slots=True)
class Share:
    """What one folder brings: federation/, tests/, or one site's.

    `unread` are objects whose documents have faults; if `is_complete` is false, there may be
    more of them, which nobody could read.
    """

    documents: list[Document] = field(default_factory=list)
    faults: list[FieldError] = field(default_factory=list)
    unread: set[Named] = field(default_factory=set)
    is_complete: bool = True


@dataclass(frozen=True, slots=True)
class Repository:
    """A policy repository as it was read.

    `tests` are the documents of tests/; federation/ may have more PolicyTests.  `shares` has
    each folder's by its path: `federation`, `sites/NAME`, `tests`, and `sites` for what lies
    there and belongs to no site.
    """

    federation: Documents
    sites: Mapping[str, Documents]
    tests: Documents
    shares: Mapping[str, Share]
    parsed: Mapping[tuple[str | None, int | None, Key], Parsed]

    @property
    def faults(self) -> tuple[FieldError, ...]:
        """All faults of files and documents, in the order of the folders."""
        return tuple(fault for share in self.shares.values() for fault in share.faults)

    def faults_for(self, site: str) -> tuple[FieldError, ...]:
        """The faults that concern one site: the federation's and its own."""
        shares = (self.shares.get(folder) for folder in ("federation", f"sites/{site}"))
        return tuple(fault for share in shares if share is not None for fault in share.faults)

    def site_names(self) -> tuple[str, ...]:
        """The declared sites, by name."""
        return tuple(sorted(each.key.name for each in self.federation.of_kind("Site")))

    def inputs(self, site: str, *, now: datetime) -> SiteInputs:
        """Return what the planner needs for a site."""
        return SiteInputs(site, self.federation, self.sites.get(site, Documents()), now)

    def line_of(self, document: Document, path: str) -> int | None:
        """Return the line of a field of a document."""
        parsed = self.parsed.get((document.file, document.line, document.key))
        return parsed.line_of(path) if parsed is not None else document.line

    def fault(self, document: Document, path: str, code: str, message: str) -> FieldError:
        """Return a fault of a document, with the line of the field."""
        line = self.line_of(document, path)
        return FieldError(path, code, message, file=document.file, line=line)


def read_repository(root: Path) -> Repository:
    """Read the repository at `root`; Invalid if there is none."""
    if not root.is_dir():
        raise Invalid(f"{root} is no folder; name a policy repository", code="no_repository")
    reader = _Reader(root)
    folders = {name for name in ("federation", "sites", "tests") if (root / name).is_dir()}
    if not folders:
        raise Invalid(
            f"{root} is no policy repository: it has none of federation/, sites/ and tests/",
            code="no_repository",
        )
    if "federation" in folders:
        reader.read("federation", "fsm")
    if "sites" in folders:
        for site in reader.site_folders():
            reader.read(f"sites/{site}", "sdsp")
    if "tests" in folders:
        reader.read("tests", "fsm", tests_only=True)
    return reader.repository()


class _Reader:
    def __init__(self, root: Path) -> None:
        self._root = root
        self._shares: dict[str, Share] = {}
        self._parsed: dict[tuple[str | None, int | None, Key], Parsed] = {}

    def read(self, folder: str, home: Home, *, tests_only: bool = False) -> None:
        """Read everything beneath one folder into its share."""
        share = self._shares.setdefault(folder, Share())
        for file in self._files(folder, share, ()):
            reading = self._reading(file, share)
            if reading is None:
                continue
            share.faults.extend(reading.faults)
            share.is_complete = share.is_complete and reading.is_complete
            share.unread.update(_named(data) for data in reading.refused)
            for parsed in reading.documents:
                self._place(parsed, home, share, tests_only=tests_only)

    def site_folders(self) -> list[str]:
        """Return the names of the folders beneath sites/; files there are faults."""
        share = self._shares.setdefault("sites", Share())
        names = []
        for entry in self._entries("sites", share):
            if (self._root / "sites" / entry).is_dir():
                names.append(entry)
            elif not _is_ignored(entry):
                sentence = "this belongs to no site; put it into sites/NAME/"
                share.faults.append(_file_fault(f"sites/{entry}", "unexpected_file", sentence))
        return [name for name in names if not name.startswith(".")]

    def repository(self) -> Repository:
        federation = Documents(self._shares.get("federation", Share()).documents)
        sites = {
            folder.removeprefix("sites/"): Documents(share.documents)
            for folder, share in self._shares.items()
            if folder.startswith("sites/")
        }
        self._check_sites(federation, sites)
        return Repository(
            federation,
            sites,
            Documents(self._shares.get("tests", Share()).documents),
            self._shares,
            self._parsed,
        )

    def _check_sites(self, federation: Documents, sites: Mapping[str, Documents]) -> None:
        above = self._shares.get("federation", Share())
        for name in sites:
            known = Key("Site", COMMON, FEDERATION, name) in federation
            # Where the federation couldn't be read whole, that is the fault to mend first.
            if known or not above.is_complete or Named("Site", COMMON, name) in above.unread:
                continue
            sentence = f"there is no Site {_shown(name)} in federation/; declare it there"
            fault = _file_fault(f"sites/{name}", "unknown_site", sentence)
            self._shares[f"sites/{name}"].faults.append(fault)

    def _place(self, parsed: Parsed, home: Home, share: Share, *, tests_only: bool) -> None:
        envelope = parsed.envelope
        sentence = None
        if tests_only and envelope.kind != "PolicyTest":
            sentence = f"tests/ holds PolicyTest documents only, and this is a {envelope.kind}"
        elif parsed.kind.written_by == "system":
            sentence = f"a {envelope.kind} is written by the system, never in a repository"
        if sentence is not None:
            line = parsed.line_of("kind")
            fault = FieldError("kind", "wrong_home", sentence, file=parsed.file, line=line)
            share.faults.append(fault)
            share.unread.add(_named(parsed.source.data))
            return
        key = envelope.key(DEFAULT_SCOPE[home])
        labels = envelope.metadata.labels
        document = Document(key, envelope.spec, labels, file=parsed.file, line=parsed.line)
        share.documents.append(document)
        self._parsed[document.file, document.line, key] = parsed

    def _files(self, folder: str, share: Share, above: tuple[str, ...]) -> Iterator[str]:
        """Yield the documents' files beneath a folder, in order; report what doesn't belong."""
        real = os.path.realpath(self._root / folder)
        if real in above:
            sentence = "this link leads back to a folder that it is in; take it out"
            share.faults.append(_file_fault(folder, "link_loop", sentence))
            return
        for entry in self._entries(folder, share):
            path = f"{folder}/{entry}"
            if entry.startswith("."):
                continue
            if (self._root / path).is_dir():
                yield from self._files(path, share, (*above, real))
            elif Path(entry).suffix in FORMATS and not _is_ignored(entry):
                yield path
            elif not _is_ignored(entry):
                sentence = "only .yaml, .yml and .json belong here (README*, *.md, *.csv are left)"
                share.faults.append(_file_fault(path, "unexpected_file", sentence))

    def _entries(self, folder: str, share: Share) -> list[str]:
        try:
            return sorted(each.name for each in (self._root / folder).iterdir())
        except OSError as exc:
            self._unreadable(folder, exc, share)
            return []

    def _reading(self, file: str, share: Share) -> Reading | None:
        try:
            data = _read_file(self._root / file)
        except OSError as exc:
            self._unreadable(file, exc, share)
            return None
        return parse_documents(
            data,
            file=_shown(file),
            format=FORMATS[Path(file).suffix],
            limit=MAX_TRANSACTION_BYTES,
        )

    def _unreadable(self, path: str, exc: OSError, share: Share) -> None:
        share.is_complete = False
        sentence = f"this can't be read: {exc.strerror or exc}"
        share.faults.append(_file_fault(path, "unreadable", sentence))


def _read_file(path: Path) -> bytes:
    """Return a regular file's bytes, one more than are taken if there are more."""
    # Asked before opening: opening a pipe would wait for somebody to write.
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError("it is no regular file")
    with path.open("rb") as file:
        return file.read(MAX_TRANSACTION_BYTES + 1)


def _named(data: Any) -> Named:
    """Return what a refused document speaks of, as far as it says so."""
    document = data if isinstance(data, dict) else {}
    metadata = document.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    return Named(
        str(document.get("kind")), str(metadata.get("tenant", COMMON)), str(metadata.get("name"))
    )


def _is_ignored(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in IGNORED)


def _shown(name: str) -> str:
    """Return a file's name as text that every output, a terminal too, can take."""
    text = name.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in text)


def _file_fault(path: str, code: str, message: str) -> FieldError:
    return FieldError("", code, message, file=_shown(path))
