"""Attack: the FSM's token for one question, replayed: over another connection, for another question
or site, too late, without a certificate; forged, or of another sort; and one of somebody who is out.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from fsm.trust import FSMCredentials, issue_own
from shared.auth.delegation import TYPE, Asker, Binding, delegate, hash_of
from shared.auth.identity import CallerKind
from shared.auth.tokens import SigningKey
from shared.clock import SystemClock
from shared.errors import Forbidden, HanseError, Unauthenticated
from shared.http.peer import PeerClient
from shared.pki.certificates import thumbprint_of
from shared.pki.credentials import Credentials
from shared.pki.identity import Expectation, Role, SpiffeId
from shared.pki.tls import ServerCheck, client_context, visitor_context
from shared.query.impact import draft_json
from shared.query.wire import ASK, ON_BEHALF, PREFIX, Question, encode_question
from tests.integration.fsm.harness import FSM, TRUST_DOMAIN
from tests.integration.road.asking import fsm, give, second_site, site
from tests.integration.road.world import RoadSite

__all__ = ["fsm", "site"]

ADMIN = Asker(CallerKind.PERSON, "user:admin", "admin")
NOTHING = draft_json([], [], after=0, max_boxes=0)
QUESTION = encode_question(Question("impact", "sfo", 5.0, NOTHING))


@dataclass(frozen=True)
class Thief:
    """Has the FSM's certificate and its signing key, or less than that."""

    fsm: FSM
    site: RoadSite
    own: Credentials
    key: SigningKey
    clients: list[PeerClient]

    @property
    def binding(self) -> Binding:
        return Binding(
            str(SpiffeId.fsm(TRUST_DOMAIN)),
            str(SpiffeId.sdsp(TRUST_DOMAIN, "sfo")),
            thumbprint_of(self.own.certificate),
            hash_of(QUESTION),
        )

    def token(self, asker: Asker = ADMIN, **bound: str) -> str:
        return delegate(
            self.key,
            asker,
            replace(self.binding, **bound),
            deadline=timedelta(seconds=5),
            clock=SystemClock(),
        )

    def claims(self) -> dict[str, Any]:
        now = int(SystemClock().now().timestamp())
        bound = self.binding
        return {
            "iss": bound.issuer,
            "aud": bound.audience,
            "sub": "user:admin",
            "kind": "person",
            "name": "admin",
            "groups": [],
            "act": {"sub": bound.issuer},
            "scope": "read",
            "cnf": {"x5t#S256": bound.thumbprint},
            "qh": bound.question,
            "jti": "1",
            "iat": now,
            "exp": now + 65,
        }

    def client(self, credentials: Credentials | None, url: str | None = None) -> PeerClient:
        if credentials is None:
            context: Any = visitor_context(self.fsm.roots)
        else:
            check = ServerCheck(TRUST_DOMAIN, (Expectation(Role.SDSP),), revoked=lambda _: False)
            context = client_context(credentials, check=check)
        client = PeerClient([url or self.site.url], tls=context)
        self.clients.append(client)
        return client

    async def ask(
        self,
        token: str | None,
        *,
        question: bytes = QUESTION,
        client: PeerClient | None = None,
    ) -> list[Any]:
        client = client or self.client(self.own)
        headers = {} if token is None else {ON_BEHALF: token}
        path = f"{PREFIX}{ASK}"
        async with client.stream("POST", path, body=question, headers=headers) as lines:
            return [line async for line in lines]


@pytest.fixture
async def thief(fsm: FSM, site: RoadSite) -> AsyncIterator[Thief]:
    own = FSMCredentials.beneath(fsm.data).server.load()
    key = await fsm.running.logins.ring.signing_for(timedelta(seconds=65))
    found = Thief(fsm, site, own, key, [])
    yield found
    for each in found.clients:
        await each.close()


async def code_of(work: Any) -> str:
    with pytest.raises(HanseError) as caught:
        await work
    return caught.value.code


async def test_the_fsms_own_question_is_answered(thief: Thief) -> None:
    lines = await thief.ask(thief.token())
    assert lines[0]["site"] == "sfo"
    assert lines[-1] == {"end": True}


async def test_a_token_counts_for_its_question_site_and_connection_only(
    thief: Thief, tmp_path: Path
) -> None:
    token = thief.token()
    other = encode_question(Question("impact", "sfo", 6.0, NOTHING))
    assert await code_of(thief.ask(token, question=other)) == "invalid_token"
    assert await code_of(thief.ask(None)) == "unauthenticated"
    # Another certificate of the FSM's, made by the same CA for the same name.
    another = issue_own(FSMCredentials.beneath(thief.fsm.data), ("localhost",), clock=SystemClock())
    over = thief.client(another)
    assert await code_of(thief.ask(token, client=over)) == "invalid_token"
    async with second_site(thief.fsm, tmp_path) as fra:
        there = thief.client(thief.own, fra.url)
        assert await code_of(thief.ask(token, client=there)) == "invalid_token"
    assert await thief.ask(token), "where it belongs it counts until its end"


async def test_without_the_fsms_certificate_nobody_asks(thief: Thief, tmp_path: Path) -> None:
    with pytest.raises((Unauthenticated, Forbidden)):
        await thief.ask(thief.token(), client=thief.client(None))
    from sdsp.upstream.enroll import SiteCredentials

    sites_own = SiteCredentials.beneath(thief.site.data).server.load()
    assert await code_of(thief.ask(thief.token(), client=thief.client(sites_own))) == (
        "wrong_identity"
    )
    async with second_site(thief.fsm, tmp_path) as fra:
        anothers = SiteCredentials.beneath(fra.data).server.load()
        with pytest.raises((Unauthenticated, Forbidden)):
            await thief.ask(thief.token(), client=thief.client(anothers))


CHANGES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "expired": lambda c: c | {"iat": c["iat"] - 70, "exp": c["iat"] - 5},
    "from the future": lambda c: c | {"iat": c["iat"] + 300, "exp": c["exp"] + 300},
    "for hours": lambda c: c | {"exp": c["iat"] + 7200},
    "not for reading": lambda c: c | {"scope": "write"},
    "no actor": lambda c: {k: v for k, v in c.items() if k != "act"},
    "another actor": lambda c: c | {"act": {"sub": "spiffe://fra.hanse.example/sdsp"}},
    "another issuer": lambda c: c | {"iss": "spiffe://sfo.hanse.example/sdsp"},
    "no confirmation": lambda c: {k: v for k, v in c.items() if k != "cnf"},
    "confirmation of another form": lambda c: c | {"cnf": "x"},
    "no question": lambda c: {k: v for k, v in c.items() if k != "qh"},
    "in a component's name": lambda c: c | {"kind": "component"},
    "groups that are none": lambda c: c | {"groups": "admins"},
    "no name": lambda c: c | {"name": ""},
}


async def test_a_token_with_anything_else_in_it_is_refused(thief: Thief) -> None:
    good = thief.claims()
    client = thief.client(thief.own)
    assert await thief.ask(thief.key.sign(good, kind=TYPE), client=client)
    for what, change in CHANGES.items():
        forged = thief.key.sign(change(good), kind=TYPE)
        wanted = "token_expired" if what == "expired" else "invalid_token"
        assert await code_of(thief.ask(forged, client=client)) == wanted, what


async def test_no_other_token_is_one_for_a_question_and_none_of_those_a_login(
    thief: Thief,
) -> None:
    assert await code_of(thief.ask(thief.fsm.admin_token())) == "invalid_token"
    assert await code_of(thief.ask(thief.key.sign(thief.claims()))) == "invalid_token"
    stranger = SigningKey.generate()
    assert await code_of(thief.ask(stranger.sign(thief.claims(), kind=TYPE))) == "invalid_token"
    token = thief.token()
    for url in (thief.site.url, thief.fsm.url):
        for credentials in (None, thief.own):
            if url == thief.fsm.url and credentials is not None:
                continue
            client = thief.client(credentials, url)
            with pytest.raises(Unauthenticated):
                await client.get("/api/v1/whoami", headers={"Authorization": f"Bearer {token}"})


async def test_who_was_logged_out_everywhere_is_out_at_once(thief: Thief) -> None:
    await give(thief.fsm, "viewer", "kim")
    await thief.site.heard(thief.fsm)
    kim = Asker(CallerKind.PERSON, "user:kim", "kim")
    token = thief.token(kim)
    assert await thief.ask(token)
    await thief.fsm.admin().client.post("/api/v1/users/kim/revoke", {"reason": "left"})
    await thief.site.heard(thief.fsm)
    assert await code_of(thief.ask(token)) == "token_revoked"


async def test_what_is_asked_is_read_as_strictly_as_every_body(thief: Thief) -> None:
    bad: list[tuple[bytes, str]] = [
        (b"{", "malformed"),
        (b'{"protocol": 1, "protocol": 1}', "malformed"),
        (orjson.dumps({"protocol": 2}), "unknown_protocol"),
        (encode_question(Question("secrets", "sfo", 5.0, {})), "unknown_question"),
        (
            orjson.dumps({"protocol": 1, "ask": "impact", "site": "sfo", "deadline": -1}),
            "malformed",
        ),
    ]
    for question, code in bad:
        token = thief.token(question=hash_of(question))
        assert await code_of(thief.ask(token, question=question)) == code
    # What is wrong inside comes as the answer's last line.
    question = encode_question(Question("impact", "sfo", 5.0, {"puts": 1}))
    lines = await thief.ask(thief.token(question=hash_of(question)), question=question)
    assert lines[-1]["code"] == "malformed"
