"""Negentropy, version 1: find out what differs between two sets, at the cost of what differs.

The initiator learns which ids only it has and which only the other side has. The responder keeps
no state between messages, so items may be added to either set at any time.
Source: docs/negentropy-protocol-v1.md of hoytech/negentropy. Messages are byte for byte those of
its reference implementations.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from sync.base import ID_BYTES, Bound, RangeSource
from sync.errors import ReconcileError

VERSION: Final = 0x61
FRAME_BYTES_MIN: Final = 4096
MODULUS: Final = 1 << 256
INFINITY: Final = (1 << 64) - 1

_FINGERPRINT_BYTES: Final = 16
_ROOM: Final = 200  # bytes kept free below the frame limit for what ends a message
_VARINT_BYTES_MAX: Final = 10
_END: Final[Bound] = (INFINITY, b"")
_SKIP, _FINGERPRINT, _IDS = 0, 1, 2


def varint(number: int) -> bytes:
    """Digits of base 128, the most significant first, the high bit set on all but the last."""
    digits = [number & 127]
    while number := number >> 7:
        digits.append(number & 127 | 128)
    return bytes(reversed(digits))


def fingerprint(total: int, count: int) -> bytes:
    """16 bytes for a set: `total` is the sum of its ids as little-endian numbers, mod 2^256."""
    raw = (total % MODULUS).to_bytes(32, "little") + varint(count)
    return hashlib.sha256(raw).digest()[:_FINGERPRINT_BYTES]


class Vector:
    """A sorted set in memory, with prefix sums: any range's fingerprint costs one subtraction."""

    def __init__(self, items: Iterable[Bound]) -> None:
        self._items = sorted(items)
        numbers = (int.from_bytes(id, "little") for _, id in self._items)
        self._sums = list(accumulate(numbers, initial=0))
        self.reads = 0

    def __len__(self) -> int:
        return len(self._items)

    def item(self, at: int) -> Bound:
        return self._items[at]

    def lower(self, start: int, bound: Bound) -> int:
        return bisect_left(self._items, bound, start)

    def ids(self, start: int, end: int) -> Sequence[bytes]:
        return [id for _, id in self._items[start:end]]

    def fingerprint(self, start: int, end: int) -> bytes:
        return fingerprint(self._sums[end] - self._sums[start], end - start)


@dataclass(frozen=True, slots=True)
class Split:
    """How a range that differs is looked at more closely. Each side is free in this.

    Attributes:
        parts: fingerprints that it is split into.
        ids_max: it is listed instead when it has at most as many ids.
        fresh_ids: as `ids_max`, where the newest items differ; 0: nothing is known about what is
            new. What was made apart is all at the end of the order, so the first message looks at
            the end more closely, ranges that differ up to it are split into such lists at once,
            and an initiator does not list a few ids: the fingerprint makes the other side do so,
            and ids of the initiator need not be told at all.
    """

    parts: int
    ids_max: int
    fresh_ids: int = 0


REFERENCE: Final = Split(16, 31)  # what the reference implementations do
FINE: Final = Split(8, 7, 15)  # fewer bytes, where a difference is scattered half as many

_FRESH_MAX: Final = 2_048  # items at the end that are split into lists at once
_RUN_MIN: Final = 4  # neighbours that differ


@dataclass(frozen=True, slots=True)
class _Range:
    """What the other side says of one range of this side's set."""

    start: int
    end: int
    bound: Bound
    mode: int
    content: bytes
    differs: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one message told.

    Attributes:
        reply: the next message; None: there is nothing left to compare (only at the initiator).
        have: ids that the other side lacks. They may come again in a later message.
        need: ids that only the other side has.
    """

    reply: bytes | None
    have: Sequence[bytes]
    need: Sequence[bytes]


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self._time = 0

    def more(self) -> bool:
        return self.at < len(self.data)

    def take(self, size: int) -> bytes:
        part = self.data[self.at : self.at + size]
        if len(part) != size:
            raise ReconcileError("a reconciliation message is cut short")
        self.at += size
        return part

    def varint(self) -> int:
        number = 0
        for _ in range(_VARINT_BYTES_MAX):
            digit = self.take(1)[0]
            number = number << 7 | digit & 127
            if digit < 128:
                return number
        raise ReconcileError("a number in a reconciliation message is too long")

    def bound(self) -> Bound:
        step = self.varint()
        if step == 0 or self._time == INFINITY:
            self._time = INFINITY
        else:
            self._time = min(self._time + step - 1, INFINITY)
        size = self.varint()
        if size > ID_BYTES:
            raise ReconcileError("a bound in a reconciliation message is too long")
        return self._time, self.take(size)


class _Writer:
    """A message in the making."""

    def __init__(self, limit: int) -> None:
        self.out = bytearray((VERSION,))
        self._limit = limit
        self._time = 0

    def bound(self, bound: Bound) -> bytes:
        """Bounds are relative to the one before, so each has to be written in its turn."""
        time, prefix = bound
        if time == INFINITY:
            return varint(0) + varint(len(prefix)) + prefix
        step, self._time = time - self._time, time
        return varint(step + 1) + varint(len(prefix)) + prefix

    def skip(self, bound: Bound) -> bytes:
        """Nothing to say up to `bound`."""
        return self.bound(bound) + varint(_SKIP)

    def is_full(self, more: int) -> bool:
        return bool(self._limit) and len(self.out) + more > self._limit - _ROOM


class Reconciler:
    """One side of a comparison.

    Args:
        source: this side's set; it may be another one, or have grown, for each message.
        limit: bytes of a message; 0: no limit.
        reads_max: rows of the source to read for one message. What it says beyond that is answered
            with one fingerprint of the rest, as where there is no room; 0: no limit.
        compared_max: ids of this side that an initiator compares with what one message lists, the
            newest first. A list of a larger range is answered as if the range had only been said
            to differ; others wait: the fingerprint of such a range has it listed again. 0: no
            limit.
    """

    def __init__(
        self,
        source: RangeSource,
        limit: int = 0,
        *,
        initiator: bool = False,
        split: Split = REFERENCE,
        reads_max: int = 0,
        compared_max: int = 0,
    ) -> None:
        if limit and limit < FRAME_BYTES_MIN:
            raise ValueError(f"a limit below {FRAME_BYTES_MIN} bytes leaves no room for a range")
        self._source = source
        self._limit = limit
        self._initiator = initiator
        self._how = split
        self._reads_max = reads_max
        self._compared_max = compared_max

    def initiate(self) -> bytes:
        """The first message. From here on this side is the initiator."""
        self._initiator = True
        writer, count = _Writer(self._limit), len(self._source)
        if count <= self._how.ids_max:
            writer.out += self._listed(writer, 0, count, _END)
            return bytes(writer.out)
        stops = _even(0, count, self._how.parts)
        if self._how.fresh_ids:
            left = count - stops[-2]
            while left > self._how.fresh_ids:
                left //= 2
                stops.insert(-1, count - left)
        writer.out += self._fingerprints(writer, 0, stops, _END)
        return bytes(writer.out)

    def reconcile(self, message: bytes) -> Outcome:
        """Compare with what the other side said.

        Raises:
            ReconcileError: the message cannot be read.
        """
        reader = _Reader(message)
        version = reader.take(1)[0]
        if not 0x60 <= version <= 0x6F:
            raise ReconcileError(f"no reconciliation message begins with byte {version:#04x}")
        if version != VERSION:
            if self._initiator:
                raise ReconcileError(f"the peer reconciles by version {version - 0x60}, not 1")
            return Outcome(bytes((VERSION,)), (), ())
        return self._answer(reader)

    def _answer(self, reader: _Reader) -> Outcome:
        writer, have, need = _Writer(self._limit), list[bytes](), list[bytes]()
        ranges = self._ranges(reader)
        dense, later = self._dense(ranges), self._later(ranges)
        lower: Bound = (0, b"")
        skipping = False
        for number, one in enumerate(ranges):
            end, part, listed = one.end, b"", False
            if one.mode == _FINGERPRINT and one.differs:
                part = writer.skip(lower) if skipping else b""
                part += self._split(writer, one, dense=number in dense)
            elif number in later:
                part = writer.skip(lower) if skipping else b""
                count = end - one.start
                parts = min(self._how.parts, count) if count > self._compared_max else 1
                part += self._fingerprints(
                    writer, one.start, _even(one.start, end, parts), one.bound
                )
            elif one.mode == _IDS and self._initiator:
                self._compare(one.content, one.start, end, have, need)
            elif one.mode == _IDS:
                writer.out += writer.skip(lower) if skipping else b""
                end, listed = self._list(writer, one.start, end, one.bound), True
            if writer.is_full(len(part)):
                rest = self._source.fingerprint(end, len(self._source))
                writer.out += writer.bound(_END) + varint(_FINGERPRINT) + rest
                break
            writer.out += part
            skipping = not (part or listed)
            lower = one.bound
        done = self._initiator and len(writer.out) == 1
        return Outcome(None if done else bytes(writer.out), have, need)

    def _ranges(self, reader: _Reader) -> list[_Range]:
        source, start, ranges = self._source, 0, list[_Range]()
        before, bound = source.reads, (0, b"")
        while reader.more() and bound[0] != INFINITY:  # nothing is behind the end
            if self._reads_max and source.reads - before > self._reads_max:
                ranges.append(_Range(start, len(source), _END, _FINGERPRINT, b"", True))
                break
            bound, mode = reader.bound(), reader.varint()
            end = len(source) if bound[0] == INFINITY else source.lower(start, bound)
            content, differs = b"", False
            if mode == _FINGERPRINT:
                content = reader.take(_FINGERPRINT_BYTES)
                differs = content != source.fingerprint(start, end)
            elif mode == _IDS:
                content = reader.take(ID_BYTES * reader.varint())
            elif mode != _SKIP:
                raise ReconcileError(f"a reconciliation message has a range of mode {mode}")
            ranges.append(_Range(start, end, bound, mode, content, differs or mode == _IDS))
            start = end
        return ranges

    def _dense(self, ranges: list[_Range]) -> set[int]:
        """Ranges in which most ids are probably not known to both: by number."""
        if not self._how.fresh_ids:
            return set()
        at, found, run = len(ranges), set[int](), list[int]()
        if ranges and ranges[-1].bound[0] == INFINITY:
            while (
                at
                and ranges[at - 1].differs
                and len(self._source) - ranges[at - 1].start <= _FRESH_MAX
            ):
                at -= 1
            found.update(range(at, len(ranges)))
        for number, one in enumerate(ranges[:at]):
            if one.differs and one.end - one.start <= 2 * self._how.fresh_ids:
                run.append(number)
                if len(run) >= _RUN_MIN:
                    found.update(run)
            else:
                run.clear()
        return found

    def _later(self, ranges: list[_Range]) -> set[int]:
        """Lists that are not compared with this message: by number."""
        left, later = self._compared_max, set[int]()
        for number, one in reversed([*enumerate(ranges)]) if left and self._initiator else ():
            if one.mode == _IDS and one.end - one.start > left:
                later.add(number)
            elif one.mode == _IDS:
                left -= one.end - one.start
        return later

    def _compare(
        self, listed: bytes, start: int, end: int, have: list[bytes], need: list[bytes]
    ) -> None:
        cuts = range(0, len(listed), ID_BYTES)
        theirs = dict.fromkeys(listed[at : at + ID_BYTES] for at in cuts)  # keeps the order
        for id in self._source.ids(start, end):
            if id in theirs:
                del theirs[id]
            else:
                have.append(id)
        need.extend(theirs)

    def _list(self, writer: _Writer, start: int, end: int, bound: Bound) -> int:
        """Write all ids of a range, or as many as there is room for; where the list ends."""
        out = bytearray()
        most = self._limit // ID_BYTES if self._limit else end - start
        for at, id in enumerate(self._source.ids(start, min(end, start + most)), start):
            if writer.is_full(len(out)):
                bound, end = self._source.item(at), at
                break
            out += id
        count = len(out) // ID_BYTES
        writer.out += writer.bound(bound) + varint(_IDS) + varint(count) + out
        return end

    def _split(self, writer: _Writer, one: _Range, *, dense: bool) -> bytes:
        """A range that differs: as ids when it is small, else as the fingerprints of its parts."""
        start, end, count = one.start, one.end, one.end - one.start
        if count > (2 * self._how.fresh_ids if dense else self._how.ids_max):
            parts = -(-count // self._how.fresh_ids) if dense else self._how.parts
            return self._fingerprints(writer, start, _even(start, end, parts), one.bound)
        if self._initiator and self._how.fresh_ids and count > 1:
            return self._fingerprints(writer, start, [end], one.bound)
        return self._listed(writer, start, end, one.bound)

    def _listed(self, writer: _Writer, start: int, end: int, bound: Bound) -> bytes:
        head = writer.bound(bound) + varint(_IDS) + varint(end - start)
        return head + b"".join(self._source.ids(start, end))

    def _fingerprints(
        self, writer: _Writer, start: int, stops: Sequence[int], bound: Bound
    ) -> bytes:
        """Those of the ranges that end at `stops`, the last of them at `bound`."""
        source, out = self._source, bytearray()
        for stop in stops:
            cut = bound if stop == stops[-1] else _between(source.item(stop - 1), source.item(stop))
            out += writer.bound(cut) + varint(_FINGERPRINT) + source.fingerprint(start, stop)
            start = stop
        return bytes(out)


def _even(start: int, end: int, parts: int) -> list[int]:
    """Where as many parts end that are equally large, the first ones larger by one."""
    size, larger = divmod(end - start, parts)
    return [start + number * size + min(number, larger) for number in range(1, parts + 1)]


def _between(before: Bound, after: Bound) -> Bound:
    """The shortest bound that parts two neighbours."""
    if before[0] != after[0]:
        return after[0], b""
    pairs = zip(before[1], after[1], strict=True)
    shared = next((at for at, (one, other) in enumerate(pairs) if one != other), ID_BYTES)
    return after[0], after[1][: shared + 1]
