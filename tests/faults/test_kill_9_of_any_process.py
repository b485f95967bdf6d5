"""kill -9 of any process at any failpoint, and at random.

Acknowledged writes are there; the revision never falls; nodes' rules stay in the kernel; ready
again within 10 s.  Here: what is written to disk beside the store, the store's own places, and
setting up and joining, each killed at every place in a process of its own; and a short run of
`make chaos`, which does the rest (tests/chaos/run.py says what it holds).  Also:
tests/e2e/test_killed.py, tests/contract/test_store_processes.py (SQLite and PostgreSQL),
tests/integration/dsn/test_agent_in_kernel.py, tests/unit/shared/pki/test_credentials.py,
tests/integration/road/test_asked_killed.py.
"""

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from dsn.enforce.last_good import LastGood
from dsn.settings import Identity, load_identity, save_identity
from dsn.upstream.joining import join_site as join_node
from dsn.upstream.trust import KnownRevocations
from fsm.settings import FILE, Listen
from fsm.setup import initialise
from fsm.trust import (
    FSMCredentials,
    announce_root,
    create_trust,
    drop_old_root,
    take_root_into_use,
)
from sdsp.upstream.enroll import SiteCredentials, join_federation
from shared.auth.passwords import Passwords
from shared.auth.tokenkeys import KeyFolder
from shared.cli.client import Client
from shared.cli.setup import store_settings
from shared.clock import SystemClock
from shared.errors import Conflict, Unauthenticated, Unreachable
from shared.failpoints import EXIT_STATUS, FAILPOINTS, armed
from shared.ids import Key, Revision
from shared.login.breakglass import FILE as BREAK_GLASS_FILE
from shared.login.breakglass import BreakGlass, open_by_hand
from shared.login.glass import ACCOUNTS
from shared.metrics.names import Metrics
from shared.model.settings_policies import AuthenticationPolicy
from shared.pki.credentials import CredentialsDirectory
from shared.pki.identity import parse_trust_domain
from shared.pki.sealing import load_sealing_key
from shared.store.contract import Draft, Store, Transaction
from shared.store.sql import open_store
from tests.chaos.run import ELSEWHERE
from tests.e2e.hosts import Host
from tests.fakes.federation import Federation
from tests.fakes.processes import forked
from tests.integration.fsm.harness import FSM, PASSWORD, ShiftedClock
from tests.integration.fsm.test_rollouts_killed import PLACES as ROLLOUT_PLACES
from tests.integration.road.test_asked_killed import FSM_PLACES, SITE_PLACES
from tests.integration.road.world import joined
from tests.servers import free_port, require
from tests.unit.dsn.configurations import make_assignment

ROOT = Path(__file__).parents[2]

FILES = {
    "pki": ("pki.key.created", "pki.files.synced", "pki.link.created", "pki.link.replaced"),
    "settings": ("settings.created", "settings.synced", "settings.replaced"),
    "identity": ("dsn.identity.synced", "dsn.identity.replaced"),
    "last_good": ("dsn.last_good.created", "dsn.last_good.synced", "dsn.last_good.replaced"),
    "token_key": ("token_key.synced", "token_key.replaced"),
}
SET_UP = ("fsm.root.written", "store.migrate.before", "store.migrate.after", "settings.synced")
COMPACTION = ("store.compact.before", "store.compact.after")
SEALING_KEY = ("sealing_key.synced", "sealing_key.placed")
REVOCATIONS = ("dsn.revocations.synced",)
EXCHANGE = {
    "announce": ("fsm.exchange.made", "fsm.exchange.linked"),
    "drop": ("fsm.exchange.dropped", "fsm.exchange.deleted"),
}
BREAK_GLASS = ("break_glass.secret.written", "break_glass.sealed")
JOINS = ("fsm.join.before_answer", "sdsp.join.before_answer")


def test_each_failpoint_is_reached_here_or_under_load() -> None:
    here = {*SET_UP, *COMPACTION, *JOINS, *(name for each in FILES.values() for name in each)}
    # test_backup_cut_in_half_restore.py takes all of these from the registry.
    backups = {name for name in FAILPOINTS if name.startswith(("backup.", "restore."))}
    here |= {*SEALING_KEY, *REVOCATIONS, *(name for each in EXCHANGE.values() for name in each)}
    here |= {*BREAK_GLASS, *SITE_PLACES, *FSM_PLACES, *ROLLOUT_PLACES}
    assert here | backups >= ELSEWHERE
    assert here <= FAILPOINTS.keys()


class Kept:
    """A file of one kind: written twice, of which the second time may be cut short."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.federation = Federation()
        self.saved: list[Any] = []

    def pki(self) -> tuple[Callable[[int], None], Callable[[], Any]]:
        directory = CredentialsDirectory(self.folder / "pki")
        both = [self.federation.issuing, self.federation.site("sfo").credentials]

        def read() -> int:
            found = directory.load()
            return [each.certificate for each in both].index(found.certificate)

        return lambda number: directory.write(both[number]), read

    def settings(self) -> tuple[Callable[[int], None], Callable[[], Any]]:
        path = self.folder / "settings.yaml"
        return (
            lambda number: store_settings(path, {"number": number}),
            lambda: int(path.read_text().removeprefix("number: ")),
        )

    def identity(self) -> tuple[Callable[[int], None], Callable[[], Any]]:
        def write(number: int) -> None:
            known = Identity(("https://localhost:8444",), "hanse.example", "sfo", f"n{number}")
            save_identity(self.folder, known)

        return write, lambda: int(load_identity(self.folder).node.removeprefix("n"))

    def last_good(self) -> tuple[Callable[[int], None], Callable[[], Any]]:
        file = LastGood(self.folder / "last-good.json")

        def write(number: int) -> None:
            file.save(make_assignment(number))

        def read() -> int:
            found = file.load()
            assert found is not None
            return found.version.generation

        return write, read


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind in ("pki", "settings", "identity", "last_good") for name in FILES[kind]],
)
def test_a_file_holds_the_old_or_the_new_wherever_its_writer_was_killed(
    tmp_path: Path, kind: str, name: str
) -> None:
    write, read = getattr(Kept(tmp_path), kind)()
    write(0)

    def killed() -> None:
        with armed(f"{name}=exit"):
            write(1)

    assert forked(killed) == EXIT_STATUS
    assert read() == (1 if name.endswith("replaced") else 0)
    write(1)
    assert read() == 1, "what was left behind is in nobody's way"


@pytest.mark.parametrize("name", FILES["token_key"])
def test_a_signing_key_is_whole_or_not_there(tmp_path: Path, name: str) -> None:
    folder = KeyFolder(tmp_path / "keys")

    def killed() -> None:
        with armed(f"{name}=exit"):
            folder.create()

    assert forked(killed) == EXIT_STATUS
    assert len(folder.keys()) == (1 if name.endswith("replaced") else 0)
    made = folder.create()
    assert folder.keys()[made.id] == made


@pytest.mark.parametrize("name", SEALING_KEY)
def test_a_sealing_key_is_whole_or_not_there(tmp_path: Path, name: str) -> None:
    path = tmp_path / "credential-key"

    def killed() -> None:
        with armed(f"{name}=exit"):
            load_sealing_key(path)

    assert forked(killed) == EXIT_STATUS
    assert path.exists() == name.endswith("placed")
    sealed = load_sealing_key(path).seal("a secret", context="here")
    assert load_sealing_key(path).open(sealed, context="here") == "a secret"


@pytest.mark.parametrize("name", REVOCATIONS)
def test_a_node_killed_while_it_writes_revocations_knows_those_of_before(
    tmp_path: Path, name: str
) -> None:
    path, now = tmp_path / "revocations.json", SystemClock().now()
    until = now + timedelta(days=1)
    KnownRevocations(path).become({"aa": until}, now=now)

    def killed() -> None:
        with armed(f"{name}=exit"):
            KnownRevocations(path).become({"bb": until}, now=now)

    assert forked(killed) == EXIT_STATUS
    found = KnownRevocations(path)
    assert (found("aa"), found("bb")) == (True, False)
    found.become({"bb": until}, now=now)
    again = KnownRevocations(path)
    assert (again("aa"), again("bb")) == (True, True)


@pytest.mark.parametrize("name", [*EXCHANGE["announce"], *EXCHANGE["drop"]])
def test_an_exchange_of_the_root_goes_on_wherever_it_was_killed(tmp_path: Path, name: str) -> None:
    clock = SystemClock()
    credentials = FSMCredentials.beneath(tmp_path)
    old = create_trust(credentials, parse_trust_domain("hanse.example"), ["localhost"], clock=clock)

    def exchange() -> None:
        if old in credentials.issuing.load().roots:
            announce_root(credentials, clock=clock)
            take_root_into_use(credentials, clock=clock)
        drop_old_root(credentials)

    def killed() -> None:
        with armed(f"{name}=exit"):
            exchange()

    assert forked(killed) == EXIT_STATUS
    exchange()
    (root,) = credentials.issuing.load().roots
    assert root != old
    assert credentials.root.load().certificate == root


@pytest.mark.parametrize("name", SET_UP)
def test_setting_up_can_be_done_again_wherever_it_was_killed(tmp_path: Path, name: str) -> None:
    data, password = tmp_path / "fsm", tmp_path / "password"
    password.write_text("correct horse battery")

    def set_up() -> None:
        initialise(
            data,
            trust_domain="hanse.example",
            listen="127.0.0.1:8443",
            names=[],
            admin="admin",
            password_file=password,
            url=None,
        )

    def killed() -> None:
        with armed(f"{name}=exit"):
            set_up()

    assert forked(killed) == EXIT_STATUS
    assert not (data / "settings.yaml").exists(), "settings come last: it isn't prepared yet"
    made = FSMCredentials.beneath(data).root.load().certificate
    set_up()
    assert FSMCredentials.beneath(data).root.load().certificate == made


@pytest.mark.parametrize("name", BREAK_GLASS)
def test_an_emergency_account_has_one_secret_wherever_its_sealing_was_killed(
    stopped: FSM, name: str
) -> None:
    clock = ShiftedClock()

    async def with_glass(work: Callable[[Store, BreakGlass], Awaitable[None]]) -> None:
        store = await open_store(f"sqlite:///{stopped.data / 'fsm.sqlite'}", clock=clock)
        passwords = Passwords()
        try:
            metrics = Metrics()
            glass = BreakGlass(
                store, data=stopped.data, passwords=passwords, metrics=metrics, clock=clock
            )
            await work(store, glass)
        finally:
            passwords.close()
            await store.close()

    async def opened(store: Store, _: BreakGlass) -> None:
        await open_by_hand(
            store,
            policy=AuthenticationPolicy(),
            passwords=(passwords := Passwords()),
            metrics=Metrics(),
            clock=clock,
            reason="a test",
        )
        passwords.close()

    async def sealed(_: Store, glass: BreakGlass) -> None:
        await glass.reconcile()

    def killed() -> None:
        with armed(f"{name}=exit"):
            asyncio.run(with_glass(sealed))

    asyncio.run(with_glass(opened))
    clock.ahead += timedelta(hours=2)
    assert forked(killed) == EXIT_STATUS

    async def judged(store: Store, glass: BreakGlass) -> None:
        await glass.reconcile()
        found = await glass.glass()
        assert found is not None
        assert found.state(clock.now()) == "sealed"
        async with store.snapshot() as snapshot:
            account = await snapshot.record(ACCOUNTS, found.account)
        assert account is not None
        assert not [*stopped.data.glob(f".{BREAK_GLASS_FILE}.*")]
        written = yaml.safe_load((stopped.data / BREAK_GLASS_FILE).read_text())
        passwords = Passwords()
        assert await passwords.verify(str(written["secret"]), str(account["passwordHash"]))
        passwords.close()

    asyncio.run(with_glass(judged))


STORE = (
    "store.flush.before",
    "store.flush.disk",
    "store.disk.written",
    "store.flush.after",
    "store.commit.before",
    "store.commit.after",
)


def key_of(number: int) -> Key:
    return Key("Network", "common", "federation", f"n{number}")


async def write(store: Store, number: int, *, vlan: int = 1) -> None:
    async def work(transaction: Transaction) -> None:
        await transaction.put(Draft(key_of(number), {"vlan": vlan}))

    await store.transact(work, request_id=f"request {number} {vlan}")


@pytest.mark.parametrize("name", STORE)
def test_a_write_counts_from_its_commit_on_and_never_twice(tmp_path: Path, name: str) -> None:
    url = f"sqlite:///{tmp_path / 'store.sqlite'}"
    # Who alone writes what he knows does so in one hop to SQLite's thread; that begins with the
    # third write.
    number, before = (1, 4) if name == "store.disk.written" else (2, 1)

    async def change(store: Store) -> None:
        async def work(transaction: Transaction) -> None:
            await transaction.put(Draft(key_of(number), {"vlan": 99}))

        await store.transact(work, request_id="change")

    async def begin() -> None:
        store = await open_store(url, clock=SystemClock(), create=True)
        for vlan in range(before):
            async with store.recent() as snapshot:
                await snapshot.get(key_of(1))
            await write(store, 1, vlan=vlan + 1)
        with armed(f"{name}=exit"):
            await change(store)

    assert forked(lambda: asyncio.run(begin())) == EXIT_STATUS

    async def go_on() -> tuple[int, int, int]:
        store = await open_store(url, clock=SystemClock())
        after = (await store.position()).revision
        # Whoever was not answered asks again under the same id.
        await change(store)
        end = (await store.position()).revision
        said = [each.after.spec for each in await store.history(key_of(number)) if each.after]
        assert (await store.history(key_of(1)))[-1].revision == 1
        await store.close()
        return after, end, said.count({"vlan": 99})

    committed = before + 1 if name.endswith("commit.after") else before
    assert asyncio.run(go_on()) == (committed, before + 1, 1)


@pytest.mark.parametrize("name", COMPACTION)
def test_a_log_is_shortened_whole_or_not_at_all(tmp_path: Path, name: str) -> None:
    url = f"sqlite:///{tmp_path / 'store.sqlite'}"

    async def begin() -> None:
        store = await open_store(url, clock=SystemClock(), create=True)
        for number in range(5):
            await write(store, number)
        with armed(f"{name}=exit"):
            await store.compact(Revision(3))

    assert forked(lambda: asyncio.run(begin())) == EXIT_STATUS

    async def oldest() -> int:
        store = await open_store(url, clock=SystemClock())
        found = [len(await store.history(key_of(number))) for number in range(5)]
        assert found == [1] * 5, "history stays"
        position = await store.position()
        assert position.revision == 5
        await store.compact(Revision(3))
        await store.close()
        return position.revision

    assert asyncio.run(oldest()) == 5


async def test_a_site_whose_join_was_never_answered_joins_with_another_token(
    stopped: FSM, tmp_path: Path
) -> None:
    port = free_port()
    store_settings(stopped.data / FILE, {"listen": {"host": "127.0.0.1", "port": port}})
    stopped.settings = stopped.settings.model_copy(update={"listen": Listen(port=port)})
    dying, living = (Host(tmp_path / name) for name in ("dying", "living"))
    dying.environ = {"HANSE_FAILPOINTS": "fsm.join.before_answer=exit"}
    for host in (dying, living):
        host.home.mkdir()
    credentials = SiteCredentials.beneath(tmp_path / "sfo")
    try:
        running = dying.start("fsm", "serve", "--data", str(stopped.data))
        await asyncio.to_thread(running.until, "serving at")
        await stopped.admin().put("sites", "sfo", {"serverNames": ["localhost"]})
        token = await stopped.admin().token("sfo")
        with pytest.raises(Unreachable):
            await join_federation(credentials, stopped.url, token, clock=SystemClock())
        assert await asyncio.to_thread(running.process.wait) == EXIT_STATUS
        assert not credentials.authority.exists()

        running = living.start("fsm", "serve", "--data", str(stopped.data))
        await asyncio.to_thread(running.until, "serving at")
        with pytest.raises(Unauthenticated, match="not valid here"):
            await join_federation(credentials, stopped.url, token, clock=SystemClock())
        with pytest.raises(Conflict, match="--replace"):
            await stopped.admin().token("sfo")
        token = await stopped.admin().token("sfo", replace=True)
        assert await join_federation(credentials, stopped.url, token, clock=SystemClock()) == "sfo"
    finally:
        for client in stopped.clients:
            await client.close()
        dying.end()
        living.end()


async def test_a_node_whose_join_was_never_answered_joins_with_another_token(
    fsm: FSM, tmp_path: Path
) -> None:
    async with joined(tmp_path, fsm) as site:
        values = site.settings.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        store_settings(site.data / FILE, values)
        (home := tmp_path / "home").mkdir()
        host = Host(home, environ={"HANSE_FAILPOINTS": "sdsp.join.before_answer=exit"})
        data = tmp_path / "n1"
        try:
            running = host.start("sdsp", "serve", "--data", str(site.data))
            await asyncio.to_thread(running.until, "serving at")
            async with Client(site.url, ca=site.ca) as client:
                await client.login("admin", PASSWORD)
                token = (await client.join_token("Node", "node-1")).text
            with pytest.raises(Unreachable):
                await join_node([site.url], token, data, overwrite=False)
            assert await asyncio.to_thread(running.process.wait) == EXIT_STATUS
            assert not (data / "identity.json").exists()
        finally:
            host.end()
        async with site.serving():
            with pytest.raises(Unauthenticated, match="not valid here"):
                await join_node([site.url], token, data, overwrite=False)
            await site.join_node("node-1", data, replace=True)
        assert load_identity(data).node == "node-1"


@pytest.mark.kernel
def test_a_federation_under_load_loses_nothing_when_it_is_killed_cut_and_stalled() -> None:
    require("ip", "nft", "sysctl", root=True)
    words = "--seed 1 --kills 4 --failpoints 2 --cuts 1 --stalls 1 --silences 0 --sites 1"
    words += " --writers 1 --pause 0.2"
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos", *words.split()],
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
