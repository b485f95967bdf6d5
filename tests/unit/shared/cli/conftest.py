"""Policy repositories written from a test's text, and the command run in this process."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from shared.cli.main import run

BASE = {
    "federation/places.yaml": """\
apiVersion: hanse/v1
kind: Region
metadata: {name: west}
spec: {}
---
apiVersion: hanse/v1
kind: Site
metadata: {name: s1, labels: {env: prod}}
spec: {region: west}
---
apiVersion: hanse/v1
kind: Site
metadata: {name: s2}
spec: {}
""",
    "federation/names.yaml": """\
apiVersion: hanse/v1
kind: Network
metadata: {name: App}
spec: {}
---
apiVersion: hanse/v1
kind: Service
metadata: {name: web}
spec: {entries: [{protocol: tcp, ports: [443]}]}
""",
    "federation/policy.yaml": """\
apiVersion: hanse/v1
kind: SecurityPolicy
metadata: {name: apps}
spec:
  rules:
    - {name: in, from: any, to: [{network: App}], services: [{service: web}], action: allow}
""",
    "sites/s1/names.yaml": """\
apiVersion: hanse/v1
kind: Network
metadata: {name: App}
spec: {subnets: [10.0.0.0/24]}
---
apiVersion: hanse/v1
kind: Node
metadata: {name: n1}
spec: {}
""",
}

Repo = Callable[..., Path]


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    """Write a sound repository with changes: path to content, None to leave a file out."""

    def write(changes: Mapping[str, str | bytes | None] | None = None) -> Path:
        root = tmp_path / "repo"
        for name, content in {**BASE, **(changes or {})}.items():
            if content is not None:
                file = root / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return root

    return write


@dataclass
class Done:
    """A command that has run."""

    status: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)


Hanse = Callable[..., Done]


@pytest.fixture
def hanse(capsys: pytest.CaptureFixture[str]) -> Hanse:
    """Run `hanse` in this process."""

    def command(*arguments: object) -> Done:
        capsys.readouterr()
        status = run([str(each) for each in arguments])
        printed = capsys.readouterr()
        return Done(status, printed.out, printed.err)

    return command


@pytest.fixture
def codes(hanse: Hanse) -> Callable[..., list[tuple[str | None, int | None, str]]]:
    """Return (file, line, code) of each fault that `hanse validate` finds."""

    def find(root: Path, kind: str = "errors") -> list[tuple[str | None, int | None, str]]:
        done = hanse("validate", root, "-o", "json")
        assert done.status == (2 if done.data["errors"] else 0)
        return [(each["file"], each["line"], each["code"]) for each in done.data[kind]]

    return find
