"""Answers whose header is made beforehand, for what is read far more often than it changes."""

from typing import Final

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.helpers import rfc822_formatted_time
from multidict import CIMultiDict

from shared.http.request import request_id
from shared.http.trace import REQUEST_ID, TRACEPARENT, current_trace

SERVER_HEADERS: Final = CIMultiDict(
    {
        # Whose version it is is nobody's business.
        "Server": "hanse",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    }
)
"""What every answer has."""


class Ready:
    """A good answer (200) that can be sent many times: its headers and its body."""

    def __init__(self, headers: CIMultiDict[str], body: bytes) -> None:
        self.headers: Final = headers
        self.body: Final = body
        named = [*headers.items(), *SERVER_HEADERS.items(), ("Content-Length", str(len(body)))]
        lines = "".join(f"{name}: {value}\r\n" for name, value in named)
        self.head: Final = f"HTTP/1.1 200 OK\r\n{lines}"


class ReadyResponse(web.Response):
    """Sends a Ready answer, with the headers that each answer has (shared.http.middleware).

    To a GET of HTTP/1.1 on a connection that stays open it is one write of what stands ready; to
    anything else, or once somebody has asked for its headers or changed it, it is an answer as any
    other.
    """

    def __init__(self, ready: Ready) -> None:
        super().__init__(body=ready.body, headers=ready.headers)
        self._ready: Ready | None = ready
        self._asked_by: web.BaseRequest | None = None

    @property
    def headers(self) -> CIMultiDict[str]:
        # Whoever asks for them may change them.
        self._ready = None
        return super().headers

    @property
    def prepared(self) -> bool:
        return self._asked_by is not None or super().prepared

    @property
    def keep_alive(self) -> bool | None:
        return True if self._asked_by is not None else super().keep_alive

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        if self._asked_by is None:
            if not self._fits(request):
                return await super().prepare(request)
            self._asked_by = request
        return request.writer

    async def write_eof(self, data: bytes = b"") -> None:
        request, ready = self._asked_by, self._ready
        if request is None:
            await super().write_eof(data)
        elif ready is not None:
            self._ready = None
            trace = current_trace.get()
            parent = f"{TRACEPARENT}: {trace}\r\n" if trace else ""
            head = (
                f"{ready.head}{REQUEST_ID}: {request_id(request)}\r\n{parent}"
                f"Date: {rfc822_formatted_time()}\r\n\r\n"
            )
            writer = request.writer
            await writer.write(head.encode("latin-1") + ready.body)
            await writer.drain()

    def _fits(self, request: web.BaseRequest) -> bool:
        return (
            self._ready is not None
            and self.body is self._ready.body
            and self.status == 200
            and request.method == "GET"
            and request.version == HttpVersion11
            and request.keep_alive
        )
