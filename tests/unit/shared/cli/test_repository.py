"""Which files of a repository are read, which are refused, and whose faults count for whom."""

import os
from pathlib import Path

import pytest

from shared.cli.repository import read_repository
from shared.model.source import MAX_TRANSACTION_BYTES

DOCUMENT = "apiVersion: hanse/v1\nkind: {}\nmetadata: {{name: {}}}\nspec: {}\n"


def test_folders_are_read_recursively_in_three_formats(repo):
    root = repo(
        {
            "sites/s1/a/b/c.yml": DOCUMENT.format("Network", "C", "{}"),
            "sites/s1/a/d.json": '{"apiVersion":"hanse/v1","kind":"Network",'
            '"metadata":{"name":"D"},"spec":{}}',
        }
    )
    read = read_repository(root)
    assert read.faults == ()
    assert {key.name: document.file for key, document in _by_key(read.sites["s1"])} == {
        "App": "sites/s1/names.yaml",
        "n1": "sites/s1/names.yaml",
        "C": "sites/s1/a/b/c.yml",
        "D": "sites/s1/a/d.json",
    }


def _by_key(documents):
    return [(document.key, document) for document in documents]


def test_notes_and_dotfiles_are_left_alone_and_other_files_are_not(repo, codes):
    root = repo(
        {
            "federation/README": "x",
            "federation/README.rst": "x",
            "sites/README.md": "x",
            "sites/.keep": "",
            "sites/s1/flows.csv": "x",
            "sites/s1/.hidden/x.yaml": "{",
            "tests/notes.md": "x",
            "src/anything.py": "x",
            "top.txt": "x",
        }
    )
    assert codes(root) == []
    for name in ("federation/x.txt", "sites/x.yaml", "sites/s1/a/Makefile", "tests/x.yaml~"):
        (root / name).parent.mkdir(exist_ok=True, parents=True)
        (root / name).write_text("x")
    assert codes(root) == [
        ("federation/x.txt", None, "unexpected_file"),
        ("sites/s1/a/Makefile", None, "unexpected_file"),
        ("sites/x.yaml", None, "unexpected_file"),
        ("tests/x.yaml~", None, "unexpected_file"),
    ]


def test_links_are_followed_and_loops_are_refused(repo, codes, tmp_path):
    root = repo()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "n.yaml").write_text(DOCUMENT.format("NodeGroup", "g", "{}"))
    (root / "sites/s1/linked").symlink_to(outside)
    assert codes(root) == []
    assert any(each.key.name == "g" for each in read_repository(root).sites["s1"])

    (root / "sites/s1/up").symlink_to(root / "sites")
    (root / "sites/s1/self.yaml").symlink_to("self.yaml")
    (root / "sites/s1/gone.yaml").symlink_to("nowhere.yaml")
    found = codes(root)
    assert ("sites/s1/up/s1/up", None, "link_loop") in found or (
        "sites/s1/up/s1",
        None,
        "link_loop",
    ) in found
    assert ("sites/s1/self.yaml", None, "unreadable") in found
    assert ("sites/s1/gone.yaml", None, "unreadable") in found


def test_a_pipe_is_refused_and_not_waited_for(repo, codes):
    root = repo()
    os.mkfifo(root / "federation/pipe.yaml")
    assert codes(root) == [("federation/pipe.yaml", None, "unreadable")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(repo, codes):
    root = repo()
    (root / "federation/names.yaml").chmod(0)
    assert codes(root) == [("federation/names.yaml", None, "unreadable")]


def test_a_huge_file_is_named_and_not_read_whole(repo, codes):
    root = repo()
    with (root / "federation/huge.yaml").open("wb") as file:
        file.truncate(10 * MAX_TRANSACTION_BYTES)
    assert codes(root) == [("federation/huge.yaml", None, "too_large")]


def test_a_name_that_is_not_utf8_can_be_printed(repo, hanse):
    root = repo()
    Path(os.fsdecode(os.fsencode(root) + b"/federation/\xff\x1b.txt")).write_text("x")
    done = hanse("validate", root)
    assert done.status == 2
    assert "unexpected_file" in done.err
    assert "\x1b" not in done.err


def test_a_folder_that_is_no_repository_is_said_to_be_none(tmp_path, hanse):
    for root in (tmp_path, tmp_path / "nothing"):
        done = hanse("resolve", root, "--site", "s1")
        assert (done.status, done.out) == (2, "")
        assert "policy repository" in done.err
        assert hanse("validate", root, "-o", "json").data["errors"][0]["code"] == "no_repository"


class TestPlaces:
    def test_kinds_live_in_their_homes_only(self, repo, codes):
        root = repo(
            {
                "federation/x.yaml": DOCUMENT.format("Workload", "w", "{}"),
                "sites/s1/x.yaml": DOCUMENT.format("Region", "r", "{}"),
                "tests/x.yaml": DOCUMENT.format("Network", "n", "{}"),
                "sites/s2/x.yaml": DOCUMENT.format("Incident", "i", "{title: x}"),
            }
        )
        assert codes(root) == [
            ("federation/x.yaml", 2, "wrong_home"),
            ("sites/s1/x.yaml", 2, "wrong_home"),
            ("sites/s2/x.yaml", 2, "wrong_home"),
            ("tests/x.yaml", 2, "wrong_home"),
        ]

    def test_a_site_folder_needs_its_site(self, repo, codes):
        root = repo({"sites/s3/x.yaml": DOCUMENT.format("NodeGroup", "g", "{}")})
        assert codes(root) == [("sites/s3", None, "unknown_site")]

    def test_a_site_without_a_folder_is_a_site(self, repo, hanse):
        assert hanse("resolve", repo(), "--site", "s2", "-o", "json").data["rules"] == []

    @pytest.mark.parametrize(
        ("folder", "scope"),
        [
            ("federation", "site"),
            ("federation", "node/n1"),
            ("federation", "planet"),
            ("federation", "region/"),
            ("sites/s1", "federation"),
            ("sites/s1", "region/west"),
            ("sites/s1", "group/nowhere"),
        ],
    )
    def test_scopes_belong_to_their_home(self, repo, codes, folder, scope):
        text = DOCUMENT.format("Network", f"N, scope: {scope}", "{}")
        found = codes(repo({f"{folder}/x.yaml": text}))
        assert [(file, line) for file, line, _ in found] == [(f"{folder}/x.yaml", 3)]

    def test_the_same_key_twice_is_told_with_the_other_place(self, repo, hanse):
        root = repo({"sites/s1/x.yaml": DOCUMENT.format("Network", "App", "{}")})
        done = hanse("validate", root)
        assert "sites/s1/x.yaml:3 metadata.name" in done.err
        assert "sites/s1/names.yaml:1" in done.err
        assert "(duplicate)" in done.err


class TestWhoseFaults:
    def test_a_site_minds_the_federations_faults_and_its_own_only(self, repo, hanse):
        broken = DOCUMENT.format("Node", "n2", "{groups: [none]}") + "---\n[]"
        root = repo({"sites/s2/x.yaml": broken, "sites/s3/x.yaml": "", "tests/x.yaml": "{"})
        assert hanse("resolve", root, "--site", "s1").status == 0
        done = hanse("resolve", root, "--site", "s2")
        assert done.status == 2
        assert "a list" in done.err
        assert "invalid_value" in done.err
        assert "unknown_group" in done.err
        assert hanse("policy", "test", root).status == 2
        (root / "federation/x.yaml").write_text("{")
        assert hanse("resolve", root, "--site", "s1").status == 2

    def test_what_only_follows_from_a_faulty_document_is_not_told(self, repo, codes):
        names = "apiVersion: hanse/v1\nkind: Network\nmetadata: {name: App}\nspec: {vlan: 0}\n"
        service = DOCUMENT.format("Service", "web", "{}")
        root = repo({"federation/names.yaml": f"{names}---\n{service}"})
        assert codes(root) == [("federation/names.yaml", 4, "invalid_value")]
        (root / "federation/names.yaml").write_text(f"{service}---\n{{")
        assert codes(root) == [("federation/names.yaml", 7, "malformed")]
        kind = names.replace("Network", "Netwrok").replace("vlan: 0", "")
        (root / "federation/names.yaml").write_text(f"{service}---\n{kind}")
        assert codes(root) == [("federation/names.yaml", 7, "unknown_kind")]
        (root / "federation/names.yaml").write_text(service)
        assert codes(root) == [("federation/policy.yaml", 6, "unknown_network")]

    def test_a_site_whose_document_is_faulty_is_not_called_unknown(self, repo, codes):
        places = DOCUMENT.format("Site", "s1", "{regoin: west}")
        root = repo({"federation/places.yaml": places})
        assert codes(root) == [("federation/places.yaml", 4, "unknown_field")]

    def test_a_binding_names_a_role_that_is_known_where_it_stands(self, repo, codes):
        def binding(role: str) -> str:
            spec = f"{{role: {role}, subjects: [{{kind: User, name: kim}}]}}"
            return DOCUMENT.format("RoleBinding", role, spec)

        grants = "{grants: [{verbs: [read], kinds: [Network]}]"
        root = repo(
            {
                "federation/roles.yaml": DOCUMENT.format("Role", "above", f"{grants}}}")
                + "---\n"
                + DOCUMENT.format("Role", "flowing", f"{grants}, flowsDown: true}}"),
                "federation/bindings.yaml": "---\n".join(map(binding, ["above", "near", "viewer"])),
                "sites/s1/roles.yaml": DOCUMENT.format("Role", "near", f"{grants}}}"),
                "sites/s1/bindings.yaml": "---\n".join(map(binding, ["above", "flowing", "near"])),
                "sites/s2/bindings.yaml": "---\n".join(map(binding, ["near", "flowing"])),
            }
        )
        assert codes(root) == [
            ("federation/bindings.yaml", 9, "unknown_role"),
            ("sites/s1/bindings.yaml", 4, "unknown_role"),
            ("sites/s2/bindings.yaml", 4, "unknown_role"),
        ]
        # A role that couldn't be read is not called unknown.
        (root / "sites/s2/role.yaml").write_text(DOCUMENT.format("Role", "near", "{grants: 1}"))
        assert codes(root)[-1] == ("sites/s2/role.yaml", 4, "invalid_value")
        assert len(codes(root)) == 3

    def test_warnings_count_only_if_strict(self, repo, hanse, codes):
        policy = (
            "{enforcement: mandatory, rules: "
            "[{name: r, from: any, to: [{network: App}], action: deny}]}"
        )
        root = repo({"federation/m.yaml": DOCUMENT.format("SecurityPolicy", "m", policy)})
        assert codes(root, "warnings") == [("federation/m.yaml", 4, "unresolved_name")]
        assert hanse("validate", root).status == 0
        assert hanse("validate", root, "--strict").status == 1
        (root / "federation/bad.yaml").write_text("{")
        assert hanse("validate", root, "--strict").status == 2
