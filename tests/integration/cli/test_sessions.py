"""Logins of the command line: renewed silently, ended on request, and tokens for programs."""

import asyncio
import json
from pathlib import Path

import pytest

from shared.cli.client import Client
from shared.cli.contexts import Context, ContextsFile
from shared.errors import Unauthenticated
from tests.integration.cli.background import PASSWORD, Place
from tests.integration.cli.conftest import Hanse


@pytest.fixture
def file(hanse: Hanse, fsm: Place, tmp_path: Path) -> ContextsFile:
    """The contexts file of somebody who has just logged in to the FSM."""
    (tmp_path / "password").write_text(PASSWORD)
    arguments = ("--user", "admin", "--ca", fsm.ca, "--password-file", tmp_path / "password")
    assert hanse("login", fsm.url, *arguments).status == 0
    return ContextsFile(tmp_path / "contexts.yaml")


def spoil(file: ContextsFile) -> Context:
    """Put an access token there that counts no longer, as after a quarter of an hour."""
    context = file.load().find(None)
    assert context.token
    assert context.refresh_token
    head, said, signature = context.token.split(".")
    file.renew(
        context.name,
        f"{head}.{said}.{'A' * len(signature)}",
        context.refresh_token,
        context.expires_at,
    )
    return context


def test_a_command_renews_the_login_and_keeps_what_it_got(hanse: Hanse, file: ContextsFile) -> None:
    before = spoil(file)
    assert hanse("auth", "whoami").status == 0
    after = file.load().find(None)
    assert after.token != before.token
    assert after.refresh_token != before.refresh_token
    assert after.expires_at == before.expires_at
    assert file.path.stat().st_mode & 0o777 == 0o600
    for secret in (after.token, after.refresh_token):
        assert secret not in hanse("context", "-o", "json").out
        assert secret not in repr(after)


def test_commands_at_once_renew_the_login_once(file: ContextsFile) -> None:
    """Each has a client of its own, as processes have; a refresh token counts once."""
    before = spoil(file)

    async def work() -> set[str]:
        clients = [Client.from_context(environ={"HANSE_CONFIG": str(file.path)}) for _ in range(8)]
        try:
            async with asyncio.TaskGroup() as group:
                found = [group.create_task(each.whoami()) for each in clients]
            return {each.result().credential or "" for each in found}
        finally:
            for each in clients:
                await each.close()

    assert len(asyncio.run(work())) == 1
    assert file.load().find(None).refresh_token != before.refresh_token
    asyncio.run(work())


def test_after_logging_out_nothing_is_left(hanse: Hanse, file: ContextsFile, fsm: Place) -> None:
    before = file.load().find(None)
    assert hanse("logout").status == 0
    after = file.load().find(None)
    assert (after.token, after.refresh_token, after.expires_at) == (None, None, None)
    refused = hanse("whoami")
    assert (refused.status, "hanse login" in refused.err) == (2, True)
    assert hanse("logout").status == 0

    async def still_counts() -> None:
        async with Client(fsm.url, ca=fsm.ca, token=before.token) as client:
            with pytest.raises(Unauthenticated) as caught:
                await client.whoami()
            assert caught.value.code == "token_revoked"
            with pytest.raises(Unauthenticated):
                await client.renew(before.refresh_token or "")

    asyncio.run(still_counts())


def test_a_login_that_was_revoked_says_how_to_log_in_again(
    hanse: Hanse, file: ContextsFile
) -> None:
    (current,) = [
        each for each in json.loads(hanse("auth", "sessions", "-o", "json").out) if each["current"]
    ]
    assert current["identity"] == "user:admin"
    done = hanse("auth", "revoke", "--session", current["id"], "--reason", "a test")
    assert done.out.strip() == "Revoked: 1 login, 0 tokens."
    refused = hanse("whoami")
    assert refused.status == 2
    assert "hanse login" in refused.err


def test_of_a_person_it_is_said_that_sites_follow(hanse: Hanse, file: ContextsFile) -> None:
    done = hanse("auth", "revoke", "--user", "nobody-here", "--reason", "a test")
    assert done.out.strip() == "Revoked: 0 logins, 0 tokens."
    assert done.err.strip() == (
        "Counted at the FSM only; each site ends his logins there once it hears of it."
    )


def test_exactly_one_thing_is_revoked_at_a_time(hanse: Hanse, file: ContextsFile) -> None:
    for words in ((), ("--user", "a", "--token", "b")):
        done = hanse("auth", "revoke", *words)
        assert (done.status, "exactly one" in done.err) == (2, True)


def test_a_program_gets_a_token_and_loses_it(
    hanse: Hanse, file: ContextsFile, fsm: Place, tmp_path: Path
) -> None:
    (tmp_path / "ci.yaml").write_text(
        "apiVersion: hanse/v1\nkind: ServiceAccount\nmetadata: {name: ci}\nspec: {}\n"
    )
    assert hanse("apply", "-f", tmp_path / "ci.yaml").status == 0
    made = hanse("auth", "token", "create", "--service-account", "ci", "--lifetime", "8h")
    assert made.status == 0, made.err
    text = made.out.strip()
    assert text.startswith("hanse_sa_")
    assert text not in made.err

    async def who() -> str:
        async with Client(fsm.url, ca=fsm.ca, token=text) as client:
            return (await client.whoami()).identity

    assert asyncio.run(who()) == "serviceaccount:common/ci"
    listed = hanse("auth", "token", "list", "--service-account", "ci", "-o", "name").out.split()
    assert listed == [text.split("_")[2]]
    assert hanse("auth", "token", "revoke", listed[0]).status == 0
    with pytest.raises(Unauthenticated):
        asyncio.run(who())


def test_a_watch_goes_on_when_roles_and_keys_change(file: ContextsFile) -> None:
    """The server ends it with `view_changed` or `token_revoked`; nothing is missed or doubled."""
    lost: list[str] = []

    async def work() -> list[str]:
        environ = {"HANSE_CONFIG": str(file.path)}
        async with Client.from_context(environ=environ) as client:
            after = (await client.put(_network("seen-0"))).revision

            async def change(number: int) -> None:
                if number == 3:
                    spec = {"role": "viewer", "subjects": [{"kind": "User", "name": "admin"}]}
                    await client.put({**_network("more"), "kind": "RoleBinding", "spec": spec})
                if number == 2:
                    await client.rotate_keys(at_once=True)
                await client.put(_network(f"seen-{number}"))

            seen: list[str] = []
            await change(1)
            commits = client.watch(
                ["Network"], after=after, on_lost=lambda exc: lost.append(exc.code)
            )
            async for commit in commits:
                seen += [each.object.name for each in commit.changes]
                if len(seen) == 5:
                    break
                if len(seen) < 5:
                    await change(len(seen) + 1)
            await commits.aclose()
            await client.delete("RoleBinding", "more")
            return seen

    assert asyncio.run(work()) == [f"seen-{number}" for number in range(1, 6)]
    assert "view_changed" in lost


def _network(name: str) -> dict[str, object]:
    return {"apiVersion": "hanse/v1", "kind": "Network", "metadata": {"name": name}, "spec": {}}


def test_keys_are_changed_and_nobody_notices(hanse: Hanse, file: ContextsFile) -> None:
    keys = json.loads(hanse("auth", "rotate-keys", "-o", "json").out)
    assert len(keys) >= 2
    assert hanse("whoami").status == 0
    assert hanse("auth", "rotate-keys", "--at-once", "--reason", "stolen").status == 0
    assert hanse("whoami").status == 0


def test_one_asks_what_one_may_and_the_exit_status_answers(
    hanse: Hanse, file: ContextsFile
) -> None:
    assert file.path.exists()
    yes = hanse("auth", "can-i", "write", "network", "--tenant", "acme")
    assert (yes.status, yes.out) == (0, "yes, by role global-admin\n")
    # By its short name, as with every other command.
    assert hanse("auth", "can-i", "write", "policy").status == 0
    assert hanse("auth", "can-i", "override").status == 0
    found = json.loads(hanse("auth", "can-i", "--list", "-o", "json").out)["items"]
    assert [each["role"] for each in found] == ["global-admin"]
    assert "write:RoleBinding" in hanse("auth", "can-i", "--list", "-o", "name").out.split()
    wrong = hanse("auth", "can-i", "raed", "network")
    assert wrong.status == 2
    assert 'did you mean "read"?' in wrong.err
    assert hanse("auth", "can-i").status == 2
