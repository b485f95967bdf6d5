"""Token keys' public halves become objects, and go when they count no longer."""

from typing import Any

from shared.ids import FEDERATION
from shared.login.keyring import KEYS
from shared.login.publish_keys import PublishKeys
from shared.model.trust import VerificationKey
from tests.fakes.store import MemoryStore

SERVER = "spiffe://hanse.example/fsm"


def record(**more: Any) -> dict[str, Any]:
    return {
        "public": "-----BEGIN PUBLIC KEY-----\n…",
        "createdAt": "2026-01-01T00:00:00+00:00",
        "retiresAt": None,
        **more,
    }


async def test_keys_are_published_ended_and_dropped_as_the_key_ring_says() -> None:
    store = MemoryStore()
    publish = PublishKeys(store, server=SERVER, scope=FEDERATION)
    store.kept[KEYS] = {"k1": record()}
    assert (await publish.reconcile()).changed == 1
    revision = store.at.revision
    assert (await publish.reconcile()).changed == 0
    assert store.at.revision == revision, "what is so already takes no revision"
    (stored,) = store.objects.values()
    assert VerificationKey.model_validate(stored.spec).server == SERVER
    assert "notAfter" not in stored.spec

    ends = "2026-02-01T00:00:00+00:00"
    store.kept[KEYS] = {"k1": record(retiresAt=ends), "k2": record()}
    await publish.reconcile()
    assert {key.name: each.spec.get("notAfter") for key, each in store.objects.items()} == {
        "k1": ends,
        "k2": None,
    }
    store.kept[KEYS] = {"k2": record()}
    await publish.reconcile()
    assert [key.name for key in store.objects] == ["k2"]
