"""Whatever a repository holds: the commands answer, and never with a mistake of their own."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.cli.main import INTERNAL, run

CASES = Path(__file__).parents[3] / "acceptance" / "cases"
SOUND = {
    str(file.relative_to(CASES / "two-sites")): list(yaml.safe_load_all(file.read_text()))
    for file in sorted((CASES / "two-sites").glob("**/*.yaml"))
}
PLACES = [
    (name, index, path)
    for name, documents in SOUND.items()
    for index, document in enumerate(documents)
    for path in [
        (),
        ("kind",),
        ("metadata",),
        *(("metadata", each) for each in ("name", "tenant", "scope", "labels")),
        *(("spec", each) for each in document["spec"]),
        *(("spec", "rules", 0, each) for each in document["spec"].get("rules", [{}])[0]),
    ]
]
ODD = [None, True, 0, -1, 2**70, 1.5, "", "any", "a" * 300, "é", [], {}, ["x"], {"x": 1}, [[]]]
NAMES = ["us-west", "eu", "sfo", "AppX", "Database", "rack-7", "node-7", "three-tier", "postgres"]
SCOPES = ["federation", "site", "region/eu", "region/x", "group/rack-7", "node/node-7", "node/x"]
PARTS = ["10.0.0.0/8", "::/0", [{"network": "AppX"}], [{"cidr": "10.1.0.0/16"}], "mandatory"]
KINDS = ["Region", "Site", "Tenant", "Network", "Service", "Node", "NodeGroup", "Override"]
VALUES = st.sampled_from([*ODD, *NAMES, *SCOPES, *PARTS, *KINDS, ["10.1.0.0/16"], ["rack-7"]])


def spoil(document: Any, path: tuple[Any, ...], by: Any) -> Any:
    if not path:
        return by
    part, *rest = path
    if isinstance(document, dict):
        return {**document, part: spoil(document.get(part, {}), tuple(rest), by)}
    if isinstance(document, list) and document:
        return [spoil(document[0], tuple(rest), by), *document[1:]]
    return by


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.sampled_from(PLACES), VALUES), min_size=1, max_size=3))
def test_a_spoiled_repository_is_answered_for(
    changes: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    files = {name: list(documents) for name, documents in SOUND.items()}
    for (name, index, path), value in changes:
        files[name][index] = spoil(files[name][index], path, value)
    with tempfile.TemporaryDirectory() as folder:
        for name, documents in files.items():
            file = Path(folder, name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("\n---\n".join(map(json.dumps, documents)))
        capsys.readouterr()
        sound = run(["validate", folder, "-o", "json"])
        errors = json.loads(capsys.readouterr().out)["errors"]
        assert (sound == 2) == bool(errors)
        assert all(each["file"] and each["message"] for each in errors)
        for command in (
            ["resolve", folder, "--site", "sfo", "--node", "node-7"],
            ["trace", folder, "--site", "fra", "--from", "::1", "--to", "::2", "--service", "icmp"],
            ["policy", "test", folder],
        ):
            status = run(command)
            printed = capsys.readouterr()
            assert status != INTERNAL, printed.err
            assert status in (0, 1, 2)
            assert bool(printed.err) == (status == 2)
