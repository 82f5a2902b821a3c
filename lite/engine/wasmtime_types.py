"""wasmtime's component types as WIT types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lite.engine.base import GuestFailure
from lite.engine.hostfuncs import ANY, BORROW, OWN, Handle
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
    cases_of,
)

if TYPE_CHECKING:
    import wasmtime
    from wasmtime import component

_PRIMITIVES = {
    "Bool": "bool",
    "S8": "s8",
    "U8": "u8",
    "S16": "s16",
    "U16": "u16",
    "S32": "s32",
    "U32": "u32",
    "S64": "s64",
    "U64": "u64",
    "F32": "f32",
    "F64": "f64",
    "Char": "char",
    "String": "string",
}

# Types that share parts can be huge when they are written out as trees, which is done here.
FUNC_PARTS_MAX = 10_000
PARTS_MAX = 40_000  # of all functions of a component; each takes a kilobyte here

RESOURCES_MAX = 500  # imported by a component; all of WASI 0.2 has about 40

Interface = dict[str, "FuncType | int"]
"""Items of an instance: a function's type, or for a resource a number: the same one for every name
of one resource (`type headers = fields`)."""


def _kind(item: Any) -> Any:
    """The type of an import or export; wasmtime 48 gives it without a wrapper."""
    return item.ty if type(item).__name__ == "ComponentExtern" else item


class TypeReader:
    """Reads the types of one component, within the bounds above."""

    def __init__(self, engine: wasmtime.Engine) -> None:
        self._engine = engine
        self._room = FUNC_PARTS_MAX
        self._room_all = PARTS_MAX
        self._resources: list[component.ResourceType] = []

    def functions(self, items: Mapping[str, Any]) -> dict[str, FuncType]:
        """Every function among the exports, those inside interfaces as `interface#function`.

        Raises:
            GuestFailure: `bad-module` when the types are too large.
        """
        from wasmtime.component import ComponentInstanceType, FuncType

        found = {}
        for name, item in items.items():
            kind = _kind(item)
            if isinstance(kind, FuncType):
                found[name] = self.func_type(kind)
            elif isinstance(kind, ComponentInstanceType):
                for inner, func in self._interface(kind).items():
                    if not isinstance(func, int):
                        found[f"{name}#{inner}"] = func
        return found

    def function(self, items: Mapping[str, Any], name: str) -> FuncType | None:
        """The type of one exported function, by its full name; None if there is no such."""
        from wasmtime.component import ComponentInstanceType, FuncType

        interface, inside, func = name.rpartition("#")
        if inside:
            outer = items.get(interface)
            instance = None if outer is None else _kind(outer)
            if not isinstance(instance, ComponentInstanceType):
                return None
            items = instance.exports(self._engine)
        item = items.get(func)
        kind = None if item is None else _kind(item)
        return self.func_type(kind) if isinstance(kind, FuncType) else None

    def imported(self, items: Mapping[str, Any]) -> dict[str, Interface | None]:
        """The interfaces among the imports; None for whatever else a host would have to provide.

        Raises:
            GuestFailure: `bad-module` when the types are too large.
        """
        from wasmtime import component as wt

        provided = (wt.FuncType, wt.ResourceType, wt.ComponentType, wt.ModuleType)
        found: dict[str, Interface | None] = {}
        for name, item in items.items():
            kind = _kind(item)
            if isinstance(kind, wt.ComponentInstanceType):
                found[name] = self._interface(kind)
            elif isinstance(kind, provided):
                found[name] = None
        return found

    def _interface(self, kind: component.ComponentInstanceType) -> Interface:
        from wasmtime.component import FuncType, ResourceType

        interface: Interface = {}
        for name, item in kind.exports(self._engine).items():
            inner = _kind(item)
            if isinstance(inner, FuncType):
                interface[name] = self.func_type(inner)
            elif isinstance(inner, ResourceType):
                interface[name] = self._resource(inner)
        return interface

    def _resource(self, kind: component.ResourceType) -> int:
        if kind in self._resources:
            return self._resources.index(kind)
        if len(self._resources) == RESOURCES_MAX:
            raise GuestFailure("bad-module", f"imports more than {RESOURCES_MAX} resources")
        self._resources.append(kind)
        return len(self._resources) - 1

    def func_type(self, kind: component.FuncType) -> FuncType:
        start = self._room = min(FUNC_PARTS_MAX, self._room_all)
        params = tuple((name, self.wit_type(param)) for name, param in kind.params)
        result = self._optional(kind.result)
        self._room_all -= start - self._room
        return FuncType(params, result)

    def wit_type(self, kind: Any) -> WitType:
        """The neutral type; `Unsupported` for whatever cannot cross as data."""
        from wasmtime import component as wt

        self._room -= 1
        if self._room < 0:
            if self._room_all < FUNC_PARTS_MAX:
                raise GuestFailure(
                    "module-too-large",
                    f"declares functions whose types have more than {PARTS_MAX} parts together",
                    limit=PARTS_MAX,
                )
            raise GuestFailure(
                "bad-module", f"a function's types have more than {FUNC_PARTS_MAX} parts"
            )
        primitive = _PRIMITIVES.get(type(kind).__name__)
        if primitive is not None:
            return Prim(primitive)
        match kind:
            case wt.ListType():
                return ListOf(self.wit_type(kind.element))
            case wt.RecordType():
                return Record(tuple((name, self.wit_type(t)) for name, t in kind.fields))
            case wt.TupleType():
                return TupleOf(tuple(self.wit_type(item) for item in kind.elements))
            case wt.VariantType():
                return Variant(tuple((name, self._optional(t)) for name, t in kind.cases))
            case wt.EnumType():
                return Enum(tuple(kind.names))
            case wt.OptionType():
                return Option(self.wit_type(kind.payload))
            case wt.ResultType():
                return ResultOf(self._optional(kind.ok), self._optional(kind.err))
            case wt.FlagsType():
                return Flags(tuple(kind.names))
            case wt.OwnType():
                return Unsupported(OWN)
            case wt.BorrowType():
                return Unsupported(BORROW)
            case _:
                return Unsupported(type(kind).__name__.removesuffix("Type").lower())

    def _optional(self, kind: Any) -> WitType | None:
        return None if kind is None else self.wit_type(kind)


def same_shape(expected: WitType | None, found: WitType | None) -> bool:
    """Whether an imported function's type is the offered one; resources are not told apart."""
    if expected == ANY:
        return True
    match expected, found:
        case Handle(what, _), Unsupported(other):
            return what == other
        case ListOf(a), ListOf(b):
            return same_shape(a, b)
        case TupleOf(a), TupleOf(b):
            return len(a) == len(b) and all(map(same_shape, a, b))
        case Record(a), Record(b):
            return _same_parts(a, b)
        case ((Option() | ResultOf() | Variant()), (Option() | ResultOf() | Variant())):
            same_kind = type(expected) is type(found)
            return same_kind and _same_parts(cases_of(expected), cases_of(found))
        case _:
            return expected == found


def _same_parts(
    expected: tuple[tuple[str, WitType | None], ...], found: tuple[tuple[str, WitType | None], ...]
) -> bool:
    return [n for n, _ in expected] == [n for n, _ in found] and all(
        same_shape(a, b) for (_, a), (_, b) in zip(expected, found, strict=True)
    )


def same_func(expected: FuncType, found: FuncType) -> bool:
    """As `same_shape`; the names of parameters do not matter."""
    return (
        len(expected.params) == len(found.params)
        and all(
            same_shape(a, b) for (_, a), (_, b) in zip(expected.params, found.params, strict=True)
        )
        and same_shape(expected.result, found.result)
    )
