"""Small worlds of grants: few tenants, scopes, labels and permissions, so that they meet often."""

from hypothesis import strategies as st

from shared.access.book import canonical_selector
from shared.access.permissions import Permission
from shared.auth.identity import Grant
from shared.model.selectors import Selector

PERMISSIONS = (
    Permission.READ_NETWORK,
    Permission.WRITE_NETWORK,
    Permission.WRITE_ROLE_BINDING,
    Permission.TRACE,
)
TENANTS = ("common", "acme", "rival")
SCOPES = ("federation", "site", "group/web")
LABEL_SETS = ({}, {"app": "shop"}, {"app": "till"}, {"env": "prod", "app": "shop"})
SELECTORS = (
    {},
    {"matchLabels": {"app": "shop"}},
    {"matchExpressions": [{"key": "app", "operator": "In", "values": ["shop"]}]},
    {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["shop"]}]},
    {"matchLabels": {"env": "prod"}},
)

TENANT = st.sampled_from(TENANTS)
SCOPE = st.sampled_from(SCOPES)
LABELS = st.sampled_from(LABEL_SETS)


def some_of(names: tuple[str, ...]) -> st.SearchStrategy[frozenset[str] | None]:
    return st.none() | st.frozensets(st.sampled_from(names), min_size=1)


@st.composite
def grants(draw: st.DrawFn) -> Grant:
    selector = Selector.model_validate(draw(st.sampled_from(SELECTORS)))
    text = canonical_selector(selector)
    return Grant(
        "r",
        frozenset(draw(st.frozensets(st.sampled_from(PERMISSIONS), min_size=1))),
        draw(some_of(TENANTS)),
        draw(some_of(SCOPES)),
        text,
        selector.matches if text else None,
        draw(st.sampled_from(("", "b1", "b2"))),
    )
