"""What a core module imports and exports, read without looking at its code.

Source: WebAssembly core specification, binary format (modules).
"""

from __future__ import annotations

from array import array
from typing import Literal

from lite.engine.base import Wasm
from lite.engine.binary import CORE_PREAMBLE, Names, Reader, bad_module, sections
from lite.frozen import frozen
from lite.limits import KIB

PARAMS_MAX = 1_000
TYPE_BYTES_MAX = 256 * KIB  # of the type section; large applications have 20 KiB

ExternKind = Literal["func", "table", "memory", "global", "tag"]
_KINDS: tuple[ExternKind, ...] = ("func", "table", "memory", "global", "tag")

_VALUE_TYPES = {
    0x7F: "i32",
    0x7E: "i64",
    0x7D: "f32",
    0x7C: "f64",
    0x7B: "v128",
    0x70: "funcref",
    0x6F: "externref",
}
_ONE_BYTE_TYPES = bytes(_VALUE_TYPES)
_ABSTRACT_REFERENCES = range(0x68, 0x76)
_LAST_SECTION = 13
_FUNC_TYPE = 0x60


@frozen
class CoreType:
    """A core function type, value types by name (`i32`, `v128`, `ref`…)."""

    params: tuple[str, ...]
    results: tuple[str, ...]


class CoreModule:
    """The outside of a core module.

    Attributes:
        imports: (module, name, kind), in order.
        exports: name to (kind, index).
        customs: (name, first byte of the contents, past the last), in order.
        imports_externref: whether a table or a global is imported that has references of the host.
    """

    # No dataclass: to import what makes those took a worker 7 ms of its start.
    def __init__(self, data: Wasm) -> None:
        self.data = data
        self.imports: list[tuple[str, str, ExternKind]] = []
        self.exports: dict[str, tuple[ExternKind, int]] = {}
        self.customs: list[tuple[str, int, int]] = []
        self.imports_externref = False
        self._type_starts: list[int] = []
        self._types_end = 0
        self._types_stop = ""  # why the types after `_type_starts` could not be read
        self._imported_funcs: list[int] = []
        self._funcs = (0, 0, 0)  # count, first byte of the indices, past the last
        self._func_types: array[int] | None = None
        self._types: dict[int, CoreType] = {}

    def export_type(self, name: str) -> CoreType | None:
        """The type of an exported function; None if `name` is not an exported function."""
        kind, index = self.exports.get(name, ("table", 0))
        return self._type(self._type_index(index)) if kind == "func" else None

    def defined_type(self, index: int) -> CoreType:
        """The type of the function whose body is the one at `index` of the code section."""
        return self._type(self._type_index(len(self._imported_funcs) + index))

    def widest(self) -> int:
        """The most parameters and results together of any function type."""
        types = map(self._type, range(len(self._type_starts)))
        return max((len(t.params) + len(t.results) for t in types), default=0)

    def has_memory(self, name: str) -> bool:
        return self.exports.get(name, ("func", 0))[0] == "memory"

    def _type_index(self, func: int) -> int:
        """The type index of a function."""
        if func < len(self._imported_funcs):
            return self._imported_funcs[func]
        func -= len(self._imported_funcs)
        count, first, end = self._funcs
        if func >= count:
            raise bad_module(f"function {func} is named, of {count} defined")
        if end - first == count:  # every index takes one byte
            return self.data[first + func]
        if self._func_types is None:
            reader = Reader(self.data, first, end)
            self._func_types = array("I", (reader.u32() for _ in range(count)))
            reader.finish("function section")
        return self._func_types[func]

    def _type(self, index: int) -> CoreType:
        known = self._types.get(index)
        if known is not None:
            return known
        if index >= len(self._type_starts):
            why = self._types_stop or f"there are {len(self._type_starts)}"
            raise bad_module(f"type {index} cannot be read: {why}")
        reader = Reader(self.data, self._type_starts[index], self._types_end)
        params = tuple(_value_type(reader) for _ in range(reader.count("params", PARAMS_MAX)))
        results = tuple(_value_type(reader) for _ in range(reader.count("results", PARAMS_MAX)))
        made = self._types[index] = CoreType(params, results)
        return made


def read(data: Wasm, start: int = 0, end: int | None = None) -> CoreModule:
    """Read the module at `data[start:end]`.

    Raises:
        GuestFailure: `bad-module`; `module-too-large` when it declares too much, see `Names`.
    """
    end = len(data) if end is None else end
    if data[start : start + 8] != CORE_PREAMBLE or end - start < len(CORE_PREAMBLE):
        raise bad_module(f"no core module at byte {start}: its version is not 1")
    module, names = CoreModule(data), Names()
    seen: set[int] = set()
    for section, first, past in sections(data, start, end):
        if section > _LAST_SECTION:
            raise bad_module(f"unknown section {section} before byte {first}")
        if section and section in seen:
            raise bad_module(f"section {section} occurs twice, at byte {first}")
        seen.add(section)
        read_section = _READERS.get(section)
        if read_section is not None:
            read_section(module, Reader(data, first, past, names))
    return module


def _custom(module: CoreModule, reader: Reader) -> None:
    name = reader.name()
    module.customs.append((name, reader.at, reader.end))


def _types(module: CoreModule, reader: Reader) -> None:
    starts = module._type_starts
    module._types_end = reader.end
    if reader.end - reader.at > TYPE_BYTES_MAX:
        raise reader.fail(f"the type section is larger than {TYPE_BYTES_MAX} bytes")
    assert reader.names is not None
    for _ in range(reader.count("types")):
        reader.names.count(0)
        form = reader.byte()
        if form != _FUNC_TYPE:
            module._types_stop = f"form {form:#x} belongs to a proposal that is switched off here"
            return
        starts.append(reader.at)
        _skip_value_types(reader)
        _skip_value_types(reader)
    reader.finish("type section")


def _imports(module: CoreModule, reader: Reader) -> None:
    for _ in range(reader.count("imports")):
        where, name = reader.name(), reader.name()
        kind = _kind(reader)
        if kind == "func":
            module._imported_funcs.append(reader.u32())
        else:
            module.imports_externref |= _skip_extern(reader, kind) == "externref"
        module.imports.append((where, name, kind))
    reader.finish("import section")


def _functions(module: CoreModule, reader: Reader) -> None:
    module._funcs = (reader.count("functions"), reader.at, reader.end)


def _exports(module: CoreModule, reader: Reader) -> None:
    for _ in range(reader.count("exports")):
        name = reader.name()
        if name in module.exports:
            raise reader.fail(f'two exports are named "{name[:100]}"')
        module.exports[name] = (_kind(reader), reader.u32())
    reader.finish("export section")


_READERS = {0: _custom, 1: _types, 2: _imports, 3: _functions, 7: _exports}


def _kind(reader: Reader) -> ExternKind:
    code = reader.byte()
    if code >= len(_KINDS):
        raise reader.fail(f"unknown kind {code:#x} of import or export")
    return _KINDS[code]


def _skip_value_types(reader: Reader) -> None:
    n = reader.count("value types", PARAMS_MAX)
    if not reader.data[reader.at : reader.at + n].translate(None, _ONE_BYTE_TYPES):
        reader.at += n
        return
    for _ in range(n):
        _value_type(reader)


def _value_type(reader: Reader) -> str:
    code = reader.byte()
    known = _VALUE_TYPES.get(code)
    if known is not None:
        return known
    if code in (0x63, 0x64):
        reader.skip_signed()
    elif code not in _ABSTRACT_REFERENCES:
        raise reader.fail(f"unknown value type {code:#x}")
    return "ref"


def _skip_limits(reader: Reader) -> None:
    flags = reader.byte()
    if flags > 0x0F:
        raise reader.fail(f"unknown limits {flags:#x}")
    reader.u64()
    if flags & 1:
        reader.u64()
    if flags & 8:
        reader.u32()


def _skip_extern(reader: Reader, kind: ExternKind) -> str:
    """Step over what is imported but is no function; the type of a table or a global."""
    value = ""
    if kind == "table":
        value = _value_type(reader)
        _skip_limits(reader)
    elif kind == "memory":
        _skip_limits(reader)
    elif kind == "global":
        value = _value_type(reader)
        reader.byte()
    else:
        reader.byte()
        reader.u32()
    return value
