"""The peers of this home for the command line: found by name or a piece of the DID; and telling a
running daemon that they changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from lite.cli.shell import Shell
from lite.errors import IpvmError, NotFoundError, UsageError

if TYPE_CHECKING:
    from lite.link import Link
    from lite.node import Node
    from sync.peers import PeerBook

__all__ = [
    "RIGHTS_HELP",
    "USUAL_RIGHTS",
    "book_of",
    "called",
    "checked_name",
    "find_peer",
    "right_options",
    "rights_of",
    "tell_daemon",
]

SUFFIX_CHARS_MIN: Final = 4
RIGHTS_HELP: Final = {
    "read": "It gets receipts of this node and those that this node has of its peers.",
    "blocks": "It may fetch blocks that are not secret.",
    "answers": "Its receipts count as answers here.",
    "run": "It may ask for what a delegation allows it; `ipvm provider enable` gives both.",
}
USUAL_RIGHTS: Final = ("read", "blocks")
_F = TypeVar("_F", bound=Callable[..., Any])


def right_options(function: _F) -> _F:
    """`--read`, `--blocks`, `--answers` and `--run`."""
    for right, text in reversed(RIGHTS_HELP.items()):
        function = click.option(f"--{right}", is_flag=True, help=text)(function)
    return function


def rights_of(flags: dict[str, bool], *, usual: Sequence[str] = USUAL_RIGHTS) -> tuple[str, ...]:
    """The rights that flags name; without any flag the usual ones."""
    named = tuple(right for right in RIGHTS_HELP if flags[right])
    return named or tuple(usual)


def book_of(shell: Shell) -> tuple[Node, PeerBook]:
    """The node and its list of peers."""
    from lite.peering.book import open_book

    node = shell.node()
    return node, open_book(node.store, node.did, node.clock)


def find_peer(book: PeerBook, text: str, *, new: bool = False) -> str:
    """The did:key of a peer by its name, its whole DID, or the end of one.

    Args:
        new: a whole DID need not be known.

    Raises:
        NotFoundError: no peer answers to it. UsageError: several do, or it is no DID.
    """
    peers = book.peers()
    if text.startswith("did:"):
        from lite.peering.book import checked_did

        checked_did(text)
        if new or any(one.did == text for one in peers):
            return text
    found = [one.did for one in peers if one.name == text]
    if not found and len(text) >= SUFFIX_CHARS_MIN:
        found = [one.did for one in peers if one.did.endswith(text)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(
            f"{text} could be {len(found)} peers", hint="Write more of the DID: `ipvm peers list`."
        )
    raise NotFoundError(
        f"there is no peer {text}",
        hint="`ipvm peers list` shows them; a new one needs its whole DID, did:key:z6Mk….",
    )


def checked_name(book: PeerBook, did: str, name: str) -> str:
    """A name that no other peer has.

    Args:
        did: of the peer that is to have it; empty: nobody has it yet.

    Raises:
        UsageError: another one has it, or it looks like a DID or a file, is too long, or is more
            than a line.
    """
    from lite.cli.present import visible
    from lite.setting_texts import PEER_NAME_CHARS_MAX, is_peer_name

    if not is_peer_name(name):
        raise UsageError(
            f"“{visible(name[:80])}” is no name for a peer",
            hint=f"Up to {PEER_NAME_CHARS_MAX} characters of one line, no blanks around it, "
            "no @ in front, not a DID.",
        )
    if name and any(one.name == name and one.did != did for one in book.peers()):
        raise UsageError(f"another peer is called {visible(name)}", hint="Choose another name.")
    return name


def called(did: str, name: str) -> str:
    """What people are shown of a peer: its name, else the end of its DID."""
    from lite.cli.present import visible

    return visible(name) if name else f"…{did[-8:]}"


def daemon_of(shell: Shell) -> Link | None:
    """The daemon that runs on this home."""
    from lite.link import Link

    return Link.of(shell.home_path())


def tell_daemon(shell: Shell) -> None:
    """Let a running daemon act at once on what was changed here."""
    link = daemon_of(shell)
    if link is None:
        return
    with suppress(IpvmError):  # it ends at this moment, or has no peers: it looks when it starts
        link.post("/v1/peers/poke", {})
