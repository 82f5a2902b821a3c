"""Type definitions of the component binary format, and the scopes that they live in.

Types refer to earlier ones by index, so a few bytes can describe a tree of 2^1000 nodes: every
type has its nodes and depth counted when it is made, and bounded.

Source: component model, Binary.md (type definitions).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Union

from lite.engine.binary import Reader
from lite.engine.plan import Lift
from lite.engine.wit import (
    Enum,
    Flags,
    FuncType,
    ListOf,
    Option,
    Prim,
    Record,
    ResultOf,
    TupleOf,
    Unsupported,
    Variant,
    WitType,
)
from lite.frozen import frozen

TYPE_DEPTH_MAX = 100
TYPE_NODES_MAX = 10_000  # of one type or function type, written out as a tree
FLAGS_MAX = 32
PARAMS_MAX = 1_000
SCOPES_MAX = 20  # component and instance types inside one another
DECLARATIONS_MAX = 100_000
NAME_SHOWN_MAX = 100  # characters of a resource, in each type that handles it

PRIMITIVES: dict[int, WitType] = {
    code: Prim(name)
    for code, name in zip(
        range(0x7F, 0x72, -1),
        ("bool", "s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64", "f32", "f64", "char",
         "string"),
        strict=True,
    )
}  # fmt: skip
PRIMITIVES[0x64] = Unsupported("error-context")

_FIRST_TYPE_CODE = 0x40  # one-byte codes from here to 0x7f are opcodes, not type indices


class UnknownConstruct(Exception):
    """Well-formed as far as it was read, but not something that this reader knows."""


class Resource:
    """An abstract resource type; equal only to itself."""

    __slots__ = ("name",)

    def __init__(self, name: str = "resource") -> None:
        self.name = name


@frozen
class Func:
    """A component-level function.

    Attributes:
        type: parameters and result.
        lift: how to call it over the core module, when it comes from a plain `canon lift`.
        source: the import it stands for, inside a nested component.
    """

    type: FuncType
    lift: Lift | None = None
    source: str | None = None


class Extern(NamedTuple):
    """Something imported or exported; `sort` is func, type, instance, component or module."""

    sort: str
    item: Any


Exports = dict[str, Extern]


class InstanceType:
    """The type of an instance; equal only to itself."""

    __slots__ = ("exports",)

    def __init__(self, exports: Exports) -> None:
        self.exports = exports


class ComponentType:
    """The type of a component; equal only to itself."""

    __slots__ = ("exports", "imports")

    def __init__(self, imports: Exports, exports: Exports) -> None:
        self.imports = imports
        self.exports = exports


Entry = Union[WitType, FuncType, InstanceType, ComponentType, Resource]


class Scope:
    """The index spaces of a component, a component type or an instance type."""

    def __init__(self, parent: Scope | None = None) -> None:
        self.parent = parent
        self.types: list[Entry] = []
        self.funcs: list[Func] = []
        self.instances: list[Exports] = []
        self.components: list[Any] = []

    def outward(self, reader: Reader, count: int) -> Scope:
        scope: Scope = self
        for _ in range(count):
            if scope.parent is None:
                raise reader.fail("an alias reaches outside of the outermost scope")
            scope = scope.parent
        return scope

    def add(self, extern: Extern) -> None:
        """Append to the index space of its sort."""
        if extern.sort == "func":
            self.funcs.append(extern.item)
        elif extern.sort == "type":
            self.types.append(extern.item)
        elif extern.sort == "instance":
            self.instances.append(extern.item)
        elif extern.sort == "component":
            self.components.append(extern.item)


class Types:
    """Reads type definitions, counting what they expand to. One for a whole file."""

    def __init__(self) -> None:
        self._sizes: dict[int, tuple[int, int]] = {}  # id -> nodes, depth
        self._kept: list[object] = []  # so that an id stays that of one object
        self._declarations = 0
        self._defined: dict[int, Callable[[Reader, Scope], Entry]] = {
            0x72: self._record,
            0x71: self._variant,
            0x70: self._list,
            0x6F: self._tuple,
            0x6E: self._flags,
            0x6D: self._enum,
            0x6B: self._option,
            0x6A: self._result,
            0x69: self._own,
            0x68: self._borrow,
            0x67: self._fixed_list,
            0x66: self._stream,
            0x65: self._future,
            0x63: self._map,
            0x43: self._async_func,
            0x42: self._instance_type,
            0x41: self._component_type,
            0x40: self._func,
        }

    # Sizes

    def _sized(self, reader: Reader, made: Entry, *parts: WitType | None) -> Entry:
        if reader.names is not None:
            reader.names.count_parts(len(parts))
        nodes, depth = 1, 0
        for part in parts:
            if part is not None:
                part_nodes, part_depth = self._sizes.get(id(part), (1, 1))
                nodes += part_nodes
                depth = max(depth, part_depth)
        if depth >= TYPE_DEPTH_MAX:
            raise reader.fail(f"a type is nested deeper than {TYPE_DEPTH_MAX}")
        if nodes > TYPE_NODES_MAX:
            raise reader.fail(f"a type has more than {TYPE_NODES_MAX} parts")
        self._sizes[id(made)] = (nodes, depth + 1)
        self._kept.append(made)
        return made

    def declare(self, reader: Reader) -> None:
        """Count one definition or declaration towards the bound for the whole file."""
        self._declarations += 1
        if self._declarations > DECLARATIONS_MAX:
            raise reader.fail(f"more than {DECLARATIONS_MAX} definitions")

    # Value types

    def value_type(self, reader: Reader, scope: Scope) -> WitType:
        if reader.more() and _FIRST_TYPE_CODE <= reader.data[reader.at] < 0x80:
            code = reader.byte()
            primitive = PRIMITIVES.get(code)
            if primitive is None:
                raise UnknownConstruct(f"value type {code:#x}")
            return primitive
        found: Entry = _entry(reader, reader.index33(), scope.types, "type")
        if isinstance(found, (FuncType, InstanceType, ComponentType, Resource)):
            raise reader.fail("a value type refers to something that is not one")
        return found

    def _maybe(self, reader: Reader, scope: Scope) -> WitType | None:
        return self.value_type(reader, scope) if flag(reader) else None

    def _record(self, reader: Reader, scope: Scope) -> Entry:
        fields = tuple(
            (reader.name(), self.value_type(reader, scope)) for _ in range(some(reader, "fields"))
        )
        distinct(reader, [name for name, _ in fields])
        return self._sized(reader, Record(fields), *(t for _, t in fields))

    def _variant(self, reader: Reader, scope: Scope) -> Entry:
        cases: list[tuple[str, WitType | None]] = []
        for _ in range(some(reader, "cases")):
            cases.append((reader.name(), self._maybe(reader, scope)))
            if reader.byte() != 0:
                raise reader.fail("a variant case refines another")
        distinct(reader, [name for name, _ in cases])
        return self._sized(reader, Variant(tuple(cases)), *(t for _, t in cases))

    def _list(self, reader: Reader, scope: Scope) -> Entry:
        element = self.value_type(reader, scope)
        return self._sized(reader, ListOf(element), element)

    def _tuple(self, reader: Reader, scope: Scope) -> Entry:
        items = tuple(self.value_type(reader, scope) for _ in range(some(reader, "items")))
        return self._sized(reader, TupleOf(items), *items)

    def _flags(self, reader: Reader, scope: Scope) -> Entry:
        names = self._names(reader, "flags")
        if len(names) > FLAGS_MAX:
            raise reader.fail(f"{len(names)} flags: the component model allows {FLAGS_MAX}")
        return self._sized(reader, Flags(names))

    def _enum(self, reader: Reader, scope: Scope) -> Entry:
        return self._sized(reader, Enum(self._names(reader, "enum cases")))

    def _names(self, reader: Reader, what: str) -> tuple[str, ...]:
        names = tuple(reader.name() for _ in range(some(reader, what)))
        distinct(reader, names)
        return names

    def _option(self, reader: Reader, scope: Scope) -> Entry:
        payload = self.value_type(reader, scope)
        return self._sized(reader, Option(payload), payload)

    def _result(self, reader: Reader, scope: Scope) -> Entry:
        ok = self._maybe(reader, scope)
        error = self._maybe(reader, scope)
        return self._sized(reader, ResultOf(ok, error), ok, error)

    # Values that cannot cross as data

    def _own(self, reader: Reader, scope: Scope) -> Entry:
        return Unsupported(f"own<{self._resource(reader, scope).name[:NAME_SHOWN_MAX]}>")

    def _borrow(self, reader: Reader, scope: Scope) -> Entry:
        return Unsupported(f"borrow<{self._resource(reader, scope).name[:NAME_SHOWN_MAX]}>")

    def _resource(self, reader: Reader, scope: Scope) -> Resource:
        found = entry_at(reader, scope.types, "type")
        if not isinstance(found, Resource):
            raise reader.fail("a handle refers to a type that is not a resource")
        return found

    def _fixed_list(self, reader: Reader, scope: Scope) -> Entry:
        self.value_type(reader, scope)
        return Unsupported(f"list of fixed length {reader.u32()}")

    def _stream(self, reader: Reader, scope: Scope) -> Entry:
        self._maybe(reader, scope)
        return Unsupported("stream")

    def _future(self, reader: Reader, scope: Scope) -> Entry:
        self._maybe(reader, scope)
        return Unsupported("future")

    def _map(self, reader: Reader, scope: Scope) -> Entry:
        self.value_type(reader, scope)
        self.value_type(reader, scope)
        return Unsupported("map")

    # Functions, instances, components

    def define(self, reader: Reader, scope: Scope) -> Entry:
        """One `deftype`. Resource types are the caller's: they occur only in components."""
        code = reader.byte()
        primitive = PRIMITIVES.get(code)
        if primitive is not None:
            return primitive
        read = self._defined.get(code)
        if read is None:
            raise UnknownConstruct(f"type definition {code:#x}")
        return read(reader, scope)

    def _func(self, reader: Reader, scope: Scope) -> Entry:
        params = tuple(
            (reader.name(), self.value_type(reader, scope))
            for _ in range(reader.count("params", PARAMS_MAX))
        )
        distinct(reader, [name for name, _ in params])
        form = reader.byte()
        result = self.value_type(reader, scope) if form == 0 else None
        if form > 1:
            raise reader.fail(f"unknown form {form:#x} of a function's result")
        if form == 1 and reader.byte() != 0:
            raise UnknownConstruct("named results")
        return self._sized(reader, FuncType(params, result), *(t for _, t in params), result)

    def _async_func(self, reader: Reader, scope: Scope) -> Entry:
        raise UnknownConstruct("async function type")

    def _instance_type(self, reader: Reader, scope: Scope) -> Entry:
        inner = self._enter(reader, scope)
        exports: Exports = {}
        for _ in range(reader.count("declarations", DECLARATIONS_MAX)):
            self._declaration(reader, inner, None, exports)
        return InstanceType(exports)

    def _component_type(self, reader: Reader, scope: Scope) -> Entry:
        inner = self._enter(reader, scope)
        imports: Exports = {}
        exports: Exports = {}
        for _ in range(reader.count("declarations", DECLARATIONS_MAX)):
            self._declaration(reader, inner, imports, exports)
        return ComponentType(imports, exports)

    def _enter(self, reader: Reader, scope: Scope) -> Scope:
        depth, outer = 1, scope.parent
        while outer is not None:
            depth, outer = depth + 1, outer.parent
        if depth >= SCOPES_MAX:
            raise reader.fail(f"more than {SCOPES_MAX} types inside one another")
        return Scope(scope)

    def _declaration(
        self, reader: Reader, scope: Scope, imports: Exports | None, exports: Exports
    ) -> None:
        self.declare(reader)
        code = reader.byte()
        if code == 1:
            scope.types.append(self.define(reader, scope))
        elif code == 2:
            self._alias(reader, scope)
        elif code == 3 and imports is not None:
            named(reader, imports, extern_name(reader), self.described(reader, scope), scope)
        elif code == 4:
            named(reader, exports, extern_name(reader), self.described(reader, scope), scope)
        else:
            raise UnknownConstruct(f"declaration {code:#x}")

    def _alias(self, reader: Reader, scope: Scope) -> None:
        sort, target = reader.byte(), reader.byte()
        if target == 0:
            scope.add(member(reader, scope, SORTS.get(sort, "core")))
        elif target == 2 and sort == 3:
            outer = scope.outward(reader, reader.u32())
            scope.types.append(entry_at(reader, outer.types, "type"))
        else:
            raise UnknownConstruct(f"alias of sort {sort:#x}, target {target:#x}")

    def described(self, reader: Reader, scope: Scope) -> Extern:
        """An `externdesc`: what an import or a declared export is."""
        code = reader.byte()
        if code == 1:
            return Extern("func", Func(self._as_func(reader, scope)))
        if code == 3:
            return Extern("type", self._bound(reader, scope))
        if code == 5:
            found = entry_at(reader, scope.types, "type")
            if not isinstance(found, InstanceType):
                raise reader.fail("an instance is described by a type that is not one")
            return Extern("instance", found.exports)
        if code == 4:
            described = entry_at(reader, scope.types, "type")
            if not isinstance(described, ComponentType):
                raise reader.fail("a component is described by a type that is not one")
            return Extern("component", described)
        if code == 0 and reader.byte() == 0x11:
            return Extern("module", reader.u32())
        raise UnknownConstruct(f"description {code:#x} of an import or export")

    def _as_func(self, reader: Reader, scope: Scope) -> FuncType:
        found = entry_at(reader, scope.types, "type")
        if not isinstance(found, FuncType):
            raise reader.fail("a function is described by a type that is not one")
        return found

    def _bound(self, reader: Reader, scope: Scope) -> Entry:
        code = reader.byte()
        if code == 1:
            return Resource()
        if code != 0:
            raise reader.fail(f"unknown bound {code:#x} of a type")
        found: Entry = entry_at(reader, scope.types, "type")
        return found


SORTS = {1: "func", 2: "value", 3: "type", 4: "component", 5: "instance"}


def member(reader: Reader, scope: Scope, sort: str) -> Extern:
    """The rest of `alias export`: an instance's index and the name of one of its exports."""
    exports: Exports = entry_at(reader, scope.instances, "instance")
    name = reader.name()
    found = exports.get(name)
    if found is None or found.sort != sort:
        raise reader.fail(f'an alias names "{name[:100]}", which the instance does not export')
    return found


def named(reader: Reader, into: Exports, name: str, extern: Extern, scope: Scope) -> None:
    """Record an import or export and give it an index."""
    if name in into:
        raise reader.fail(f'"{name[:100]}" is imported or exported twice')
    if isinstance(extern.item, Resource):
        extern.item.name = name
    into[name] = extern
    scope.add(extern)


def extern_name(reader: Reader) -> str:
    """The name of a component-level import or export."""
    form = reader.byte()
    if form > 1:
        raise UnknownConstruct(f"name form {form:#x}")
    return reader.name()


def entry_at(reader: Reader, space: list[Any], what: str) -> Any:
    """The entry that an index names."""
    return _entry(reader, reader.u32(), space, what)


def _entry(reader: Reader, index: int, space: list[Any], what: str) -> Any:
    if index >= len(space):
        raise reader.fail(f"{what} {index} does not exist: there are {len(space)}")
    return space[index]


def flag(reader: Reader) -> bool:
    value = reader.byte()
    if value > 1:
        raise reader.fail(f"{value:#x} where 0 or 1 was expected")
    return value == 1


def some(reader: Reader, what: str) -> int:
    """A count that must not be zero."""
    n = reader.count(what, TYPE_NODES_MAX)
    if n == 0:
        raise reader.fail(f"a type without {what}")
    return n


def distinct(reader: Reader, names: list[str] | tuple[str, ...]) -> None:
    """Labels must differ in more than case (component model, strongly-unique)."""
    if len({name.lower() for name in names}) != len(names):
        raise reader.fail("two labels of one type are the same")
