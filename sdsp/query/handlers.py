"""The one route by which the FSM asks this site something, in a person's name."""

from typing import Final

from aiohttp import web

from sdsp.query.answering import Answerer, Answering
from sdsp.query.askers import Askers
from sdsp.site.handlers import INBOUND
from shared.errors import Malformed
from shared.http.body import aside, parse_json, read_bytes
from shared.http.keys import CALLER
from shared.http.ndjson import NDJSON, stream_lines
from shared.http.rates import CallKind
from shared.http.request import only_parameters, peer_of
from shared.http.routes import PEER, TRANSACTION_LIMIT, Parameter, Routes
from shared.model.source import MAX_VALUES
from shared.pki.identity import Role
from shared.query.wire import ASK, ON_BEHALF, PREFIX, Question, parse_question

ASKERS: Final = web.AppKey("askers", Askers)
ANSWERING: Final = web.AppKey("answering", Answering)
ANSWERERS: Final[web.AppKey[dict[str, Answerer]]] = web.AppKey("answerers")

routes = Routes(PREFIX, tag="query")


@routes.post(
    ASK,
    permission=PEER,
    peer=Role.FSM,
    media_type=NDJSON,
    counts_as=CallKind.QUERIES,
    parameters=(
        Parameter(
            ON_BEHALF,
            "In whose name: a token of the FSM for this very question, site and connection.",
            where="header",
            required=True,
        ),
    ),
)
async def ask(request: web.Request) -> web.StreamResponse:
    """Answer a question of the FSM's, as far as the person in whose name it asks may know."""
    only_parameters(request)
    data = await read_bytes(request, limit=TRANSACTION_LIMIT)
    token = request.headers.get(ON_BEHALF)
    caller = await request.app[ASKERS].caller(token, data, peer_of(request))
    # The audit trail says who it was.
    request[CALLER] = caller
    question = await aside(request, _read, data)
    answerer = request.app[ANSWERERS].get(question.ask)
    if answerer is None:
        raise Malformed(
            f"{question.ask[:80]!r} can't be asked of this release", code="unknown_question"
        )
    position = await request.app[INBOUND].position()
    lines = request.app[ANSWERING].lines(answerer, caller, question, position)
    return await stream_lines(request, lines)


def _read(data: bytes) -> Question:
    return parse_question(parse_json(data, MAX_VALUES * 8))
