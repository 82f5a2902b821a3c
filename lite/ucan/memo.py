"""What was verified already, so that a second check costs next to nothing.

A memo only saves work on what cannot change: signatures, the form of tokens, how the links of a
chain fit, policies on the same arguments. Time, executor, revocations and replay are looked at
again at each check.
Source: UCAN 1.0, Memoized Validation.
"""

from __future__ import annotations

from threading import Lock
from typing import Final, TypeVar

from lite.ipld.cid import CID
from lite.ucan import twins
from lite.ucan.authorised import Authorised
from lite.ucan.delegation import Delegation

MEMO_ENTRIES_MAX: Final = 512

Name = TypeVar("Name")
Entry = TypeVar("Entry")


class Memo:
    """Verified delegations by CID and authorised invocations by their bytes. Thread-safe.

    Args:
        entries_max: of each; the oldest goes when there are more.
    """

    def __init__(self, entries_max: int = MEMO_ENTRIES_MAX) -> None:
        self._entries_max = entries_max
        self._lock = Lock()
        self._delegations: dict[CID, Delegation] = {}
        self._authorised: dict[bytes, Authorised] = {}

    def delegation(self, cid: CID) -> Delegation | None:
        return self._delegations.get(cid)

    def authorised(self, data: bytes) -> Authorised | None:
        """What an earlier check of exactly these bytes found."""
        return self._authorised.get(data)

    def keep_delegation(self, delegation: Delegation) -> None:
        with self._lock:
            self._put(self._delegations, delegation.cid, delegation)

    def keep(self, authorised: Authorised) -> None:
        with self._lock:
            self._put(self._authorised, authorised.invocation.data, authorised)

    def forget(self, cid: CID) -> None:
        """Drop a delegation and every chain through it: it was revoked."""
        with self._lock:
            self._delegations.pop(cid, None)
            stale = [data for data, known in self._authorised.items() if _goes_through(known, cid)]
            for data in stale:
                del self._authorised[data]

    def __len__(self) -> int:
        """How many invocations are known."""
        return len(self._authorised)

    def _put(self, entries: dict[Name, Entry], name: Name, entry: Entry) -> None:
        entries.pop(name, None)
        entries[name] = entry
        if len(entries) > self._entries_max:
            del entries[next(iter(entries))]


def _goes_through(authorised: Authorised, cid: CID) -> bool:
    return any(cid in twins.names(delegation.token) for delegation in authorised.chain)
