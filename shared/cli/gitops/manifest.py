"""The name under which a repository owns what it applies: `hanse.yaml` beside its folders."""

from pathlib import Path
from typing import Final

from pydantic import Field

from shared.errors import Invalid
from shared.ids import parse_name
from shared.model.base import Name
from shared.settings import Settings, load_settings

FILE: Final = "hanse.yaml"


class Manifest(Settings):
    """Who owns objects; those of its former names are its own as well."""

    manifest: Name = Field(description="The name; no two repositories of a server share one.")
    formerly: tuple[Name, ...] = Field((), description="Names that it had before.")

    def is_ours(self, owner: str | None) -> bool:
        return owner is not None and owner in (self.manifest, *self.formerly)


def find_manifest(folder: Path, *, named: str | None) -> Manifest | None:
    """Return the manifest of a repository, or of one of its folders; `named` goes before its own.

    None if there is neither; Invalid if the file can't be used.
    """
    found = None
    for place in (folder, *folder.resolve().parents[:2]):
        if (place / FILE).is_file():
            found = load_settings(Manifest, file=place / FILE, environ={}, prefix="HANSE_")
            break
    if named is None or (found is not None and found.manifest == named):
        return found
    return Manifest(manifest=parse_name(named))


def require_manifest(folder: Path, *, named: str | None) -> Manifest:
    """Return the manifest; Invalid (`no_manifest`) if there is none."""
    manifest = find_manifest(folder, named=named)
    if manifest is None:
        raise Invalid(
            f"nothing says whose objects these are: give --manifest NAME, or write `manifest: "
            f"NAME` into {folder / FILE}",
            code="no_manifest",
        )
    return manifest
