"""`hanse demo`: it tells its story to the end, and leaves nothing behind, whenever it ends."""

import os
import re
import shlex
import signal
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.hosts import HANSE, Host, Running
from tests.servers import require

INTERRUPTED = 130
GOOD = "Every step came out as it should."


@dataclass
class Demo:
    """A running demo, and how to find everything that it has made."""

    running: Running
    folder: Path
    mark: str

    def processes(self) -> list[str]:
        """Return the command lines of all processes that came of this demo."""
        found = []
        for each in Path("/proc").iterdir():
            try:
                if each.name.isdigit() and self.mark.encode() in (each / "environ").read_bytes():
                    found.append((each / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue  # it has ended meanwhile
        return found


@pytest.fixture
def demo(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Demo]:
    (folder := tmp_path / "tmp").mkdir()
    mark = f"mark-{uuid.uuid4()}"
    environ = {"TMPDIR": str(folder), "HANSE_TEST_MARK": mark, "COLUMNS": "200"}
    command = [*HANSE, "demo", *request.param]
    running = Running(command, environ=environ, log=tmp_path / "demo.log")
    try:
        yield Demo(running, folder, mark)
    finally:
        running.end()


simulated = pytest.mark.parametrize(
    "demo", [["--exit", "--simulate"]], indirect=True, ids=["simulated"]
)
staying = pytest.mark.parametrize("demo", [["--simulate"]], indirect=True, ids=["staying up"])
in_kernel = pytest.mark.parametrize("demo", [["--exit"]], indirect=True, ids=["in kernel"])


@pytest.fixture
def _kernel() -> None:
    require("ip", "nft", "sysctl", root=True)


def nothing_is_left(demo: Demo, namespaces: str | None = None) -> None:
    assert demo.processes() == []
    assert list(demo.folder.iterdir()) == []
    if namespaces is not None:
        listed = subprocess.run(["ip", "netns", "list"], check=True, capture_output=True, text=True)
        assert not re.search(f"^{namespaces}", listed.stdout, re.MULTILINE)


def namespaces_of(first_line: str) -> str:
    """Return how the names of the demo's namespaces begin."""
    named = re.search(r"(hanse-\w+)-\*", first_line)
    assert named, first_line
    return named[1]


@simulated
def test_the_simulated_demo_tells_its_whole_story(demo: Demo) -> None:
    assert "the simulated data plane" in demo.running.until("Hanse demo:")
    demo.running.until(GOOD)
    assert demo.running.process.wait() == 0
    nothing_is_left(demo)


@staying
def test_the_demo_stays_up_and_what_it_says_to_try_works(demo: Demo, tmp_path: Path) -> None:
    demo.running.until(GOOD)
    demo.running.until("It stays up; Ctrl-C ends it.")
    host, told = Host(tmp_path), {}
    while not (line := demo.running.until("").strip()).startswith("The API's description"):
        if line.startswith("export "):
            told = dict(each.split("=", 1) for each in line.split()[1:])
        elif line.startswith("hanse "):
            done = host.run(*shlex.split(line, comments=True)[1:], **told)
            assert done.status == 0, f"{line}\n{done.err}"
    os.killpg(demo.running.process.pid, signal.SIGINT)
    assert demo.running.process.wait() == 0
    nothing_is_left(demo)


@in_kernel
@pytest.mark.kernel
@pytest.mark.usefixtures("_kernel")
def test_the_demo_with_nftables_tells_its_whole_story(demo: Demo) -> None:
    namespaces = namespaces_of(demo.running.until("nftables in network namespaces"))
    demo.running.until(GOOD)
    assert demo.running.process.wait() == 0
    nothing_is_left(demo, namespaces)


def interrupt(demo: Demo) -> None:
    """Press Ctrl-C: the terminal sends it to the whole foreground group."""
    os.killpg(demo.running.process.pid, signal.SIGINT)
    demo.running.until("Interrupted.")
    assert demo.running.process.wait() == INTERRUPTED


@simulated
@pytest.mark.parametrize("moment", ["Hanse demo:", "Start the FSM", "FSM at https"])
def test_ctrl_c_leaves_nothing_behind(demo: Demo, moment: str) -> None:
    demo.running.until(moment)
    interrupt(demo)
    nothing_is_left(demo)


@in_kernel
@pytest.mark.kernel
@pytest.mark.usefixtures("_kernel")
@pytest.mark.parametrize("moment", ["Start the FSM", "FSM at https"])
def test_ctrl_c_leaves_no_namespace_behind(demo: Demo, moment: str) -> None:
    namespaces = namespaces_of(demo.running.until("nftables in network namespaces"))
    demo.running.until(moment)
    interrupt(demo)
    nothing_is_left(demo, namespaces)
