"""Unit tests open no sockets: what needs one belongs to tests/integration."""

from collections.abc import Iterator

import pytest
from pytest_socket import disable_socket, enable_socket


@pytest.fixture(autouse=True)
def _no_sockets() -> Iterator[None]:
    # The event loop wakes itself up over a Unix socket pair.
    disable_socket(allow_unix_socket=True)
    yield
    enable_socket()
