"""Nothing that a file may hold makes an import fail otherwise than with a sentence."""

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from shared.cli.main import run

KEYWORDS = ["source-address", "protocol", "destination-port", "option", "action", "target", "x"]
WORDS = [
    "NET",
    "SVC",
    "tcp",
    "accept",
    "deny",
    "juniper",
    "inet6",
    "10.0.0.0/8",
    "80/tcp",
    "-",
    "é",
]
tokens = st.sampled_from(
    ["header", "term", "t1", "{", "}", "\n", '"', "#", "#include", "::", "=", ":", "- ", "  "]
    + [f"{word}:: " for word in KEYWORDS]
    + [f"{word} " for word in WORDS]
)
texts = st.one_of(
    st.lists(tokens, max_size=40).map("".join).map(str.encode),
    st.binary(max_size=80),
    st.lists(
        st.sampled_from(
            [
                "filters:",
                "\n- ",
                "\n  ",
                "header: ",
                "terms: ",
                "[",
                "]",
                "{",
                "}",
                "targets: ",
                "juniper: f",
                "name: a",
                ", ",
                "null",
                "1",
                "include: x",
            ]
        ),
        max_size=20,
    )
    .map("".join)
    .map(str.encode),
)
cells = st.sampled_from(
    [
        "name",
        "subnet",
        "vlan",
        "ip",
        "label:a",
        "site",
        "sfo",
        "A",
        "10.0.0.0/24",
        "=x",
        '"',
        "\r",
        "1",
    ]
)
tables = st.one_of(
    st.binary(max_size=80),
    st.lists(st.lists(cells, max_size=5).map(",".join), max_size=5).map("\n".join).map(str.encode),
)


@given(policy=texts, definitions=texts, suffix=st.sampled_from([".pol", ".yaml"]))
def test_any_policy_is_imported_or_refused(policy: bytes, definitions: bytes, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "def").mkdir()
        for each in ("a.net", "b.svc", "c.yaml"):
            (folder / "def" / each).write_bytes(definitions)
        file = folder / f"edge{suffix}"
        file.write_bytes(policy)
        into = ["--into", f"{name}/out", "-d", f"{name}/def", "--site", "sfo", "--accept-gaps"]
        status = run(["import", "aerleon", str(file), *into])
        assert status in (0, 1, 2)
        assert (folder / "out").exists() == (status == 0)


@given(table=tables)
def test_any_table_is_imported_or_refused(table: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "t.csv").write_bytes(table)
        into = ["--into", f"{name}/out", "--site", "sfo", "--accept-gaps"]
        status = run(["import", "csv", f"{name}/t.csv", *into])
        assert status in (0, 2)
        assert not status or not (Path(name) / "out").exists()
