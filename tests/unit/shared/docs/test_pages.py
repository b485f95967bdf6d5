"""What the pages show is so: commands are run, documents read, links followed, codes counted."""

import re
import shlex
import shutil
from pathlib import Path
from typing import Any, get_args

import pytest

from sdsp.status import PolicyState
from shared.cli.main import application
from shared.http import docs
from shared.model.documents import parse_documents
from tests.unit.shared.docs.blocks import DOCS, IDS, PAGES, blocks, shell_lines
from tests.unit.shared.docs.codes import ROOT, codes
from tests.unit.shared.docs.console import type_commands

_LINK = re.compile(r"\]\(([^)\s]+)\)")
# What a page may use beside hanse in a block that is not run.
_PROGRAMS = {"make", ".", "curl", "hanse", "export", "jq", "systemctl", "mv"}


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_commands_print_what_the_page_shows(
    page: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    type_commands(page, capsys)


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_documents_on_a_page_can_be_read(page: Path) -> None:
    for block in blocks(page):
        if block.language == "yaml":
            reading = parse_documents(block.text.encode())
            assert reading.documents, f"{page.name}:{block.line} has no document"
            assert not reading.faults, f"{page.name}:{block.line}: {reading.faults}"


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_commands_that_need_a_server_are_at_least_commands(page: Path) -> None:
    require_commands(page)


def require_commands(page: Path) -> None:
    """Fail if a line of an `sh` block couldn't be read as a command."""
    for line in shell_lines(page):
        for part in re.split(r"\s*(?:\||&&)\s*", re.sub(r"\$\([^)]*\)", "x", line)):
            words = shlex.split(part, comments=True)
            if words and not re.match(r"[A-Z]+=", words[0]):
                assert words[0] in _PROGRAMS, f"{page.name} uses {words[0]}"
                if words[0] == "hanse":
                    _parse(words[1:])


def _parse(arguments: list[str]) -> None:
    """Read a command line as `hanse` would, and do nothing; a usage error if it couldn't."""
    command: Any = application()
    context = command.make_context("hanse", list(arguments))
    # Typer brings its own click, so groups are known by what they can do.
    while hasattr(command, "resolve_command"):
        words = [*context._protected_args, *context.args]
        if not words and command.invoke_without_command:
            return
        name, found, rest = command.resolve_command(context, words)
        assert found is not None, arguments
        command, context = found, found.make_context(name, rest, parent=context)


def test_a_command_that_does_not_exist_would_be_noticed() -> None:
    for wrong in ("nodes tokne node-1", "nodes token", "held drop --every", "statsu"):
        with pytest.raises(Exception, match=r"(?i)no such|missing"):
            _parse(wrong.split())


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(page.read_text("utf-8")):
        if link.startswith(("https://", "/")):
            continue
        path, _, heading = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target in PAGES, f"{page.name} links to {link}"
        rendered = docs._render(target.relative_to(DOCS).with_suffix("").as_posix())
        assert not heading or f'id="{heading}"' in rendered, f"{page.name} links to {link}"


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_a_page_begins_with_its_title(page: Path) -> None:
    assert re.match(r"# \S", page.read_text("utf-8"))


def test_every_code_of_an_error_is_explained_and_no_other() -> None:
    listed = re.findall(r"^\| `(\w+)` \|", (DOCS / "errors.md").read_text("utf-8"), re.MULTILINE)
    assert len(listed) == len(set(listed)), "a code is explained twice"
    assert set(listed) == set(codes())


def test_every_word_of_a_policys_status_is_explained() -> None:
    text = (DOCS / "sites.md").read_text("utf-8").partition("Of a policy")[2].partition("Of a node")
    explained = set(re.findall(r"^\| `(\w+)` \|", text[0], re.MULTILINE))
    # The FSM's own word for what a site chose to go without.
    assert explained == _words(PolicyState) | {"unsubscribed"}


def _words(literal: Any) -> set[str]:
    return {literal} if isinstance(literal, str) else set().union(*map(_words, get_args(literal)))
