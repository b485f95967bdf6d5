"""apply --prune, diff --prune and drift: a repository that owns what it applied."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from shared.cli.applying import WriteArguments
from shared.cli.client import Client
from shared.cli.gitops import writing
from shared.cli.gitops.comparing import Owning, compare
from shared.cli.gitops.writing import in_transactions, send
from shared.cli.output import Output
from shared.cli.session import session
from shared.errors import NotFound, RevisionConflict
from tests.integration.cli.background import PASSWORD, Place
from tests.integration.cli.conftest import Hanse

SITE = "spiffe://sfo.hanse.example/sdsp"


def network(name: str, *subnets: str, labels: str = "") -> str:
    more = f", labels: {{{labels}}}" if labels else ""
    spec = f"{{subnets: [{', '.join(subnets)}]}}" if subnets else "{}"
    return f"apiVersion: hanse/v1\nkind: Network\nmetadata: {{name: {name}{more}}}\nspec: {spec}\n---\n"


def policy(name: str, to: str) -> str:
    return f"""\
apiVersion: hanse/v1
kind: SecurityPolicy
metadata: {{name: {name}}}
spec:
  rules:
    - {{name: one, from: any, to: [{{network: {to}}}], action: allow}}
---
"""


class Repository:
    def __init__(self, root: Path, manifest: str) -> None:
        self.root = root
        self.write("hanse.yaml", f"manifest: {manifest}\n")

    def write(self, name: str, text: str) -> None:
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def networks(self, *names: str) -> None:
        self.write("federation/networks.yaml", "".join(map(network, names)))


@pytest.fixture
def repository(tmp_path: Path, request: pytest.FixtureRequest, fsm: Place) -> Iterator[Repository]:
    """A repository of the test's own; afterwards nothing is left on the FSM but its site."""
    yield Repository(tmp_path / "repo", request.node.name.partition("[")[0][5:60].strip("_"))
    asyncio.run(emptied(fsm))


async def emptied(fsm: Place) -> None:
    async with fsm.client() as client:
        await client.login("admin", PASSWORD)
        for kind in ("SecurityPolicy", "Network"):
            for each in [found async for found in client.list(kind)]:
                await client.delete(each.kind, each.name, tenant=each.tenant, scope=each.scope)


def change(fsm: Place, name: str, spec: dict[str, object]) -> None:
    """Change a Network as a person would."""

    async def patch() -> None:
        async with fsm.client() as client:
            await client.login("admin", PASSWORD)
            await client.patch("Network", name, {"spec": spec})

    asyncio.run(patch())


def there(
    place: Place, name: str, *, scope: str | None = None, identity: str | None = None
) -> bool:
    async def ask(client: Client) -> bool:
        try:
            await client.get("Network", name, scope=scope)
        except NotFound:
            return False
        return True

    async def asked() -> bool:
        async with place.client(identity=identity) as client:
            await client.login("admin", PASSWORD)
            return await ask(client)

    return asyncio.run(asked())


def test_prune_deletes_what_left_the_repository_and_never_what_a_person_made(
    logged_in: Hanse, repository: Repository, fsm: Place
) -> None:
    logged_in("apply", "-f", "-", stdin=network("ByHand"))
    repository.networks("A", "B", "C", "D")
    done = logged_in("apply", "-f", repository.root, "--prune")
    assert (done.status, done.out.splitlines()[-1]) == (0, "4 created")
    repository.networks("A", "B", "C")

    shown = logged_in("apply", "-f", repository.root, "--prune", "--dry-run")
    assert shown.out == "network/D pruned (dry run)\n3 unchanged, 1 pruned (dry run)\n"
    assert there(fsm, "D")
    asked = logged_in("apply", "-f", repository.root, "--prune")
    assert (asked.status, "(needs_confirmation)" in asked.err) == (2, True)
    assert there(fsm, "D")

    done = logged_in("apply", "-f", repository.root, "--prune", "--yes")
    assert (done.status, done.out) == (0, "network/D pruned\n3 unchanged, 1 pruned\n")
    assert not there(fsm, "D")
    assert there(fsm, "ByHand")


def test_a_second_run_changes_nothing_at_all(logged_in: Hanse, repository: Repository) -> None:
    repository.write(
        "federation/all.yaml", network("A", "10.0.0.0/24", labels="b: x, a: y") + policy("p", "A")
    )
    assert logged_in("apply", "-f", repository.root, "--prune").status == 0
    before = json.loads(logged_in("get", "network", "A", "-o", "json").out)
    done = logged_in("apply", "-f", repository.root, "--prune", "-o", "json")
    answer = json.loads(done.out)
    assert (done.status, answer["transactions"]) == (0, 0)
    assert {each["outcome"] for each in answer["results"]} == {"unchanged"}
    assert json.loads(logged_in("get", "network", "A", "-o", "json").out) == before
    assert logged_in("diff", "-f", repository.root, "--prune").status == 0
    assert logged_in("drift", "-f", repository.root).status == 0


def test_a_copy_of_an_owned_document_under_another_name_is_nobodys(
    logged_in: Hanse, repository: Repository, fsm: Place
) -> None:
    repository.networks("A")
    logged_in("apply", "-f", repository.root, "--prune")
    shown = logged_in("get", "network", "A", "-o", "yaml").out
    assert "hanse/manifest" in shown
    copy = [line for line in shown.splitlines() if "revision:" not in line]
    logged_in("apply", "-f", "-", stdin="\n".join(copy).replace("name: A", "name: Copy"))
    assert there(fsm, "Copy")
    done = logged_in("apply", "-f", repository.root, "--prune", "--yes")
    assert (done.status, done.out) == (0, "1 unchanged\n")
    assert there(fsm, "Copy")


def test_what_is_in_use_is_not_pruned_and_is_named_whole(
    logged_in: Hanse, repository: Repository, fsm: Place
) -> None:
    repository.networks("A", "B", "C")
    logged_in("apply", "-f", repository.root, "--prune")
    logged_in("apply", "-f", "-", stdin=policy("uses-b", "B") + policy("uses-c", "C"))
    repository.networks("A", "New")
    done = logged_in("apply", "-f", repository.root, "--prune", "--yes")
    assert done.status == 2
    assert "prune of Network B (federation)" in done.err
    assert "prune of Network C (federation)" in done.err
    assert "in_use" in done.err
    assert not there(fsm, "New")


def test_an_emptied_repository_deletes_nothing_unless_told_how_many(
    logged_in: Hanse, repository: Repository, fsm: Place
) -> None:
    repository.networks(*"ABCDEFGHIJ")
    logged_in("apply", "-f", repository.root, "--prune")
    repository.write("federation/networks.yaml", "# nothing\n")
    done = logged_in("apply", "-f", repository.root, "--prune", "--yes")
    assert (done.status, "(no_documents)" in done.err) == (2, True)
    repository.networks("Other")
    done = logged_in("apply", "-f", repository.root, "--prune", "--yes")
    assert (done.status, "10 of the 10 objects" in done.err) == (2, True)
    assert "(prunes_too_much)" in done.err
    repository.networks(*"ABCDEF")
    for limit in ("3", "39%"):
        arguments = ("--prune", "--yes", "--prune-at-most", limit)
        assert logged_in("apply", "-f", repository.root, *arguments).status == 2
    assert there(fsm, "J")
    arguments = ("--prune", "--yes", "--prune-at-most", "40%")
    assert logged_in("apply", "-f", repository.root, *arguments).status == 0
    assert not there(fsm, "J")


def test_a_repository_that_cant_be_read_whole_prunes_nothing(
    logged_in: Hanse, repository: Repository, fsm: Place
) -> None:
    repository.networks(*"ABCDE")
    logged_in("apply", "-f", repository.root, "--prune")
    repository.networks(*"ABCD")
    repository.write("federation/half.yaml", "apiVersion: hanse/v1\nkind: Netw")
    done = logged_in("apply", "-f", repository.root, "--prune", "--yes")
    assert (done.status, "(invalid_documents)" in done.err) == (2, True)
    assert there(fsm, "E")


def test_two_repositories_at_one_server_keep_out_of_each_others_way(
    logged_in: Hanse, repository: Repository, tmp_path: Path, fsm: Place
) -> None:
    other = Repository(tmp_path / "other", "other")
    repository.networks("A", "B")
    other.networks("C", "D")
    logged_in("apply", "-f", repository.root, "--prune")
    logged_in("apply", "-f", other.root, "--prune")
    other.networks("C", "B")
    done = logged_in("apply", "-f", other.root, "--prune", "--yes")
    assert (done.status, "(owned_by_another)" in done.err) == (2, True)
    assert "Network B (federation) is two_repositories" in done.err
    assert there(fsm, "D")
    done = logged_in("apply", "-f", other.root, "--prune", "--yes", "--take-over")
    assert (done.status, done.out.splitlines()[0]) == (0, "network/B taken over")
    # Whoever it was taken from has it in its folder still, and is told.
    assert logged_in("apply", "-f", repository.root, "--prune").status == 2
    repository.networks("A")
    assert logged_in("apply", "-f", repository.root, "--prune").out == "1 unchanged\n"
    assert there(fsm, "B")


def test_a_manifest_can_be_renamed_and_an_object_given_up(
    logged_in: Hanse, repository: Repository, fsm: Place
) -> None:
    repository.networks("A", "B", "C", "D")
    logged_in("apply", "-f", repository.root, "--prune", "--manifest", "before")
    repository.write("hanse.yaml", "manifest: after\nformerly: [before]\n")
    repository.networks("A", "B", "C")
    done = logged_in("apply", "-f", repository.root, "--prune", "--keep", "network/D")
    assert done.status == 0
    assert done.out.splitlines()[-1] == "3 configured, 1 released"
    assert there(fsm, "D")
    assert logged_in("apply", "-f", repository.root, "--prune").out == "3 unchanged\n"
    repository.write("hanse.yaml", "manifest: after\nformely: [before]\n")
    assert logged_in("apply", "-f", repository.root, "--prune").status == 2
    (repository.root / "hanse.yaml").unlink()
    done = logged_in("apply", "-f", repository.root, "--prune")
    assert (done.status, "(no_manifest)" in done.err) == (2, True)


def test_drift_tells_what_differs_and_who_did_it(
    logged_in: Hanse, repository: Repository, fsm: Place, tmp_path: Path
) -> None:
    repository.networks("A", "B", "C", "D", "E")
    logged_in("apply", "-f", repository.root, "--prune")
    change(fsm, "A", {"subnets": ["10.66.0.0/24"]})
    logged_in("delete", "network", "B")
    repository.networks("A", "B", "C", "D", "New")
    text = (repository.root / "federation/networks.yaml").read_text()
    repository.write(
        "federation/networks.yaml", text.replace("name: C}", "name: C, labels: {a: b}}")
    )
    logged_in("apply", "-f", "-", stdin=network("D"))

    summary = tmp_path / "drift.md"
    done = logged_in("drift", "-f", repository.root, "-o", "json", "--markdown", summary)
    assert done.status == 1
    found = {each["name"]: each for each in json.loads(done.out)["drift"]}
    assert {name: each["drift"] for name, each in found.items()} == {
        "A": "changed",
        "B": "deleted",
        "C": "not_applied",
        "D": "unowned",
        "E": "extra",
        "New": "missing",
    }
    assert found["A"]["by"] == found["B"]["by"] == "user:admin"
    assert found["A"]["at"]
    assert "10.66.0.0/24" in found["A"]["fields"][0]
    assert "| <code>network/A</code> | <code>changed on the server</code> |" in summary.read_text()
    table = logged_in("drift", "-f", repository.root)
    assert table.status == 1
    assert "changed on the server" in table.out

    assert logged_in("apply", "-f", repository.root, "--prune", "--yes").status == 0
    assert logged_in("drift", "-f", repository.root).status == 0


def test_diff_shows_what_prune_would_delete(
    logged_in: Hanse, repository: Repository, tmp_path: Path
) -> None:
    repository.networks("A", "B", "C", "D")
    logged_in("apply", "-f", repository.root, "--prune")
    repository.networks("A", "B", "C", "E")
    assert "-  name: D" not in logged_in("diff", "-f", repository.root).out
    summary = tmp_path / "diff.md"
    done = logged_in("diff", "-f", repository.root, "--prune", "--markdown", summary)
    assert done.status == 1
    assert "--- live/networks/D" in done.out
    assert "+++ /dev/null" in done.out
    assert "| <code>Network</code> | 1 | 0 | 1 | 3 |" in summary.read_text()


@pytest.mark.parametrize(
    ("folder", "context", "whose"),
    [
        pytest.param("sites/sfo", "fsm", "site sfo", id="a site's folder to the FSM"),
        pytest.param("sites/sfo/a.yaml", "fsm", "site sfo", id="a site's file to the FSM"),
        pytest.param("sites/fra", "sfo", "site fra", id="a site's folder to another site"),
        pytest.param("federation", "sfo", "the FSM", id="the FSM's folder to a site"),
    ],
)
def test_a_folder_for_another_server_is_refused(
    logged_in: Hanse, repository: Repository, folder: str, context: str, whose: str
) -> None:
    for each in ("federation", "sites/sfo", "sites/fra"):
        repository.write(f"{each}/a.yaml", network("A", "10.0.0.0/24"))
    path = repository.root / folder
    done = logged_in("apply", "-f", path, "-c", context)
    assert done.status == 2
    assert f"{path} is for {whose}" in done.err
    assert "(wrong_server)" in done.err
    assert logged_in("apply", "-f", path, "-c", context, "--prune").status == 2


def test_a_part_of_a_repository_prunes_nothing(
    logged_in: Hanse, repository: Repository, fsm: Place
) -> None:
    repository.write("federation/a/a.yaml", network("A"))
    repository.write("federation/b/b.yaml", network("B"))
    repository.write("tests/README.md", "")
    assert logged_in("apply", "-f", repository.root / "federation", "--prune").status == 0
    arguments = ("--prune", "--yes", "--prune-at-most", "100%")
    done = logged_in("apply", "-f", repository.root / "federation/a", *arguments)
    assert (done.status, "(no_repository)" in done.err) == (2, True)
    assert there(fsm, "B")


async def _compare_then_send(root: Path, between: Callable[[Client], Awaitable[object]]) -> None:
    async with session("fsm") as opened:
        plan = await compare(opened, [str(root)], Owning(None))
        await between(opened.client)
        how = WriteArguments(dry_run=False, force=False, reason=None, form=Output.TABLE)
        await send(opened, plan, list(in_transactions(plan, in_parts=False)), how)


@pytest.mark.parametrize(
    "between",
    [
        pytest.param(
            lambda client: client.patch("Network", "A", {"spec": {"vlan": 7}}), id="changed"
        ),
        pytest.param(lambda client: client.delete("Network", "A"), id="deleted"),
        pytest.param(
            lambda client: client.patch("Network", "Gone", {"spec": {"vlan": 7}}),
            id="what is pruned was changed",
        ),
    ],
)
def test_what_somebody_changes_meanwhile_stops_all_of_it(
    logged_in: Hanse,
    repository: Repository,
    fsm: Place,
    between: Callable[[Client], Awaitable[object]],
) -> None:
    repository.networks("A", "B", "Gone")
    logged_in("apply", "-f", repository.root, "--prune")
    repository.write("federation/networks.yaml", network("A", "10.1.0.0/24") + network("New"))
    with pytest.raises(RevisionConflict) as refused:
        asyncio.run(_compare_then_send(repository.root, between))
    assert "run this again" in " ".join(refused.value.__notes__)
    assert not there(fsm, "New")
    assert there(fsm, "B")


def test_what_is_too_large_for_one_transaction_goes_in_parts_only_if_told(
    logged_in: Hanse, repository: Repository, monkeypatch: pytest.MonkeyPatch, fsm: Place
) -> None:
    monkeypatch.setattr(writing, "MOST_OPERATIONS", 2)
    repository.write("federation/a.yaml", policy("p", "A") + "".join(map(network, "ABC")))
    done = logged_in("apply", "-f", repository.root, "--prune")
    assert (done.status, "(too_large)" in done.err) == (2, True)
    assert not there(fsm, "A")
    # In the folder's order the policy would name what isn't there yet.
    done = logged_in("apply", "-f", repository.root, "--prune", "--in-parts", "-o", "json")
    assert done.status == 0, done.err
    assert json.loads(done.out)["transactions"] == 2
    assert there(fsm, "C")


def test_a_sites_own_folder_is_pruned_at_the_site_and_nothing_that_it_inherits(
    logged_in: Hanse, repository: Repository, fsm: Place, site: Place
) -> None:
    repository.networks("Inherited", "Other")
    repository.write("sites/sfo/a.yaml", network("Mine", "10.77.0.0/24") + network("Old"))
    assert logged_in("apply", "-f", repository.root, "--prune").status == 0
    asyncio.run(arrived(site, "Inherited"))
    assert logged_in("apply", "-f", repository.root, "--prune", "-c", "sfo").status == 0
    repository.write("sites/sfo/a.yaml", network("Mine", "10.77.0.0/24"))
    done = logged_in("apply", "-f", repository.root, "--prune", "--yes", "-c", "sfo")
    assert (done.status, done.out) == (0, "network/Old pruned\n1 unchanged, 1 pruned\n")
    assert there(site, "Inherited", scope="federation", identity=SITE)
    assert logged_in("drift", "-f", repository.root, "-c", "sfo").status == 0
    assert logged_in("delete", "network", "Mine", "-c", "sfo").status == 0


async def arrived(site: Place, name: str) -> None:
    """Wait until a site has taken a Network over."""
    async with site.client(identity=SITE) as client:
        await client.login("admin", PASSWORD)
        watched = client.watch(["Network"], after=1)
        async with aclosing(watched):
            async for commit in watched:
                if any(each.object.name == name for each in commit):
                    return
