"""The generator reaches every part of the contract, and often enough to matter."""

from collections import Counter

from hypothesis import event, given

from tests.property.features import FEATURES, features
from tests.property.generators import rolled_world, worlds
from tests.property.oracle_inheritance import World

WORLDS = 60


def test_every_feature_of_the_contract_is_exercised() -> None:
    seen = Counter(
        feature for seed in range(WORLDS) for feature in features(rolled_world(seed), seed)
    )
    assert set(seen) == FEATURES
    rare = {feature: count for feature, count in seen.items() if count < WORLDS // 40}
    assert not rare, f"of {WORLDS} worlds"


@given(world=worlds())
def test_hypothesis_reaches_features_too(world: World) -> None:
    """Run with --hypothesis-show-statistics to see how often."""
    found = features(world, 0)
    for feature in sorted(found):
        event(feature)
    assert found <= FEATURES
