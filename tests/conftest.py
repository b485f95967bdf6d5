"""What all tests share: golden files and Hypothesis profiles."""

import os
import signal

import pytest
from argon2.profiles import CHEAPEST, RFC_9106_LOW_MEMORY
from hypothesis import HealthCheck, settings

from shared.auth import passwords

# The same examples each time: fewer than a developer's, which differ from run to run.
settings.register_profile(
    "ci",
    deadline=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
)
settings.register_profile("dev", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "soak",
    deadline=None,
    max_examples=20_000,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))


def pytest_configure() -> None:
    # Thousands of tests begin with a login or two, and argon2 is meant to be slow.
    vars(passwords)["COST"] = CHEAPEST
    # Whoever starts the tests in the background may have them ignore Ctrl-C, and the programs
    # that they start would inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="re-record golden files")


@pytest.fixture
def real_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let passwords cost what they do in earnest."""
    monkeypatch.setattr(passwords, "COST", RFC_9106_LOW_MEMORY)


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-golden"))
