"""Ask several sites at once: each has its own outcome, and none holds up or harms another.

What any site does, be it silent, slow, garbage or a flood, becomes that site's outcome.  Leaving
the block cancels what is under way, which the sites notice.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Literal

from fsm.query.channel import SiteChannels
from shared.auth.delegation import Asker, hash_of
from shared.clock import Clock
from shared.errors import Forbidden, HanseError, Malformed, Unauthenticated, Unreachable
from shared.feed.wire import Position
from shared.login.delegating import Delegations
from shared.query.wire import Begun, Part, Question, encode_question
from shared.tasks.group import Group

Outcome = Literal["ok", "timeout", "unreachable", "denied", "error"]

AT_ONCE: Final = 4
"""Questions to one site; more wait for their turn, at most until their deadline."""

_BEAT: Final = 2.0
"""Seconds: a stream says something at least every ten, and people like to hear more often."""

_LONGEST_TEXT: Final = 300
_MOST_PARTS: Final = 64


@dataclass(frozen=True, slots=True)
class SiteQuestion:
    """What one site is asked; without an endpoint it can't be."""

    site: str
    endpoint: str | None
    given: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SiteAnswer:
    """What became of asking one site.

    `position` is where its copy of policy stood, `code` and `message` say why there is no answer.
    """

    site: str
    outcome: Outcome
    seconds: float
    position: Position | None = None
    parts: Sequence[Any] = ()
    code: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Round:
    """What is asked of several sites at once, in whose name, and for how long at most (seconds).

    `parse` reads a part of an answer; Malformed if it can't.
    """

    asker: Asker
    ask: str
    deadline: float
    parse: Callable[[Part], Any]


@dataclass(slots=True)
class _Heard:
    """What a site has said so far."""

    position: Position | None = None
    parts: list[Any] = field(default_factory=list)


class Fanout:
    def __init__(self, channels: SiteChannels, delegations: Delegations, *, clock: Clock) -> None:
        self._channels = channels
        self._delegations = delegations
        self._clock = clock
        self._turns: dict[str, asyncio.Semaphore] = {}

    @asynccontextmanager
    async def asking(
        self, asked: Round, questions: Sequence[SiteQuestion]
    ) -> AsyncIterator[AsyncIterator[SiteAnswer | None]]:
        """Ask every site for the length of a block, and give the answers as they come.

        None now and then says that nothing has come for a while.
        """
        answers: asyncio.Queue[SiteAnswer] = asyncio.Queue()
        async with Group() as group:
            for each in questions:
                work = self._ask(asked, each)
                group.start(_put(work, answers), name=f"ask {each.site}")
            yield _taken(answers, len(questions))

    async def _ask(self, asked: Round, question: SiteQuestion) -> SiteAnswer:
        begun, heard = self._clock.monotonic(), _Heard()
        outcome: Outcome = "ok"
        error: HanseError | None = None
        try:
            async with asyncio.timeout(asked.deadline):
                await self._hear(asked, question, heard)
        except TimeoutError:
            outcome = "timeout"
            error = Unreachable(f"no answer within {asked.deadline:g} s", code="deadline_passed")
        except HanseError as exc:
            outcome, error = _outcome_of(exc), exc
        return SiteAnswer(
            question.site,
            outcome,
            self._clock.monotonic() - begun,
            heard.position,
            tuple(heard.parts) if error is None else (),
            None if error is None else _clean(error.code),
            None if error is None else _clean(error.message),
        )

    async def _hear(self, asked: Round, question: SiteQuestion, heard: _Heard) -> None:
        site, endpoint = question.site, question.endpoint
        if endpoint is None:
            raise Unreachable(f"the Site {site} says no endpoint", code="no_endpoint")
        data = encode_question(Question(asked.ask, site, asked.deadline, question.given))
        turns = self._turns.setdefault(site, asyncio.Semaphore(AT_ONCE))
        async with turns:
            token = await self._delegations.token(
                asked.asker,
                site=self._channels.identity_of(site),
                thumbprint=self._channels.thumbprint,
                question=hash_of(data),
                deadline=timedelta(seconds=asked.deadline),
            )
            async with self._channels.asking(site, endpoint, question=data, token=token) as frames:
                async for frame in frames:
                    if isinstance(frame, Begun):
                        if frame.site != site:
                            raise Malformed("another site answers")
                        heard.position = frame.position
                    elif isinstance(frame, Part):
                        if len(heard.parts) >= _MOST_PARTS:
                            raise Malformed("the answer has too many parts")
                        heard.parts.append(asked.parse(frame))


async def _put(work: Awaitable[SiteAnswer], answers: asyncio.Queue[SiteAnswer]) -> None:
    answers.put_nowait(await work)


async def _taken(
    answers: asyncio.Queue[SiteAnswer], count: int
) -> AsyncIterator[SiteAnswer | None]:
    while count:
        try:
            async with asyncio.timeout(_BEAT):
                answer = await answers.get()
        except TimeoutError:
            yield None
            continue
        count -= 1
        yield answer


def _outcome_of(error: HanseError) -> Outcome:
    if isinstance(error, Unreachable):
        return "unreachable"
    if isinstance(error, Unauthenticated | Forbidden):
        return "denied"
    return "timeout" if error.code == "deadline_passed" else "error"


def _clean(text: str) -> str:
    """Return a site's words as they may be shown: on one line, and no longer than a line or two."""
    return "".join(each if each.isprintable() else " " for each in text[:_LONGEST_TEXT])
