"""Whatever is typed: nothing but a person, nobody, or a provider that can't be asked."""

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.auth.distinguished import folded
from shared.auth.providers.ldap import LDAPProvider
from shared.clock import SystemClock
from shared.model.settings_policies import LDAPSettings
from tests.directory import PASSWORDS, SERVICE_PASSWORD, Directory
from tests.integration.providers.test_ldap import DIRECT

pytestmark = pytest.mark.slapd

SPECIAL = st.text(
    st.sampled_from('*()\\&|!=~<>,+;"# \0\n\tuidalce/@%é\u200b\xad\ud800'), max_size=20
)
PIECES = st.lists(
    st.sampled_from(
        ["alice", "*", ")(", "uid=", "\\2a", "(|", "(&", "\0", " ", ",", "objectClass"]
    ),
    max_size=8,
).map("".join)
TYPED = st.one_of(st.text(), SPECIAL, PIECES, st.sampled_from(["alice", "ALICE", "Erin", "bob"]))


@pytest.fixture(scope="module")
def providers(slapd: Directory) -> Iterator[list[LDAPProvider]]:
    made = [
        LDAPProvider(
            LDAPSettings.model_validate(slapd.settings(**way)),
            secret=SERVICE_PASSWORD,
            clock=SystemClock(),
        )
        for way in ({}, DIRECT)
    ]
    yield made
    for each in made:
        each.close()


@given(name=TYPED, password=st.one_of(TYPED, st.sampled_from(sorted(PASSWORDS.values()))))
@example(name="alice", password=PASSWORDS["alice"])
@example(name="alice", password="")
@example(name="*", password=PASSWORDS["alice"])
def test_any_text_is_at_most_its_own_persons_name(
    providers: list[LDAPProvider], name: str, password: str
) -> None:
    for provider in providers:
        person = asyncio.run(provider.authenticate(name, password))
        if person is None:
            continue
        assert PASSWORDS[person.username] == password
        # What shows nothing, and white space, doesn't count in a directory (RFC 4518).
        shown = "".join(each for each in folded(name) if each not in "\u200b\xad\u200c\u200d\ufeff")
        assert shown.strip() == folded(person.username)
