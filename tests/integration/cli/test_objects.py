"""get, describe, apply, diff, delete and history against an FSM and a site."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.integration.cli.background import Place
from tests.integration.cli.conftest import Hanse

Documents = Callable[..., Path]

EXAMPLE = Path(__file__).parents[3] / "examples/two-sites"


def network(name: str, *subnets: str, more: str = "") -> str:
    spec = f"{{subnets: [{', '.join(subnets)}]}}" if subnets else "{}"
    return f"apiVersion: hanse/v1\nkind: Network\nmetadata: {{name: {name}{more}}}\nspec: {spec}\n---\n"


def test_apply_says_of_each_object_what_became_of_it(
    logged_in: Hanse, documents: Documents
) -> None:
    file = documents(network("ApplyA", "10.0.0.0/24") + network("ApplyB"))
    done = logged_in("apply", "-f", file, "--dry-run")
    assert done.out == "network/ApplyA created (dry run)\nnetwork/ApplyB created (dry run)\n"
    assert logged_in("get", "network", "ApplyA").status == 2
    done = logged_in("apply", "-f", file)
    assert (done.status, done.err) == (0, "")
    assert done.out == "network/ApplyA created\nnetwork/ApplyB created\n"
    documents(network("ApplyA", "10.0.1.0/24") + network("ApplyB"))
    done = logged_in("apply", "-f", file)
    assert done.out == "network/ApplyA configured\nnetwork/ApplyB unchanged\n"
    answer = json.loads(logged_in("apply", "-f", file, "-o", "json").out)
    assert [each["outcome"] for each in answer["results"]] == ["unchanged", "unchanged"]


def test_one_bad_document_stops_them_all_and_is_named_by_its_line(
    logged_in: Hanse, documents: Documents
) -> None:
    policy = """\
apiVersion: hanse/v1
kind: SecurityPolicy
metadata: {name: misspelt}
spec:
  rules:
    - name: one
      from: any
      to:
        - network: Databse
      action: allow
"""
    file = documents(network("NeverWritten") + policy)
    done = logged_in("apply", "-f", file)
    assert done.status == 2
    assert f"{file}:14 spec.rules[0].to[0].network: there is no network Databse" in done.err
    assert "(unknown_network)" in done.err
    assert "request id: " in done.err
    # Alone in its transaction, a document's paths begin with the document.
    alone = documents(policy, "alone.yaml")
    assert f"{alone}:9 spec.rules[0].to[0].network" in logged_in("apply", "-f", alone).err
    assert logged_in("get", "network", "NeverWritten").status == 2


def test_what_cant_be_read_is_told_whole_and_nothing_is_sent(
    logged_in: Hanse, documents: Documents, tmp_path: Path
) -> None:
    documents("kind: Network\nmetadata: {name: a b}\nspec: {}\n", "folder/one.yaml")
    documents(network("Twice") + network("Twice"), "folder/two.yaml")
    documents("", "folder/notes.txt")
    documents("", "folder/README")
    folder = tmp_path / "folder"
    done = logged_in("apply", "-f", folder)
    assert done.status == 2
    assert done.err.splitlines()[0] == "error: 4 faults; nothing was sent (invalid_documents)"
    assert f"{folder}/notes.txt: only .yaml, .yml and .json belong here" in done.err
    assert f"{folder}/one.yaml:1 apiVersion: " in done.err
    assert f"{folder}/one.yaml:2 metadata.name: " in done.err
    assert f"{folder}/two.yaml:8 metadata.name: Network Twice (federation) stands in " in done.err
    done = logged_in("apply", "-f", "-", stdin="kind: 1\n")
    assert "stdin:1 kind: " in done.err
    done = logged_in("apply", "-f", tmp_path / "missing")
    assert (done.status, "No such file" in done.err) == (2, True)
    done = logged_in("apply", "-f", "-")
    assert (done.status, "there are no documents in -" in done.err) == (2, True)
    assert logged_in("apply").status == 2


def test_of_a_policy_repository_each_server_gets_its_own_folder(
    logged_in: Hanse, documents: Documents, tmp_path: Path
) -> None:
    documents(network("RepoNet", more=", labels: {repo: yes}"), "repo/federation/a.yaml")
    documents(network("RepoNet", "10.8.0.0/24"), "repo/sites/sfo/a.yaml")
    documents(network("RepoNet", "10.9.0.0/24"), "repo/sites/fra/a.yaml")
    repo = tmp_path / "repo"
    done = logged_in("apply", "-f", repo)
    assert done.out == "network/RepoNet created\n"
    assert done.err == f"{repo} is a policy repository; using {repo}/federation\n"
    assert logged_in("apply", "-f", repo, "-c", "sfo").out == "network/RepoNet created\n"
    shown = logged_in("get", "network", "RepoNet", "-c", "sfo", "-o", "json").out
    assert json.loads(shown)["spec"] == {"subnets": ["10.8.0.0/24"]}
    (repo / "sites" / "sfo" / "a.yaml").unlink()
    (repo / "sites" / "sfo").rmdir()
    done = logged_in("apply", "-f", repo, "-c", "sfo")
    assert done.status == 2
    assert "without sites/sfo/, so it has nothing for site sfo" in done.err


def test_what_get_prints_as_yaml_apply_takes_back(logged_in: Hanse, documents: Documents) -> None:
    text = network("RoundA", "10.0.0.0/24", more=', labels: {env: "yes"}') + network(
        "RoundB", more=", annotations: {note: 'a: b # c'}"
    )
    assert logged_in("apply", "-f", documents(text)).status == 0
    shown = logged_in("get", "networks", "RoundA", "RoundB", "-o", "yaml").out
    assert len(list(yaml.safe_load_all(shown))) == 2
    done = logged_in("apply", "-f", "-", stdin=shown)
    assert done.out == "network/RoundA unchanged\nnetwork/RoundB unchanged\n"


def test_a_status_is_a_comment_that_apply_passes_over(logged_in: Hanse) -> None:
    node = "apiVersion: hanse/v1\nkind: Node\nmetadata: {name: round-node}\nspec: {}\n"
    assert logged_in("apply", "-c", "sfo", "-f", "-", stdin=node).status == 0
    shown = logged_in("get", "node/round-node", "-c", "sfo", "-o", "yaml").out
    assert "status" not in yaml.safe_load(shown)
    done = logged_in("apply", "-c", "sfo", "-f", "-", stdin=shown)
    assert done.out == "node/round-node unchanged\n"


def test_an_edit_of_an_old_version_replaces_nothing(logged_in: Hanse) -> None:
    first = network("Raced", "10.0.0.0/24")
    assert logged_in("apply", "-f", "-", stdin=first).status == 0
    mine = logged_in("get", "network", "Raced", "-o", "yaml").out
    theirs = network("Raced", "10.0.1.0/24")
    assert logged_in("apply", "-f", "-", stdin=theirs).status == 0
    done = logged_in("apply", "-f", "-", stdin=mine.replace("10.0.0.0", "10.0.2.0"))
    assert done.status == 2
    assert "(revision_conflict)" in done.err
    assert "take its metadata.revision out" in done.err
    shown = json.loads(logged_in("get", "network", "Raced", "-o", "json").out)
    assert shown["spec"] == {"subnets": ["10.0.1.0/24"]}


def test_diff_shows_what_apply_would_change_and_is_1(
    logged_in: Hanse, documents: Documents
) -> None:
    file = documents(network("Differs", "10.0.0.0/24", more=", labels: {b: x, a: y}"))
    done = logged_in("diff", "-f", file)
    assert done.status == 1
    assert done.out.startswith(f"--- /dev/null\n+++ {file}:1\n")
    assert logged_in("apply", "-f", file).status == 0
    assert logged_in("diff", "-f", file) == type(done)(0, "", "")
    documents(network("Differs", "10.0.1.0/24", more=", labels: {a: y, b: x}"))
    done = logged_in("diff", "-f", file)
    assert done.status == 1
    revision = json.loads(logged_in("get", "network/Differs", "-o", "json").out)["metadata"]
    assert done.out == (
        f"--- live/networks/Differs (revision {revision['revision']})\n+++ {file}:1\n"
        "@@ -7,4 +7,4 @@\n     b: x\n spec:\n   subnets:\n-  - 10.0.0.0/24\n+  - 10.0.1.0/24\n"
    )


def test_a_diff_of_many_objects_agrees_with_apply(logged_in: Hanse, documents: Documents) -> None:
    many = [network(f"Many{number}", f"10.1.{number}.0/24") for number in range(30)]
    assert logged_in("apply", "-f", documents("".join(many))).status == 0
    assert logged_in("diff", "-f", documents("".join(many))).status == 0
    many[7] = network("Many7", "10.2.7.0/24")
    done = logged_in("diff", "-f", documents("".join(many)))
    assert done.status == 1
    assert done.out.count("--- live/") == 1


def test_lists_are_narrowed_by_labels_fields_tenants_and_scopes(logged_in: Hanse) -> None:
    tenant = "apiVersion: hanse/v1\nkind: Tenant\nmetadata: {name: acme}\nspec: {}\n---\n"
    text = (
        tenant
        + network("ListA", more=", labels: {set: list, env: prod}")
        + network("ListB", more=", labels: {set: list, env: test}")
        + network("ListC", more=", tenant: acme, labels: {set: list}")
    )
    assert logged_in("apply", "-f", "-", stdin=text).status == 0

    def names(*more: str) -> list[str]:
        return logged_in("get", "networks", "-o", "name", *more).out.split()

    assert names("-l", "set=list") == ["network/ListC", "network/ListA", "network/ListB"]
    assert names("-l", "set=list,env in (prod,dev)") == ["network/ListA"]
    assert names("-l", "set=list", "--tenant", "acme") == ["network/ListC"]
    assert names("--field-selector", "metadata.name=ListB") == ["network/ListB"]
    assert names("-l", "set=list", "--scope", "region/west") == []
    table = logged_in("get", "networks", "-l", "set=list").out.splitlines()
    assert table[0].split() == ["NAME", "TENANT", "SUBNETS", "VLAN", "GENERATION", "AGE"]
    done = logged_in("get", "networks", "-l", "set=nothing")
    assert (done.status, done.out, done.err) == (0, "", "no networks found\n")
    assert logged_in("get", "networks", "-l", "a b c").status == 2


@pytest.mark.parametrize("word", ["Network", "networks", "NETWORK", "net"])
def test_a_kind_has_the_names_that_people_expect(logged_in: Hanse, word: str) -> None:
    assert logged_in("apply", "-f", "-", stdin=network("Words")).status == 0
    assert logged_in("get", word, "Words", "-o", "name").out == "network/Words\n"


def test_an_unknown_kind_is_met_with_the_nearest(logged_in: Hanse) -> None:
    done = logged_in("get", "netwrks")
    assert done.status == 2
    assert "there is no kind 'netwrks'; did you mean \"networks\"?" in done.err
    assert logged_in("get", "Workload").status == 2  # lives at sites only


def test_an_absent_object_in_another_scope_is_hinted_at(logged_in: Hanse) -> None:
    region = "apiVersion: hanse/v1\nkind: Region\nmetadata: {name: west}\nspec: {}\n---\n"
    text = region + network("Scoped", more=", scope: region/west")
    assert logged_in("apply", "-f", "-", stdin=text).status == 0
    done = logged_in("get", "network", "Scoped")
    assert done.status == 2
    assert "there is one with scope region/west" in done.err
    assert logged_in("get", "network", "Scoped", "--scope", "region/west").status == 0


def test_deletes_are_all_or_nothing(logged_in: Hanse, documents: Documents) -> None:
    file = documents(network("GoneA") + network("GoneB") + network("GoneC"))
    assert logged_in("apply", "-f", file).status == 0
    done = logged_in("delete", "network", "GoneA", "Nothing")
    assert done.status == 2
    assert "there is no Network Nothing" in done.err
    done = logged_in("delete", "network", "GoneA", "GoneB", "--dry-run")
    assert done.out == "network/GoneA deleted (dry run)\nnetwork/GoneB deleted (dry run)\n"
    assert logged_in("delete", "network/GoneA", "network/GoneB").status == 0
    done = logged_in("delete", "-f", file)
    assert done.status == 2
    done = logged_in("delete", "-f", file, "--ignore-not-found")
    assert (done.status, done.out) == (0, "network/GoneC deleted\n")
    assert logged_in("delete", "network", "GoneC", "--ignore-not-found").status == 0
    assert logged_in("delete", "network", "GoneC", "-f", file).status == 2
    assert logged_in("delete", "network").status == 2


def test_history_says_who_did_what_and_survives_deletion(logged_in: Hanse) -> None:
    for subnet in ("10.0.0.0/24", "10.0.1.0/24"):
        assert logged_in("apply", "-f", "-", stdin=network("Past", subnet)).status == 0
    done = logged_in("delete", "network", "Past", "--reason", "moved away")
    assert done.status == 0
    items = json.loads(logged_in("history", "network", "Past", "-o", "json").out)["items"]
    assert [each["changes"] for each in items] == [
        ["deleted"],
        ["spec.subnets: 10.0.0.0/24 → 10.0.1.0/24"],
        ["created"],
    ]
    assert {each["identity"] for each in items} == {"user:admin"}
    assert items[0]["reason"] == "moved away"
    assert all(each["at"] for each in items)
    latest = logged_in("history", "network/Past", "-n", "2").out.splitlines()
    assert latest[0].split() == ["REVISION", "WHEN", "(UTC)", "WHO", "WHAT"]
    assert len(latest) == 3
    assert latest[2].endswith("spec.subnets: 10.0.0.0/24 → 10.0.1.0/24")
    assert logged_in("history", "network", "NeverWas").status == 2


def test_the_audit_trail_is_narrowed_to_an_object(logged_in: Hanse) -> None:
    assert logged_in("apply", "-f", "-", stdin=network("Audited")).status == 0
    items = json.loads(logged_in("audit", "network/Audited", "-o", "json").out)["items"]
    assert [(each["action"], each["identity"]) for each in items] == [("create", "user:admin")]
    assert "Network Audited (federation)" in logged_in("audit", "--text", "Audited").out
    assert logged_in("audit", "network").status == 2


def test_describe_tells_everything(logged_in: Hanse) -> None:
    text = network("Told", "10.0.0.0/24", more=", labels: {env: prod}")
    assert logged_in("apply", "-f", "-", stdin=text).status == 0
    shown = logged_in("describe", "network", "Told").out
    for part in ("Kind:        Network", "Labels:      env=prod", "  - 10.0.0.0/24", "user:admin"):
        assert part in shown


def test_the_example_is_what_it_was_after_being_applied(logged_in: Hanse) -> None:
    for context in ("fsm", "sfo"):
        done = logged_in("apply", "-c", context, "-f", EXAMPLE)
        assert done.status == 0, done.err
        done = logged_in("diff", "-c", context, "-f", EXAMPLE)
        assert (done.status, done.out) == (0, "")


def test_an_inherited_object_is_read_only_at_a_site(logged_in: Hanse, site: Place) -> None:
    done = logged_in("delete", "-c", "sfo", "service", "postgres", "--scope", "federation")
    assert done.status == 2
