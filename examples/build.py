#!/usr/bin/env python3
"""Build the example guests from their sources; the same bytes come out on every machine.

    python examples/build.py            all of them, in place
    python examples/build.py NAME DIR   one (imaging, count or add), into DIR

Needs the package `wasmtime`, and `ziglang` (for its clang and wasm-ld) for the guests in C.
A test compares the results with the committed files.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
IMAGING = {
    "render": ("width", "height", "seed"),
    "crop": ("image", "x", "y", "width", "height"),
    "rotate90": ("image",),
    "blur": ("image", "radius"),
    "grayscale": ("image",),
}


def add() -> bytes:
    """examples/wat/add.wasm: text to binary."""
    return wat((HERE / "wat" / "add.wat").read_text())


def count() -> bytes:
    """examples/wasi/count.wasm: a WASI command in C."""
    return core_module(HERE / "wasi", "count", link=["--export-memory"])


def imaging() -> bytes:
    """examples/imaging/imaging.wasm: a core module in C, wrapped as a component."""
    sources = ("imaging", "inflate", "read", "render", "write")
    return component(core_module(HERE / "imaging" / "src", *sources), imaging_wrapper())


GUESTS = {"add": (add, "wat"), "count": (count, "wasi"), "imaging": (imaging, "imaging")}


def core_module(folder: Path, *sources: str, link: list[str] | None = None) -> bytes:
    """Compile and link C without libc. Runs inside the source folder: no path gets in."""
    with tempfile.TemporaryDirectory() as scratch:
        objects = [str(Path(scratch, f"{name}.o")) for name in sources]
        for name, out in zip(sources, objects, strict=True):
            zig(
                folder, "clang", "--target=wasm32-unknown-unknown", "-O2", "-std=c11", "-nostdlib",
                "-ffreestanding", "-mbulk-memory", "-ffp-contract=off", "-Wall", "-Wextra",
                "-Werror", "-c", f"{name}.c", "-o", out,
            )  # fmt: skip
        wasm = Path(scratch, "out.wasm")
        zig(folder, "wasm-ld", "--no-entry", "--strip-all", "--gc-sections",
            "-z", "stack-size=65536", *(link or []), *objects, "-o", str(wasm))  # fmt: skip
        return wasm.read_bytes()


def zig(folder: Path, *command: str) -> None:
    subprocess.run([sys.executable, "-m", "ziglang", *command], check=True, cwd=folder)


def wat(text: str) -> bytes:
    import wasmtime

    return bytes(wasmtime.wat2wasm(text))


def imaging_wrapper() -> str:
    """The component as text, around an empty module with the same exports (see imaging.wit)."""
    stub = ['(memory (export "memory") 1)']
    stub.append('(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)')
    lifts = []
    for name, params in IMAGING.items():
        flat = " i32" * sum(2 if param == "image" else 1 for param in params)
        stub.append(f'(func (export "{name}") (param{flat}) (result i32) unreachable)')
        typed = " ".join(
            f'(param "{param}" {"(list u8)" if param == "image" else "u32"})' for param in params
        )
        lifts.append(
            f'(alias core export $i "{name}" (core func ${name}))'
            f'(func (export "{name}") {typed} (result (result (list u8) (error string)))'
            f" (canon lift (core func ${name}) (memory $memory) (realloc $realloc)))"
        )
    return (
        f"(component (core module $m {' '.join(stub)}) (core instance $i (instantiate $m))"
        '(alias core export $i "memory" (core memory $memory))'
        '(alias core export $i "cabi_realloc" (core func $realloc))' + "".join(lifts) + ")"
    )


def component(core: bytes, wrapper: str) -> bytes:
    """The wrapper with its stub (section 1) replaced by `core`, and without names."""
    binary = wat(wrapper)
    out = binary[:8]
    for kind, body in sections(binary):
        if kind != 0:
            body = core if kind == 1 else body
            out += bytes([kind]) + leb128(len(body)) + body
    return out


def sections(binary: bytes) -> list[tuple[int, bytes]]:
    """The sections of a module or component: (id, body)."""
    found, at = [], 8
    while at < len(binary):
        kind, at = binary[at], at + 1
        size = shift = 0
        while True:
            byte, at = binary[at], at + 1
            size |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        found.append((kind, binary[at : at + size]))
        at += size
    return found


def leb128(n: int) -> bytes:
    out = b""
    while n >= 128:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def main(arguments: list[str]) -> None:
    names = arguments[:1] or list(GUESTS)
    for name in names:
        build, folder = GUESTS[name]
        out = Path(arguments[1] if len(arguments) > 1 else HERE / folder) / f"{name}.wasm"
        out.write_bytes(build())
        print(f"{out.name}: {out.stat().st_size} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
