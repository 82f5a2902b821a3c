"""What a person means by a reference: a CID, a path, a petname, or a piece of a CID."""

from __future__ import annotations

from lite.errors import CidError, NotFoundError, UsageError
from lite.ipld import unixfs
from lite.ipld.cid import CID, root_and_path
from lite.store import Store
from lite.store.names import may_be_name

SCHEME = "ipfs://"
PIECE_CHARS_MIN = 4
CANDIDATES_SHOWN = 5


def resolve(store: Store, ref: str) -> CID:
    """See `Node.resolve`."""
    try:
        ref.encode()
    except UnicodeEncodeError:
        raise CidError(f"“{ref}” is not UTF-8, so that nothing here is called that") from None
    if ref.startswith(SCHEME):
        root, _, path = root_and_path(ref.removeprefix(SCHEME))
        cid = CID.parse(root)
        return unixfs.resolve_path(cid, path, store.blocks.get) if path else cid
    try:
        return CID.parse(ref)
    except CidError as fault:
        named = store.names.get(ref)
        if named is not None:
            return named
        start, shortened, end = ref.partition("…")
        if shortened:
            return _by_piece(store, end or start, fault, start if end else "")
        return _by_piece(store, ref, fault)


def _by_piece(store: Store, piece: str, fault: CidError, start: str = "") -> CID:
    """The one receipt, else the one block, whose CID begins or ends with `piece`.

    `start`: as it was shown, `bafy…q4wz7ka`, the CID begins with this as well.
    """
    if len(piece) < PIECE_CHARS_MIN or not piece.isascii() or not piece.isalnum():
        kind = NotFoundError if may_be_name(piece) else CidError
        raise kind(
            f"{piece!r} is neither a name here nor a CID" if kind is NotFoundError else str(fault),
            hint=f"Give a CID, a petname, or at least {PIECE_CHARS_MIN} characters of a CID.",
        )
    for find in (store.receipts.find, store.blocks.find):
        found = [cid for cid in find(piece.lower()) if str(cid).startswith(start)]
        if len(found) == 1:
            return found[0]
        if found:
            shown = ", ".join(str(c) for c in found[:CANDIDATES_SHOWN])
            raise UsageError(
                f"{piece!r} fits {len(found)} things: {shown}", hint="Give more characters."
            )
    raise NotFoundError(
        f"nothing here is called {piece!r}",
        hint="`ipvm name list` and `ipvm receipt list` show what there is.",
    )
