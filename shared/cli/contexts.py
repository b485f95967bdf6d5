"""Servers that a person has logged in to: one file, as kubeconfig is, for nobody else to read.

    currentContext: fsm
    contexts:
    - name: fsm
      server: https://fsm.example:8443
      identity: spiffe://hanse.example/fsm
      user: admin
      ca: …        the federation's root, PEM
      token: …     what is sent; it counts for some minutes
      refreshToken: …  what the next one is got with, once, until expiresAt

The file is replaced as a whole, so that it is never seen half written.
"""

import asyncio
import fcntl
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from shared.errors import Invalid, NotFound
from shared.model.documents import dump_yaml
from shared.model.schema import suggestion
from shared.settings import Settings, load_settings

VARIABLE: Final = "HANSE_CONFIG"

# Seconds; a renewal takes some ten milliseconds.
_WAIT: Final = 0.02


class Context(Settings):
    """One server, and who one is there."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    server: str
    identity: str
    ca: str = Field(repr=False)
    user: str | None = None
    token: str | None = Field(None, repr=False)
    refresh_token: str | None = Field(None, repr=False)
    expires_at: datetime | None = None
    roots_at: datetime | None = None

    @property
    def site(self) -> str | None:
        """The site whose SDSP this is; None for the FSM."""
        host, _, path = self.identity.removeprefix("spiffe://").partition("/")
        return host.partition(".")[0] if path == "sdsp" else None


class Saved(Settings):
    """The whole file."""

    current_context: str | None = None
    contexts: tuple[Context, ...] = ()

    def find(self, name: str | None) -> Context:
        """Return a context, the current one if no name is given.

        NotFound (`no_context`, `unknown_context`).
        """
        if not self.contexts or (name is None and self.current_context is None):
            what = "choose one: hanse context use NAME" if self.contexts else "log in first"
            raise NotFound(
                f"there is no current context; {what} (hanse login https://HOST:PORT)",
                code="no_context",
            )
        wanted = name or self.current_context or ""
        found = self.named(wanted)
        if found is None:
            names = [each.name for each in self.contexts]
            raise NotFound(
                f"there is no context {wanted[:80]!r}{suggestion(wanted, names)}; "
                f"there are: {', '.join(names)}",
                code="unknown_context",
            )
        return found

    def of_site(self, site: str) -> Context:
        """Return the context of a site's SDSP, the current one first; NotFound (`no_context`)."""
        found = [each for each in self.contexts if each.site == site]
        if not found:
            raise NotFound(
                f"you are not logged in to site {site[:80]}: hanse login https://HOST:PORT of "
                "its SDSP",
                code="no_context",
            )
        return next((each for each in found if each.name == self.current_context), found[0])

    def named(self, name: str) -> Context | None:
        return next((each for each in self.contexts if each.name == name), None)


class ContextsFile:
    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "ContextsFile":
        """Return the file that $HANSE_CONFIG names, else `~/.config/hanse/contexts.yaml`."""
        named = environ.get(VARIABLE)
        if named:
            return cls(Path(named))
        base = environ.get("XDG_CONFIG_HOME")
        folder = Path(base) if base else Path.home() / ".config"
        return cls(folder / "hanse" / "contexts.yaml")

    def load(self) -> Saved:
        """Return what is saved; nothing if there is no file yet.

        Invalid (`contexts_exposed`) if others may read it, (`invalid_settings`) if it is broken.
        """
        try:
            mode = self.path.stat().st_mode
        except FileNotFoundError:
            return Saved()
        if mode & 0o077:
            raise Invalid(
                f"others may read {self.path}, and it holds your tokens. If nobody has, run "
                f"chmod 600 {self.path}; else delete it, and log in again",
                code="contexts_exposed",
            )
        return load_settings(Saved, file=self.path, environ={}, prefix="")

    def put(self, context: Context) -> None:
        """Add a context, or replace the one of its name, and make it the current one."""

        def change(saved: Saved) -> Saved:
            others = tuple(each for each in saved.contexts if each.name != context.name)
            return Saved(current_context=context.name, contexts=(*others, context))

        self._change(change)

    def trust(self, name: str, ca: str, *, at: datetime) -> None:
        """Note which roots a context's server trusts, and when it was asked; NotFound."""

        def change(saved: Saved) -> Saved:
            saved.find(name)
            contexts = tuple(
                each.model_copy(update={"ca": ca, "roots_at": at}) if each.name == name else each
                for each in saved.contexts
            )
            return saved.model_copy(update={"contexts": contexts})

        self._change(change)

    def use(self, name: str) -> Context:
        """Make a context the current one; NotFound."""

        def change(saved: Saved) -> Saved:
            return saved.model_copy(update={"current_context": saved.find(name).name})

        return self._change(change).find(name)

    def renew(
        self, name: str, token: str | None, refresh_token: str | None, expires_at: datetime | None
    ) -> None:
        """Give a context other tokens, or none; nothing happens if it is gone meanwhile."""
        update = {"token": token, "refresh_token": refresh_token, "expires_at": expires_at}

        def change(saved: Saved) -> Saved:
            contexts = tuple(
                each.model_copy(update=update) if each.name == name else each
                for each in saved.contexts
            )
            return saved.model_copy(update={"contexts": contexts})

        self._change(change)

    @asynccontextmanager
    async def renewing(self) -> AsyncIterator[None]:
        """Keep out other processes that renew a login: a refresh token counts once."""
        lock = self.path.with_name(f".{self.path.name}.renewing")
        descriptor = os.open(lock, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            # Another process holds it: no event tells.
            while not _try_lock(descriptor):  # noqa: ASYNC110
                await asyncio.sleep(_WAIT)
            yield
        finally:
            os.close(descriptor)

    def delete(self, name: str) -> None:
        """Forget a context; NotFound.  Its login counts until it ends all the same."""

        def change(saved: Saved) -> Saved:
            gone = saved.find(name)
            kept = tuple(each for each in saved.contexts if each.name != gone.name)
            current = saved.current_context if saved.current_context != gone.name else None
            return Saved(current_context=current, contexts=kept)

        self._change(change)

    def _change(self, change: Callable[[Saved], Saved]) -> Saved:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._locked():
            saved = change(self.load())
            self._write(saved)
        return saved

    def _write(self, saved: Saved) -> None:
        data = saved.model_dump(mode="json", by_alias=True, exclude_none=True)
        # A link stays: what it leads to is replaced.
        target = self.path.resolve()
        draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(dump_yaml(data))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep out other processes that change the file: two logins at once lose neither."""
        lock = self.path.with_name(f".{self.path.name}.lock")
        descriptor = os.open(lock, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
