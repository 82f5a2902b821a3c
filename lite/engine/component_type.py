"""The WIT world that wit-bindgen and wit-component leave in a core module.

A custom section `component-type` or `component-type:*` holds a small component: one exported type,
a component type that exports the world, itself a component type; and a custom section
`wit-component-encoding` that tells the string encoding. An older format begins with the byte 3,
the encoding and the world's name, followed by a component that may export several.

Source: wit-component, metadata.rs and validation.rs (names of core exports).
"""

from __future__ import annotations

from lite.engine.base import Wasm
from lite.engine.binary import COMPONENT_PREAMBLE, Names, Reader, bad_module, sections
from lite.engine.core_module import CoreModule, CoreType
from lite.engine.layout import Layouts
from lite.engine.plan import Encoding, Lift
from lite.engine.typespace import (
    ComponentType,
    Scope,
    Types,
    UnknownConstruct,
    entry_at,
    extern_name,
    flag,
)
from lite.engine.wit import FuncType
from lite.frozen import frozen
from lite.limits import MIB

SECTION = "component-type"
REALLOC_NAMES = ("cabi_realloc", "canonical_abi_realloc")
POST_PREFIX = "cabi_post_"
MEMORY = "memory"
SECTION_BYTES_MAX = 4 * MIB

_ENCODING_SECTION = "wit-component-encoding"
_ENCODING_VERSION = 4
_OLD_FORMAT = 3
_ENCODINGS: tuple[Encoding, ...] = ("utf8", "utf16", "latin1+utf16")
_REALLOC = CoreType(("i32",) * 4, ("i32",))
_CORE_NAMES = {"i": "i32", "l": "i64", "f": "f32", "d": "f64"}


@frozen
class World:
    """What a world exports: functions by full name, and the encoding of their strings."""

    funcs: dict[str, FuncType]
    encoding: Encoding


def lifts_of(core: CoreModule) -> dict[str, Lift]:
    """The typed functions of a core module, from all its `component-type*` sections.

    Raises:
        GuestFailure: `bad-module`, also when the module lacks an export that the world promises.
    """
    lifts: dict[str, Lift] = {}
    size = 0
    layouts = Layouts()
    names = Names()
    worlds: dict[bytes, World] = {}  # a linker may repeat a section
    for name, first, end in core.customs:
        if name != SECTION and not name.startswith(SECTION + ":"):
            continue
        size += end - first
        if size > SECTION_BYTES_MAX:
            raise bad_module(f"the worlds take more than {SECTION_BYTES_MAX} bytes")
        contents = core.data[first:end]
        if contents in worlds:
            continue
        world = worlds[contents] = read_world(core.data, first, end, names)
        for func, func_type in world.funcs.items():
            if func in lifts:
                raise bad_module(f'two worlds export "{func}"')
            lifts[func] = _lift(core, func, func_type, world.encoding, layouts)
    return lifts


def find_realloc(core: CoreModule) -> str | None:
    """The export that allocates guest memory, by its usual names and signature."""
    return next((n for n in REALLOC_NAMES if core.export_type(n) == _REALLOC), None)


def _lift(
    core: CoreModule, func: str, func_type: FuncType, encoding: Encoding, layouts: Layouts
) -> Lift:
    post = POST_PREFIX + func
    lift = Lift(
        core_func=func,
        type=func_type,
        realloc=find_realloc(core),
        post_return=post if core.export_type(post) is not None else None,
        memory=MEMORY if core.has_memory(MEMORY) else None,
        encoding=encoding,
    )
    check_lift(core, func, lift, layouts)
    return lift


def check_lift(core: CoreModule, name: str, lift: Lift, layouts: Layouts) -> None:
    """That the core exports have the signatures that the function's type asks for.

    An engine compiles only the core module, so nothing else would find a mismatch.

    Raises:
        GuestFailure: `bad-module`.
    """
    actual = core.export_type(lift.core_func)
    if actual is None:
        raise bad_module(f'"{name}" needs the core export "{lift.core_func}", which is absent')
    shape = layouts.shape(lift.type)
    if not shape.callable:
        return  # it can never be called, which is no fault of the module
    wanted = CoreType(_core_types(shape.params), _core_types(shape.result))
    if actual != wanted:
        raise bad_module(f'"{name}" has the core type {_show(actual)}, not {_show(wanted)}')
    if lift.post_return is not None:
        post = core.export_type(lift.post_return)
        if post != CoreType(actual.results, ()):
            raise bad_module(f'"{lift.post_return}" does not fit the result of "{name}"')
    if lift.realloc is not None and core.export_type(lift.realloc) != _REALLOC:
        raise bad_module(f'"{lift.realloc}" is not an allocation function')
    if lift.memory is not None and not core.has_memory(lift.memory):
        raise bad_module(f'"{lift.memory}" is not an exported memory')
    if (shape.takes_memory or shape.gives_memory) and lift.memory is None:
        raise bad_module(f'"{name}" passes values in memory, but no memory is exported for it')
    if shape.takes_memory and lift.realloc is None:
        raise bad_module(f'"{name}" takes values in memory, but no realloc is exported for it')


def _core_types(flat: str) -> tuple[str, ...]:
    return tuple(_CORE_NAMES[code] for code in flat)


def _show(t: CoreType) -> str:
    return f"({', '.join(t.params)}) -> ({', '.join(t.results)})"


def read_world(data: Wasm, start: int, end: int, names: Names) -> World:
    """Read the contents of one `component-type*` section.

    Raises:
        GuestFailure: `bad-module`.
    """
    header = Reader(data, start, end, names)
    encoding, only = None, None
    try:
        if header.more() and data[start] == _OLD_FORMAT:
            header.byte()
            encoding, only = _encoding(header), header.name()
        if data[header.at : header.at + 8] != COMPONENT_PREAMBLE or end - header.at < 8:
            raise bad_module(f"the {SECTION} section at byte {start} is not an encoded world")
        return _read_world(header, encoding, only)
    except UnknownConstruct as e:
        raise bad_module(f"the {SECTION} section at byte {start} cannot be read: {e}") from None


def _read_world(header: Reader, encoding: Encoding | None, only: str | None) -> World:
    """The world that begins where the header ends."""
    data, names = header.data, header.names or Names()
    types, scope = Types(), Scope()
    worlds: list[ComponentType] = []
    for section, first, past in sections(data, header.at, header.end):
        reader = Reader(data, first, past, names)
        if section == 0:
            if reader.name() == _ENCODING_SECTION:
                encoding = _versioned_encoding(reader)
            continue
        for _ in range(reader.count("definitions")):
            types.declare(reader)
            if section == 7:
                scope.types.append(types.define(reader, scope))
            elif section == 11:
                name, found = _exported(reader, types, scope)
                worlds += found if only in (None, name) else []
            else:
                raise UnknownConstruct(f"section {section}")
        reader.finish("section")
    funcs: dict[str, FuncType] = {}
    for world in worlds:
        _collect(world, funcs, names)
    return World(funcs, encoding or "utf8")


def _versioned_encoding(reader: Reader) -> Encoding:
    version = reader.byte()
    if version != _ENCODING_VERSION:
        raise UnknownConstruct(f"format {version}")
    return _encoding(reader)


def _encoding(reader: Reader) -> Encoding:
    code = reader.byte()
    if code >= len(_ENCODINGS):
        raise UnknownConstruct(f"string encoding {code}")
    return _ENCODINGS[code]


def _exported(reader: Reader, types: Types, scope: Scope) -> tuple[str, list[ComponentType]]:
    """One export: the component types within an exported type are worlds."""
    name = extern_name(reader)
    sort = reader.byte()
    if sort != 3:
        raise UnknownConstruct(f"export of sort {sort}")
    found = entry_at(reader, scope.types, "type")
    if flag(reader):
        types.described(reader, scope)
    scope.types.append(found)
    if not isinstance(found, ComponentType):
        return name, []
    inner = [x.item for x in found.exports.values() if x.sort == "component"]
    return name, [x for x in inner if isinstance(x, ComponentType)]


def _collect(world: ComponentType, funcs: dict[str, FuncType], names: Names) -> None:
    for name, extern in world.exports.items():
        if extern.sort == "func":
            funcs[name] = extern.item.type
        elif extern.sort == "instance":
            for inner, member in extern.item.items():
                if member.sort == "func":
                    names.count(len(name) + len(inner))
                    funcs[f"{name}#{inner}"] = member.item.type
