"""Reading WebAssembly bytes, with a cursor over the whole file and without copies; and writing.

Source: WebAssembly core specification, binary format (values, vectors, sections).
"""

from __future__ import annotations

from collections.abc import Iterator

from lite.engine.base import GuestFailure, Wasm
from lite.limits import MODULE_NAME_BYTES_MAX, MODULE_NAMES_MAX, MODULE_TYPE_PARTS_MAX

MAGIC = b"\0asm"
CORE_PREAMBLE = b"\0asm\x01\0\0\0"
COMPONENT_PREAMBLE = b"\0asm\x0d\0\x01\0"

NAME_BYTES_MAX = 100_000  # as in wasmparser's limits
ITEMS_MAX = 1_000_000  # entries of one vector, likewise
SECTIONS_MAX = 100_000  # of one module or component, and of a whole file
INNER_MAX = 1_000  # modules and components inside of a component, in a whole file


def bad_module(message: str) -> GuestFailure:
    """The failure for bytes that are not well-formed."""
    return GuestFailure("bad-module", message)


class Names:
    """How much a file may declare by name: something is built of each, in the node too.

    One for a whole file. What is over the bounds is refused while it is read.
    """

    __slots__ = ("_bytes_left", "_inner_left", "_left", "_parts_left", "_sections_left")

    def __init__(self) -> None:
        self._left = MODULE_NAMES_MAX
        self._bytes_left = MODULE_NAME_BYTES_MAX
        self._parts_left = MODULE_TYPE_PARTS_MAX
        self._sections_left = SECTIONS_MAX
        self._inner_left = INNER_MAX

    def count(self, name_bytes: int) -> None:
        """Count one name, or something without one (0). Raises `GuestFailure`
        (`module-too-large`)."""
        self._left -= 1
        self._bytes_left -= name_bytes
        if self._left < 0:
            raise _declares_more(f"{MODULE_NAMES_MAX} names and types", MODULE_NAMES_MAX)
        if self._bytes_left < 0:
            raise _declares_more(f"{MODULE_NAME_BYTES_MAX} bytes of names", MODULE_NAME_BYTES_MAX)

    def count_parts(self, parts: int) -> None:
        """Count what one type names itself. Raises as `count`."""
        self._parts_left -= parts
        if self._parts_left < 0:
            raise _declares_more(f"{MODULE_TYPE_PARTS_MAX} parts of types", MODULE_TYPE_PARTS_MAX)

    def count_section(self, *, inner: bool) -> None:
        """Count a section, which may be a module or component. Raises as `count`."""
        self._sections_left -= 1
        self._inner_left -= inner
        if self._sections_left < 0:
            raise _declares_more(f"{SECTIONS_MAX} sections", SECTIONS_MAX)
        if self._inner_left < 0:
            raise _declares_more(f"{INNER_MAX} modules and components", INNER_MAX)


def _declares_more(than: str, limit: int) -> GuestFailure:
    return GuestFailure("module-too-large", f"declares more than {than}", limit=limit)


class Reader:
    """A position between two offsets of `data`. Every read past the end is `bad-module`.

    Args:
        names: counts the names that are read.
    """

    __slots__ = ("at", "data", "end", "names")

    def __init__(
        self, data: Wasm, at: int = 0, end: int | None = None, names: Names | None = None
    ) -> None:
        self.data = data
        self.at = at
        self.end = len(data) if end is None else end
        self.names = names

    def more(self) -> bool:
        return self.at < self.end

    def fail(self, message: str) -> GuestFailure:
        return bad_module(f"{message}, at byte {self.at}")

    def byte(self) -> int:
        if self.at >= self.end:
            raise self.fail("the bytes end in the middle of something")
        value = self.data[self.at]
        self.at += 1
        return value

    def u32(self) -> int:
        """An unsigned LEB128 of at most 5 bytes; padding is allowed, as in the specification."""
        value = self.byte()
        if value < 0x80:
            return value
        return self._leb(value, 32)

    def u64(self) -> int:
        value = self.byte()
        if value < 0x80:
            return value
        return self._leb(value, 64)

    def _leb(self, first: int, bits: int) -> int:
        value = first & 0x7F
        shift = 7
        while shift < bits:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >> bits:
                    raise self.fail(f"a number does not fit {bits} bits")
                return value
            shift += 7
        raise self.fail(f"a number is longer than {bits} bits allow")

    def index33(self) -> int:
        """A signed LEB128 that is not negative: an index where negative numbers are opcodes."""
        value = shift = 0
        for _ in range(5):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                if byte & 0x40:
                    raise self.fail("an index is negative")
                return value
        raise self.fail("a number is longer than 33 bits allow")

    def skip_signed(self, bits: int = 33) -> None:
        """Step over a signed LEB128 of up to 33 bits (heap types), or as many as are given."""
        for _ in range(0, bits, 7):
            if self.byte() < 0x80:
                return
        raise self.fail(f"a number is longer than {bits} bits allow")

    def count(self, what: str, limit: int = ITEMS_MAX) -> int:
        """The length of a vector whose entries take at least one byte each."""
        n = self.u32()
        if n > limit:
            raise self.fail(f"{n} {what}: more than {limit}")
        if n > self.end - self.at:
            raise self.fail(f"{n} {what} do not fit in what is left")
        return n

    def skip(self, n: int) -> None:
        if n > self.end - self.at:
            raise self.fail(f"{n} bytes are announced, {self.end - self.at} are left")
        self.at += n

    def name(self) -> str:
        n = self.u32()
        if n > NAME_BYTES_MAX:
            raise self.fail(f"a name of {n} bytes is too long")
        if self.names is not None:
            self.names.count(n)
        start = self.at
        self.skip(n)
        try:
            return self.data[start : self.at].decode()
        except UnicodeDecodeError:
            raise self.fail("a name is not valid UTF-8") from None

    def finish(self, what: str) -> None:
        if self.at != self.end:
            raise self.fail(f"{self.end - self.at} bytes are left over after the {what}")


def sections(data: Wasm, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The sections after the preamble at `start`, each as (id, first byte, past the last)."""
    reader = Reader(data, start + 8, end)
    count = 0
    while reader.more():
        count += 1
        if count > SECTIONS_MAX:
            raise reader.fail(f"more than {SECTIONS_MAX} sections")
        section = reader.byte()
        size = reader.u32()
        first = reader.at
        reader.skip(size)
        yield section, first, reader.at


def u32(value: int) -> bytes:
    """Unsigned LEB128."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def section_bytes(number: int, body: bytes) -> bytes:
    """A section with its number and length."""
    return bytes([number]) + u32(len(body)) + body
