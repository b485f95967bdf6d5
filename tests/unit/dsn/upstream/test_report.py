"""The site is told each turn, in order, and now and then regardless."""

import asyncio
from collections.abc import Callable

import pytest

from dsn.dataplane.contract import NoDataPlane
from dsn.dataplane.memory import MemoryDataPlane
from dsn.enforce.assignment import Refusal, Standing
from dsn.upstream.report import Reporter
from shared.errors import Invalid, Unreachable
from shared.policy.nodeconfig import Packet
from shared.tasks.group import Group
from tests.fakes.clock import VirtualClock
from tests.unit.dsn.configurations import make_assignment, make_rule
from tests.unit.dsn.upstream.site import FakeSite

ONE = make_assignment(1, make_rule(1))
TWO = make_assignment(2, make_rule(2))
STANDS = Standing(enforced=ONE, read_back=ONE.version.hash)


class Reporting:
    def __init__(self) -> None:
        self.site = FakeSite()
        self.clock = VirtualClock()
        self.plane = MemoryDataPlane()
        self.reporter = Reporter(
            transport=self.site, plane=self.plane, agent="0.1.0", period=15.0, clock=self.clock
        )

    async def until(self, done: Callable[[], bool]) -> None:
        async with Group() as group:
            group.start(self.reporter.run(), name="report")
            async with asyncio.timeout(5):
                while not done():  # noqa: ASYNC110 - turns of the loop, no time
                    await asyncio.sleep(0)


@pytest.fixture
def reporting() -> Reporting:
    return Reporting()


async def test_an_acknowledgement_says_what_is_enforced(reporting: Reporting) -> None:
    await reporting.plane.apply(ONE.configuration)
    reporting.plane.handle(Packet(4, 1, 0x0A010005, 6, 1024, 80))
    reporting.reporter.note(STANDS)

    await reporting.until(lambda: bool(reporting.site.reports))

    assert reporting.site.reports == [
        {
            "incarnation": "first",
            "generation": 1,
            "hash": ONE.version.hash,
            "outcome": "ack",
            "code": None,
            "message": None,
            "readBack": ONE.version.hash,
            "dataPlane": "memory",
            "agent": "0.1.0",
            "counters": {make_rule(1).id: 1},
            "telemetry": [],
        }
    ]


async def test_a_refusal_names_the_generation_and_why(reporting: Reporting) -> None:
    refused = Refusal(TWO.version, "unsupported_field", "a field that this agent doesn't know")
    reporting.reporter.note(Standing(enforced=ONE, refused=refused))

    await reporting.until(lambda: bool(reporting.site.reports))

    (report,) = reporting.site.reports
    assert (report["outcome"], report["generation"]) == ("nack", 2)
    assert (report["code"], report["hash"]) == ("unsupported_field", ONE.version.hash)


async def test_a_drift_is_told_before_its_repair(reporting: Reporting) -> None:
    for read_back in ("d" * 64, ONE.version.hash):
        reporting.reporter.note(Standing(enforced=ONE, read_back=read_back))

    await reporting.until(lambda: len(reporting.site.reports) == 2)

    assert [each["readBack"] for each in reporting.site.reports] == ["d" * 64, ONE.version.hash]


async def test_of_too_many_the_newest_are_told(reporting: Reporting) -> None:
    for number in range(100):
        assignment = make_assignment(number)
        reporting.reporter.note(Standing(enforced=assignment))

    await reporting.until(lambda: bool(reporting.site.reports))
    await reporting.until(lambda: reporting.site.reports[-1]["generation"] == 99)

    assert len(reporting.site.reports) <= 17


async def test_what_could_not_be_sent_is_sent_on_the_next_connection(reporting: Reporting) -> None:
    reporting.site.refuse_reports = Unreachable("away")
    reporting.reporter.note(STANDS)
    with pytest.raises(Unreachable):
        await reporting.reporter.run()

    await reporting.until(lambda: bool(reporting.site.reports))

    assert reporting.site.reports[0]["generation"] == 1


async def test_a_report_that_is_refused_is_not_sent_again(reporting: Reporting) -> None:
    reporting.site.refuse_reports = Invalid("too long")
    reporting.reporter.note(STANDS)
    reporting.reporter.note(Standing(enforced=TWO))

    await reporting.until(lambda: bool(reporting.site.reports))

    assert [each["generation"] for each in reporting.site.reports] == [2]


async def test_the_counters_are_told_even_if_nothing_happens(reporting: Reporting) -> None:
    reporting.reporter.note(STANDS)
    async with Group() as group:
        group.start(reporting.reporter.run(), name="report")
        await reporting.clock.sleepers()
        await reporting.clock.pass_time(31.0)

    assert len(reporting.site.reports) == 3


async def test_a_new_connection_begins_with_a_report(reporting: Reporting) -> None:
    reporting.reporter.note(STANDS)
    await reporting.until(lambda: len(reporting.site.reports) == 1)

    await reporting.until(lambda: len(reporting.site.reports) == 2)


async def test_before_the_first_configuration_there_is_nothing_to_say(
    reporting: Reporting,
) -> None:
    async with Group() as group:
        group.start(reporting.reporter.run(), name="report")
        await reporting.clock.sleepers()

    assert reporting.site.reports == []


async def test_counters_that_cannot_be_had_are_left_out() -> None:
    reporting = Reporting()
    reporting.plane.counters = _no_counters  # type: ignore[method-assign] - a fault
    reporting.reporter.note(STANDS)

    await reporting.until(lambda: bool(reporting.site.reports))

    assert reporting.site.reports[0]["counters"] == {}


async def _no_counters() -> dict[str, object]:
    raise NoDataPlane("nft is gone")
