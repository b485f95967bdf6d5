"""Two FSMs in one folder and on one PostgreSQL: what one exchanges the other shows at once."""

import asyncio
import ssl
from typing import Any

import pytest
from cryptography import x509

from fsm.settings import Listen
from fsm.trust import FSMCredentials
from shared.pki.certificates import is_signed_by
from shared.pki.tls import visitor_context
from shared.store.sql import open_store
from tests.fixtures_postgres import postgres, postgres_url
from tests.integration.fsm.harness import FSM, ShiftedClock

__all__ = ["postgres", "postgres_url"]

pytestmark = pytest.mark.postgres


class Endless(ShiftedClock):
    """Here no minute comes to its end: whatever happens once a minute happens when it is told to."""

    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        return await super().wait(event, None if seconds == 60.0 else seconds)


async def shown(fsm: FSM) -> x509.Certificate:
    """Return what a server shows to a visitor."""
    host, port = "127.0.0.1", fsm.settings.listen.port
    _, writer = await asyncio.open_connection(host, port, ssl=visitor_context(fsm.roots))
    found: ssl.SSLObject = writer.get_extra_info("ssl_object")
    certificate = found.getpeercert(binary_form=True)
    writer.close()
    await writer.wait_closed()
    assert certificate is not None
    return x509.load_der_x509_certificate(certificate)


async def test_regression_what_one_exchanges_the_other_shows_at_once(
    stopped: FSM, postgres_url: str
) -> None:
    await (await open_store(postgres_url, clock=stopped.clock, create=True)).close()
    settings = stopped.settings.model_copy(
        update={"database": postgres_url, "listen": Listen(port=0)}
    )
    one, other = (FSM(stopped.data, Endless(), settings) for _ in range(2))
    credentials = FSMCredentials.beneath(stopped.data)

    async def call(path: str, body: dict[str, Any]) -> None:
        await one.admin().client.post(f"/api/v1/certificates/{path}", body)

    async with one.serving(), other.serving():
        await call("rotate", {"what": "issuing", "step": "begin"})
        issuing = credentials.issuing.load_public()[0][0]
        for each in (one, other):
            while not is_signed_by(await shown(each), issuing):
                pass
