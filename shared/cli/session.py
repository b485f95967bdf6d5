"""What every live command does around its work: find the context, call, and say what went wrong.

Exit statuses are those of shared.cli.main; a server that can't answer now (503, 507, 429) counts
as one that could not be reached (3), a login that has ended as wrong use (2): log in again.
"""

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType
from typing import Any, Final, NoReturn, TypeVar

import typer
from rich.markup import escape

from shared.cli.client import Client, context_renewal
from shared.cli.contexts import Context, ContextsFile
from shared.cli.output import console, print_faults
from shared.cli.trust import followed, read_roots
from shared.clock import Clock, SystemClock
from shared.enrolment.joining import fetch_vouched_roots
from shared.errors import (
    HanseError,
    NotFound,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
    Unreachable,
)
from shared.model.kinds import Kind
from shared.pki.certificates import certificates_to_pem

WRONG: Final = 2
UNREACHABLE: Final = 3
INTERRUPTED: Final = 130

FOLLOW_ROOTS: Final = timedelta(hours=1)

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Session:
    """A command's client, and the context that it was made of."""

    client: Client
    context: Context

    @property
    def site(self) -> str | None:
        """The site that answers; None if it is the FSM."""
        return self.context.site

    @property
    def default_scope(self) -> str:
        """The scope of documents that name none."""
        return "federation" if self.site is None else "site"

    def require_site(self, what: str) -> str:
        """Return the site; NotFound (`asks_a_site`) if the context is the FSM's."""
        if self.site is None:
            raise NotFound(
                f"{what} asks a site, and context {self.context.name} is the FSM's: "
                "log in to the site's SDSP, or choose its context with --context",
                code="asks_a_site",
            )
        return self.site

    def require_fsm(self, what: str) -> None:
        """NotFound (`asks_the_fsm`) if the context is a site's."""
        if self.site is not None:
            raise NotFound(
                f"{what} asks the FSM, and context {self.context.name} is site {self.site}'s: "
                "choose the FSM's with --context",
                code="asks_the_fsm",
            )

    def require_home(self, kind: Kind) -> None:
        """NotFound (`asks_the_fsm`, `asks_a_site`) if objects of this kind live elsewhere."""
        if self.site is not None and "sdsp" not in kind.lives_on:
            self.require_fsm(f"hanse get {kind.plural}")
        elif self.site is None and "fsm" not in kind.lives_on:
            self.require_site(f"hanse get {kind.plural}")


@asynccontextmanager
async def session(name: str | None, *, site: str | None = None) -> AsyncIterator[Session]:
    """Open a session of a context: the one named, else that of `site`, else the current one."""
    saved = ContextsFile.of(os.environ).load()
    context = saved.of_site(site) if name is None and site is not None else saved.find(name)
    if context.token is None:
        raise _log_in_again("you are not logged in", context)
    async with client_of(context) as client:
        try:
            await _follow_roots(client, context)
            yield Session(client, context)
        except Unreachable as exc:
            if exc.code == "wrong_root" and await _find_roots(context):
                exc.add_note(
                    "the federation has exchanged its root, and the old one vouches for the new: "
                    f"context {context.name} trusts it from now on. Run the command again"
                )
            raise
        except Unauthenticated as exc:
            again = _log_in_again(exc.message, context, code=exc.code)
            for note in getattr(exc, "__notes__", ()):
                again.add_note(note)
            raise again from exc


async def _follow_roots(client: Client, context: Context, clock: Clock | None = None) -> None:
    """Take over the roots that the server trusts by now, if the old ones vouch for them.

    Asked once an hour; a command never fails because of it.
    """
    now = (clock or SystemClock()).now()
    if context.roots_at is not None and abs(now - context.roots_at) < FOLLOW_ROOTS:
        return
    try:
        pem, links = await client.trusted_roots()
        roots = followed(context.ca, pem, links)
        ContextsFile.of(os.environ).trust(context.name, roots, at=now)
    except Unreachable:
        # So would the command's own calls be.
        raise
    except OSError:
        # The file can't be written here; it is asked again next time.
        return
    except HanseError as exc:
        if exc.code == "unlinked_root":
            print_note(
                f"warning: {context.server} offers a root that no trusted one vouches for; it is "
                "not believed"
            )


async def _find_roots(context: Context) -> bool:
    """Look for roots that the context's vouch for, at a server that they don't verify any more.

    Return whether there are some; they are then saved.
    """
    trusted = read_roots(context.ca)
    try:
        found = await fetch_vouched_roots(context.server, trusted)
    except HanseError:
        return False
    if set(found) <= set(trusted):
        return False
    pem = certificates_to_pem([*trusted, *(each for each in found if each not in trusted)])
    ContextsFile.of(os.environ).trust(context.name, pem, at=SystemClock().now())
    return True


def client_of(context: Context) -> Client:
    renewal = context_renewal(ContextsFile.of(os.environ), context.name)
    return Client(
        context.server,
        ca=context.ca,
        token=context.token,
        identity=context.identity,
        renewal=renewal,
    )


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a command's work; typer.Exit with the status of what went wrong, once it is told."""
    try:
        with _interrupted_at_once():
            return asyncio.run(work)
    except (KeyboardInterrupt, typer.Abort) as exc:
        raise typer.Exit(INTERRUPTED) from exc
    except HanseError as exc:
        print_problem(exc)
        later = isinstance(exc, Unavailable | TooManyRequests)
        raise typer.Exit(UNREACHABLE if later else WRONG) from exc


@contextmanager
def _interrupted_at_once() -> Iterator[None]:
    """Let Ctrl-C end a command that waits for its terminal or its stdin.

    asyncio's own handler only cancels the task, which would not notice before the next line.
    """
    is_ours = threading.current_thread() is threading.main_thread()
    if not is_ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    # Another function than Python's own, which asyncio would replace.
    signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def print_problem(error: HanseError) -> None:
    """Print an error to stderr: sentence and code, each field, and the notes (the request's id)."""
    to = console(stderr=True)
    fields = error.fields
    if len(fields) == 1 and fields[0].message == error.message:
        # A single fault is the sentence, with its place.
        sentence, fields = str(fields[0]), ()
    else:
        sentence = f"{error.message} ({error.code})"
    to.print(f"[bold red]error:[/] {escape(sentence)}", soft_wrap=True)
    print_faults(fields, label=None)
    for note in getattr(error, "__notes__", ()):
        to.print(escape(note), soft_wrap=True)


def print_note(text: str) -> None:
    """Print what isn't part of the answer to stderr."""
    console(stderr=True).print(escape(text), soft_wrap=True)


def _log_in_again(reason: str, context: Context, *, code: str = "not_logged_in") -> HanseError:
    reason = reason.removesuffix("; log in again")
    command = f"hanse login {context.server} --name {context.name}"
    return Unauthenticated(f"{reason}; log in again: {command}", code=code)
