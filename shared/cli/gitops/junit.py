"""JUnit XML as CI servers read it: suites of cases, each passed, failed or in error.

The elements and attributes are those of Jenkins' junit-10.xsd, which GitLab, GitHub's actions and
Azure read as well.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree as ET


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a case isn't passed: it failed, or it could not be judged."""

    kind: Literal["failure", "error"]
    message: str
    text: str
    type: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that was looked at, and where it stands."""

    classname: str
    name: str
    file: str | None
    line: int | None
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Suite:
    name: str
    cases: Sequence[Case]

    def count(self, kind: str) -> int:
        return sum(1 for each in self.cases if each.problem and each.problem.kind == kind)


def write_suites(suites: Sequence[Suite], file: Path) -> None:
    """Write the file whole, or leave what was there."""
    root = ET.Element(
        "testsuites",
        name="hanse",
        tests=str(sum(len(each.cases) for each in suites)),
        failures=str(sum(each.count("failure") for each in suites)),
        errors=str(sum(each.count("error") for each in suites)),
    )
    for suite in suites:
        element = ET.SubElement(
            root,
            "testsuite",
            name=_text(suite.name),
            tests=str(len(suite.cases)),
            failures=str(suite.count("failure")),
            errors=str(suite.count("error")),
            skipped="0",
        )
        for case in suite.cases:
            _add(element, case)
    ET.indent(root)
    # Beside it first: what stands for a pipe or a terminal can't be replaced.
    if file.exists() and not file.is_file():
        ET.ElementTree(root).write(file, encoding="utf-8", xml_declaration=True)
        return
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    ET.ElementTree(root).write(beside, encoding="utf-8", xml_declaration=True)
    beside.replace(file)


def _add(suite: ET.Element, case: Case) -> None:
    place = {"file": case.file, "line": None if case.line is None else str(case.line)}
    known = {name: _text(value) for name, value in place.items() if value is not None}
    element = ET.SubElement(
        suite, "testcase", {"classname": _text(case.classname), "name": _text(case.name), **known}
    )
    if case.problem is not None:
        problem = case.problem
        attributes = {"message": _text(problem.message)}
        if problem.type:
            attributes["type"] = _text(problem.type)
        ET.SubElement(element, problem.kind, attributes).text = _text(problem.text)


def _text(text: str) -> str:
    """Return text that XML 1.0 can hold (section 2.2); ElementTree doesn't see to it."""
    return "".join(each if _is_allowed(ord(each)) else "�" for each in text)


def _is_allowed(code: int) -> bool:
    return (
        code in (0x9, 0xA, 0xD)
        or 0x20 <= code <= 0xD7FF
        or 0xE000 <= code <= 0xFFFD
        or code >= 0x10000
    )
