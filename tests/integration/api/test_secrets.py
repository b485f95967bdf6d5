"""A Credential by the API: what is shown of it, what may be written back, and what a backup is worth."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shared.auth.passwords import Passwords
from shared.backup.contents import Home
from shared.backup.create import BackupMaker, Wish
from shared.backup.restore import Order, Restorer
from shared.clock import SystemClock
from shared.errors import Invalid
from shared.ids import Key
from shared.login.secrets import Secrets, password_hash
from shared.model.access import Credential
from shared.pki.sealing import load_sealing_key
from shared.store.contract import Draft, Transaction
from shared.store.sql import open_store
from tests.integration.api.harness import Api

PATH = "/api/v1/credentials/ldap"
KEY = Key("Credential", "common", "federation", "ldap")


async def test_what_is_shown_may_be_written_back(api: Api) -> None:
    client = api.client("admin")
    document = {
        "apiVersion": "hanse/v1",
        "kind": "Credential",
        "metadata": {"name": "ldap"},
        "spec": {"secret": "the secret text"},
    }
    await client.put(PATH, document)
    shown = (await client.get(PATH)).json()
    assert shown["spec"] == {}
    assert shown["status"].keys() == {"isSet", "setAt", "use"}
    back = {key: value for key, value in shown.items() if key != "status"}
    back["metadata"] = {"name": "ldap", "labels": {"a": "b"}}
    await client.put(PATH, back)
    for patch in ({"metadata": {"labels": {"c": "d"}}}, {"spec": {}}):
        await client.request("PATCH", PATH, body=patch)
    async with api.store.snapshot() as snapshot:
        assert await api.services.secrets.open(snapshot, KEY) == "the secret text"
    for patch in ({"spec": {"secret": None}}, {"spec": None}):
        with pytest.raises(Invalid):
            await client.request("PATCH", PATH, body=patch)
    await client.request("PATCH", PATH, body={"spec": {"secret": "another text"}})
    async with api.store.snapshot() as snapshot:
        assert await api.services.secrets.open(snapshot, KEY) == "another text"


@pytest.mark.parametrize("keys", [True, False])
async def test_a_backup_brings_secrets_back_if_it_holds_the_key(tmp_path: Path, keys: bool) -> None:
    clock, passwords = SystemClock(), Passwords()

    def secrets_in(data: Path) -> Secrets:
        key = load_sealing_key(data / "credential-key")
        return Secrets(key=key, passwords=passwords, clock=clock)

    def home(data: Path) -> Home:
        url = f"sqlite:///{data / 'fsm.sqlite'}"
        return Home(server="fsm", name="hanse.example", data=data, url=url, authorities={})

    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    secrets = secrets_in(before)
    store = await open_store(home(before).url, clock=clock, create=True)
    async with store.snapshot() as snapshot:
        spec = Credential(secret="the secret of a directory")
        sealed = await secrets.seal(Draft(KEY, {}), spec, before=None, snapshot=snapshot)

    async def write(transaction: Transaction) -> None:
        await secrets.keep(transaction, sealed, None)
        await transaction.put(sealed.draft)

    await store.transact(write)
    with ThreadPoolExecutor(1) as pool:
        path = tmp_path / "backup.tar"
        maker = BackupMaker(home(before), clock=clock, executor=pool)
        await maker.make(Wish(path=path, keys=keys))
        await Restorer(home(after), clock=clock, executor=pool).restore(Order(archive=path))
    await store.close()
    assert b"the secret of a directory" not in path.read_bytes()

    store = await open_store(home(after).url, clock=clock)
    async with store.snapshot() as snapshot:
        if keys:
            assert await secrets_in(after).open(snapshot, KEY) == "the secret of a directory"
        else:
            with pytest.raises(Invalid) as caught:
                await secrets_in(after).open(snapshot, KEY)
            assert caught.value.code == "other_key"
        # A password needs no key.
        hashed = await password_hash(snapshot, KEY)
        assert await passwords.verify("the secret of a directory", hashed)
    await store.close()
    passwords.close()
