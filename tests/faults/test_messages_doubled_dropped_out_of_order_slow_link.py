"""Messages doubled, dropped, out of order; slow link: what counts is the revision.

A line that comes again is passed over, a gap has the stream opened anew where the copy stands, and
what can't be resumed is listed again.  A node judges by the hash of the whole.  (Policy before
images: there are no images yet.)

Elsewhere: single lines in tests/unit/shared/feed/test_follow.py and
tests/unit/dsn/upstream/test_follow.py, a slow reader in tests/unit/shared/feed/test_serve.py and
tests/integration/fsm/test_feed.py, histories of the feed alone in
tests/unit/fsm/feed/test_histories.py.
"""

from collections import Counter

import pytest

from tests.simulation.network import Weather
from tests.simulation.run import Plan, run_seed

STORM = Weather(delay=0.1, lost=0.05, doubled=0.3, swapped=0.1)
SLOW = Weather(delay=3.0)


def test_every_site_and_node_comes_to_the_same_whatever_the_network_does_to_messages() -> None:
    carried: Counter[str] = Counter()
    for seed in (301, 302, 303):
        outcome = run_seed(seed, Plan(weather=STORM, only=("jump",), mishaps=16, edits=16))
        carried.update(outcome.counts)

        assert not outcome.wrong, outcome.report()

    for what in ("lines doubled", "lines lost", "lines swapped", "lost", "doubled", "frames"):
        assert carried[what] >= 3, (what, carried)


@pytest.mark.parametrize("seed", [302])
def test_over_a_slow_link_everything_arrives(seed: int) -> None:
    outcome = run_seed(seed, Plan(weather=SLOW, only=("break",), mishaps=3, edits=8))

    assert not outcome.wrong, outcome.report()
    assert outcome.counts["frames"] >= 2
