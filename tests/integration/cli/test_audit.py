"""hanse audit: search, export and verify, online and of copies."""

import json
from pathlib import Path

from tests.integration.cli.background import Place
from tests.integration.cli.conftest import Hanse
from tests.integration.cli.test_objects import network


def test_the_trail_is_searched_exported_and_verified(
    logged_in: Hanse, fsm: Place, tmp_path: Path
) -> None:
    assert logged_in("apply", "-f", "-", stdin=network("Proved")).status == 0
    assert "Proved" in logged_in("audit", "search", "Proved", "create").out
    assert "Proved" not in logged_in("audit", "search", "Proved", "nowhere").out
    assert logged_in("get", "network", "Proved").status == 0
    whatever = json.loads(logged_in("audit", "network/Proved", "-o", "json").out)["items"]
    assert {"get", "create"} <= {each["action"] for each in whatever}
    changes = [
        json.loads(logged_in("audit", *words, "--changes", "-o", "json").out)["items"]
        for words in (["list"], ["network/Proved"], ["search", "Proved"])
    ]
    assert [[each["action"] for each in items] for items in changes[1:]] == [["create"]] * 2
    assert changes[1][0] in changes[0]
    assert not {each["action"] for each in changes[0]} & {"get", "list", "login"}

    done = logged_in("audit", "verify", "-o", "json")
    report = json.loads(done.out)
    assert (done.status, report["sound"], report["findings"]) == (0, True, [])
    assert report["signersTraced"]
    assert "sound" in logged_in("audit", "verify").out

    file = tmp_path / "trail.jsonl"
    assert logged_in("audit", "export", "--to", file).status == 0
    assert logged_in("audit", "export", "--to", file).status == 0
    numbers = [
        each["number"]
        for each in map(json.loads, file.read_text("utf-8").splitlines())
        if each["type"] == "record"
    ]
    assert numbers == list(range(1, len(numbers) + 1)), "it goes on where it ended"
    assert logged_in("audit", "verify", "--export", file).status == 0

    forged = tmp_path / "forged.jsonl"
    forged.write_bytes(file.read_bytes().replace(b'"name":"Proved"', b'"name":"Forged"'))
    done = logged_in("audit", "verify", "--export", forged, "-o", "json")
    assert done.status == 1
    assert json.loads(done.out)["findings"][0]["code"] == "changed"
    assert "changed" in logged_in("audit", "verify", "--export", forged).out

    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-1]))
    done = logged_in("audit", "verify", "--export", cut)
    assert (done.status, "export_cut_off" in done.err) == (2, True)


def test_a_servers_folder_and_a_seal_kept_elsewhere_are_verified(
    logged_in: Hanse, fsm: Place
) -> None:
    done = logged_in("audit", "verify", "--data", fsm.data, "-o", "json")
    report = json.loads(done.out)
    assert (done.status, report["findings"]) == (0, [])
    wrong = f"999999:{'a' * 64}"
    done = logged_in("audit", "verify", "--data", fsm.data, "--seal", wrong, "-o", "json")
    assert done.status == 1
    assert [each["code"] for each in json.loads(done.out)["findings"]] == ["seal_missing"]
    if report["lastSeal"]:
        seal = report["lastSeal"]
        assert logged_in("audit", "verify", "--data", fsm.data, "--seal", seal).status == 0
    assert logged_in("audit", "verify", "--seal", "nonsense").status == 2
    assert logged_in("audit", "verify", "--export", "nowhere.jsonl").status == 2
