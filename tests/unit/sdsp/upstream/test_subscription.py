"""What the site asks the FSM for."""

import pytest

from sdsp.settings import SDSPSettings, Wishes
from sdsp.upstream.subscription import subscription_of
from shared.feed.accepts import is_accepted
from shared.model.subscription import Subscription
from tests.unit.sdsp.world import policy, rule

RICH = policy(
    {
        **rule(action="allow"),
        "from": [{"networks": {"matchLabels": {"app": "x"}}}],
        "services": [{"protocol": "tcp", "ports": ["80"], "sourcePorts": ["1000-2000"]}],
        "log": True,
    },
    enforcement="mandatory",
    sites={"matchExpressions": [{"key": "env", "operator": "In", "values": ["prod"]}]},
)


@pytest.mark.parametrize(
    ("kind", "spec", "accepted"),
    [
        ("SecurityPolicy", RICH, True),
        ("SecurityPolicy", {**RICH, "quota": 1}, False),
        ("Network", {"subnets": ["10.0.0.0/8"], "vlan": 4, "sealed": True}, True),
        ("Network", {"mtu": 9000}, False),
        ("Site", {"region": "west", "defaultAction": "allow", "serverNames": ["a"]}, True),
        ("Telepathy", {}, False),
        ("Credential", {"secret": "x"}, False),
    ],
)
def test_a_site_announces_what_it_can_take(
    kind: str, spec: dict[str, object], accepted: bool
) -> None:
    spoken = Subscription.model_validate(subscription_of(Wishes()))
    assert is_accepted(kind, spec, spoken.accepts) is accepted


def test_a_sites_wishes_are_settings() -> None:
    settings = SDSPSettings.model_validate(
        {
            "subscription": {
                "kinds": ["Network"],
                "tenants": ["shop"],
                "selector": {"matchLabels": {"app": "x"}},
            }
        }
    )
    spec = subscription_of(settings.subscription)
    assert (spec["kinds"], spec["tenants"]) == (["Network"], ["shop"])
    assert spec["selector"] == {"matchLabels": {"app": "x"}}
