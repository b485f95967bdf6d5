"""Requests that no application sees: those that aiohttp can't read, answered as all others are.

A malformed request line, a header that is too long, framing that two readers could take for
different lengths: aiohttp answers them before there is a request, in plain text that may quote what
came.  Here they get a problem document with a request id, which stands in the log as well.  The
connection ends with it: nobody knows where the next request would begin.
"""

from typing import Final

from aiohttp import web

from shared.errors import HanseError, Malformed
from shared.http.keys import REQUEST_ID
from shared.http.problems import problem_response
from shared.http.ready import SERVER_HEADERS
from shared.http.trace import REQUEST_ID as REQUEST_ID_HEADER
from shared.http.trace import current_request_id, new_request_id

_BAD_REQUEST: Final = 400


class Protocol(web.RequestHandler):
    """aiohttp's protocol of one connection, with answers of ours where it gives its own."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what aiohttp couldn't read, or what failed outside of the application.

        Raises ConnectionError if an answer has begun already.
        """
        request[REQUEST_ID] = new_request_id()
        current_request_id.set(request[REQUEST_ID])
        # It logs; what it would say is dropped.
        super().handle_error(request, status, exc, message)
        if status == _BAD_REQUEST:
            said: HanseError = Malformed("the request can't be read")
        else:
            said = HanseError("the server made a mistake; it has been logged")
        response = problem_response(request, said)
        response.headers.extend(SERVER_HEADERS)
        response.headers[REQUEST_ID_HEADER] = request[REQUEST_ID]
        response.force_close()
        return response
