from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shared.errors import Invalid, Unavailable
from shared.pki.authority import Authority, create_issuing, registered_names
from shared.pki.certificates import (
    Certificate,
    certificates_from_pem,
    certificates_to_pem,
    is_authority,
    uris_of,
    validity_of,
)
from shared.pki.credentials import Credentials
from shared.pki.csr import create_csr
from shared.pki.identity import SpiffeId
from shared.pki.keys import generate_key
from shared.pki.rotation import Due, due, renew_at
from tests.fakes.clock import VirtualClock
from tests.fakes.federation import TRUST_DOMAIN, Federation

FSM = SpiffeId.fsm(TRUST_DOMAIN)
SFO = SpiffeId.sdsp(TRUST_DOMAIN, "sfo")


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def federation(clock: VirtualClock) -> Federation:
    return Federation(clock=clock)


def _constraints(certificate: Certificate) -> tuple[bool, set[str], set[str]]:
    found = certificate.extensions.get_extension_for_class(x509.NameConstraints)
    permitted = {str(each.value) for each in found.value.permitted_subtrees or []}
    excluded = {str(each.value) for each in found.value.excluded_subtrees or []}
    return found.critical, permitted, excluded


def _path_length(certificate: Certificate) -> int | None:
    found = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert found.critical
    return found.value.path_length


def test_path_lengths_leave_room_for_exactly_the_authorities_there_are(
    federation: Federation,
) -> None:
    site = federation.site("sfo")
    leaf, intermediate, issuing = federation.sdsp(site).chain
    assert _path_length(federation.root.certificate) == 2
    assert _path_length(issuing) == 1
    assert _path_length(intermediate) == 0
    assert not is_authority(leaf)


def test_a_site_may_vouch_for_its_host_and_its_registered_names_only(
    federation: Federation,
) -> None:
    site = federation.site("sfo", dns_names=["sdsp.example"], ip_addresses=["10.0.0.1"])
    critical, permitted, excluded = _constraints(site.credentials.certificate)
    assert critical
    assert permitted == {"sfo.hanse.example", "sdsp.example", "10.0.0.1/32"}
    assert excluded == {"::/0"}
    assert registered_names(site.credentials.certificate).dns == ("sdsp.example",)


def test_a_type_with_nothing_registered_is_excluded_whole(federation: Federation) -> None:
    site = federation.site("sfo", dns_names=[], ip_addresses=[])
    _, permitted, excluded = _constraints(site.credentials.certificate)
    assert permitted == {"sfo.hanse.example"}
    assert excluded == {"", "0.0.0.0/0", "::/0"}


def test_a_leaf_serves_and_calls_for_a_day(federation: Federation, clock: VirtualClock) -> None:
    leaf = federation.sdsp(federation.site("sfo")).certificate
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usage) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert uris_of(leaf) == [str(SFO)]
    assert leaf.not_valid_after_utc == clock.now() + timedelta(days=1)


def test_a_request_gets_the_name_that_the_issuer_knows_whatever_it_asks_for(
    federation: Federation,
) -> None:
    key = generate_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fsm.hanse.example")])
    wish = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(FSM))])
    request = x509.CertificateSigningRequestBuilder(name).add_extension(wish, critical=False)
    pem = request.sign(key, SHA256()).public_bytes(Encoding.PEM).decode()

    leaf = federation.site("sfo").issue_leaf(pem, SFO)[0]

    assert uris_of(leaf) == [str(SFO)]
    assert "fsm" not in leaf.subject.rfc4514_string().lower()


@pytest.mark.parametrize(
    "identity",
    [FSM, SpiffeId.sdsp(TRUST_DOMAIN, "fra"), SpiffeId.of_node(TRUST_DOMAIN, "fra", "a")],
)
def test_a_sites_authority_issues_for_its_own_site_only(
    federation: Federation, identity: SpiffeId
) -> None:
    with pytest.raises(Invalid) as refused:
        federation.leaf(federation.site("sfo"), identity)
    assert refused.value.code == "wrong_issuer"


def test_the_issuing_authority_issues_no_sites_leaf(federation: Federation) -> None:
    with pytest.raises(Invalid) as refused:
        federation.leaf(federation.authority, SFO)
    assert refused.value.code == "wrong_issuer"


def test_a_sites_authority_issues_no_authority(federation: Federation) -> None:
    with pytest.raises(Invalid) as refused:
        federation.site("sfo").issue_site_intermediate(create_csr(generate_key()), "fra")
    assert refused.value.code == "wrong_issuer"


@pytest.mark.parametrize(
    ("dns", "addresses"), [(["fsm.hanse.example"], []), ([], ["10.0.0.2"]), (["xsdsp.example"], [])]
)
def test_a_name_that_is_not_registered_is_refused_in_words(
    federation: Federation, dns: list[str], addresses: list[str]
) -> None:
    site = federation.site("sfo", dns_names=["sdsp.example"], ip_addresses=["10.0.0.1"])
    with pytest.raises(Invalid, match="register it with the FSM") as refused:
        federation.leaf(site, SFO, dns, addresses)
    assert refused.value.code == "name_not_registered"
    federation.leaf(site, SFO, ["sdsp.example", "a.sdsp.example"], ["10.0.0.1"])


def test_nothing_outlives_its_issuer(federation: Federation, clock: VirtualClock) -> None:
    site = federation.site("sfo")
    end = site.credentials.certificate.not_valid_after_utc
    clock.jump(timedelta(days=364, hours=12).total_seconds())
    assert federation.sdsp(site).certificate.not_valid_after_utc == end

    clock.jump(timedelta(days=1).total_seconds())
    with pytest.raises(Unavailable) as refused:
        federation.sdsp(site)
    assert refused.value.code == "issuer_expired"


def test_a_sites_year_fits_into_an_issuing_authority_that_is_renewed_at_half(
    federation: Federation, clock: VirtualClock
) -> None:
    issuing = validity_of(federation.issuing.certificate)
    clock.jump((renew_at(issuing) - clock.now()).total_seconds() - 60)
    assert due(issuing, now=clock.now()) is Due.NOTHING

    site = validity_of(federation.site("sfo").credentials.certificate)

    assert site.not_after == clock.now() + timedelta(days=365)
    assert site.not_after < issuing.not_after


def test_daily_work_needs_no_root_key(federation: Federation, clock: VirtualClock) -> None:
    renewed = create_issuing(federation.root, clock=clock)
    public = Credentials(
        renewed.key,
        certificates_from_pem(certificates_to_pem(renewed.chain)),
        certificates_from_pem(certificates_to_pem(renewed.roots)),
    )
    authority = Authority(public, clock=clock)
    assert authority.trust_domain == TRUST_DOMAIN
    assert authority.site is None
    assert authority.issue_leaf(create_csr(generate_key()), FSM)[1:] == public.chain


def test_only_an_authoritys_credentials_issue(federation: Federation, clock: VirtualClock) -> None:
    for credentials in (federation.fsm(), federation.node(federation.site("sfo"))):
        with pytest.raises(Invalid) as refused:
            Authority(credentials, clock=clock)
        assert refused.value.code in ("not_an_authority", "invalid_name")
