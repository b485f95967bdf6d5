"""The pages beside what we ship: commands are run, documents read, links lead somewhere."""

import re
import shutil
from pathlib import Path

import pytest

from shared.model.documents import parse_documents
from tests.unit.shared.docs.blocks import blocks
from tests.unit.shared.docs.console import type_commands
from tests.unit.shared.docs.test_pages import require_commands

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("policies/**/*.md"))]
PAGES += sorted(ROOT.glob("examples/**/*.md"))
IDS = [each.relative_to(ROOT).as_posix() for each in PAGES]
# What is typed along on real servers has a test of its own: tests/e2e/test_outage.py.
LIVE = ROOT / "examples/outage/README.md"
OFFLINE = [
    ROOT / "policies/README.md",
    *(page for page in sorted(ROOT.glob("examples/*/README.md")) if page != LIVE),
]
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


@pytest.mark.parametrize("page", OFFLINE, ids=lambda page: page.parent.name)
def test_commands_print_what_the_readme_shows(
    page: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for shipped in ("examples", "policies"):
        shutil.copytree(ROOT / shipped, tmp_path / shipped)
    monkeypatch.chdir(tmp_path)
    assert type_commands(page, capsys) >= 3


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_documents_in_a_readme_can_be_read(page: Path) -> None:
    for block in blocks(page):
        if block.language == "yaml":
            reading = parse_documents(block.text.encode())
            assert reading.documents, f"{page.name}:{block.line} has no document"
            assert not reading.faults, f"{page.name}:{block.line}: {reading.faults}"


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_commands_in_a_readme_that_need_a_server_are_at_least_commands(page: Path) -> None:
    require_commands(page)


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_in_a_readme_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(page.read_text()):
        if link.startswith("https://"):
            continue
        path, _, heading = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{page} links to {link}"
        assert not heading or heading in _headings(target), f"{page} links to {link}"


def _headings(page: Path) -> set[str]:
    """Return the addresses of a page's headings, as GitHub makes them."""
    found = _HEADING.findall(page.read_text())
    return {re.sub(r"[^\w\- ]", "", each).lower().replace(" ", "-") for each in found}
