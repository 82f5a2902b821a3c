"""How a core function is called, the same for every engine: what may go in, what may come out.

Everything else that a function may take or give (`v128`, references) is no data, and is refused
before the engine sees it: what a library makes of such a value is its own affair.
"""

from __future__ import annotations

import struct
from typing import Any

from lite.engine.base import GuestFailure
from lite.engine.core_module import CoreModule
from lite.frozen import frozen

RAW_BYTES = 16  # of one value: wasmtime_val_raw_t
_FORMATS = {"i32": "i12x", "i64": "q8x", "f32": "f12x", "f64": "d8x"}


@frozen
class Signature:
    """How to pass the arguments and read the results of one core function.

    Attributes:
        pack: the arguments as an array of `RAW_BYTES` each; refuses what is out of range.
        unpack: the results likewise.
    """

    name: bytes
    params: tuple[str, ...]
    results: tuple[str, ...]
    pack: struct.Struct
    unpack: struct.Struct

    @property
    def raw_bytes(self) -> int:
        return max(self.pack.size, self.unpack.size, RAW_BYTES)

    def bad_arguments(self, args: tuple[Any, ...]) -> GuestFailure:
        """The failure when `pack` does not take `args`."""
        if len(args) != len(self.params):
            problem = f"{len(args)} core values given"
        else:
            problem = f"{', '.join(map(repr, args))[:200]} given, out of range or of another kind"
        return GuestFailure(
            "bad-argument",
            f"{self.name.decode()}({', '.join(self.params)}) cannot be called: {problem}",
        )


class Signatures:
    """Those of one module's exported functions, each made when it is asked for."""

    def __init__(self, core: CoreModule) -> None:
        # Read from the bytes: asking wasmtime's C interface for a v128 aborts the process.
        self._types = {name: core.export_type(name) for name in core.exports}
        self._made: dict[str, Signature] = {}

    def of(self, name: str) -> Signature:
        """How to call the exported function `name`.

        Raises:
            GuestFailure: `bad-canonical-abi` if there is none, `unsupported-type`.
        """
        known = self._made.get(name)
        if known is not None:
            return known
        core_type = self._types.get(name)
        if core_type is None:
            raise GuestFailure("bad-canonical-abi", f"exports no function {name!r}")
        for value_type in core_type.params + core_type.results:
            if value_type not in _FORMATS:
                raise GuestFailure(
                    "unsupported-type", f"{name!r} takes or gives a {value_type}, which is no data"
                )
        made = self._made[name] = Signature(
            name.encode(),
            core_type.params,
            core_type.results,
            _layout(core_type.params),
            _layout(core_type.results),
        )
        return made


def _layout(core_types: tuple[str, ...]) -> struct.Struct:
    return struct.Struct("<" + "".join(_FORMATS[core_type] for core_type in core_types))
