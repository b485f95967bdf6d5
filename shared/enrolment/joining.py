"""The joiner's half of enrolment: trust first, then the token.

The root certificate is fetched over a connection that nobody vouches for and believed only if its
fingerprint is the token's.  Then a second connection is made to the component that the token
leads to, beneath that root, and only this one is sent the token.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.errors import Malformed
from shared.http.peer import PeerClient
from shared.pki.certificates import Certificate, certificates_from_pem
from shared.pki.jointoken import JoinToken, check_root
from shared.pki.links import accept_roots
from shared.pki.tls import unverified_context_for_root_download, visitor_context

ROOT_PATH = "/pki/root"
LINKS_PATH = "/pki/links"


@dataclass(frozen=True, slots=True)
class Admitted:
    """The server's answer to a join, and the root beneath which it was given."""

    root: Certificate
    answer: Mapping[str, Any]


async def fetch_root(server: str, fingerprint: bytes) -> Certificate:
    """Return the root of `server` (`https://host:port`) whose SHA-256 is `fingerprint`.

    Unauthenticated (`wrong_root`) if it has another; Unreachable.
    """
    context = unverified_context_for_root_download()
    client = PeerClient([server], tls=context)
    try:
        pem = (await client.get(ROOT_PATH)).body.decode("ascii", errors="replace")
    finally:
        await client.close()
    return check_root(pem, fingerprint)


async def fetch_vouched_roots(
    server: str, trusted: Sequence[Certificate]
) -> tuple[Certificate, ...]:
    """Return the roots that `server` offers, each of which a trusted one vouches for.

    For whoever was away while a root was taken into use, and can't verify the server's chain any
    more: the connection proves nothing, the signatures of shared.pki.links do.  Unauthenticated
    (`unlinked_root`); Unreachable.
    """
    client = PeerClient([server], tls=unverified_context_for_root_download())
    try:
        texts = [
            (await client.get(path)).body.decode("ascii", errors="replace")
            for path in (ROOT_PATH, LINKS_PATH)
        ]
    finally:
        await client.close()
    links = certificates_from_pem(texts[1]) if texts[1] else ()
    return accept_roots(trusted, certificates_from_pem(texts[0]), links)


async def join(server: str, token: JoinToken, *, path: str, body: Mapping[str, Any]) -> Admitted:
    """Send the token and what goes with it to the server that it leads to.

    `body` goes without the token, which is added.  Raises what fetch_root() raises, and what the
    server's problem document names.
    """
    root = await fetch_root(server, token.root)
    context = visitor_context([root], check=token.server_check(root))
    client = PeerClient([server], tls=context)
    try:
        answer = (await client.post(path, {"token": str(token), **body})).json()
    finally:
        await client.close()
    if not isinstance(answer, dict):
        raise Malformed("the server's answer to the join is not a JSON object")
    return Admitted(root, answer)
