"""`hanse status`, `sites`, `nodes` and `held`: what runs where, and why not."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import typer

from shared.cli.affairs import (
    print_affairs,
    print_backups,
    print_break_glass,
    print_expiring,
)
from shared.cli.answers import minute_of, moment_of
from shared.cli.columns import age_text
from shared.cli.output import Output, console, print_data, print_table
from shared.cli.session import print_note, session
from shared.cli.upward import print_upstream
from shared.clock import Clock, SystemClock
from shared.errors import Invalid, NotFound
from shared.ids import COMMON, FEDERATION

JSON = Mapping[str, Any]

_GOOD: Final = "realised"


async def status(
    context: str | None, site: str | None, form: Output, *, clock: Clock | None = None
) -> None:
    """Print how the federation, or a site, stands."""
    async with session(context) as opened:
        if site is not None and site != opened.site:
            opened.require_fsm(f"the status of site {site}")
            found = await opened.client.status(site)
        else:
            found = await opened.client.status()
    if form in (Output.JSON, Output.YAML):
        print_data(found, form)
        return
    now = clock or SystemClock()
    if opened.site is not None:
        print_own_site(found, now)
    elif site is not None:
        _print_site(found, now)
    else:
        print_federation(found, now, wide=form is Output.WIDE)


def print_federation(found: JSON, clock: Clock, *, wide: bool) -> None:
    _print_sites(found["sites"], clock, wide=wide)
    print()
    _print_policies_by_site(found["policies"], wide=wide)
    for each in found["sites"]:
        _print_trouble(each, title=f"Site {each['name']}")
    print_affairs(found, clock)


def _print_sites(sites: Sequence[JSON], clock: Clock, *, wide: bool) -> None:
    if not sites:
        print_note("no sites yet: apply a Site, then hanse sites token NAME")
        return
    columns = ["SITE", "REGION", "JOINED", "CONNECTED", "LAST SEEN", "REVISION", "POLICIES", "HELD"]
    if wide:
        columns += ["EXCEPTIONS", "UNRESOLVED", "CERTIFICATE UNTIL"]
    rows = [_site_row(each, clock, wide=wide) for each in sites]
    # Of what is as it should be nothing is said, so that the rest has room.
    conflicts = [_conflicts(each.get("conflicts")) for each in sites]
    if any(conflicts):
        columns.append("CONFLICTS")
        rows = [[*row, told] for row, told in zip(rows, conflicts, strict=True)]
    if any(each.get("paused") for each in sites):
        columns.append("PAUSED")
        rows = [[*row, _paused(each, clock)] for row, each in zip(rows, sites, strict=True)]
    print_table(columns, rows)


def _paused(site: JSON, clock: Clock) -> str:
    """Write for how long a site has been paused."""
    pause = site.get("paused")
    return f"for {age_text(moment_of(pause['since']), clock.now())}" if pause else ""


def _site_row(each: JSON, clock: Clock, *, wide: bool) -> list[object]:
    seen = moment_of(each.get("lastSeen"))
    row: list[object] = [
        each["name"],
        each.get("region") or "",
        _yes(each.get("joined")),
        _yes(each.get("connected")),
        f"{age_text(seen, clock.now())} ago" if seen else "never",
        "" if each.get("revision") is None else each["revision"],
        _summary(each.get("policies")),
        len(each.get("held") or ()),
    ]
    if wide:
        row += [
            len(each.get("exceptions") or ()),
            len(each.get("unresolved") or ()),
            each.get("certificateExpires") or "",
        ]
    return row


def _conflicts(found: Any) -> str:
    """Write how many conflicts wait for somebody, the immediate ones first; empty if none does."""
    if not isinstance(found, Mapping):
        return ""
    immediate, rest = found["immediate"], found["open"] - found["immediate"]
    parts = ((immediate, "immediate"), (rest, "open"), (found["deferred"], "deferred"))
    told = ", ".join(f"{count} {word}" for count, word in parts if count)
    return f"{told} (being judged)".lstrip() if found.get("pending") else told


def _summary(states: Any) -> str:
    """Write how many policies are in which state; the good ones first."""
    if not isinstance(states, Mapping):
        return ""
    ordered = sorted(states.items(), key=lambda item: (item[0] != _GOOD, item[0]))
    return ", ".join(f"{count} {state}" for state, count in ordered)


def _print_policies_by_site(policies: Sequence[JSON], *, wide: bool) -> None:
    rows = []
    for policy in policies:
        name = _scoped_name(policy, wide=wide)
        sites = policy.get("sites") or ()
        if not sites:
            rows.append([name, str(policy["wanted"]), "", "no site is selected", "", "", ""])
        rows += [[name, str(policy["wanted"]), each["site"], *_standing(each)] for each in sites]
    columns = ["POLICY", "WANTED", "SITE", "STATE", "RUNS", "NODES", "WHY NOT"]
    print_table(columns, rows)


def _policy_name(policy: JSON) -> str:
    tenant = policy.get("tenant", COMMON)
    return str(policy["name"]) + ("" if tenant == COMMON else f" (tenant {tenant})")


def _scoped_name(policy: JSON, *, wide: bool = False) -> str:
    name = _policy_name(policy)
    if wide or policy.get("scope", FEDERATION) != FEDERATION:
        name += f" [{policy.get('scope')}]"
    return name


def _standing(each: JSON) -> list[str]:
    """Return the cells of a policy at a site: state, generation, nodes, and why not."""
    generation = each.get("generation")
    nodes = each.get("nodes") or {}
    return [
        str(each["state"]),
        "" if generation is None else str(generation),
        f"{nodes.get('realised', 0)}/{nodes.get('total', 0)}",
        "; ".join(_reasons(each)),
    ]


def _reasons(each: JSON) -> Iterable[str]:
    reason = each.get("reason")
    failing = each.get("failing") or ()
    unresolved = each.get("unresolved") or ()
    if reason and not (unresolved and reason == "unresolved_name"):
        yield str(reason)
    if exceptions := each.get("exceptions"):
        yield f"{exceptions} exception{'' if exceptions == 1 else 's'}"
    for node in failing[:3]:
        yield f"{node['node']}: {node['code']}"
    if len(failing) > 3:
        yield f"and {len(failing) - 3} more nodes"
    for missing in unresolved[:3]:
        yield f"{missing['reference']} means nothing there (rule {missing['rule']})"
    if len(unresolved) > 3:
        yield f"and {len(unresolved) - 3} more names"


def _print_site(found: JSON, clock: Clock) -> None:
    """Print what the FSM knows of one site."""
    _print_sites([{**found, "policies": found.get("summary")}], clock, wide=True)
    print()
    rows = [
        [_scoped_name(each), str(each["wanted"]), *_standing(each)] for each in found["policies"]
    ]
    print_table(["POLICY", "WANTED", "STATE", "RUNS", "NODES", "WHY NOT"], rows)
    _print_trouble(found, title=f"Site {found['name']}")
    print_break_glass(found.get("breakGlass"), where=f"of {found['name']}")
    print_expiring(found.get("expiring") or (), where=f"at {found['name']}")
    print_backups(found.get("backups") or (), clock)


def _print_trouble(found: JSON, *, title: str) -> None:
    rows = [
        *(
            ("refused", f"{each['kind']} {each['name']}", each["code"])
            for each in found.get("refused") or ()
        ),
        *(
            ("held", f"{each['kind']} {each['name']}", each.get("reason") or "")
            for each in _held(found)
        ),
        *(
            ("exception", f"{each['target']['kind']} {each['target']['name']}", each["reason"])
            for each in found.get("exceptions") or ()
        ),
        *(
            ("detached", f"site until {minute_of(moment_of(away['until']))}", away["reason"])
            for away in [found.get("detached")]
            if away
        ),
        *(
            ("paused", f"since {minute_of(pause['since'])}", _why_paused(pause))
            for pause in [found.get("paused")]
            if pause
        ),
        *(
            ("asks to change", f"{each['target']['kind']} {each['target']['name']}", each["name"])
            for each in found.get("changeRequests") or ()
        ),
        *(
            ("break-glass open", "emergency account", f"until {glass['openUntil']}")
            for glass in [found.get("breakGlass")]
            if glass and glass.get("openUntil")
        ),
        *(
            ("backup failing", f"BackupPolicy {each['policy'] or 'of its settings'}", each["code"])
            for each in found.get("backups") or ()
            if each.get("code")
        ),
    ]
    if rows:
        print()
        print_table(["WHAT", "OBJECT", "WHY"], rows, title=title)


def _why_paused(pause: JSON) -> str:
    """Write by whom and why a site is paused, until when, and how far it is behind."""
    behind = pause.get("behind")
    wait = "nobody knows how many changes wait" if behind is None else _waiting(behind)
    until = f"until {minute_of(pause['until'])}; " if pause.get("until") else ""
    return f"{pause['reason']} ({pause['by']}); {until}{wait}"


def _waiting(count: int) -> str:
    return "one change waits" if count == 1 else f"{count or 'no'} changes wait"


def _held(found: JSON) -> Sequence[JSON]:
    return found.get("held") or ()


def print_own_site(found: JSON, clock: Clock) -> None:
    """Print what a site says of itself."""
    upstream = found["upstream"]
    print_upstream(str(found["site"]), upstream, clock)
    print()
    rows = [[_policy_name(each), *_own_standing(each)] for each in found["policies"]]
    print_table(["POLICY", "SCOPE", "STATE", "NODES", "WHY NOT"], rows)
    if found["nodes"]:
        print()
        _print_nodes(found["nodes"], clock, wide=False)
    if found.get("unenforced"):
        names = ", ".join(found["unenforced"])
        print()
        console().print(f"Workloads that no node enforces for: {names}", soft_wrap=True)
    if idle := found.get("superfluous"):
        names = ", ".join(each["name"] for each in idle)
        print()
        text = f"Overrides that say just what is inherited, and may be deleted: {names}"
        console().print(text, markup=False, soft_wrap=True)
    if found["held"]:
        print()
        _print_held(found["held"])
    print_affairs(found, clock)


def _own_standing(each: JSON) -> list[str]:
    state, _, nodes, why = _standing(each)
    return [str(each["scope"]), state, nodes, why]


async def sites(context: str | None, form: Output, *, clock: Clock | None = None) -> None:
    """Print the sites and how each stands."""
    async with session(context) as opened:
        opened.require_fsm("hanse sites")
        found = (await opened.client.status())["sites"]
    if form in (Output.JSON, Output.YAML):
        print_data({"items": found}, form)
    elif form is Output.NAME:
        for each in found:
            print(f"site/{each['name']}")
    else:
        _print_sites(found, clock or SystemClock(), wide=form is Output.WIDE)


async def nodes(context: str | None, form: Output, *, clock: Clock | None = None) -> None:
    """Print a site's nodes and how each stands."""
    async with session(context) as opened:
        opened.require_site("hanse nodes")
        found = (await opened.client.status())["nodes"]
    if form in (Output.JSON, Output.YAML):
        print_data({"items": found}, form)
    elif form is Output.NAME:
        for each in found:
            print(f"node/{each['name']}")
    elif found:
        _print_nodes(found, clock or SystemClock(), wide=form is Output.WIDE)
    else:
        print_note("no nodes yet: hanse nodes token NAME gives one the token to join with")


def _print_nodes(found: Sequence[JSON], clock: Clock, *, wide: bool) -> None:
    columns = ["NODE", "ADMISSION", "STATE", "CONNECTED", "LAST SEEN", "RUNS", "WANTED", "WHY NOT"]
    rows = [_node_row(each, clock, wide=wide) for each in found]
    if wide:
        columns += ["POLICY AGE", "DATA PLANE", "AGENT"]
    told = [", ".join(each.get("services") or ()) for each in found]
    if wide or any("," in each for each in told):
        # The firewall runs everywhere: that alone is no news.
        columns.insert(5, "SERVICES")
        for row, services in zip(rows, told, strict=True):
            row.insert(5, services)
    print_table(columns, rows)


def _node_row(each: JSON, clock: Clock, *, wide: bool) -> list[object]:
    seen = moment_of(each.get("lastSeen"))
    why = each.get("message") or each.get("code") or ""
    row: list[object] = [
        each["name"],
        each["admission"],
        each["state"],
        _yes(each.get("connected")),
        f"{age_text(seen, clock.now())} ago" if seen else "never",
        "" if each.get("generation") is None else each["generation"],
        each["wanted"]["generation"] if each.get("wanted") else "",
        why,
    ]
    if not wide:
        return row
    age = each.get("policyAge")
    since = "" if age is None else age_text(clock.now() - timedelta(seconds=age), clock.now())
    return [*row, since, each.get("dataPlane") or "", each.get("agent") or ""]


async def admit(context: str | None, name: str, *, admission: str) -> None:
    """Let a node in, or put it out."""
    async with session(context) as opened:
        opened.require_site("hanse nodes")
        patch = {"spec": {"admission": admission}}
        node = await opened.client.patch("Node", name, patch)
    console().print(f"Node {node.name} is {admission}.", markup=False)


async def give_token(
    context: str | None, kind: str, name: str, form: Output, *, replace: bool
) -> None:
    """Print a join token; it is shown this once."""
    async with session(context) as opened:
        if kind == "Site":
            opened.require_fsm("a site's join token")
        else:
            opened.require_site("a node's join token")
        token = await opened.client.join_token(kind, name, replace=replace)
        server = opened.context.server
    if form in (Output.JSON, Output.YAML):
        expires = token.expires_at.isoformat() if token.expires_at else None
        print_data({"token": token.text, "expiresAt": expires}, form)
        return
    # The token alone on stdout, so that it can be piped into the join.
    print(token.text)
    if sys.stderr.isatty():
        until = f" until {token.expires_at:%H:%M} UTC" if token.expires_at else ""
        program = "sdsp" if kind == "Site" else "dsn"
        print_note(
            f"It works once{until}, and is not shown again: hanse {program} join --server {server}"
        )


async def held(context: str | None, form: Output) -> None:
    """Print what a site enforces still although the FSM has it no longer."""
    async with session(context) as opened:
        opened.require_site("hanse held")
        found = await opened.client.held()
    if form in (Output.JSON, Output.YAML):
        print_data({"items": list(found)}, form)
    elif form is Output.NAME:
        for each in found:
            print(f"{str(each['kind']).lower()}/{each['name']}")
    elif found:
        _print_held(found)
    else:
        print_note("nothing is held")


def _print_held(found: Sequence[JSON]) -> None:
    rows = [
        [
            each["kind"],
            each["name"],
            each.get("tenant", COMMON),
            each.get("scope", FEDERATION),
            each.get("cause") or "",
            each.get("reason") or "",
            each.get("since") or "",
        ]
        for each in found
    ]
    columns = ["KIND", "NAME", "TENANT", "SCOPE", "CAUSE", "REASON", "SINCE"]
    print_table(columns, rows, title="Held: enforced still, although the FSM has it no longer")


async def drop_held(
    context: str | None, wanted: Mapping[str, str] | None, *, reason: str, confirmed: bool
) -> None:
    """Let held objects go: those that `wanted` describes, or with None all of them."""
    async with session(context) as opened:
        opened.require_site("hanse held")
        keys = [_key(each) for each in await opened.client.held()]
        if wanted is not None:
            keys = [each for each in keys if wanted.items() <= each.items()]
        if not keys:
            raise NotFound("nothing that is held is like that; see hanse held", code="not_held")
        names = ", ".join(f"{each['kind']} {each['name']} ({each['scope']})" for each in keys)
        if not confirmed:
            _confirm(f"No longer enforce {names}?")
        dropped = await opened.client.drop_held(keys, reason=reason)
    console().print(f"Dropped {dropped}: {names}.", markup=False, soft_wrap=True)


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise Invalid("nobody is here to confirm it; pass --yes", code="not_confirmed")
    if not typer.confirm(question, default=False, err=True):
        raise Invalid("nothing was dropped", code="not_confirmed")


def _key(each: JSON) -> dict[str, str]:
    return {part: str(each[part]) for part in ("kind", "tenant", "scope", "name")}


def _yes(value: Any) -> str:
    return "yes" if value else "no"
