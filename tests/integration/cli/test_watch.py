"""`hanse watch`, as a process of its own, until Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.cli.conftest import Hanse

HANSE = str(Path(sys.executable).parent / "hanse")
NETWORK = "apiVersion: hanse/v1\nkind: Network\nmetadata: {{name: {}}}\nspec: {}\n"

Watch = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def watch(logged_in: Hanse, tmp_path: Path) -> Iterator[Watch]:
    started: list[subprocess.Popen[str]] = []

    def start(*words: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [HANSE, "watch", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "HANSE_CONFIG": str(tmp_path / "contexts.yaml")},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def revision_of(hanse: Hanse, name: str) -> str:
    shown = json.loads(hanse("get", f"network/{name}", "-o", "json").out)
    return str(shown["metadata"]["revision"])


def next_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_changes_are_printed_as_they_happen_until_ctrl_c(logged_in: Hanse, watch: Watch) -> None:
    assert logged_in("apply", "-f", "-", stdin=NETWORK.format("Seen", "{}")).status == 0
    revision = revision_of(logged_in, "Seen")
    process = watch("networks", "--after", revision)
    text = NETWORK.format("Seen", "{subnets: [10.0.0.0/24]}")
    assert logged_in("apply", "-f", "-", stdin=text).status == 0
    assert next_line(process).split()[1:] == ["network/Seen", "changed"]
    text = NETWORK.format("Seen", "{subnets: [10.0.1.0/24]}")
    assert logged_in("apply", "-f", "-", stdin=text).status == 0
    assert next_line(process).split()[1:] == ["network/Seen", "changed"]
    assert next_line(process).strip() == "spec.subnets: 10.0.0.0/24 → 10.0.1.0/24"
    assert logged_in("delete", "network/Seen").status == 0
    assert next_line(process).split()[1:] == ["network/Seen", "deleted"]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "")


def test_programs_get_a_line_of_json_for_each_change(logged_in: Hanse, watch: Watch) -> None:
    assert logged_in("apply", "-f", "-", stdin=NETWORK.format("Json", "{}")).status == 0
    revision = int(revision_of(logged_in, "Json"))
    process = watch("--after", str(revision - 1), "-o", "json")
    change = json.loads(next_line(process))
    assert (change["operation"], change["revision"]) == ("put", revision)
    assert change["object"]["metadata"]["name"] == "Json"


def test_a_watch_of_nothing_that_exists_ends_at_once(logged_in: Hanse) -> None:
    assert logged_in("watch", "nothings").status == 2
    assert logged_in("watch", "--status", "-l", "a=b").status == 2
    done = logged_in("watch", "--after", "999999999")
    assert done.status == 2
    assert "Traceback" not in done.err


def test_ctrl_c_never_shows_a_traceback(logged_in: Hanse, watch: Watch) -> None:
    process = watch("-o", "yaml", "--after", "0")
    next_line(process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
