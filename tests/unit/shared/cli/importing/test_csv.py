"""`hanse import csv`: what spreadsheets hold, and what they get wrong."""

import json
from pathlib import Path

import pytest
import yaml

from shared.cli.main import run


class Importer:
    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.into = folder / "out"
        self._capsys = capsys

    def __call__(self, text: str | bytes, *more: str, name: str = "table.csv") -> int:
        file = self.folder / name
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        status = run(["import", "csv", str(file), "--into", str(self.into), *more])
        self.out, self.err = self._capsys.readouterr()
        return status

    def documents(self, name: str) -> list[dict[str, object]]:
        return list(yaml.safe_load_all((self.into / name).read_text()))


@pytest.fixture
def importer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Importer:
    return Importer(tmp_path, capsys)


def test_networks_and_workloads_become_a_sound_repository(importer: Importer) -> None:
    networks = (
        "Name,IP Prefix,VLAN_ID,Site,label:tier,Description\r\n"
        'Web,"10.1.1.0/24 2001:db8:1::/64",10,sfo,web,"two,\r\nlines"\r\n'
        "Db,10.1.2.0/24,20,sfo,db,\r\n"
        "Db,10.1.3.0/24,20,sfo,db,\r\n"
        ",,,,,\r\n"
        "Web,10.2.1.0/24,10,fra,web,\r\n"
    )
    assert importer(networks, "--declare") == 0, importer.err
    workloads = (
        'hostname;ip address;node;tags\nweb-1;10.1.1.11, 2001:db8:1::b;rack-7;"env=prod; a=b"\n'
    )
    assert importer(workloads, "--site", "sfo", "--declare-nodes") == 0, importer.err
    web, database = importer.documents("sites/sfo/networks.yaml")
    assert web["spec"] == {"subnets": ["10.1.1.0/24", "2001:db8:1::/64"], "vlan": 10}
    assert web["metadata"] == {
        "name": "Web",
        "labels": {"tier": "web"},
        "annotations": {"description": "two,\r\nlines"},
    }
    assert database["spec"] == {"subnets": ["10.1.2.0/24", "10.1.3.0/24"], "vlan": 20}
    (workload,) = importer.documents("sites/sfo/workloads.yaml")
    assert workload["spec"] == {"addresses": ["10.1.1.11", "2001:db8:1::b"], "node": "rack-7"}
    kinds = [each["kind"] for each in importer.documents("federation/imported.yaml")]
    assert kinds == ["Site", "Site", "Network", "Network"]
    assert run(["validate", str(importer.into)]) == 0


def test_every_bad_row_is_told_at_once_and_nothing_is_written(importer: Importer) -> None:
    rows = [
        "name,subnet,vlan,site,label:a",
        "Web Servers,10.0.0.0/24,1,sfo,x",
        "A,10.0.0.1/24,1,sfo,x",
        "B,10.0.0.0/33,4095,sfo,x",
        "C,10.0.0.0/24,1,SFO,x",
        "D,10.0.0.0/24,1,,x",
        "E,10.0.0.0/24,1,sfo",
        "F,10.3.0.0/24,1,sfo,x",
        "F,10.3.1.0/24,2,sfo,x",
        "F,10.3.0.0/24,1,sfo,x",
        ",10.4.0.0/24,1,sfo,x",
        "G,10.5.0.0/24,1,sfo,=HYPERLINK(0)",
    ]
    assert importer("\n".join(rows)) == 2
    told = importer.err.splitlines()
    for line, words in [
        (2, "column name: 'Web Servers' is no name"),
        (3, "column subnet: 10.0.0.1/24 has host bits set"),
        (4, "column subnet:"),
        (4, "column vlan: '4095' is no VLAN"),
        (5, "column site:"),
        (6, "column site: say which site"),
        (7, "4 cells, but the header has 5"),
        (9, "column vlan: F has vlan 1 from line 8, and here 2"),
        (10, "column name: F has 10.3.0.0/24 already"),
        (11, "column name: the name is missing"),
        (12, "column label:a: '=HYPERLINK(0)' begins as a formula"),
    ]:
        assert any(
            f"table.csv:{line} {words}" in each or f"table.csv:{line}: {words}" in each
            for each in told
        ), (line, words)
    assert not importer.into.exists()


def test_a_column_that_means_nothing_is_listed_and_the_rest_imported(importer: Importer) -> None:
    text = "name,subnet,site,Rack\nA,10.0.0.0/24,sfo,7\n"
    assert importer(text, "-o", "json") == 1
    (gap,) = json.loads(importer.out)["gaps"]
    assert (gap["line"], gap["field"]) == (1, "Rack")
    assert importer(text, "--force", "--accept-gaps") == 0
    assert importer(text, "--force", "--ignore-column", "Rack") == 0
    assert "0 left out" in importer.out


def test_what_is_there_already_is_replaced_only_with_force(importer: Importer) -> None:
    assert importer("name,subnet,site\nA,10.0.0.0/24,sfo\n") == 0
    assert importer("name,subnet,site\nB,10.0.0.0/24,sfo\n") == 2
    assert "(file_exists)" in importer.err or "exist in" in importer.err
    assert "name: A" in (importer.into / "sites/sfo/networks.yaml").read_text()
    assert importer("name,subnet,site\nC,10.9.0.0/24,fra\n") == 0
    assert "name: sfo" in (importer.into / "federation/imported.yaml").read_text()
    importer.into = importer.folder
    assert importer("name,subnet,site\nA,10.0.0.0/24,sfo\n") == 2


def test_what_would_not_be_sound_is_not_written(importer: Importer) -> None:
    text = "name,ip,site,tenant\nw,10.0.0.1,sfo,a\nx,10.0.0.1,sfo,b\n"
    assert importer(text) == 2
    assert "address_taken" in importer.err
    assert not importer.into.exists()
    assert [each.name for each in importer.folder.iterdir()] == ["table.csv"]


@pytest.mark.parametrize(
    ("data", "more"),
    [
        pytest.param(
            "name,subnet,site,note\nA,10.0.0.0/24,sfo,Zür\n".encode("utf-8-sig"), (), id="mark"
        ),
        pytest.param(
            "name\tsubnet\tsite\tnote\nA\t10.0.0.0/24\tsfo\tZür\n".encode("utf-16"), (), id="utf-16"
        ),
        pytest.param(
            "name;subnet;site;note\rA;10.0.0.0/24;sfo;Zür\r".encode("cp1252"),
            ("--encoding", "cp1252"),
            id="cp1252",
        ),
    ],
)
def test_encodings_and_delimiters_of_spreadsheets_are_read(
    importer: Importer, data: bytes, more: tuple[str, ...]
) -> None:
    assert importer(data, *more) == 0, importer.err
    (network,) = importer.documents("sites/sfo/networks.yaml")
    assert network["metadata"] == {"name": "A", "annotations": {"description": "Zür"}}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(
            b"name,subnet\nA,\xff\n", "table.csv:2: this is no utf-8; say what it is", id="encoding"
        ),
        pytest.param(b"", "the first row must name the columns", id="nothing"),
        pytest.param(b"name,subnet\nA,\0\n", "NUL", id="NUL"),
        pytest.param(b'name,subnet\n"A,1\n', "the rest was not read", id="open quote"),
        pytest.param(b"name,name\nA,b\n", "'name' stands twice", id="twice"),
        pytest.param(b"name,host,subnet\nA,b,c\n", "'name' and 'host' both mean name", id="two"),
        pytest.param(
            b"name,colour\nA,b\n", "either a column of subnets or one of addresses", id="neither"
        ),
        pytest.param(b"subnet\n10.0.0.0/8\n", "no column is the name", id="no name"),
        pytest.param(b"name,subnet\n,\n", "there are no rows in it", id="no rows"),
    ],
)
def test_what_is_no_table_is_refused_in_a_sentence(
    importer: Importer, data: bytes, words: str
) -> None:
    assert importer(data, "--site", "sfo") == 2
    assert words in importer.err
    assert not importer.into.exists()


def test_a_node_is_never_made_up(importer: Importer) -> None:
    text = "name,ip,node\nw,10.0.0.1,rack-7\n"
    assert importer(text, "--site", "sfo") == 2
    assert "table.csv:2 column node: there is no Node rack-7 at site sfo" in importer.err


def test_a_site_is_no_path(importer: Importer) -> None:
    assert importer("name,subnet\nA,10.0.0.0/24\n", "--site", "../x") == 2
    assert not importer.into.exists()
