"""What may come into the set of records, judged before it is stored.

A record has to be what it says (strict bytes, signed by its issuer): else whoever sent it is to
blame. It has to be of somebody who counts here: else nobody is to blame, and it is not stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from lite.clock import Clock, ClockState
from lite.errors import IpvmError
from lite.ipld.cid import CID
from lite.model.receipt import Receipt
from lite.peering import record_sql as sql
from lite.peering.records import CID_HEAD, RecordStore, revocation_time
from lite.store import Store
from lite.store.tokens import REVOCATIONS_EARLY_MAX
from lite.ucan.refusals import TooEarly
from lite.ucan.revocation import COMMAND as REVOKE
from lite.ucan.revocation import Revocation, revokers
from sync.base import CONTROL, RECORDS, Accepted
from sync.errors import ItemInvalid, ItemUnwanted
from sync.verdicts import Spread, Verdict

EARLY_MAX: Final = 10_000  # revocations of strangers about delegations that are not here
EARLY_BYTES_MAX: Final = 2_048
_REVOKE: Final = REVOKE.encode()


class RecordVerifier:
    """A `BatchVerifier` of `sync.base`. Digest and size are already checked.

    What depends on the bytes alone, above all the signature, is seen to in threads; what this node
    says of them is asked in the thread that called `begin_all`, which is the store's.
    """

    def __init__(self, store: Store, records: RecordStore, clock: Clock) -> None:
        self._store = store
        self._records = records
        self._clock = clock
        self._threads = Spread()

    def close(self) -> None:
        """End the threads."""
        self._threads.close()

    def begin_all(
        self, items: Sequence[tuple[bytes, bytes]], peer: str
    ) -> Callable[[], Sequence[Verdict]]:
        read = self._threads.begin(_parsed, [raw for _, raw in items])

        def judge() -> list[Verdict]:
            unwanted = self._unwanted([id for id, _ in items])
            pairs = zip(items, read(), strict=True)
            return [self._verdict(id, raw, found, unwanted, peer) for (id, raw), found in pairs]

        return judge

    def _unwanted(self, ids: Sequence[bytes]) -> dict[bytes, str]:
        """Those that are not to come back, and why."""
        cids = [CID.from_bytes(CID_HEAD + id) for id in ids]
        forgotten = self._store.tombstones
        found = dict.fromkeys(self._store.secrets.any_secret(cids), "it is secret here")
        if forgotten.is_used():
            gone = filter(forgotten.has, cids)
            found = {**dict.fromkeys(gone, "it was forgotten here"), **found}
        return {cid.digest: why for cid, why in found.items()}

    def _verdict(
        self,
        id: bytes,
        raw: bytes,
        found: Receipt | IpvmError,
        unwanted: Mapping[bytes, str],
        peer: str,
    ) -> Verdict:
        try:
            return self._judge(id, raw, found, unwanted, peer)
        except (ItemInvalid, ItemUnwanted) as error:
            return error

    def verify(self, id: bytes, raw: bytes, peer: str) -> Accepted:
        """See the module.

        Raises:
            ItemInvalid: neither a receipt nor a revocation, or not signed by its issuer.
            ItemUnwanted: of nobody who counts here, secret here, or forgotten.
        """
        return self._judge(id, raw, _parsed(raw), self._unwanted([id]), peer)

    def _judge(
        self,
        id: bytes,
        raw: bytes,
        receipt: Receipt | IpvmError,
        unwanted: Mapping[bytes, str],
        peer: str,
    ) -> Accepted:
        if isinstance(receipt, IpvmError):
            if _REVOKE in raw:
                return self._revocation(raw)
            raise ItemInvalid(f"no receipt: {receipt}") from receipt
        if id in unwanted:
            raise ItemUnwanted(unwanted[id])
        if receipt.issuer not in self._records.wanted:
            raise self._records.refuse(id, receipt.issuer, receipt.issued_at, peer)
        return Accepted(receipt.issued_at, RECORDS, receipt)

    def _revocation(self, raw: bytes) -> Accepted:
        tokens = self._store.tokens
        now = ClockState.of(self._clock.now(), tokens.latest().signed_at).sure_now
        try:
            revocation, names = revokers(
                raw, now=now, resolve=tokens.delegation, revoked_by=tokens.revoked_by
            )
        except TooEarly as error:
            raise ItemUnwanted(f"a revocation that does not hold yet: {error}") from error
        except IpvmError as error:
            raise ItemInvalid(f"no revocation: {error}") from error
        if not self._has_room_for(revocation, known=not names.isdisjoint(self._records.wanted)):
            raise ItemUnwanted("too many revocations of delegations that are not here")
        return Accepted(revocation_time(revocation), CONTROL)

    def _has_room_for(self, revocation: Revocation, *, known: bool) -> bool:
        """Whether it may be kept before its delegation comes.

        Args:
            known: it counts in the name of somebody who is known here.
        """
        if self._store.tokens.has_delegation(revocation.revoked):
            return True
        early = self._store.database.number(sql.REVOCATIONS_COUNT)
        if known:
            return early < REVOCATIONS_EARLY_MAX
        return len(revocation.data) <= EARLY_BYTES_MAX and early < EARLY_MAX


def _parsed(raw: bytes) -> Receipt | IpvmError:
    """A receipt whose signature was checked, or why it is none."""
    try:
        return Receipt.parse(raw)
    except IpvmError as error:
        return error
