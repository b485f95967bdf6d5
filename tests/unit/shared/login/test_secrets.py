"""What is kept of a secret, and what isn't."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from shared.access.permissions import Permission
from shared.auth.identity import Caller, CallerKind, Grant
from shared.errors import Invalid, NotFound
from shared.ids import Key
from shared.login.secrets import MOST, SPACE, Secrets, password_hash, record_name
from shared.metrics.names import Metrics
from shared.model.documents import parse_value
from shared.objects.admission import AdmissionChain
from shared.objects.call import Call
from shared.objects.service import Applied, Objects, Options, Write
from shared.objects.trail import Trail
from shared.store.contract import Store
from shared.store.sql import open_store
from tests.fakes.clock import VirtualClock
from tests.fakes.secrets import secrets_of

EVERYTHING = Grant("admin", frozenset(Permission))
ADMIN = Caller(CallerKind.PERSON, "user:admin", "admin", grants=(EVERYTHING,))
RADIUS = Key("Credential", "common", "federation", "radius")
TEXT = "a text that must be nowhere"


class World:
    """An FSM's objects over a real store in a folder."""

    def __init__(self, store: Store, folder: Path, clock: VirtualClock) -> None:
        self.store, self.folder, self.clock = store, folder, clock
        self.secrets = secrets_of(clock)
        self.objects = Objects(
            store=store,
            home="fsm",
            admission=AdmissionChain(),
            trail=Trail(store=store, clock=clock),
            clock=clock,
            metrics=Metrics(),
            secrets=self.secrets,
        )

    async def put(self, *specs: Any, name: str = "radius", **options: Any) -> Applied:
        writes = []
        for number, spec in enumerate(specs):
            own = name if len(specs) == 1 else f"{name}-{number}"
            envelope, faults = parse_value(
                {
                    "apiVersion": "hanse/v1",
                    "kind": "Credential",
                    "metadata": {"name": own, "labels": options.pop("labels", {})},
                    "spec": spec,
                }
            )
            assert envelope is not None, faults
            writes.append(Write(envelope.key("federation"), envelope))
        call = Call(ADMIN, options.pop("request", "r"), repeatable="repeat" in options)
        options.pop("repeat", None)
        return await self.objects.apply(call, writes, Options(**options))

    async def open(self, key: Key = RADIUS, *, secrets: Secrets | None = None) -> str:
        async with self.store.snapshot() as snapshot:
            return await (secrets or self.secrets).open(snapshot, key)

    def files(self) -> dict[str, bytes]:
        return {each.name: each.read_bytes() for each in self.folder.rglob("*") if each.is_file()}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    clock = VirtualClock()
    store = await open_store(f"sqlite:///{tmp_path}/store.db", clock=clock, create=True)
    yield World(store, tmp_path, clock)
    await store.close()


async def test_no_file_of_the_store_holds_the_text_of_a_secret(world: World) -> None:
    for secret in (f"{TEXT} 1", f"{TEXT} 2", f"{TEXT} 2"):
        await world.put({"secret": secret}, repeat=True)
    assert await world.open() == f"{TEXT} 2"

    files = world.files()
    assert {"store.db", "store.db-wal"} <= files.keys()
    for name, content in files.items():
        assert TEXT.encode() not in content, name


async def test_the_same_secret_is_no_change_and_another_is_one(world: World) -> None:
    first = await world.put({"secret": TEXT})
    world.clock.advance(60)
    again = await world.put({"secret": TEXT})
    other = await world.put({"secret": TEXT + "!"})
    assert [each.written[0].changed for each in (first, again, other)] == [True, False, True]
    assert other.revision > again.revision == first.revision


async def test_a_secret_that_is_left_out_stays(world: World) -> None:
    await world.put({"secret": TEXT})
    await world.put({}, labels={"a": "b"})
    assert await world.open() == TEXT
    found = await world.objects.find(RADIUS)
    assert found is not None
    assert found.labels == {"a": "b"}


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        pytest.param({}, "missing_field", id="none that could stay"),
        pytest.param({"secret": "short", "use": "password"}, "weak_password", id="a weak password"),
    ],
)
async def test_what_can_be_no_secret_is_refused_by_its_field(
    world: World, spec: Any, code: str
) -> None:
    with pytest.raises(Invalid) as caught:
        await world.put(spec)
    (field,) = caught.value.fields
    assert (field.path, field.code) == ("spec.secret", code)


async def test_a_transaction_names_the_operation_whose_secret_is_wrong(world: World) -> None:
    with pytest.raises(Invalid) as caught:
        await world.put({"secret": TEXT}, {})
    assert [each.path for each in caught.value.fields] == ["operations[1].object.spec.secret"]
    with pytest.raises(NotFound):
        await world.open(RADIUS._replace(name="radius-0"))


async def test_a_dry_run_keeps_no_secret(world: World) -> None:
    await world.put({"secret": TEXT}, dry_run=True)
    with pytest.raises(NotFound):
        await world.open()


async def test_a_secret_goes_with_its_object(world: World) -> None:
    await world.put({"secret": TEXT})
    await world.objects.apply(Call(ADMIN, "d"), [Write(RADIUS, None)])
    async with world.store.snapshot() as snapshot:
        assert await snapshot.records(SPACE) == {}


async def test_of_a_password_nothing_is_kept_that_could_be_read(world: World) -> None:
    await world.put({"secret": TEXT, "use": "password"})
    with pytest.raises(Invalid) as caught:
        await world.open()
    assert caught.value.code == "password_only"
    async with world.store.snapshot() as snapshot:
        hashed = await password_hash(snapshot, RADIUS)
    assert hashed is not None
    assert hashed.startswith("$argon2id$")
    assert not (await world.put({"secret": TEXT, "use": "password"})).written[0].changed
    assert (await world.put({"secret": TEXT})).written[0].changed
    assert await world.open() == TEXT


async def test_another_servers_key_opens_nothing(world: World) -> None:
    await world.put({"secret": TEXT})
    with pytest.raises(Invalid) as caught:
        await world.open(secrets=secrets_of(world.clock, b"o" * 32))
    assert caught.value.code == "other_key"
    assert TEXT not in str(caught.value)


async def test_a_sealed_secret_means_nothing_in_anothers_place(world: World) -> None:
    await world.put({"secret": TEXT})
    other = RADIUS._replace(name="other")

    async def move(transaction: Any) -> None:
        record = await transaction.record(SPACE, record_name(RADIUS))
        await transaction.put_record(SPACE, record_name(other), record)

    await world.store.transact(move)
    with pytest.raises(Invalid) as caught:
        await world.open(other)
    assert caught.value.code == "damaged_secret"


async def test_what_is_remembered_of_a_request_says_nothing_of_its_secret(world: World) -> None:
    one, other = (
        world.objects._identifier(
            Call(ADMIN, "same"), [Write(RADIUS, parse_value(_document(text))[0])]
        )
        for text in (TEXT, TEXT + "!")
    )
    assert one != other
    elsewhere = secrets_of(world.clock, b"o" * 32)
    world.objects._secrets = elsewhere
    assert one != world.objects._identifier(
        Call(ADMIN, "same"), [Write(RADIUS, parse_value(_document(TEXT))[0])]
    )


async def test_more_secrets_than_can_be_hashed_are_refused(world: World) -> None:
    with pytest.raises(Invalid) as caught:
        await world.put(*[{"secret": TEXT}] * (MOST + 1))
    assert caught.value.code == "too_many_secrets"


async def test_a_secret_that_was_to_stay_and_was_set_meanwhile_is_judged_again(
    world: World,
) -> None:
    await world.put({"secret": TEXT})
    judged = world.secrets.seal
    told: list[str] = []

    async def overtaken(*arguments: Any, **named: Any) -> Any:
        sealed = await judged(*arguments, **named)
        if not told:
            told.append("set anew")
            await world.put({"secret": TEXT + " new"})
        return sealed

    world.secrets.seal = overtaken  # type: ignore[method-assign]
    await world.put({"secret": TEXT})
    assert await world.open() == TEXT


def _document(secret: str) -> dict[str, Any]:
    return {
        "apiVersion": "hanse/v1",
        "kind": "Credential",
        "metadata": {"name": "radius"},
        "spec": {"secret": secret},
    }
