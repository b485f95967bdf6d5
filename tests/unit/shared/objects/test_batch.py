from datetime import UTC, datetime

import pytest

from shared.access.permissions import Permission
from shared.auth.identity import Caller, CallerKind, Grant
from shared.ids import Key
from shared.model.documents import parse_value
from shared.objects.admission import Batch, Proposal
from shared.store.contract import Draft, Operation, Stored

KEY = Key("Node", "common", "site", "n")
SHOP, TILL = {"app": "shop"}, {"app": "till"}
AT = datetime(2027, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("before", "after", "allowed"),
    [
        (None, SHOP, True),
        (None, TILL, False),
        (SHOP, SHOP, True),
        (TILL, SHOP, False),
        (SHOP, TILL, False),
        (SHOP, None, True),
        (TILL, None, False),
        # There is no object that such a grant could mean.
        (None, None, False),
    ],
)
def test_a_special_permission_by_labels_is_one_on_the_object_before_and_after(
    before, after, allowed
) -> None:
    grant = Grant("r", frozenset({"admit"}), selector="app=shop", labels=SHOP.__eq__)
    caller = Caller(CallerKind.PERSON, "user:kim", "Kim", grants=(grant,))
    stored = None if before is None else Stored(KEY, "u", {}, before, {}, None, 1, 1, AT, AT)
    envelope = None
    if after is not None:
        metadata = {"name": "n", "labels": after}
        document = {"apiVersion": "hanse/v1", "kind": "Node", "metadata": metadata, "spec": {}}
        envelope, faults = parse_value(document)
        assert not faults
    proposal = Proposal(Operation.PUT, KEY, envelope, Draft(KEY, {}), stored)
    batch = Batch((proposal,), caller)
    place = {"tenant": "common", "scope": "site"}
    assert batch.may(Permission.ADMIT, **place, on=proposal) is allowed
    assert not batch.may(Permission.ADMIT, **place)
