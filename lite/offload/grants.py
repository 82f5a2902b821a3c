"""What a provider may read of this node for a job: the blocks below its inputs, until its lease is
over, and nothing else.

    iss = sub = customer   aud = provider   cmd "/ipvm/blocks/read"   exp = end of the lease
    pol = [["or", [["==", ".root", link], …]]]

The delegation goes along with the job, so that the provider can prove what it was given; this node
keeps its own copy, because the channel says who asks.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, Literal

from lite.errors import LimitError
from lite.ipld.cid import CID
from lite.keys import Key
from lite.store import Store
from lite.store.outbox_rows import Grant
from lite.store.reach import links_below
from lite.ucan.delegation import Delegation

__all__ = ["COMMAND", "ROOTS_MAX", "Grants", "grant"]

COMMAND: Final = "/ipvm/blocks/read"
ROOTS_MAX: Final = 200  # in one delegation, which is one token
LOOKED_AT_MAX: Final = 1_000_000  # blocks below the roots of one grant
REMEMBERED: Final = 16


def grant(
    key: Key, audience: str, roots: Sequence[CID], until: int, *, secret: bool = False
) -> Grant:
    """Let a node read what lies below some roots.

    Args:
        until: the last second, since 1970. secret: also what is secret.

    Raises:
        LimitError: more roots than fit into a delegation.
    """
    if len(roots) > ROOTS_MAX:
        raise LimitError(f"{len(roots)} inputs, at most {ROOTS_MAX} can be granted for one job")
    statements = [["==", ".root", root] for root in roots]
    policy = statements if len(statements) == 1 else [["or", statements]]
    token = Delegation.issue(
        key,
        audience=audience,
        subject=key.did,
        command=COMMAND,
        policy=policy,
        expires_at=until,
    )
    return Grant(token.cid, audience, until, tuple(roots), token.data, secret)


class Grants:
    """Who may read what. Thread-safe."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._below: OrderedDict[CID, frozenset[CID]] = OrderedDict()

    def may_read(self, did: str, cid: CID) -> bool | Literal["secret"]:
        """Whether a block lies below something that was granted to a node, and not taken back;
        "secret": also if it is that, because the node holds the key that its step needs."""
        found: bool | Literal["secret"] = False
        for delegation, roots, secret in self._store.outbox.grants_to(did):
            if self._store.tokens.revokers(delegation):
                continue
            if cid in roots or cid in self._all_below(delegation, roots):
                if secret:
                    return "secret"
                found = True
        return found

    def _all_below(self, delegation: CID, roots: Sequence[CID]) -> frozenset[CID]:
        with self._lock:
            known = self._below.get(delegation)
            if known is None:
                known = self._below[delegation] = self._walk(roots)
                while len(self._below) > REMEMBERED:
                    self._below.popitem(last=False)
            return known

    def _walk(self, roots: Sequence[CID]) -> frozenset[CID]:
        found: set[CID] = set()
        todo = list(roots)
        while todo and len(found) < LOOKED_AT_MAX:
            cid = todo.pop()
            if cid in found:
                continue
            found.add(cid)
            todo.extend(links_below(self._store.database, cid))
        return frozenset(found)
