"""Random lives of logins against a slow model: exactly the right tokens are accepted.

Two processes of one server share a database, and their key folder or not.  The model knows no
keys, hashes or caches: only what was given to whom, and what has happened since.  What one process
ends may count in the other one until that has read the news; nothing else is left open.
"""

import asyncio
import tempfile
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    multiple,
    precondition,
    rule,
)

from shared.errors import HanseError
from shared.ids import Key
from shared.store.contract import Draft
from tests.fakes.logins import ASKED, Bindings, PassingClock, Process, Town, process, record

PEOPLE = ("kim", "lee")
GROUPS = ("ops", "net")
ROLES = ("viewer", "editor")
WHO = st.sampled_from(PEOPLE)
WHERE = st.sampled_from((0, 1))
LEEWAY = timedelta(seconds=60)
FRESH = timedelta(seconds=50)
"""After this time a process lets nobody in without asking the store."""

ACCOUNT = Key("ServiceAccount", "common", "federation", "ci")


@dataclass
class Login:
    """What the model knows of a session."""

    who: str
    ends_at: datetime
    began_at: datetime
    groups: frozenset[str]
    family: list[str] = field(default_factory=list)
    """All refresh tokens that were given, the latest last."""
    previous: str | None = None
    used_at: datetime | None = None
    ended: tuple[int, int] | None = None
    """By which process, at which step."""
    changed: tuple[int, int] | None = None
    groups_before: frozenset[str] = frozenset()


@dataclass
class Access:
    text: str
    login: int
    ends_at: datetime
    revoked: tuple[int, int] | None = None
    number: int = 0


@dataclass
class Robot:
    text: str
    id: str
    ends_at: datetime
    uid: str
    revoked: tuple[int, int] | None = None


class Logins(RuleBasedStateMachine):
    given = Bundle("given")
    refreshes = Bundle("refreshes")
    robots = Bundle("robots")

    @initialize(is_shared=st.booleans())
    def start(self, is_shared: bool) -> None:
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name)
        self.clock = PassingClock()
        self.town = Town({"kim": frozenset({"ops"}), "lee": frozenset()})
        self.bindings = Bindings()
        self.bindings.bind("ops", ["viewer"])
        self.processes: list[Process] = [
            self.run(
                process(
                    f"sqlite:///{path}/store.db",
                    path / ("keys" if is_shared else f"keys-{number}"),
                    clock=self.clock,
                    people=self.town,
                    bindings=self.bindings,
                )
            )
            for number in range(2)
        ]
        self.logins: list[Login] = []
        self.step = 0
        self.kept = [(0, self.clock.now()), (0, self.clock.now())]
        self.cut: list[tuple[int, int]] = []
        """Orders to change all keys at once: by which process, at which step."""
        self.account: str | None = None
        self.is_disabled = False

    def teardown(self) -> None:
        for each in getattr(self, "processes", ()):
            self.run(each.store.close())
        if hasattr(self, "runner"):
            self.runner.close()
            self.folder.cleanup()

    def run(self, work):
        return self.runner.run(work)

    def outcome(self, work) -> object:
        """Return what came of it, or the code of the refusal."""
        try:
            return self.run(work)
        except HanseError as exc:
            return exc.code

    # What people and time do

    @rule(target=given, where=WHERE, who=WHO)
    def login(self, where: int, who: str):
        self.step += 1
        opened = self.outcome(self.processes[where].login(who))
        if who not in self.town.groups or not self.town.is_reachable:
            assert isinstance(opened, str), "nobody vouched for him"
            return multiple()
        now = self.clock.now()
        login = Login(who, now + self.town.refresh, now, self.town.groups[who])
        login.family.append(opened.refresh)
        self.logins.append(login)
        return self.accessed(opened, len(self.logins) - 1)

    def accessed(self, opened, login: int) -> Access:
        ends_at = min(self.clock.now() + self.town.access, self.logins[login].ends_at)
        assert abs(opened.access.expires_at - ends_at) <= timedelta(seconds=1)
        return Access(opened.access.text, login, opened.access.expires_at, number=self.step)

    @precondition(lambda self: self.logins)
    @rule(target=given, where=WHERE, data=st.data())
    def renew(self, where: int, data):
        self.step += 1
        number = data.draw(st.integers(0, len(self.logins) - 1))
        login = self.logins[number]
        text = login.family[data.draw(st.integers(-min(3, len(login.family)), -1))]
        now = self.clock.now()
        got = self.outcome(self.processes[where].sessions.renew(text, ASKED))
        is_latest = text == login.family[-1]
        is_lost = (
            text == login.previous
            and login.used_at is not None
            and now - login.used_at <= timedelta(seconds=60)
        )
        if login.ended:
            assert got == "token_revoked"
            return multiple()
        if not is_latest and not is_lost:
            if now < login.ends_at + LEEWAY:
                # Later it may have been tidied away.
                assert got == "token_reused"
            else:
                assert got in ("token_reused", "token_revoked")
            login.ended = (where, self.step)
            return multiple()
        if now >= login.ends_at:
            assert got in ("token_expired", "token_revoked")
            return multiple()
        if not self.town.is_reachable or not self.town.tells:
            groups = login.groups
        elif login.who in self.town.groups:
            groups = self.town.groups[login.who]
        else:
            assert got == "token_revoked"
            login.ended = (where, self.step)
            return multiple()
        ends_at = min(login.ends_at, login.began_at + self.town.refresh)
        if now >= ends_at:
            assert got == "token_revoked"
            return multiple()
        assert not isinstance(got, str), got
        if groups != login.groups or ends_at != login.ends_at:
            login.changed, login.groups_before = (where, self.step), login.groups
        login.groups, login.ends_at = groups, ends_at
        if is_latest:
            login.previous, login.used_at = text, now
        login.family.append(got.refresh)
        return self.accessed(got, number)

    @precondition(lambda self: self.logins)
    @rule(where=WHERE, data=st.data(), all_of_him=st.booleans())
    def end(self, where: int, data, all_of_him: bool) -> None:
        self.step += 1
        login = self.logins[data.draw(st.integers(0, len(self.logins) - 1))]
        here = self.processes[where]
        noted = record(self.clock, "end")
        if all_of_him:
            self.run(here.sessions.end_all(f"user:{login.who}", noted))
            meant = [each for each in self.logins if each.who == login.who]
        else:
            session = self.run(here.sessions.find(login.family[0].split("_")[2]))
            if session is None:
                return
            self.run(here.sessions.end(session, noted))
            meant = [login]
        for each in meant:
            each.ended = each.ended or (where, self.step)

    @rule(where=WHERE, access=given)
    def end_token(self, where: int, access: Access) -> None:
        self.step += 1
        import jwt

        token_id = jwt.decode(access.text, options={"verify_signature": False})["jti"]
        self.run(self.processes[where].sessions.end_token(token_id, record(self.clock, "end")))
        access.revoked = access.revoked or (where, self.step)

    @rule(where=WHERE, at_once=st.booleans())
    def rotate(self, where: int, at_once: bool) -> None:
        self.step += 1
        noted = record(self.clock, "rotate")
        self.run(self.processes[where].ring.rotate(noted, at_once=at_once))
        if at_once:
            self.cut.append((where, self.step))

    @rule(seconds=st.sampled_from((1, 5, 31, 55, 61, 300, 900, 4000, 43_200)))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule(days=st.sampled_from((31, 61)))
    def wait_long(self, days: int) -> None:
        self.clock.advance(days * 86_400)

    @rule(where=WHERE)
    def keep(self, where: int) -> None:
        self.step += 1
        self.run(self.processes[where].keep())
        self.kept[where] = (self.step, self.clock.now())

    @rule(who=WHO, groups=st.sets(st.sampled_from(GROUPS)))
    def move(self, who: str, groups: set[str]) -> None:
        self.town.groups[who] = frozenset(groups)

    @rule(who=WHO)
    def leave(self, who: str) -> None:
        self.town.groups.pop(who, None)

    @rule(is_reachable=st.booleans(), tells=st.booleans())
    def directory(self, is_reachable: bool, tells: bool) -> None:
        self.town.is_reachable, self.town.tells = is_reachable, tells

    @rule(access=st.sampled_from((60, 900, 7200)), refresh=st.sampled_from((3600, 43_200)))
    def policy(self, access: int, refresh: int) -> None:
        self.town.access, self.town.refresh = timedelta(0, access), timedelta(0, refresh)

    @rule(
        name=st.sampled_from((*PEOPLE, *GROUPS, "common/ci")), roles=st.sets(st.sampled_from(ROLES))
    )
    def bind(self, name: str, roles: set[str]) -> None:
        self.bindings.bind(name, roles)

    @rule(where=WHERE, restart=st.booleans())
    def restart(self, where: int, restart: bool) -> None:
        """Let a process forget all that it remembers."""
        if restart:
            self.step += 1
            callers = self.processes[where].callers
            callers._drop([*callers._by_credential])
            callers._sessions.clear()

    # Programs

    @rule(is_there=st.booleans(), is_disabled=st.booleans())
    def write_account(self, is_there: bool, is_disabled: bool) -> None:
        async def unit(transaction):
            if is_there:
                return await transaction.put(Draft(ACCOUNT, {"disabled": is_disabled}))
            if await transaction.get(ACCOUNT):
                await transaction.delete(ACCOUNT)
            return None

        stored = self.run(self.processes[0].store.transact(unit)).result
        self.account, self.is_disabled = (stored.uid if stored else None), is_disabled
        # As whoever follows the accounts does.
        self.bindings.generation += 1

    @precondition(lambda self: self.account is not None)
    @rule(target=robots, where=WHERE, days=st.sampled_from((1, 90)))
    def give(self, where: int, days: int) -> Robot:
        self.step += 1
        program, text = self.run(
            self.processes[where].sessions.create_program(
                ACCOUNT,
                self.account,
                lifetime=timedelta(days),
                description="",
                record=record(self.clock, "give"),
            )
        )
        return Robot(text, program.id, self.clock.now() + timedelta(days), self.account)

    @rule(where=WHERE, robot=robots)
    def end_robot(self, where: int, robot: Robot) -> None:
        self.step += 1
        sessions = self.processes[where].sessions
        for each in self.run(sessions.programs()):
            if each.id == robot.id:
                self.run(sessions.end_program(each, record(self.clock, "end")))
        robot.revoked = robot.revoked or (where, self.step)

    @rule(where=WHERE, robot=robots)
    def robot_calls(self, where: int, robot: Robot) -> None:
        got = self.outcome(self.processes[where].caller(robot.text))
        now = self.clock.now()
        if (
            (robot.revoked and self.knows(where, robot.revoked))
            or self.account != robot.uid
            or self.is_disabled
        ):
            assert got == "token_revoked"
        elif now >= robot.ends_at:
            assert got in ("token_expired", "token_revoked")
        elif isinstance(got, str):
            assert robot.revoked, "refused for no reason"
        else:
            assert got.identity == "serviceaccount:common/ci"
            assert list(got.roles) == self.bindings.roles_of(["common/ci"])

    # What is accepted

    def knows(self, where: int, what: tuple[int, int]) -> bool:
        """Return whether a process must know of something by now."""
        by, step = what
        kept_at, time = self.kept[where]
        return by == where or kept_at > step or self.clock.now() - time > FRESH

    @rule(where=WHERE, access=given)
    def call(self, where: int, access: Access) -> None:
        login = self.logins[access.login]
        now = self.clock.now()
        over = [each for each in (access.revoked, login.ended) if each]
        over += [each for each in self.cut if each[1] > access.number]
        # Whoever asks may read the news on the way.
        known = [each for each in over if self.knows(where, each)]
        ends_at = min(access.ends_at + LEEWAY, login.ends_at)
        got = self.outcome(self.processes[where].caller(access.text))
        if not isinstance(got, str):
            assert not known, "it was ended"
            stale = login.changed and not self.knows(where, login.changed)
            assert now < ends_at or (stale and now < access.ends_at + LEEWAY), "it has expired"
            assert got.identity == f"user:{login.who}"
            allowed = [self.bindings.roles_of([login.who, *login.groups])]
            if stale:
                allowed.append(self.bindings.roles_of([login.who, *login.groups_before]))
            assert list(got.roles) in allowed
            return
        if over:
            assert got in ("token_revoked", "invalid_token", "token_expired")
            return
        assert now >= ends_at, f"refused for no reason: {got}"
        assert got in ("token_expired", "token_revoked", "invalid_token")


Logins.TestCase.settings = settings(
    stateful_step_count=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    deadline=None,
)
test_exactly_the_right_tokens_are_accepted = Logins.TestCase
