"""Every error of the package, in one tree.

SyncError               sync              base of all
├── ProtocolError       protocol          the peer broke a rule: the connection ends with code 3
│   ├── CodecError      codec             bytes that are not strict DAG-CBOR
│   ├── FrameError      frame             a frame without its fields, or out of its bounds
│   ├── ReconcileError  reconcile         a reconciliation message that cannot be read
│   └── OrderError      order             a frame that may not come at this point
├── ItemError           item              an item was not stored
│   ├── ItemInvalid     item-invalid      it is not what it claims to be: a strike for the peer
│   └── ItemUnwanted    item-unwanted     valid, but not for this set: no blame
├── StoreError          store             the items cannot be read or written
│   └── StoreFull       store-full        no room: the connection ends with code 5
├── IdentityError       identity          not the did:key of an Ed25519 key
├── DiscoveryError      discovery         the local network cannot be asked
└── ChannelError        channel           no channel to a peer, or not any more
    ├── ChannelClosed   channel-closed    the other end left, or the network did
    ├── Unreachable     unreachable       nobody answers there, or not in time
    ├── WrongPeer       wrong-peer        another key than the wanted one answers there
    └── AuthError       auth              the other end did not prove who it is
"""

from __future__ import annotations

from typing import ClassVar


class SyncError(Exception):
    """An error about peers and their bytes; `code` is stable, `str(e)` says what happened."""

    code: ClassVar[str] = "sync"


class ProtocolError(SyncError):
    code = "protocol"


class CodecError(ProtocolError):
    code = "codec"


class FrameError(ProtocolError):
    code = "frame"


class ReconcileError(ProtocolError):
    code = "reconcile"


class OrderError(ProtocolError):
    code = "order"


class ItemError(SyncError):
    code = "item"


class ItemInvalid(ItemError):
    code = "item-invalid"


class ItemUnwanted(ItemError):
    code = "item-unwanted"


class StoreError(SyncError):
    code = "store"


class StoreFull(StoreError):
    code = "store-full"


class IdentityError(SyncError):
    code = "identity"


class DiscoveryError(SyncError):
    code = "discovery"


class ChannelError(SyncError):
    code = "channel"


class ChannelClosed(ChannelError):
    code = "channel-closed"


class Unreachable(ChannelError):
    code = "unreachable"


class WrongPeer(ChannelError):
    code = "wrong-peer"


class AuthError(ChannelError):
    code = "auth"
