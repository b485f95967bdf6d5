"""Messages doubled, dropped, out of order; slow link: what counts is the revision.

A line that comes again is passed over, a gap has the stream opened anew where the copy stands, and
what can't be resumed is listed again.  A node judges by the hash of the whole.  (Policy before
images: there are no images yet.)

Elsewhere: single lines in tests/unit/shared/feed/test_follow.py and
tests/unit/dsn/upstream/test_follow.py, a slow reader in tests/unit/shared/feed/test_serve.py and
tests/integration/fsm/test_feed.py, histories of the feed alone in
tests/unit/fsm/feed/test_histories.py.
"""

import pytest

from tests.simulation.network import Weather
from tests.simulation.run import Plan, run_seed

STORM = Weather(delay=0.2, lost=0.1, doubled=0.25, swapped=0.2)
SLOW = Weather(delay=3.0)


@pytest.mark.parametrize("seed", [301, 302, 303, 304])
def test_every_site_and_node_comes_to_the_same_whatever_the_network_does_to_messages(
    seed: int,
) -> None:
    outcome = run_seed(seed, Plan(weather=STORM, only=("break",), mishaps=6, edits=12))

    assert not outcome.wrong, outcome.report()
    for what in ("lines doubled", "lines lost", "lines swapped", "lost", "doubled"):
        assert outcome.counts[what] >= 2, (what, outcome.counts)


@pytest.mark.parametrize("seed", [311, 312])
def test_over_a_slow_link_everything_arrives(seed: int) -> None:
    outcome = run_seed(seed, Plan(weather=SLOW, only=("break",), mishaps=3, edits=8))

    assert not outcome.wrong, outcome.report()
    assert outcome.counts["frames"] >= 2
