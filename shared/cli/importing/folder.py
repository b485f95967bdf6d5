"""Write imported documents into a policy repository: all of them, or nothing.

They are first written beside the repository's own documents into a temporary folder, and only if
that has no fault moved to their places.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any, Final

from shared.cli.checking import check_repository
from shared.cli.repository import Repository, read_repository
from shared.errors import FieldError, Invalid
from shared.ids import Key
from shared.model.documents import dump_yaml, parse_value
from shared.model.kinds import DEFAULT_SCOPE
from shared.policy.inputs import Document

FOLDERS: Final = ("federation", "sites", "tests")

Documents = Mapping[str, Sequence[dict[str, Any]]]
"""Documents by their file within the repository: `sites/sfo/networks.yaml`."""


class Target:
    """The folder that an import writes into; it may be a repository already."""

    def __init__(self, root: Path, *, force: bool) -> None:
        self.root = root
        self._force = force
        present = root.is_dir() and any((root / each).is_dir() for each in FOLDERS)
        if root.exists() and not present and (not root.is_dir() or any(root.iterdir())):
            raise Invalid(
                f"{root} is neither empty nor a policy repository; name another folder",
                code="no_repository",
            )
        self.repository: Repository | None = read_repository(root) if present else None

    def has(self, kind: str, name: str, *, site: str | None = None) -> bool:
        """Say whether the repository declares an object of tenant common already."""
        return self.find(kind, name, site=site) is not None

    def find(self, kind: str, name: str, *, site: str | None = None) -> Document | None:
        """Return the repository's own document, of the federation or of a site."""
        if self.repository is None:
            return None
        documents = self.repository.federation if site is None else self.repository.sites.get(site)
        scope = DEFAULT_SCOPE["fsm" if site is None else "sdsp"]
        key = Key(kind, "common", scope, name)
        return documents.get(key) if documents is not None and key in documents else None

    def free_name(self, stem: str) -> str:
        """Return the name of a file that isn't there yet: STEM.yaml, STEM-2.yaml, …"""
        names = (f"{stem}{f'-{number}' if number > 1 else ''}.yaml" for number in count(1))
        return next(name for name in names if not (self.root / name).exists())

    def check_free(self, names: Sequence[str]) -> None:
        """Invalid (`file_exists`), with every file that would be replaced, unless forced."""
        taken = [name for name in names if (self.root / name).exists()]
        if taken and not self._force:
            raise Invalid(
                f"{', '.join(taken)} exist in {self.root} already; name another folder, or "
                "replace them with --force",
                code="file_exists",
            )

    def write(self, documents: Documents, *, now: datetime) -> list[str]:
        """Write the files; Invalid (`invalid_documents`) if the repository were not sound then.

        Returns the warnings of the whole.
        """
        self.check_free([*documents])
        parent = self.root.resolve().parent
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".hanse-import-", dir=parent) as folder:
            whole = Path(folder) / "repository"
            for name in FOLDERS:
                if (self.root / name).is_dir():
                    shutil.copytree(self.root / name, whole / name)
            for name, found in documents.items():
                _write(whole / name, found)
            report = check_repository(read_repository(whole), now=now)
            if report.errors:
                raise Invalid(
                    f"with this import the repository would have {len(report.errors)} faults; "
                    "nothing was written",
                    code="invalid_documents",
                    fields=report.errors,
                )
            self._place(whole, documents)
        return [str(each) for each in report.warnings]

    def _place(self, whole: Path, documents: Documents) -> None:
        if not self.root.exists():
            whole.rename(self.root)
            return
        for name in documents:
            file = self.root / name
            file.parent.mkdir(parents=True, exist_ok=True)
            (whole / name).replace(file)


def _write(file: Path, documents: Sequence[dict[str, Any]]) -> None:
    faults: list[FieldError] = []
    for each in documents:
        faults += parse_value(each)[1]
    if faults:
        raise Invalid(
            f"{file.name} would not be valid; nothing was written",
            code="invalid_documents",
            fields=faults,
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    text = dump_yaml(*documents)
    with file.open("w", encoding="utf-8") as opened:
        opened.write(text)
        opened.flush()
        os.fsync(opened.fileno())


def document(
    kind: str,
    name: str,
    spec: Mapping[str, Any],
    *,
    tenant: str = "common",
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return a document as a person would write it."""
    metadata: dict[str, Any] = {"name": name}
    if tenant != "common":
        metadata["tenant"] = tenant
    if labels:
        metadata["labels"] = dict(labels)
    if annotations:
        metadata["annotations"] = dict(annotations)
    return {"apiVersion": "hanse/v1", "kind": kind, "metadata": metadata, "spec": dict(spec)}
