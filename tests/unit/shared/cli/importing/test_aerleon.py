"""`hanse import aerleon`: what can be said is said exactly, and what can't is listed."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.cli.main import run

NETWORKS = """\
# ours
WEB = 10.1.1.0/24     # the web servers
      2001:db8:1::/64
DB = 10.1.2.9/24
INTERNAL = WEB
  DB
LOOP = LOOP
BAD = 10.1.2.0/33
"""
SERVICES = """\
HTTP = 80/tcp
HTTPS = 443/tcp
WEBS = HTTP
       HTTPS
DNS = 53/tcp 53/udp
NTP = 123/udp
"""
HEADER = "header {\n  target:: nftables edge mixed\n}\n"


class Importer:
    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.into = folder / "out"
        self._capsys = capsys
        (folder / "def").mkdir()
        (folder / "def/all.net").write_text(NETWORKS)
        (folder / "def/all.svc").write_text(SERVICES)

    def __call__(self, text: str, *more: str, name: str = "edge.pol") -> int:
        file = self.folder / name
        file.write_text(text)
        arguments = ["--into", str(self.into), "--site", "sfo", "-d", str(self.folder / "def")]
        status = run(["import", "aerleon", str(file), *arguments, *more])
        self.out, self.err = self._capsys.readouterr()
        return status

    def term(self, body: str, *more: str) -> tuple[int, dict[str, Any]]:
        """Import a filter of a term of this body before one that accepts all."""
        last = "term last { action:: accept }\n"
        status = self(f"{HEADER}term t {{\n  {body}\n}}\n{last}", "-o", "json", *more)
        return status, json.loads(self.out) if self.out else {}

    def rules(self) -> list[dict[str, Any]]:
        (policy,) = yaml.safe_load_all((self.into / "federation/edge.yaml").read_text())
        return list(policy["spec"]["rules"])

    def document(self, file: str, name: str) -> dict[str, Any]:
        documents = yaml.safe_load_all((self.into / file).read_text())
        return next(each for each in documents if each["metadata"]["name"] == name)


@pytest.fixture
def importer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Importer:
    return Importer(tmp_path, capsys)


def test_names_stay_names_and_the_repository_is_sound(importer: Importer) -> None:
    body = "destination-address:: WEB DB protocol:: tcp destination-port:: WEBS action:: accept"
    status, report = importer.term(f"{body} logging:: syslog")
    assert (status, report["gaps"]) == (0, [])
    assert importer.rules()[0] == {
        "name": "t",
        "from": "any",
        "to": [{"network": "WEB"}, {"network": "DB"}],
        "services": [{"service": "WEBS"}],
        "action": "allow",
        "log": True,
    }
    names = "federation/edge-names.yaml"
    assert importer.document(names, "WEB")["spec"] == {}
    assert importer.document(names, "WEBS")["spec"] == {
        "entries": [{"protocol": "tcp", "ports": ["80", "443"]}]
    }
    networks = "sites/sfo/edge-networks.yaml"
    assert importer.document(networks, "WEB")["spec"] == {
        "subnets": ["10.1.1.0/24", "2001:db8:1::/64"]
    }
    assert importer.document(networks, "DB")["spec"] == {"subnets": ["10.1.2.0/24"]}
    assert run(["validate", str(importer.into)]) == 0


@pytest.mark.parametrize(
    ("body", "field"),
    [
        pytest.param("protocol:: icmp icmp-type:: echo-request", "icmp-type", id="icmp-type"),
        pytest.param("ttl:: 4", "ttl", id="ttl"),
        pytest.param("option:: tcp-initial protocol:: tcp", "option", id="option"),
        pytest.param("source-interface:: eth0", "source-interface", id="interface"),
        pytest.param("source-address:: NOWHERE", "source-address", id="unknown network"),
        pytest.param("source-address:: LOOP", "source-address", id="cycle"),
        pytest.param("source-address:: BAD", "source-address", id="no address"),
        pytest.param("protocol:: tcp destination-port:: SSH", "destination-port", id="service"),
        pytest.param("protocol:: tcp destination-port:: NTP", "destination-port", id="ports"),
        pytest.param("destination-port:: HTTP", "destination-port", id="ports without a protocol"),
        pytest.param("protocol:: quic", "protocol", id="unknown protocol"),
        pytest.param("expiration:: 2999-01-01", "expiration", id="expires later"),
        pytest.param("policer:: slow", "policer", id="policer"),
        pytest.param("flubber:: x", "flubber", id="a keyword that nobody knows"),
        pytest.param("port:: DNS destination-port:: DNS protocol:: udp", "port", id="both ports"),
        pytest.param("address:: WEB source-address:: DB", "address", id="both addresses"),
        pytest.param("logging:: carefully", "logging", id="logging"),
    ],
)
def test_a_term_that_cant_be_said_is_left_out_whole_and_a_deny_stops_all(
    importer: Importer, body: str, field: str
) -> None:
    status, report = importer.term(f"{body} action:: deny")
    assert (status, report["written"]) == (1, False)
    assert not importer.into.exists()
    (gap,) = report["gaps"]
    assert gap["field"] == field
    assert gap["subject"] == "term t"
    assert gap["line"] == 5
    assert gap["changesMeaning"] is True

    status, report = importer.term(f"{body} action:: deny", "--accept-gaps")
    assert (status, report["written"]) == (0, True)
    assert [each["name"] for each in importer.rules()] == ["last"]
    importer.into = importer.folder / "again"
    # Without an accepting one less passes, never more: it is written, and told.
    status, report = importer.term(f"{body} action:: accept")
    assert (status, report["written"]) == (1, True)
    assert report["gaps"][0]["changesMeaning"] is False


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("expiration:: 2001-12-31 action:: deny", id="expired"),
        pytest.param("platform:: cisco action:: deny", id="another platform"),
        pytest.param("platform-exclude:: nftables action:: deny", id="platform-exclude"),
        pytest.param("action:: next", id="next"),
        pytest.param("protocol:: tcp option:: tcp-established action:: accept", id="replies"),
        pytest.param('verbatim:: cisco "x"', id="another's own words"),
    ],
)
def test_a_term_that_never_decides_is_told_and_changes_nothing(
    importer: Importer, body: str
) -> None:
    status, report = importer.term(body)
    assert (status, report["written"]) == (1, True)
    assert [each["changesMeaning"] for each in report["gaps"]] == [False]
    assert [each["name"] for each in importer.rules()] == ["last"]


def test_exceptions_become_a_network_of_what_is_left(importer: Importer) -> None:
    importer.term("source-address:: INTERNAL source-exclude:: WEB action:: accept")
    name = "edge.t.source-address"
    assert importer.rules()[0]["from"] == [{"network": name}]
    network = importer.document("sites/sfo/edge-networks.yaml", name)
    assert network["spec"] == {"subnets": ["10.1.2.0/24"]}
    assert network["metadata"]["annotations"] == {"aerleon": "INTERNAL without WEB"}


def test_a_filter_of_one_family_says_nothing_of_the_other(importer: Importer) -> None:
    text = "header { target:: juniper edge }\n"
    text += "term web { source-address:: WEB action:: accept }\nterm last { action:: accept }\n"
    assert importer(text) == 0
    assert "juniper, family inet" in importer.out
    first, last = importer.rules()
    assert first["from"] == [{"network": "WEB.inet"}]
    assert last["from"] == [{"network": "all-inet"}]
    networks = "sites/sfo/edge-networks.yaml"
    assert importer.document(networks, "WEB.inet")["spec"] == {"subnets": ["10.1.1.0/24"]}


def test_includes_are_followed_and_their_terms_have_their_own_places(importer: Importer) -> None:
    (importer.folder / "inc").mkdir()
    (importer.folder / "inc/a.inc").write_text("\nterm inner { ttl:: 3 action:: accept }\n")
    assert importer(f"{HEADER}#include 'inc/a.inc'\nterm last {{ action:: deny }}\n") == 1
    assert "inc/a.inc:2" in importer.out
    (importer.folder / "inc/b.yaml").write_text("terms:\n- {name: inner, action: deny}\n")
    text = "filters:\n- header: {targets: {nftables: mixed}}\n  terms: [{include: inc/b.yaml}]\n"
    importer.into = importer.folder / "yaml"
    assert importer(text, "--name", "edge", name="edge.yaml") == 0, importer.err
    assert [each["name"] for each in importer.rules()] == ["inner"]
    assert importer(f"{HEADER}#include '../../etc/passwd'\n") == 2
    assert "is outside of" in importer.err
    (importer.folder / "inc/a.inc").write_text("#include 'inc/a.inc'\n")
    assert importer(f"{HEADER}#include 'inc/a.inc'\n") == 2
    assert "nested deeper" in importer.err


def test_of_several_filters_or_platforms_one_has_to_be_said(importer: Importer) -> None:
    two = "header { target:: cisco in extended\n target:: nftables in mixed }\nterm a { action:: deny }\n"
    text = two + "header { target:: cisco out extended }\nterm b { action:: deny }\n"
    assert importer(text) == 2
    assert "--filter NAME or NUMBER (1: in; 2: out)" in importer.err
    assert importer(text + text, "--filter", "out") == 2
    assert "2 filters of" in importer.err
    assert importer(text, "--filter", "in") == 2
    assert "cisco, nftables; say" in importer.err
    assert importer(text, "--filter", "in", "--target", "cisco") == 0
    assert [each["name"] for each in importer.rules()] == ["a"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(
            "term a { action:: deny }", ":1: a term stands before any header", id="no header"
        ),
        pytest.param(HEADER + "term a {\n action: deny }", ":5: ", id="one colon"),
        pytest.param(HEADER + "term a { action:: deny", ":4: the file ends where }", id="open"),
        pytest.param(HEADER + 'term a { comment:: "x\n', ":4: '\"' isn't understood", id="quote"),
        pytest.param(
            HEADER + "term a { action:: deny }\n" * 2, ":5: the term a stands in", id="twice"
        ),
        pytest.param("", "no filter is in it", id="nothing"),
    ],
)
def test_what_cant_be_read_is_told_by_its_line(importer: Importer, text: str, words: str) -> None:
    assert importer(text) == 2
    assert words in importer.err
    assert not importer.into.exists()


def test_a_name_that_means_something_else_already_is_never_reused(importer: Importer) -> None:
    assert importer.term("source-address:: DB action:: deny")[0] == 0
    (importer.folder / "def/all.net").write_text("DB = 10.9.0.0/16\n")
    assert (
        importer(f"{HEADER}term t {{ source-address:: DB action:: deny }}", "--name", "other") == 2
    )
    assert "the repository's Network DB has other subnets" in importer.err
    (importer.folder / "def/all.net").write_text(NETWORKS)
    assert (
        importer(f"{HEADER}term t {{ source-address:: DB action:: deny }}", "--name", "other") == 0
    )
    assert run(["validate", str(importer.into)]) == 0
    assert "of all the first that matches decides, by tier, priority and name: edge" in importer.out


def test_definitions_in_yaml_mean_the_same_as_in_lines(importer: Importer) -> None:
    for file in (importer.folder / "def").iterdir():
        file.unlink()
    (importer.folder / "def/naming.yaml").write_text(
        "networks:\n  ALL:\n    values: [{name: V6}, {ip: 10.0.0.1, comment: x}, V4]\n"
        "  V6:\n    values: [{address: '::1/128'}]\n  V4:\n    values: [{address: 10.0.0.0/30}]\n"
        "services:\n  HIGH: [{port: 1024-65535, protocol: tcp}]\n  SSH: [{port: 22, protocol: tcp}]\n"
        "  BOTH: [{name: HIGH}, SSH]\n"
    )
    body = "source-address:: ALL protocol:: tcp destination-port:: BOTH action:: deny"
    assert importer.term(body)[0] == 0, importer.err
    network = importer.document("sites/sfo/edge-networks.yaml", "ALL")
    assert network["spec"] == {"subnets": ["::1/128", "10.0.0.1/32", "10.0.0.0/30"]}
    (entry,) = importer.document("federation/edge-names.yaml", "BOTH")["spec"]["entries"]
    assert entry == {"protocol": "tcp", "ports": ["1024-65535", "22"]}
    (importer.folder / "def/naming.yaml").write_text("networks:\n  A:\n    values: [{adress: x}]\n")
    assert importer.term(body)[0] == 2
    assert "naming.yaml:2: A has an item that is neither a network nor" in importer.err
