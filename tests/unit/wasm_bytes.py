"""Building WebAssembly bytes by hand, for files that no assembler would write."""

from __future__ import annotations

CORE = b"\0asm\x01\0\0\0"
COMPONENT = b"\0asm\x0d\0\x01\0"

U8, STRING = b"\x7d", b"\x73"


def leb(n: int) -> bytes:
    out = b""
    while True:
        out += bytes([n & 0x7F | (0x80 if n > 0x7F else 0)])
        n >>= 7
        if not n:
            return out


def index(n: int) -> bytes:
    """A type index where a value type is expected: a signed LEB128."""
    out = b""
    while True:
        last = n < 0x40
        out += bytes([n & 0x7F | (0 if last else 0x80)])
        n >>= 7
        if last:
            return out


def name(text: str) -> bytes:
    return leb(len(text.encode())) + text.encode()


def vec(*items: bytes) -> bytes:
    return leb(len(items)) + b"".join(items)


def section(number: int, body: bytes) -> bytes:
    return bytes([number]) + leb(len(body)) + body


def custom(title: str, body: bytes) -> bytes:
    return section(0, name(title) + body)


def type_section(*definitions: bytes) -> bytes:
    return section(7, vec(*definitions))


def func(params: list[tuple[str, bytes]], result: bytes | None) -> bytes:
    listed = vec(*(name(label) + t for label, t in params))
    return b"\x40" + listed + (b"\x01\x00" if result is None else b"\x00" + result)


def encoded_world(wat: str, encoding: int = 0) -> bytes:
    """The contents of a `component-type` section, from the WAT of the world's component type."""
    import wasmtime

    outer = f'(component (type (component (export "t:p/w" {wat}))) (export "w" (type 0)))'
    compiled = bytes(wasmtime.wat2wasm(outer))
    return compiled + custom("wit-component-encoding", bytes([4, encoding]))
