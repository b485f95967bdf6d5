"""What the system says of trust: whom nobody believes any more, and which keys and CAs count.

No person writes these.  The FSM's go to every site, ahead of all policy.
"""

from typing import Literal

from pydantic import Field

from shared.model.base import Optional, Spec, Time


class Revocation(Spec):
    """A certificate that counts no longer; its name is the serial number, in hexadecimal."""

    identity: str = Field(description="Whose certificate it was.")
    not_after: Time = Field(description="When it would have expired; then this is dropped.")
    at: Time = Field(description="Since when it counts no longer.")
    reason: str = Field("", max_length=2000, description="Why, as the person who did it said.")


class LoginRevocation(Spec):
    """That all logins of a person have ended, at every site; its name is a hash of his identity."""

    identity: str = Field(description="Whose logins.")
    at: Time = Field(description="When he was logged out; he may log in again, if he still may.")
    reason: str = Field("", max_length=2000, description="Why, as the person who did it said.")


class VerificationKey(Spec):
    """The public half of a key with which a server signs; its name is the key's id."""

    server: str = Field(description="The identity of the server that signs with it.")
    use: Literal["token", "seal"] = Field(description="token: logins; seal: the audit trail.")
    algorithm: Literal["ES256"] = Field("ES256", description="The only one that it is good for.")
    public_key: str = Field(max_length=4096, description="PEM (SubjectPublicKeyInfo).")
    not_before: Time = Field(description="Nothing that was signed earlier is by this key.")
    not_after: Optional[Time] = Field(None, description="Nothing signed later; open: in use.")


class TrustAnchor(Spec):
    """A root that is trusted, or an issuing CA beneath one; its name is the serial number."""

    role: Literal["root", "issuing"] = Field(description="What it is.")
    state: Literal["current", "next", "leaving"] = Field(
        description="next: trusted, and nothing is issued beneath it yet; leaving: trusted until "
        "everybody has a certificate beneath its successor."
    )
    certificate: str = Field(max_length=16384, description="PEM.")
    link: Optional[str] = Field(
        None,
        max_length=16384,
        description="The root's key signed by the root before it (PEM), without which nobody "
        "takes the root over.",
    )
