"""CAR files, version 1: a header with root CIDs, then blocks, each behind its length and CID.

Reading and writing stream: one block is in memory at a time.
Source: the CARv1 spec of IPLD.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO, Final

from lite.errors import CidError, CodecError, HashMismatch, LimitError
from lite.ipld import dag_cbor, varint
from lite.ipld.block import Block
from lite.ipld.cid import CID
from lite.limits import BLOCK_BYTES_MAX, CAR_HEADER_BYTES_MAX, CID_BYTES_MAX

VERSION: Final = 1
_MAPS = (b"\xa1", b"\xa2", b"")  # what a header begins with; of version 2, with the first


def write_car(out: BinaryIO, roots: Sequence[CID], blocks: Iterable[Block]) -> int:
    """Write a CAR file and return its length in bytes. Blocks are written as given, unchecked.

    Raises:
        LimitError: more roots than a header may hold, or a block larger than a reader takes.
        OSError: from `out`, as it is.
    """
    header = dag_cbor.encode({"roots": list(roots), "version": VERSION})
    if len(header) > CAR_HEADER_BYTES_MAX:
        raise LimitError(f"{len(roots)} roots are too many for the header of a CAR file")
    written = _write_section(out, header)
    for block in blocks:
        if len(block.data) > BLOCK_BYTES_MAX:
            raise LimitError(
                f"block {block.cid} has {len(block.data)} bytes, a CAR file of ours takes "
                f"{BLOCK_BYTES_MAX} at most"
            )
        written += _write_section(out, block.cid.raw + block.data)
    return written


def read_car(stream: BinaryIO) -> CarReader:
    """Read the header of a CAR file; iterate over the result for the blocks.

    Raises:
        CodecError: not a CAR file of version 1; it says what and at which byte offset.
    """
    return CarReader(stream)


class CarReader:
    """The blocks of a CAR file in their order, each checked against its CID. Read once, forwards.

    Attributes:
        roots: the CIDs in the header; whether their blocks follow is not checked.
        offset: bytes read so far; behind each block that iteration gives, the end of its data.

    Iteration raises:
        CodecError: a malformed section; it says what and at which byte offset.
        HashMismatch: a block does not hash to its CID; it says at which byte offset.
    """

    roots: tuple[CID, ...]
    offset: int

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.offset = 0
        header = self._section(CAR_HEADER_BYTES_MAX, "header")
        if header is None:
            raise CodecError("not a CAR file: it is empty")
        self.roots = _parse_header(header)

    def __iter__(self) -> Iterator[Block]:
        while True:
            at = self.offset
            section = self._section(CID_BYTES_MAX + BLOCK_BYTES_MAX, "section")
            if section is None:
                return
            yield _parse_section(section, at)

    def _section(self, size_max: int, what: str) -> bytes | None:
        """The bytes behind one length; None at the end of the file."""
        at = self.offset
        size = self._length(at)
        if size is None:
            return None
        if size == 0 and what == "header":
            raise CodecError("not a CAR file: it does not begin with a header")
        if size == 0:
            raise CodecError(f"CAR {what} of no bytes at byte {at}")
        if size > size_max:
            raise CodecError(f"CAR {what} of {size} bytes at byte {at}, at most {size_max}")
        data = self._read(size)
        if len(data) != size:
            if what == "header" and data[:1] not in _MAPS:
                raise CodecError("not a CAR file: it does not begin with a header")
            raise CodecError(f"truncated CAR: the {what} at byte {at} lacks {size - len(data)}")
        return data

    def _length(self, at: int) -> int | None:
        raw = b""
        while True:
            byte = self._read(1)
            if not byte and not raw:
                return None
            raw += byte
            if not byte or byte < b"\x80" or len(raw) == varint.BYTES_MAX:
                break
        try:
            return varint.decode(raw)[0]
        except CodecError as error:
            raise CodecError(f"bad length in a CAR at byte {at}: {error}") from error

    def _read(self, size: int) -> bytes:
        """`size` bytes, or fewer only at the end: pipes and sockets may give less at a time."""
        data = self._stream.read(size)
        while 0 < len(data) < size:
            more = self._stream.read(size - len(data))
            if not more:
                break
            data += more
        self.offset += len(data)
        return data


def _write_section(out: BinaryIO, section: bytes) -> int:
    length = varint.encode(len(section))
    out.write(length)
    out.write(section)
    return len(length) + len(section)


def _parse_header(data: bytes) -> tuple[CID, ...]:
    try:
        header: Any = dag_cbor.decode(data)
    except CodecError as error:
        raise CodecError(f"not a CAR file: its header is {error}") from error
    if not isinstance(header, dict) or type(header.get("version")) is not int:
        raise CodecError("not a CAR file: its header has no version")
    if header["version"] != VERSION:
        raise CodecError(
            f"a CAR file of version {header['version']}, only version {VERSION} is read",
            hint="convert it, for example with `car extract-v1`",
        )
    if set(header) != {"roots", "version"} or not isinstance(header["roots"], list):
        raise CodecError("not a CAR file: its header must be a version and a list of roots")
    roots = tuple(header["roots"])
    if not all(isinstance(root, CID) for root in roots):
        raise CodecError("not a CAR file: a root in its header is not a link")
    return roots


def _parse_section(section: bytes, at: int) -> Block:
    try:
        cid, data = CID.split(section)
        return Block(cid, data)
    except CidError as error:
        raise CodecError(f"bad CID in the CAR section at byte {at}: {error}") from error
    except HashMismatch as error:
        raise HashMismatch(f"in the CAR section at byte {at}: {error}") from error
