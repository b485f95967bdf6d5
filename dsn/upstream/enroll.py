"""Join a site: trade a token for a certificate, and keep what the node needs from then on."""

from collections.abc import Sequence
from typing import Any, Final

from dsn.settings import Identity
from shared.enrolment.joining import join
from shared.errors import Conflict, Malformed
from shared.pki.certificates import certificates_from_pem, fingerprint_of, uris_of
from shared.pki.credentials import Credentials, CredentialsDirectory
from shared.pki.csr import create_csr
from shared.pki.jointoken import JoinKind, JoinToken
from shared.pki.keys import PrivateKey, generate_key

JOIN: Final = "/node/v1/join"


async def enroll(
    servers: Sequence[str], text: str, directory: CredentialsDirectory, *, overwrite: bool
) -> Identity:
    """Join with a token at the first of `servers` (`https://host:port`); write the credentials.

    Conflict (`already_joined`) if there are some and `overwrite` isn't set.  Raises as
    JoinToken.parse(), shared.enrolment.joining.join() and CredentialsDirectory.write() do.
    """
    if directory.exists() and not overwrite:
        raise Conflict(
            f"{directory.path} holds a node's credentials already; give another folder, or "
            "--replace if this node is to join anew",
            code="already_joined",
        )
    token = JoinToken.parse(text)
    token.check_kind(JoinKind.NODE)
    key = generate_key()
    admitted = await join(servers[0], token, path=JOIN, body={"csr": create_csr(key)})
    fingerprint = fingerprint_of(admitted.root)
    credentials, identity = read_credentials(key, admitted.answer, tuple(servers))
    if all(fingerprint_of(root) != fingerprint for root in credentials.roots):
        raise Malformed("the site's answer leaves out the root beneath which it was given")
    if (identity.site, identity.node) != (token.site, token.name):
        raise Malformed(f"the site calls this node {identity.node}, the token {token.name}")
    directory.write(credentials)
    return identity


def read_credentials(
    key: PrivateKey, answer: Any, servers: tuple[str, ...]
) -> tuple[Credentials, Identity]:
    """Return what a site's answer to a join or a renewal gives, checked.

    Malformed, or Invalid as Credentials, if its parts don't belong together.
    """
    try:
        chain = certificates_from_pem(answer["chain"])
        roots = certificates_from_pem(answer["roots"])
        identity = Identity(
            servers=servers,
            trust_domain=str(answer["trustDomain"]),
            site=str(answer["site"]),
            node=str(answer["node"]),
        )
    except (KeyError, TypeError, AttributeError) as exc:
        raise Malformed("the site's answer is not what a node gets") from exc
    credentials = Credentials(key, chain, roots)
    if uris_of(chain[0]) != [str(identity.spiffe_id)]:
        raise Malformed(f"the site gave this node another's certificate, not {identity.node}'s")
    return credentials, identity
