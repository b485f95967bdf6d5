"""What an agent knows of itself: who it is, where its site is, and how it was told to run.

The identity is written when a node joins; settings are a person's: `settings.yaml` in the data
folder, then the environment (HANSE_DSN_…).
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Self

import orjson
from pydantic import Field

from shared.errors import Invalid, NotFound
from shared.failpoints import failpoint
from shared.pki.identity import SpiffeId, parse_trust_domain
from shared.settings import Settings, load_settings

DataPlaneChoice = Literal["auto", "nftables", "memory"]

_IDENTITY_FILE: Final = "identity.json"
_SETTINGS_FILE: Final = "settings.yaml"
_PREFIX: Final = "HANSE_DSN_"


class Files(NamedTuple):
    """Where an agent keeps what; `simulation` tells the port of a simulated data plane."""

    credentials: Path
    last_good: Path
    simulation: Path
    lock: Path
    revocations: Path
    heard: Path

    @classmethod
    def of(cls, data: Path) -> Self:
        return cls(
            data / "credentials",
            data / "last-good.json",
            data / "simulation.json",
            data / "lock",
            data / "revocations.json",
            data / "heard.json",
        )


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the node is, as its site said when it joined.

    `servers` are the SDSP's endpoints, `https://host:port`; `addresses` what their hosts resolved
    to then, for a start without a name server.
    """

    servers: tuple[str, ...]
    trust_domain: str
    site: str
    node: str
    addresses: tuple[str, ...] = ()

    @property
    def spiffe_id(self) -> SpiffeId:
        return SpiffeId.of_node(parse_trust_domain(self.trust_domain), self.site, self.node)


class DSNSettings(Settings):
    """How an agent runs.  Periods are in seconds."""

    data_plane: DataPlaneChoice = Field(
        "auto", description="nftables, memory (simulated), or auto: nftables where it works."
    )
    table: str = Field(
        "hanse", pattern=r"hanse(-[a-z0-9-]{1,40})?", description="The nftables table of ours."
    )
    log_group: int = Field(4740, ge=0, le=65535, description="NFLOG group of logging rules.")
    simulation_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Loopback port at which a simulated data plane judges packets; 0 for any free "
        "one, written to simulation.json.",
    )
    report_period: float = Field(
        15.0, gt=0, le=20, description="A site takes a node that is silent for 60 s for gone."
    )
    read_back_period: float = Field(30.0, gt=0, le=3600)


def load_settings_of(data: Path, environ: Mapping[str, str]) -> DSNSettings:
    """Return the settings of a data folder; Invalid (`invalid_settings`)."""
    file = data / _SETTINGS_FILE
    return load_settings(
        DSNSettings, file=file if file.exists() else None, environ=environ, prefix=_PREFIX
    )


def load_identity(data: Path) -> Identity:
    """Return who the node in this folder is.

    NotFound (`not_joined`) if it has not joined, Invalid (`identity_unreadable`) if the file was
    tampered with.
    """
    path = data / _IDENTITY_FILE
    try:
        document = orjson.loads(path.read_bytes())
        return _parse(document)
    except FileNotFoundError as exc:
        raise NotFound(
            f"no node has joined from {data}; ask the site for a token, then run: "
            f"hanse dsn join --data {data} --server URL --token TOKEN",
            code="not_joined",
        ) from exc
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as exc:
        raise Invalid(f"{path} is damaged; join anew", code="identity_unreadable") from exc


def has_joined(data: Path) -> bool:
    return (data / _IDENTITY_FILE).exists()


def save_identity(data: Path, identity: Identity) -> None:
    """Write who the node is; the file is replaced whole."""
    document = {
        "servers": list(identity.servers),
        "trustDomain": identity.trust_domain,
        "site": identity.site,
        "node": identity.node,
        "addresses": list(identity.addresses),
    }
    path = data / _IDENTITY_FILE
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("wb") as file:
        file.write(orjson.dumps(document, option=orjson.OPT_INDENT_2))
        file.flush()
        os.fsync(file.fileno())
    failpoint("dsn.identity.synced")
    temporary.replace(path)
    failpoint("dsn.identity.replaced")


def _parse(document: Mapping[str, Any]) -> Identity:
    servers = tuple(str(each) for each in document["servers"])
    if not servers:
        raise ValueError("no servers")
    return Identity(
        servers=servers,
        trust_domain=document["trustDomain"],
        site=document["site"],
        node=document["node"],
        addresses=tuple(str(each) for each in document.get("addresses", ())),
    )
