"""A site as a decision on one of its conflicts would leave it: for the impact beforehand."""

from collections.abc import Mapping
from typing import Any

from shared.ids import SITE, Key
from shared.model.override import Conflict, Override
from shared.policy.compile import SitePlanner
from shared.policy.conflicts.exceptions import inherited
from shared.policy.definitions import Name
from shared.policy.inputs import Document, SiteInputs


def local_key(conflict: Conflict) -> Key:
    """Return the key of the site's side: the Override, or the local namesake of the target."""
    at: Any = conflict.facts.get("override")
    if at is not None:
        return Key("Override", at["tenant"], at["scope"], at["name"])
    target = conflict.target
    return Key(target.kind, target.tenant, str(conflict.facts.get("scope", SITE)), target.name)


def decided(inputs: SiteInputs, conflict: Conflict, proposal: Mapping[str, Any]) -> SiteInputs:
    """Return the site's documents after a decision by one of the conflict's proposals.

    As they are, if what the conflict is about isn't there any more.
    """
    key = local_key(conflict)
    document = inputs.local.get(key)
    if document is None:
        return inputs
    if proposal["name"] == "acceptGlobal":
        local = inputs.local.changed(delete=[key])
    else:
        target = Name(conflict.target.kind, conflict.target.tenant, conflict.target.name)
        now = inherited(target, SitePlanner(inputs))
        if now is None:
            return inputs
        spec = document.spec.to_json()
        spec["spec"] = proposal["spec"]
        spec["basedOn"] = {"revision": now.revision or 0, "spec": now.spec.to_json()}
        after = Document(key, Override.model_validate(spec), document.labels)
        local = inputs.local.changed(put=[after])
    return SiteInputs(inputs.site, inputs.federation, local, inputs.now)
