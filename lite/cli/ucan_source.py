"""Where the tokens of `ipvm ucan` come from: a file, text, standard input, or the store."""

from __future__ import annotations

import codecs
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lite.cli.present import one_line
from lite.errors import CidError, CodecError, NotFoundError, UsageError
from lite.ipld.cid import CID

if TYPE_CHECKING:
    from lite.node import Node

PIECE_CHARS_MIN = 4
TEXT_CHARS_MIN = 64  # no token is shorter; a shorter word is a name or a piece of a CID


def load(node: Node, text: str) -> bytes:
    """The bytes that FILE|TEXT|CID|- stands for: a token or a container, as they came.

    Raises:
        NotFoundError: no such file or token.
        MalformedToken: text that is no token or container, or nothing at all.
        UsageError: a folder, a piece of several CIDs, or too much input.
    """
    if text == "-":
        return _bounded(sys.stdin.buffer.read(_bytes_max() + 1), "standard input")
    path = Path(text)
    if _exists(path):
        return _from_file(path)
    if _is_token(text):
        from lite.ucan.checks import unpack

        unpack(_as_bytes(text))
        return _as_bytes(text)
    return stored(node, find(node, text))


def named(node: Node, text: str) -> CID | None:
    """The token here that FILE|TEXT|CID|- names; None where it stands for bytes.

    Raises:
        NotFoundError, UsageError: as `find`.
    """
    if text == "-" or _exists(Path(text)) or _is_token(text):
        return None
    return find(node, text)


def find(node: Node, text: str) -> CID:
    """The token here whose CID is `text`, or begins or ends with it.

    Raises:
        NotFoundError: there is none.
        UsageError: there are several.
    """
    try:
        return CID.parse(text)
    except CidError:
        piece = text.replace("…", "").lower()
    found = []
    if len(piece) >= PIECE_CHARS_MIN and piece.isalnum():
        known = [entry.cid for entry in node.authority.tokens()] + node.store.receipts.find(piece)
        found = [cid for cid in dict.fromkeys(known) if _fits(str(cid), piece)]
    if not found:
        from lite.files import unusable

        raise unusable(text) or NotFoundError(
            f"there is no file {one_line(text, 60)}, and no token here is called that",
            hint="Give a file, the text of a token, - for standard input, or a CID of "
            "`ipvm ucan list`.",
        )
    if len(found) > 1:
        raise UsageError(
            f"“{piece}” fits {len(found)} tokens: {', '.join(map(str, found[:5]))}",
            hint="Give more characters.",
        )
    return found[0]


def stored(node: Node, cid: CID) -> bytes:
    """The bytes of a token in the store. Raises NotFoundError."""
    data = node.authority.get(cid)
    if data is not None:
        return data
    receipt = node.store.receipts.get(cid)
    if receipt is None:
        raise NotFoundError(
            f"there is no token {cid} here", hint="`ipvm ucan list` shows those that are."
        )
    return receipt.data


def did(text: str, flag: str) -> str:
    """The DID of a key that the user wrote. Raises UsageError."""
    from lite.keys import parse_did
    from lite.ucan.payload import principal
    from lite.ucan.refusals import MalformedToken

    try:
        found = principal(text)
        parse_did(found)
        return found
    except (MalformedToken, CodecError) as error:
        raise UsageError(
            f"{flag}: {error}", hint="It looks like did:key:z6Mk…; `ipvm id` prints a node's own."
        ) from None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long for a name, or with a zero byte in it
        return False


def _from_file(path: Path) -> bytes:
    from lite.files import open_file

    if path.is_dir():
        raise UsageError(f"{path} is a folder", hint="Name a file in it.")
    with open_file(str(path)) as file:
        return _bounded(file.read(_bytes_max() + 1), str(path))


def _bounded(data: bytes, name: str) -> bytes:
    if len(data) > _bytes_max():
        raise UsageError(f"{name} has more than {_bytes_max()} bytes, too many for tokens")
    if not data.strip():
        from lite.ucan.refusals import MalformedToken

        raise MalformedToken(f"{name} is empty, not a token").unplaced("1")
    return data


def _bytes_max() -> int:
    from lite.ucan.container import CONTAINER_BYTES_MAX

    return 2 * CONTAINER_BYTES_MAX  # as base64, with its line ends


def _is_token(text: str) -> bool:
    """Whether it is the text of a token, perhaps with the mark that some editors put in front, and
    no name of one."""
    data = _as_bytes(text).removeprefix(codecs.BOM_UTF8)
    return len(data) >= TEXT_CHARS_MIN and data.isascii() and not _is_cid(data.decode())


def _as_bytes(text: str) -> bytes:
    """An argument as it was given."""
    return text.encode("utf-8", "surrogateescape")


def _is_cid(text: str) -> bool:
    try:
        CID.parse(text)
    except CidError:
        return False
    return True


def _fits(cid: str, piece: str) -> bool:
    return cid.startswith(piece) or cid.endswith(piece)
