"""The kernel's balancers, as the nftables data plane keeps them beside its rules."""

import hashlib
from collections.abc import Iterable

from dsn.dataplane import nfnetlink as nl
from dsn.dataplane.balance import writing
from dsn.dataplane.balance.ending import misled
from dsn.dataplane.balance.reading import Balanced, Known, read_balanced
from dsn.dataplane.balance.table import table_name
from dsn.dataplane.contract import ReadBack
from dsn.dataplane.netlink import Entry
from dsn.dataplane.standing import Standing
from shared.policy.balancers import NodeBalancer, balancers_total
from shared.policy.nodeconfig import NodeConfiguration
from shared.policy.nodehash import MODULUS, content_hash, counted_hash


class Balance:
    """Gives commands that go into the batches of rules, and reads what has become of them."""

    def __init__(self, rules: str) -> None:
        self._table = table_name(rules)
        # What was read last; None if it has to be read again.
        self._balanced: Balanced | None = None
        self._known = Known()
        # Balancers that may have led connections which are still open.
        self._led: dict[str, NodeBalancer] = {}

    def read(self, netfilter: nl.Netfilter, generation: int, *, whole: bool = False) -> bool:
        """Read what stands, unless that is known; return whether it is that of `generation`."""
        if self._balanced is not None and not whole:
            return True
        balanced = read_balanced(netfilter, self._table, self._known)
        if netfilter.generation() != generation:
            return False
        self._balanced = balanced
        return True

    def with_rules(self, standing: Standing) -> ReadBack:
        """Return what is enforced: the rules that were read with the balancers beside them."""
        rules, balanced = standing.answer, self._balanced or Balanced()
        faults = rules.faults + balanced.faults
        if balanced.balancers is not None and balanced.own != standing.addresses:
            faults += ("balancers are there for other addresses than rules",)
        if not faults:
            total = (standing.total + balancers_total(balanced.balancers)) % MODULUS
            enforced = content_hash(standing.default_action, standing.addresses, total)
            return ReadBack(counted_hash(enforced, standing.staged))
        text = "\n".join([str(rules.hash), *sorted(set(faults))])
        return ReadBack(hashlib.sha256(text.encode()).hexdigest(), faults)

    def changing(self, have: NodeConfiguration, want: NodeConfiguration) -> list[nl.Message]:
        """Return what turns the balancers of `have`, which stand, into those of `want`."""
        messages = writing.change(
            self._table, (have.balancers, have.addresses), (want.balancers, want.addresses)
        )
        if messages:
            self._balanced = None
        return messages

    def making(self, netfilter: nl.Netfilter, want: NodeConfiguration) -> list[nl.Message]:
        """Return what puts the balancers of `want` in place of whatever stands."""
        self._balanced = None
        if want.balancers is None:
            return self.removing(netfilter)
        return list(writing.make(self._table, want.balancers, want.addresses))

    def removing(self, netfilter: nl.Netfilter) -> list[nl.Message]:
        """Return what takes the balancers away; nothing if there are none."""
        self._balanced = None
        if netfilter.get(nl.GET_TABLE, nl.text(1, self._table)) is None:
            return []
        return list(writing.remove(self._table))

    def misled(self, entries: Iterable[Entry], configuration: NodeConfiguration) -> list[Entry]:
        """Return the connections that have to be opened anew, to find another backend."""
        found = list(misled(entries, self._led.values(), configuration))
        self._led = {each.id: each for each in configuration.balancers or ()}
        return found
