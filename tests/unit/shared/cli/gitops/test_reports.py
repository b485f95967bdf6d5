"""What validate, policy test and diff write for a pull request."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from shared.cli.gitops import markdown as md
from shared.cli.gitops.junit import Case, Problem, Suite, write_suites
from shared.cli.gitops.summaries import flows_summary, validate_summary
from shared.cli.main import run
from shared.errors import FieldError

GOLDEN = Path(__file__).parents[4] / "golden" / "cli"
HOSTILE = [
    "a | b",
    "<script>alert(1)</script>",
    "[text](https://evil.example)",
    "![](https://evil.example/x.png)",
    "https://evil.example www.evil.example mail@evil.example",
    "`code` ``` ~~~",
    "</code></td></tr></table>",
    "line\nbreak\r\n| x | y |\n# title",
    "&lt;b&gt; &#124;",
    "\\| \\` \\<b>",
    "@everyone #1 *bold* _it_",
    "\u202etxt.exe\x1b[31m",
]
texts = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=60))


class Seen(HTMLParser):
    """The elements of a page and the text of its cells."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.cells: list[str] = []
        self._inside = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")
            self._inside = True

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.cells[-1] += data


def rendered(text: str) -> Seen:
    """Render as GitHub does: CommonMark with tables, raw HTML passed through, links found."""
    return Seen(MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(text))


@given(cells=st.lists(texts, min_size=1, max_size=4))
def test_no_text_breaks_out_of_its_cell(cells: list[str]) -> None:
    page = rendered(md.table([f"c{n}" for n in range(len(cells))], [list(map(md.code, cells))]))
    allowed = {"table", "thead", "tbody", "tr", "th", "td", "code"}
    assert set(page.tags) <= allowed
    shown = page.cells[len(cells) :]
    assert len(shown) == len(cells)
    for cell, text in zip(shown, cells, strict=True):
        kept = [each for each in text if each.isprintable() and not each.isspace()]
        there = [each for each in cell if each != "�" and not each.isspace()]
        assert there == [each for each in kept if each != "�"]


@given(text=st.one_of(texts, st.text(alphabet="`~ \nx", max_size=40)))
def test_no_text_closes_the_fence_that_it_is_in(text: str) -> None:
    page = rendered(f"{md.fenced(text, 'diff')}\n\nafter")
    assert page.tags == ["pre", "code", "p"]


def test_a_summary_is_never_longer_than_a_comment_may_be() -> None:
    faults = [FieldError("spec", "code", "x" * 300, "federation/a.yaml", n) for n in range(3000)]
    text = validate_summary(faults, ())
    assert len(text) < 65_000
    assert "which don't fit in here" in text


def test_failed_tests_name_the_deciding_rule_and_its_place(tmp_path: Path) -> None:
    markdown, junit = tmp_path / "s.md", tmp_path / "j.xml"
    arguments = ["--markdown", str(markdown), "--junit", str(junit)]
    assert run(["policy", "test", str(GOLDEN / "failing"), *arguments]) == 1
    page = rendered(markdown.read_text())
    assert any(
        re.search(r"by rule .+ of policy .+\(federation/.+:\d+\)", each) for each in page.cells
    )
    assert_is_junit(junit)


def test_faults_are_told_in_every_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    markdown, junit = tmp_path / "s.md", tmp_path / "j.xml"
    arguments = ["--markdown", str(markdown), "--junit", str(junit), "--annotate"]
    assert run(["validate", str(GOLDEN / "broken"), *arguments]) == 2
    printed = capsys.readouterr()
    marks = [each for each in printed.out.splitlines() if each.startswith("::error file=")]
    told = [each for each in printed.err.splitlines() if each.startswith("error: ")]
    suite = assert_is_junit(junit)
    assert len(marks) == len(told) == int(suite.get("failures", ""))
    assert rendered(markdown.read_text()).cells.count("error") == len(told)
    assert f"file={GOLDEN}/broken/federation/" in marks[0]


def test_tests_of_a_repository_with_faults_are_in_error_not_passed(tmp_path: Path) -> None:
    junit, markdown = tmp_path / "j.xml", tmp_path / "s.md"
    arguments = ["--markdown", str(markdown), "--junit", str(junit)]
    assert run(["policy", "test", str(GOLDEN / "broken"), *arguments]) == 2
    assert assert_is_junit(junit).get("errors") == "1"
    assert "Hanse: faults" in markdown.read_text()


def test_no_text_makes_xml_that_cant_be_read(tmp_path: Path) -> None:
    hostile = "\x00\x1b]]>&<\ud800\ufffe"
    case = Case(hostile, hostile, hostile, 1, Problem("failure", hostile, hostile, hostile))
    write_suites([Suite(hostile, [case])], tmp_path / "j.xml")
    assert_is_junit(tmp_path / "j.xml")


def test_a_passing_run_says_how_much_it_looked_at() -> None:
    assert "3 tests, 9 flows, 0 failed." in flows_summary(3, 9, [])


# Of Jenkins' junit-10.xsd: elements in elements, and each one's attributes, needed ones starred.
SCHEMA = {
    "testsuites": ({"testsuite"}, "name time tests failures disabled errors"),
    "testsuite": (
        {"testcase", "properties", "system-out", "system-err"},
        "name* tests* failures errors group time skipped timestamp hostname id package file log",
    ),
    "testcase": (
        {"skipped", "error", "failure", "system-out", "system-err"},
        "name* assertions time timestamp classname status class file line score",
    ),
    "failure": (set(), "type message"),
    "error": (set(), "type message"),
}


def assert_is_junit(file: Path) -> ET.Element:
    root = ET.parse(file).getroot()
    assert root.tag == "testsuites"
    for element, inner in _elements(root):
        children, attributes = SCHEMA[element.tag]
        assert {each.tag for each in inner} <= children
        names = {each.rstrip("*") for each in attributes.split()}
        assert set(element.keys()) <= names
        assert {each.rstrip("*") for each in attributes.split() if "*" in each} <= set(
            element.keys()
        )
    for suite in root:
        cases = suite.findall("testcase")
        assert suite.get("tests") == str(len(cases))
        assert suite.get("failures") == str(
            sum(1 for each in cases if each.find("failure") is not None)
        )
    return root


def _elements(root: ET.Element) -> Iterator[tuple[ET.Element, list[ET.Element]]]:
    for element in root.iter():
        yield element, list(element)


def test_a_manifest_that_is_mistyped_is_a_fault_of_the_repository(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "federation").mkdir()
    (tmp_path / "hanse.yaml").write_text("manifest: shop\nformely: [x]\n")
    assert run(["validate", str(tmp_path)]) == 2
    assert "hanse.yaml formely: there is no such setting" in capsys.readouterr().err
    (tmp_path / "hanse.yaml").write_text("manifest: shop\nformerly: [x]\n")
    assert run(["validate", str(tmp_path)]) == 0
