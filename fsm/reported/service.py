"""All sites' conflicts and exceptions, gathered from what each of them reported last."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fsm.feed.acks import REPORTS
from fsm.feed.hub import Hub
from fsm.feed.select import site_key
from fsm.reported.facts import conflicts_in, exceptions_in, rank, rows_of
from shared.access.reach import Reach
from shared.errors import NotFound
from shared.store.contract import Store


@dataclass(frozen=True, slots=True)
class About:
    """Which exceptions are asked for; None: any."""

    site: str | None = None
    kind: str | None = None
    name: str | None = None
    tenant: str | None = None

    def includes(self, target: dict[str, Any]) -> bool:
        return all(
            wanted in (None, target[part])
            for part, wanted in (("kind", self.kind), ("name", self.name), ("tenant", self.tenant))
        )


class Reported:
    def __init__(self, store: Store, hub: Hub) -> None:
        self._store = store
        self._hub = hub

    async def conflicts(
        self, reach: Reach, *, site: str | None, tenant: str | None, settled: bool
    ) -> dict[str, Any]:
        """Return the conflicts of all sites, or of one, the most pressing first.

        `sites` says of which revision each site's are; one that has told of none isn't in it.
        NotFound if there is no such site.
        """
        rows: list[dict[str, Any]] = []
        sites = []
        for name, report in await self._reports(reach, site):
            told = conflicts_in(report, reach)
            if told is None:
                continue
            counts = told.counts()
            sites.append({"site": name, **counts, "reportedAt": report["at"]})
            rows += [
                each
                for each in rows_of(name, told, settled=settled)
                if tenant in (None, each["tenant"])
            ]
        return {"items": sorted(rows, key=rank), "sites": sites}

    async def exceptions(self, reach: Reach, about: About) -> dict[str, Any]:
        """Return which sites make an exception to what, why and until when; NotFound."""
        rows = [
            {"site": name, **each}
            for name, report in await self._reports(reach, about.site)
            for each in exceptions_in(report, reach)
            if about.includes(dict(each["target"]))
        ]
        rows.sort(key=lambda row: (*row["target"].values(), row["site"], row["name"]))
        return {"items": rows}

    async def _reports(self, reach: Reach, site: str | None) -> list[tuple[str, dict[str, Any]]]:
        async with self._store.snapshot() as snapshot:
            reports = await snapshot.records(REPORTS)
        names = sorted(self._sites(reach))
        if site is not None and site not in names:
            raise NotFound(f"there is no Site {site}")
        return [
            (name, dict(reports[name]))
            for name in names
            if name in reports and site in (None, name)
        ]

    def _sites(self, reach: Reach) -> Iterator[str]:
        for key, item in self._hub.world.items():
            if key == site_key(key.name) and reach.sees_machine(item.labels):
                yield key.name
