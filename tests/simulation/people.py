"""People who write: valid edits mostly, drawn by a seed, sent again until they are answered."""

import asyncio
import random
from collections.abc import Iterable
from typing import Any, Final

from shared.errors import HanseError, Unavailable
from shared.feed.wire import key_to_json
from shared.ids import Key
from tests.property.choices import Rolled
from tests.property.generated_documents import (
    NETWORKS,
    NODES,
    POLICIES,
    SERVICES,
    Focus,
    either,
    global_policy,
    labels,
    local_policy,
    names,
    override,
    workload,
)
from tests.property.generators import inventory, places
from tests.simulation.history import Acknowledged, History
from tests.simulation.loop import SimulatedLoop
from tests.simulation.network import Client

Document = dict[str, Any]

PATIENCE: Final = 240.0
"""Seconds after which a person gives up; whether it was written is then unknown."""
SCOPES: Final = ("federation", "federation", "region/west", "region/bay", "region/cove")
BIG: Final = "big"
"""How the names of policies begin that have many rules."""
REQUEST: Final = "simulation/request"
"""The annotation that says which request wrote a version."""


class People:
    """Whoever writes at one server, one request after another."""

    def __init__(
        self, server: str, *, client: Client, loop: SimulatedLoop, history: History, seed: str
    ) -> None:
        self.server = server
        self.written: dict[Key, Document] = {}
        self._client = client
        self._loop = loop
        self._history = history
        self._source = random.Random(seed)
        self._choose = Rolled(self._source.getrandbits(64))
        self._number = 0
        self._focus = Focus(
            *(either(self._choose, ("", ""), of, 0) for of in (NETWORKS, SERVICES, POLICIES))
        )

    @property
    def scope(self) -> str:
        return "federation" if self.server == "fsm" else "site"

    async def begin(self) -> None:
        """Write what everything else rests on."""
        if self.server == "fsm":
            first = places(self._choose)
        else:
            first = inventory(self._choose)
            for each in first:
                if each["kind"] == "Node":
                    each["spec"]["admission"] = "admitted"
        await self.write(first)

    async def edit(self) -> None:
        """Make one edit at random: one object mostly, sometimes several together."""
        if self.server == "fsm" and self._source.random() < 0.25:
            await self._steer()
            return
        many = self._source.random() < 0.1
        puts: dict[Key, Document] = {}
        deletes: list[Key] = []
        for _ in range(self._source.randint(2, 4) if many else 1):
            doomed = [key for key in self.written if key.kind in _DELETED and key not in puts]
            if doomed and self._source.random() < 0.25:
                deletes.append(self._source.choice(doomed))
                continue
            document = self._global() if self.server == "fsm" else self._local()
            if document is not None:
                puts[self._key(document)] = document
        await self.write(
            puts.values(), deletes=[key for key in dict.fromkeys(deletes) if key not in puts]
        )

    async def _steer(self) -> None:
        """Let a policy go site by site, or pause a site, or let it go on."""
        source = self._source
        if source.random() < 0.3:
            request = f"{self.server}-pause-{self._number}"
            self._number += 1
            body = {"request": request, "pause": source.choice(("s1", "s2"))}
            if await self._send(request, body) is not None:
                self._history.count("pauses")
            return
        declared = [each for key, each in self.written.items() if key.kind in _NAMES]
        document = global_policy(self._choose, SCOPES, self._focus, declared)
        order = [{"matchLabels": labels(self._choose)} for _ in range(source.randint(0, 2))]
        if await self.write([document], rollout=order):
            self._history.count("rollouts")

    async def write(
        self,
        puts: Iterable[Document],
        *,
        deletes: Iterable[Key] = (),
        rollout: list[Document] | None = None,
    ) -> bool:
        """Send a transaction until it is answered; return whether it was done.

        With `rollout` it is of one policy, which goes site by site in this order.
        """
        self._number += 1
        request = f"{self.server}-{self._number}"
        documents = [_marked(each, request) for each in puts]
        gone = list(deletes)
        if not documents and not gone:
            return False
        body: Document = {
            "request": request,
            "writes": [
                *({"put": each} for each in documents),
                *({"delete": key_to_json(key)} for key in gone),
            ],
        }
        if rollout is not None:
            body["rollout"] = rollout
        answer = await self._send(request, body)
        if answer is None:
            return False
        for each in documents:
            self.written[self._key(each)] = each
        for key in gone:
            self.written.pop(key, None)
        self._history.count("writes")
        self._history.acknowledged.append(
            Acknowledged(
                self.server,
                answer["incarnation"],
                self._history.epochs[self.server],
                request,
                answer["revision"],
                tuple(self._key(each) for each in documents),
                tuple(gone),
            )
        )
        self._note(f"{request} written at {answer['revision']}")
        return True

    async def _send(self, request: str, body: Document) -> Any:
        end = self._loop.time() + PATIENCE
        while self._loop.time() < end:
            try:
                answer = await self._client.request("POST", "/api/v1/transactions", body=body)
            except Unavailable:
                self._history.count("writes sent again")
                await asyncio.sleep(self._source.uniform(0.1, 3.0))
            except HanseError as exc:
                self._history.count("writes refused")
                self._note(f"{request} refused: {exc.code}")
                return None
            else:
                return answer.json()
        self._history.count("writes given up")
        return None

    def _global(self) -> Document | None:
        source, choose = self._source, self._choose
        form = source.random()
        if form < 0.08:
            return self._big_policy()
        if form < 0.2:
            return self._site()
        declared = [each for key, each in self.written.items() if key.kind in _NAMES]
        if form < 0.6:
            return global_policy(choose, SCOPES, self._focus, declared)
        return names(choose, SCOPES, self._focus, 1, 1)[0]

    def _local(self) -> Document | None:
        source, choose = self._source, self._choose
        scopes = ("site", "site", "group/rack", "node/n1")
        declared = [each for key, each in self.written.items() if key.kind in _NAMES]
        form = source.random()
        if form < 0.12:
            name = source.choice(NODES)
            admission = source.choice(("admitted", "admitted", "admitted", "pending", "refused"))
            spec = {"groups": choose.some_of(("rack",)), "admission": admission}
            return _document("Node", name, spec)
        if form < 0.35:
            return workload(choose)
        if form < 0.6:
            return names(choose, scopes, self._focus, 1, 1)[0]
        if form < 0.7 and declared:
            found = override(choose, scopes, self._focus, declared, declared)
            # When one expires is the site's clock's affair, and these clocks are wrong.
            found["spec"].pop("expiresAt", None)
            return found
        return local_policy(choose, scopes, self._focus, declared)

    def _site(self) -> Document:
        spec: Document = {"defaultAction": self._source.choice(("deny", "allow"))}
        name = self._source.choice(("s1", "s1", "s2"))
        region = self._source.choice(("cove", "bay", "west", None))
        if region is not None:
            spec["region"] = region
        found = _document("Site", name, spec)
        found["metadata"]["labels"] = labels(self._choose)
        return found

    def _big_policy(self) -> Document:
        """A policy whose removal takes so many rules that a person has to confirm it."""
        rules = [
            {
                "name": f"r{number}",
                "from": "any",
                "to": "any",
                "services": [{"protocol": "tcp", "ports": [1000 + number]}],
                "action": "deny",
            }
            for number in range(self._source.randint(10, 14))
        ]
        spec = {"rules": rules, "enforcement": self._source.choice(("default", "mandatory"))}
        return _document("SecurityPolicy", f"{BIG}{self._source.randint(0, 1)}", spec)

    def _key(self, each: Document) -> Key:
        metadata = each["metadata"]
        return Key(
            each["kind"],
            metadata.get("tenant", "common"),
            metadata.get("scope", self.scope),
            metadata["name"],
        )

    def _note(self, what: str) -> None:
        self._history.note(self._loop.time(), f"people at {self.server}: {what}")


_NAMES: Final = ("Network", "Service")
_DELETED: Final = ("Network", "Service", "SecurityPolicy", "Workload", "Override")


def _document(kind: str, name: str, spec: Document) -> Document:
    return {"apiVersion": "hanse/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def _marked(each: Document, request: str) -> Document:
    return {**each, "metadata": {**each["metadata"], "annotations": {REQUEST: request}}}
