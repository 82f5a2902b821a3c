"""Who a home is: its key file, made on first use; or only its name, where that cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from lite.errors import ConfigError, NotFoundError, StoreError
from lite.keys import Key
from lite.store import Store

KEY_FILE = "key"


class NameOnly(Key):
    """What stands for the key of a home that is only read and whose key is not for this user: it
    has its name, as far as that is known, and signs nothing.

    Attributes:
        did: "" when the home does not tell.
    """

    __slots__ = ("_why",)

    def __init__(self, did: str, why: str) -> None:
        self.did = did
        self.public = b""
        self._why = why

    def sign(self, message: bytes) -> NoReturn:
        raise self.refusal()

    def x25519(self) -> NoReturn:
        raise self.refusal()

    def export_text(self) -> NoReturn:
        raise self.refusal()

    def export_pem(self) -> NoReturn:
        raise self.refusal()

    def refusal(self) -> StoreError:
        """What to say to whoever needs the key."""
        return StoreError(
            self._why, hint="Who owns this home can do that, or choose another one with --home."
        )


def _readable_key(store: Store, path: Path) -> Key:
    """The key, or else the name that is on the newest receipt that this home signed."""
    try:
        return Key.load(path)
    except (ConfigError, NotFoundError) as fault:
        newest = store.tokens.latest().receipt
        receipt = None if newest is None else store.receipts.get(newest)
        return NameOnly("" if receipt is None else receipt.issuer, str(fault))


def identity(store: Store) -> tuple[Key, bool]:
    """The key of a home, and whether this call made it. A home that was used and has none has lost
    it: to go on under another name is for its owner to decide.

    Raises:
        StoreError: it is gone, or damaged, or cannot be made.
    """
    path = store.home / KEY_FILE
    if store.read_only:
        return _readable_key(store, path), False
    try:
        return Key.load(path), False
    except NotFoundError:
        if not store.was_used():
            return _first_key(path)
    except ConfigError as fault:
        raise unusable_key(fault) from None
    try:
        return Key.load(path), False  # another process made it, then used the home
    except NotFoundError:
        raise lost_key(path) from None


def _first_key(path: Path) -> tuple[Key, bool]:
    try:
        return Key.load_or_create(path)
    except ConfigError as fault:
        raise StoreError(str(fault), hint=fault.hint) from None


def unusable_key(fault: ConfigError) -> StoreError:
    """What to say about a key file of a home that is damaged, or open to others."""
    first = f"{fault.hint}; or " if fault.hint else ""
    return StoreError(
        str(fault),
        hint=f"{first}put a good one in its place with `ipvm restore BACKUP` or "
        "`ipvm key import FILE --force`, which keep the file that is there now.",
    )


def lost_key(path: Path) -> StoreError:
    """What to say about a home that was used and has no key file any more."""
    return StoreError(
        f"the key of this home is gone: there is no {path}, but the home was used before",
        hint="`ipvm restore BACKUP` or `ipvm key import FILE` brings it back; `ipvm key new` "
        "goes on under a new name, for which the receipts here are those of a stranger.",
    )
