"""What a directory says of a person: who it is, whether he may log in, his groups.

Each function asks one connection.  A person is one entry or nobody; whoever could be meant besides
makes it nobody.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final

import ldap3
from ldap3.core.exceptions import LDAPOperationResult

from shared.auth.distinguished import folded, normalised_dn, parse_dn
from shared.auth.providers.failover import ServerFailed
from shared.auth.providers.ldap_connections import bind, check_result, words_of
from shared.auth.providers.names import common_name, equals, is_beneath, person_dn
from shared.model.settings_policies import LDAPSettings

log = logging.getLogger(__name__)

# Groups within groups within groups; the depth that people can still follow is far below.
DEEPEST: Final = 10
# Somebody in more groups than this is in some by mistake; the rest are left out and logged.
MOST_GROUPS: Final = 2_000
_MEMBERS_PER_SEARCH: Final = 50
_PAGE: Final = 500
_NO_ATTRIBUTES: Final = ("1.1",)  # RFC 4511, section 4.5.1.8
_SEARCH_SECONDS: Final = 5

# RFC 4511, appendix A.1.
_SIZE_LIMIT_EXCEEDED: Final = 4
_REFERRAL: Final = 10
_CONSTRAINT_VIOLATION: Final = 19
_NO_SUCH_OBJECT: Final = 32
_INVALID_DN_SYNTAX: Final = 34
_INAPPROPRIATE_AUTHENTICATION: Final = 48
_INVALID_CREDENTIALS: Final = 49
_INSUFFICIENT_ACCESS: Final = 50
_UNWILLING: Final = 53

# Answers to a person's bind that speak of the person: the password is wrong, the entry has none,
# too many tries (389 Directory Server), removed meanwhile.
_REFUSALS: Final = frozenset(
    {
        _INVALID_CREDENTIALS,
        _INAPPROPRIATE_AUTHENTICATION,
        _CONSTRAINT_VIOLATION,
        _NO_SUCH_OBJECT,
        _INVALID_DN_SYNTAX,
    }
)
# How 389 Directory Server, FreeIPA and eDirectory word, under unwillingToPerform, that an account
# is out of use (eDirectory: -197 intruder lockout, -220 account disabled, -223 password expired).
_OUT_OF_USE: Final = ("inactivated", "locked", "disabled", "expired", "-197", "-220", "-223")
# Active Directory answers invalidCredentials for troubles of its own as well (Win32 codes in hex
# after "data"): no logon server, RPC unavailable, broken trusts between domains.
_TROUBLES: Final = frozenset({"51f", "6ba", "6bf", "6fa", "6fb", "6fc", "6fd"})

_ACCOUNT_DISABLED: Final = 0x2
_NEVER: Final = frozenset({0, 0x7FFF_FFFF_FFFF_FFFF})
_LOCKED_FOR_EVER: Final = "000001010000Z"
_STATE: Final = (
    *("userAccountControl", "accountExpires"),  # Active Directory
    *("nsAccountLock", "loginDisabled"),  # 389 Directory Server and FreeIPA, eDirectory
    *("pwdAccountLockedTime", "pwdReset", "shadowExpire"),  # OpenLDAP's ppolicy, RFC 2307
)


@dataclass(frozen=True, slots=True)
class Entry:
    """What a search found; attributes are octets, by their names in lower case."""

    dn: str
    attributes: Mapping[str, Sequence[bytes]]

    def texts(self, attribute: str) -> list[str]:
        """Return an attribute's values; UnicodeDecodeError if it holds no text."""
        return [value.decode() for value in self.attributes.get(attribute.lower(), ())]

    def text(self, attribute: str) -> str:
        return next((value.strip() for value in self.texts(attribute) if value.strip()), "")


@dataclass(frozen=True, slots=True)
class Account:
    """The one entry of a person, and his name as the directory spells it."""

    entry: Entry
    username: str
    display_name: str


@dataclass(frozen=True, slots=True)
class _Group:
    """A group's DN as spelled, and the groups that it names as its own; None: not read yet."""

    dn: str
    member_of: Sequence[str] | None = None


class Directory:
    """How one policy reads directories."""

    def __init__(self, settings: LDAPSettings) -> None:
        self._settings = settings
        self._group_base = normalised_dn(settings.group_base) if settings.group_base else ""
        self._person_attributes = tuple(
            name
            for name in (
                settings.user_attribute,
                settings.display_name_attribute,
                settings.member_of,
                "cn",
                *_STATE,
            )
            if name
        )

    def direct_dn(self, username: str) -> str:
        return person_dn(self._settings.user_attribute, username, self._settings.base)

    def find(
        self, connection: ldap3.Connection, username: str, *, dn: str | None = None
    ) -> Account | None:
        """Return the one person of that name, beneath the base or at that DN; None: not one."""
        found = self._people(connection, username, dn)
        if len(found) != 1:
            if found:
                log.warning("a name of several people logs nobody in", extra={"dn": found[0].dn})
            return None
        entry = found[0]
        spelled = self._spelling(connection, entry)
        if spelled is None:
            log.warning("an entry without one login name logs nobody in", extra={"dn": entry.dn})
            return None
        shown = entry.text(self._settings.display_name_attribute) or entry.text("cn") or spelled
        return Account(entry, spelled, shown)

    def groups(self, connection: ldap3.Connection, account: Account) -> frozenset[str]:
        """Return the groups' names: each one's common name and normalised DN."""
        found: dict[str, _Group] = {}
        level = self._direct_groups(connection, account)
        depth = 1
        while new := {dn: group for dn, group in level.items() if dn not in found}:
            found |= new
            if not self._settings.nested_groups:
                break
            if depth >= DEEPEST or len(found) > MOST_GROUPS:
                log.warning("groups beyond the limit don't count", extra={"dn": account.entry.dn})
                break
            level = self._outer_groups(connection, new)
            depth += 1
        names = {name for group in found.values() if (name := common_name(group.dn))}
        return frozenset(names | found.keys())

    def _people(self, connection: ldap3.Connection, username: str, dn: str | None) -> list[Entry]:
        settings = self._settings
        term = equals(settings.user_attribute, username)
        try:
            return search(
                connection,
                dn or settings.base,
                f"(&{settings.user_filter}{term})",
                self._person_attributes,
                scope=ldap3.SUBTREE if dn is None else ldap3.BASE,
                most=2,
            )
        except LDAPOperationResult as exc:
            if dn is not None and exc.result == _INSUFFICIENT_ACCESS:
                # So OpenLDAP treats who must change his password first.
                log.info("a person may not read his own entry", extra={"answer": words_of(exc)})
                return []
            raise _of_search(exc, dn or settings.base) from exc

    def _spelling(self, connection: ldap3.Connection, entry: Entry) -> str | None:
        """Return the entry's one name; of several the one in its DN, if nobody else has it."""
        attribute = self._settings.user_attribute
        values = entry.texts(attribute)
        if len(values) == 1:
            return values[0]
        own = [value for kind, value in parse_dn(entry.dn)[0] if kind == attribute.lower()]
        if len(own) != 1 or folded(own[0]) not in map(folded, values):
            return None
        others = self._people(connection, own[0], None)
        if len(others) != 1 or normalised_dn(others[0].dn) != normalised_dn(entry.dn):
            return None
        return next(value for value in values if folded(value) == folded(own[0]))

    def _direct_groups(self, connection: ldap3.Connection, account: Account) -> dict[str, _Group]:
        named = self._within(map(_Group, account.entry.texts(self._settings.member_of)))
        terms = [self._member_terms(account.entry.dn)]
        if "memberuid" in map(str.lower, self._settings.group_members):
            terms.append(equals("memberUid", account.username))
        return named | self._holding(connection, terms)

    def _outer_groups(
        self, connection: ldap3.Connection, groups: Mapping[str, _Group]
    ) -> dict[str, _Group]:
        """Return the groups that hold one of these groups."""
        named: dict[str, _Group] = {}
        for group in groups.values():
            names = group.member_of
            if names is None:
                names = self._member_of(connection, group.dn)
            named |= self._within(map(_Group, names))
        terms = [self._member_terms(group.dn) for group in groups.values()]
        return named | self._holding(connection, terms)

    def _member_of(self, connection: ldap3.Connection, dn: str) -> list[str]:
        """Return the DNs that a group names as its groups; none if it can't be read."""
        attribute = self._settings.member_of
        if not attribute:
            return []
        try:
            found = search(connection, dn, "(objectClass=*)", (attribute,), scope=ldap3.BASE)
        except LDAPOperationResult as exc:
            if exc.result in (_NO_SUCH_OBJECT, _INSUFFICIENT_ACCESS, _REFERRAL):
                return []
            raise
        return [value for entry in found for value in entry.texts(attribute)]

    def _member_terms(self, dn: str) -> str:
        attributes = [name for name in self._settings.group_members if name.lower() != "memberuid"]
        return "".join(equals(name, dn) for name in attributes)

    def _holding(self, connection: ldap3.Connection, terms: Iterable[str]) -> dict[str, _Group]:
        """Return the groups beneath the group base for which one of the terms holds."""
        base, attribute = self._settings.group_base, self._settings.member_of
        attributes = (attribute,) if attribute and self._settings.nested_groups else _NO_ATTRIBUTES
        rest = iter([term for term in terms if term])
        found: dict[str, _Group] = {}
        while base and (some := list(islice(rest, _MEMBERS_PER_SEARCH))):
            try:
                entries = search(connection, base, f"(|{''.join(some)})", attributes, is_paged=True)
            except LDAPOperationResult as exc:
                raise _of_search(exc, base) from exc
            found |= self._within(
                _Group(entry.dn, tuple(entry.texts(attribute))) for entry in entries
            )
        return found

    def _within(self, groups: Iterable[_Group]) -> dict[str, _Group]:
        """Return those that count, by their DN's normal form."""
        found = {}
        for group in groups:
            try:
                dn = normalised_dn(group.dn)
            except ValueError:
                # Whoever makes groups mustn't keep people out by the names of these.
                log.warning("a group whose DN can't be read doesn't count", extra={"dn": group.dn})
                continue
            if not self._group_base or is_beneath(dn, self._group_base):
                found[dn] = group
        return found


def check_password(connection: ldap3.Connection, dn: str, password: str) -> bool:
    """Return whether the directory takes the password for that DN.

    ServerFailed if its answer isn't about the person.
    """
    try:
        bind(connection, dn, password)
    except LDAPOperationResult as exc:
        if _is_refusal(exc):
            log.info("the directory refuses a login", extra={"answer": words_of(exc)})
            return False
        raise
    return True


def is_out_of_use(entry: Entry, now: datetime) -> bool:
    """Return whether the entry says that the account is disabled or expired.

    A bind would be refused anyway; this is for whoever is looked up without one.  An account that
    is locked for a while, after wrong passwords, is not out of use: anybody could do that to it.
    """
    control = _number(entry, "userAccountControl")
    filetime = _number(entry, "accountExpires")
    days = _number(entry, "shadowExpire")
    # pwdReset: whoever set the password wants another one first, as Active Directory does by 773.
    flags = (entry.text(name) for name in ("nsAccountLock", "loginDisabled", "pwdReset"))
    return (
        bool(control is not None and control & _ACCOUNT_DISABLED)
        or any(flag.lower() == "true" for flag in flags)
        or _LOCKED_FOR_EVER in entry.texts("pwdAccountLockedTime")
        or (filetime is not None and filetime not in _NEVER and _of_filetime(filetime) <= now)
        or (days is not None and days > 0 and days * 86_400 <= now.timestamp())
    )


def search(
    connection: ldap3.Connection,
    base: str,
    filter_: str,
    attributes: Sequence[str],
    *,
    scope: str = ldap3.SUBTREE,
    most: int = 0,
    is_paged: bool = False,
) -> list[Entry]:
    """Return the entries found, at most `most` and one more; LDAPOperationResult.

    References to other servers among them are left out: they are not followed.
    """
    found: list[Entry] = []
    cookie: bytes | None = None
    while True:
        connection.search(
            base,
            filter_,
            search_scope=scope,
            dereference_aliases=ldap3.DEREF_NEVER,
            attributes=list(attributes),
            size_limit=most,
            time_limit=_SEARCH_SECONDS,
            paged_size=_PAGE if is_paged else None,
            paged_cookie=cookie,
        )
        result, response = connection.result, connection.response or []
        found += [_entry(each) for each in response if each["type"] == "searchResEntry"]
        if result["result"] == _SIZE_LIMIT_EXCEEDED and most:
            return found
        check_result(connection)
        cookie = _next_page(result) if is_paged else None
        if not cookie:
            return found


def _next_page(result: Mapping[str, dict[str, dict[str, dict[str, bytes]]]]) -> bytes | None:
    control = result.get("controls", {}).get("1.2.840.113556.1.4.319")
    return control["value"]["cookie"] if control else None


def _entry(response: Mapping[str, object]) -> Entry:
    raw = response["raw_attributes"]
    assert isinstance(raw, Mapping)
    return Entry(str(response["dn"]), {str(name).lower(): values for name, values in raw.items()})


def _is_refusal(exc: LDAPOperationResult) -> bool:
    said = str(exc.message or "").lower()
    if exc.result == _UNWILLING:
        return any(word in said for word in _OUT_OF_USE)
    _, _, code = said.partition(", data ")
    return exc.result in _REFUSALS and code.partition(",")[0].strip() not in _TROUBLES


def _of_search(exc: LDAPOperationResult, base: str) -> ServerFailed:
    """Say what is wrong with a search in the policy's words."""
    if exc.result == _NO_SUCH_OBJECT:
        return ServerFailed(f"{base} isn't there, or the account may not see it", is_down=False)
    if exc.result == _REFERRAL:
        return ServerFailed(f"{base} is on another server: {words_of(exc)}", is_down=False)
    return ServerFailed(f"searching {base}: {words_of(exc)}", is_down=exc.result in (51, 52))


def _number(entry: Entry, attribute: str) -> int | None:
    text = entry.text(attribute)
    return int(text) if text.lstrip("-").isdecimal() else None


def _of_filetime(value: int) -> datetime:
    """Return the moment of Windows' count of 100 ns since 1601."""
    try:
        return datetime(1601, 1, 1, tzinfo=UTC) + timedelta(microseconds=value // 10)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)
