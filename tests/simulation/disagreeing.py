"""People of a federation and of its sites who want different things, and decide their conflicts.

The federation's edit a few policies again and again.  A site's make exceptions to just these, take
their names for policies of its own, and now and then settle a conflict that the site has found.
"""

import asyncio
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final

from shared.errors import HanseError, Unavailable
from shared.ids import Key
from tests.simulation.people import PATIENCE, Document, People, _document

NAMES: Final = ("p1", "p2", "p3")
RULES: Final = ("r1", "r2", "r3", "r4")
TWO_SIDED: Final = ("edited_both", "deleted_upstream", "name_taken", "upstream_went_back")
PROPOSALS: Final = ("acceptGlobal", "keepLocal", "merge")


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision that was answered with success."""

    server: str
    incarnation: str
    epoch: int
    request: str
    revision: int
    conflict: Key
    proposal: str


class Disagreeing(People):
    """Whoever writes at the FSM, or at a site; of a site `above` are the federation's people."""

    above: People | None = None

    async def edit(self) -> None:
        if self.server == "fsm":
            await self._edit_global()
            return
        form = self._source.random()
        if form < 0.35:
            await self._decide()
        elif form < 0.7:
            await self._except()
        elif form < 0.85:
            own = [key for key in self.written if key.kind in ("Override", "SecurityPolicy")]
            if own:
                await self.write([], deletes=[self._source.choice(own)])
        else:
            name = self._source.choice((*NAMES, "l1"))
            await self.write([_document("SecurityPolicy", name, self._policy())])

    async def _edit_global(self) -> None:
        name = self._source.choice(NAMES)
        key = Key("SecurityPolicy", "common", "federation", name)
        before = self.written.get(key)
        if before is None:
            spec = self._policy()
            spec["enforcement"] = self._source.choice(("mandatory", "mandatory", "default"))
            if self._source.random() < 0.3:
                spec["autoMerge"] = True
            if self._source.random() < 0.4:
                spec["onConflict"] = self._source.choice(("merge", "keepLocal", "applyGlobal"))
        elif self._source.random() < 0.15:
            await self.write([], deletes=[key])
            return
        else:
            spec = self._edited(before["spec"])
            if self._source.random() < 0.1:
                spec["enforcement"] = self._source.choice(("mandatory", "default"))
        await self.write([_document("SecurityPolicy", name, spec)])

    async def _except(self) -> None:
        assert self.above is not None, "a site's people know of the federation's policies"
        known = [key for key in self.above.written if key.kind == "SecurityPolicy"]
        if not known:
            return
        key = self._source.choice(known)
        spec = self._edited(self.above.written[key]["spec"])
        for each in ("enforcement", "sites"):
            spec.pop(each, None)
        target = {"kind": "SecurityPolicy", "name": key.name, "tenant": key.tenant}
        body = {"target": target, "reason": "it must work", "spec": spec}
        await self.write([_document("Override", f"o-{key.name}", body)])

    async def _decide(self) -> None:
        """Settle one of the conflicts that the site lists, as it was looked at."""
        try:
            answer = await self._client.request("GET", "/api/v1/conflicts")
        except (Unavailable, HanseError):
            return
        offered = [
            (each, proposal)
            for each in answer.json()["items"]
            for proposal in each["proposals"]
            if each["state"] != "resolved" and proposal in PROPOSALS
        ]
        if not offered:
            return
        # Where two sides meet there is most to lose, and of a merge most to get wrong.
        both = [each for each in offered if each[0]["type"] in TWO_SIDED]
        merges = [each for each in both if each[1] == "merge"]
        for some in (both, merges):
            if some and self._source.random() < 0.6:
                offered = some
        conflict, proposal = self._source.choice(offered)
        self._number += 1
        request = f"{self.server}-{self._number}"
        body = {**conflict, "request": request, "proposal": proposal}
        found = await self._ask(request, body)
        if found is None:
            return
        key = Key("Conflict", conflict["tenant"], "site", conflict["name"])
        epoch = self._history.epochs[self.server]
        incarnation, revision = found["incarnation"], found["revision"]
        self._history.decided.append(
            Decided(self.server, incarnation, epoch, request, revision, key, proposal)
        )
        self._history.count("decisions")
        self._history.count(f"decisions {proposal}")
        self._note(f"{request} decided {key.name}: {proposal} at {revision}")
        for gone in found["deleted"]:
            self.written.pop(Key(*gone), None)

    async def _ask(self, request: str, body: Document) -> Any:
        end = self._loop.time() + PATIENCE
        while self._loop.time() < end:
            try:
                path = "/api/v1/conflicts/decision"
                return (await self._client.request("POST", path, body=body)).json()
            except Unavailable:
                self._history.count("decisions sent again")
                await asyncio.sleep(self._source.uniform(0.1, 3.0))
            except HanseError as exc:
                self._history.count("decisions refused")
                self._note(f"{request} refused: {exc.code}")
                return None
        self._history.count("decisions given up")
        return None

    def _policy(self) -> Document:
        names = [each for each in RULES if self._source.random() < 0.6]
        return {"priority": self._priority(), "rules": [self._rule(each) for each in names]}

    def _priority(self) -> int:
        return self._source.choice((200, 300, 400))

    def _rule(self, name: str) -> Document:
        port = self._source.choice(("22", "80", "443"))
        return {
            "name": name,
            "from": "any",
            "to": "any",
            "services": [{"protocol": "tcp", "ports": [port]}],
            "action": self._source.choice(("allow", "deny", "reject")),
        }

    def _edited(self, before: Document) -> Document:
        """Return a policy with an edit or two: a field, or a rule changed, added or removed."""
        spec = deepcopy(before)
        for _ in range(self._source.choice((1, 1, 2))):
            rules = spec["rules"]
            match self._source.choice(("priority", "change", "change", "add", "remove", "log")):
                case "priority":
                    spec["priority"] = self._priority()
                case "change" if rules:
                    place = self._source.randrange(len(rules))
                    rules[place] = self._rule(rules[place]["name"])
                case "log" if rules:
                    self._source.choice(rules)["log"] = True
                case "add":
                    absent = [n for n in RULES if n not in {each["name"] for each in rules}]
                    if absent:
                        place = self._source.randrange(len(rules) + 1)
                        rules.insert(place, self._rule(self._source.choice(absent)))
                case "remove" if rules:
                    rules.pop(self._source.randrange(len(rules)))
        return spec
