"""The Makefile's own words, the licence, and what becomes of a test whose server is missing."""

import re
import subprocess
import tomllib

import pytest

from tests.e2e.by_hand import ROOT
from tests.servers import require


def test_make_help_lists_every_target() -> None:
    done = subprocess.run(
        ["make", "--no-print-directory", "help"],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    listed = re.findall(r"^  make (\S+) +\S", done.stdout, re.MULTILINE)
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony
    assert sorted(listed) == sorted(phony[1].split())


def test_ci_runs_lint_and_tests_and_wants_every_server() -> None:
    script = (ROOT / ".ci/run").read_text()
    assert "export CI=true" in script
    assert script.rstrip().endswith("make lint test")


def test_the_licence_is_apache_2() -> None:
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["license"] == "Apache-2.0"


def test_a_test_whose_server_is_missing_is_skipped_by_name_and_fails_in_ci(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="needs no-such-server"):
        require("sh", "no-such-server")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="needs no-such-server"):
        require("sh", "no-such-server")
    assert require("sh")["sh"]
