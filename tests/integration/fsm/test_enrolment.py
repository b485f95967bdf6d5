from datetime import timedelta

import pytest

from shared.enrolment.joining import join
from shared.errors import (
    Conflict,
    Forbidden,
    HanseError,
    Invalid,
    NotFound,
    Unauthenticated,
    Unreachable,
)
from shared.feed.wire import Position
from shared.pki.csr import create_csr
from shared.pki.identity import SpiffeId
from shared.pki.jointoken import JoinKind, JoinToken
from shared.pki.keys import generate_key
from tests.fakes.federation import Federation
from tests.integration.fsm.harness import (
    FSM,
    Person,
    connect,
    join_site,
    prepare,
    sdsp_credentials,
)

SNAPSHOT = "/feed/v1/snapshot"


async def audit(admin: Person) -> list[tuple[str, str]]:
    items = (await admin.client.get("/api/v1/audit", params={"limit": "50"})).json()["items"]
    return [(each["action"], each["outcome"]) for each in items]


async def test_a_site_joins_with_a_key_that_never_leaves_it(fsm: FSM, admin: Person) -> None:
    site = await join_site(fsm, await admin.token("sfo"))

    assert site.authority.site == "sfo"
    page = (await site.client.get(SNAPSHOT)).json()
    of_policy = [each for each in page["objects"] if each["kind"] in ("Site", "Region")]
    assert {each["metadata"]["name"] for each in of_policy} == {"sfo", "west"}
    assert ("site.join", "ok") in await audit(admin)
    assert ("jointoken.create", "ok") in await audit(admin)


async def test_a_token_is_good_for_one_join(fsm: FSM, admin: Person) -> None:
    token = await admin.token("sfo")
    await join_site(fsm, token)

    with pytest.raises(Unauthenticated) as caught:
        await join_site(fsm, token)
    assert caught.value.code == "join_token_refused"
    assert ("site.join", "join_token_refused") in await audit(admin)


async def test_a_token_is_refused_after_an_hour(fsm: FSM, admin: Person) -> None:
    token = await admin.token("sfo")
    fsm.clock.ahead = timedelta(minutes=61)
    with pytest.raises(Unauthenticated, match="older than an hour"):
        await join_site(fsm, token)


async def test_only_the_last_token_for_a_site_counts(fsm: FSM, admin: Person) -> None:
    first = await admin.token("sfo")
    second = await admin.token("sfo")
    with pytest.raises(Unauthenticated):
        await join_site(fsm, first)
    await join_site(fsm, second)


async def test_a_token_changed_to_another_site_is_unknown(fsm: FSM, admin: Person) -> None:
    token = JoinToken.parse(await admin.token("sfo"))
    forged = JoinToken(token.kind, "fra", "fra", token.root, token.secret)
    with pytest.raises(Unauthenticated) as caught:
        await join_site(fsm, str(forged))
    assert caught.value.code == "join_token_refused"


async def test_a_node_s_token_is_not_taken_here(fsm: FSM, admin: Person) -> None:
    token = JoinToken.parse(await admin.token("sfo"))
    node = JoinToken(JoinKind.NODE, "sfo", "node-1", token.root, token.secret)
    client = fsm.visitor()
    with pytest.raises(Invalid) as caught:
        await client.post(
            "/enroll/v1/join", {"token": str(node), "csr": create_csr(generate_key())}
        )
    assert caught.value.code == "join_token_kind"


async def test_a_token_of_another_federation_is_never_sent(
    fsm: FSM, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = await prepare(tmp_path_factory.mktemp("other"))
    async with other.serving():
        admin = other.admin()
        await admin.put("sites", "sfo", {})
        token = JoinToken.parse(await admin.token("sfo"))
        with pytest.raises(Unauthenticated) as caught:
            await join(fsm.url, token, path="/enroll/v1/join", body={})
    assert caught.value.code == "wrong_root"


async def test_a_joined_site_needs_replace_which_puts_the_old_one_out(
    fsm: FSM, admin: Person
) -> None:
    old = await join_site(fsm, await admin.token("sfo"))
    with pytest.raises(Conflict) as caught:
        await admin.token("sfo")
    assert caught.value.code == "certificate_exists"

    new = await join_site(fsm, await admin.token("sfo", replace=True))
    await new.client.get(SNAPSHOT)
    with pytest.raises(Unauthenticated) as refused:
        await old.client.get(SNAPSHOT)
    assert refused.value.code == "certificate_revoked"


async def test_there_is_no_token_for_a_site_that_nobody_declared(admin: Person) -> None:
    with pytest.raises(NotFound) as caught:
        await admin.token("nowhere")
    assert caught.value.code == "unknown_site"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        pytest.param({}, Invalid, id="nothing"),
        pytest.param({"token": "x", "csr": "y"}, Invalid, id="no token"),
        pytest.param({"token": "x" * 400, "csr": "y"}, Invalid, id="too long"),
        pytest.param({"token": "x", "csr": "y", "site": "sfo"}, Invalid, id="an unknown field"),
        pytest.param([], Invalid, id="a list"),
    ],
)
async def test_a_malformed_join_is_refused_in_words(
    fsm: FSM, body: object, kind: type[HanseError]
) -> None:
    client = fsm.visitor()
    with pytest.raises(kind):
        await client.post("/enroll/v1/join", body)


async def test_a_bad_signing_request_doesn_t_spend_the_token(fsm: FSM, admin: Person) -> None:
    token = await admin.token("sfo")
    client = fsm.visitor()
    with pytest.raises(Invalid) as caught:
        await client.post("/enroll/v1/join", {"token": token, "csr": "nonsense"})
    assert caught.value.code == "invalid_csr"
    await join_site(fsm, token)


async def test_one_address_can_t_fill_the_trail_with_attempts(fsm: FSM, admin: Person) -> None:
    unknown = JoinToken.create(JoinKind.SDSP, site="sfo", name="sfo", root=fsm.roots[0])
    body = {"token": str(unknown), "csr": create_csr(generate_key())}
    client = fsm.visitor()
    codes = []
    for _ in range(32):
        with pytest.raises(HanseError) as caught:
            await client.post("/enroll/v1/join", body)
        codes.append(caught.value.code)
    assert codes == ["join_token_refused"] * 30 + ["too_many_requests"] * 2
    refused = [each for each in await audit(admin) if each[0] == "site.join"]
    assert len(refused) == 30


async def test_a_site_renews_its_ca_and_the_old_one_stays_good(fsm: FSM, admin: Person) -> None:
    site = await join_site(fsm, await admin.token("sfo"))
    answer = await site.client.post("/enroll/v1/renew", {"csr": create_csr(generate_key())})
    assert answer.json()["site"] == "sfo"
    await site.client.get(SNAPSHOT)
    assert ("site.renew", "ok") in await audit(admin)


async def test_revoking_a_site_puts_out_all_that_its_ca_issued(fsm: FSM, admin: Person) -> None:
    site = await join_site(fsm, await admin.token("sfo"))
    fresh = connect(fsm, sdsp_credentials(site.authority))
    page = (await site.client.get(SNAPSHOT)).json()
    position = Position(**page["position"])
    async with site.client.stream("GET", "/feed/v1/changes", params=position.to_params()) as lines:
        assert await anext(lines) == {"protocol": 1}
        await admin.client.post("/api/v1/sites/sfo/revoke", {"reason": "the host was stolen"})
        for client in (site.client, fresh):
            with pytest.raises(Unauthenticated):
                await client.get(SNAPSHOT)
        last = [line async for line in lines][-1]
    assert last["status"] == 401
    assert ("site.revoke", "ok") in await audit(admin)


async def test_a_certificate_from_another_ca_gets_no_connection(fsm: FSM, admin: Person) -> None:
    """Another root with the same names: only the signature differs."""
    foreign = Federation()
    credentials = foreign.sdsp(foreign.site("sfo"))
    client = connect(fsm, credentials.trusting([*foreign.roots, *fsm.roots]))
    with pytest.raises(Unreachable):
        await client.get(SNAPSHOT)


async def test_nothing_but_an_sdsp_may_pull(fsm: FSM, admin: Person) -> None:
    site = await join_site(fsm, await admin.token("sfo"))
    key = generate_key()
    identity = SpiffeId.of_node(site.authority.trust_domain, "sfo", "node-1")
    node = site.authority.issue_leaf(create_csr(key), identity)
    client = connect(fsm, type(site.credentials)(key, node, fsm.roots))
    with pytest.raises(Forbidden) as caught:
        await client.get(SNAPSHOT)
    assert caught.value.code == "wrong_identity"
    with pytest.raises(Forbidden):
        await admin.client.get(SNAPSHOT)


async def test_a_site_can_register_no_name_of_the_fsm(stopped: FSM) -> None:
    names = ("fsm.hanse.example", "localhost", "127.0.0.1")
    stopped.settings = stopped.settings.model_copy(update={"server_names": names})
    async with stopped.serving():
        admin = stopped.admin()
        for name in ("fsm.hanse.example", "hanse.example", "*.hanse.example"):
            with pytest.raises(Invalid) as caught:
                await admin.put("sites", "sfo", {"serverNames": [name]})
            assert caught.value.fields[0].path == "spec.serverNames[0]"
        await admin.put("sites", "sfo", {"serverNames": ["sfo.hanse.example", "10.0.0.1"]})
        site = await join_site(stopped, await admin.token("sfo"))
        assert site.authority.site == "sfo"
