"""WIT types and values, free of any engine.

A type is a small tree of frozen dataclasses. A value is plain Python, always read together with its
type, so that nothing is guessed from looks:

| WIT                    | Python value                                             |
|------------------------|----------------------------------------------------------|
| bool, s8…u64, f32, f64 | bool, int, float                                         |
| char, string           | str                                                      |
| list<u8>               | bytes                                                    |
| list<T>                | list                                                     |
| tuple<…>               | tuple                                                    |
| record                 | dict, all fields, names as in WIT (kebab-case)           |
| flags                  | frozenset of names                                       |
| enum                   | str                                                      |
| option, result, variant| `Case(name, payload)`: none/some, ok/error, the case name |
"""

from __future__ import annotations

from typing import Any, Union

from lite.errors import CodecError
from lite.frozen import frozen

PRIMITIVES = (
    "bool",
    "s8",
    "u8",
    "s16",
    "u16",
    "s32",
    "u32",
    "s64",
    "u64",
    "f32",
    "f64",
    "char",
    "string",
)

INTEGER_RANGES: dict[str, tuple[int, int]] = {
    **{f"s{n}": (-(2 ** (n - 1)), 2 ** (n - 1) - 1) for n in (8, 16, 32, 64)},
    **{f"u{n}": (0, 2**n - 1) for n in (8, 16, 32, 64)},
}


@frozen
class Prim:
    name: str


@frozen
class ListOf:
    element: WitType


@frozen
class TupleOf:
    items: tuple[WitType, ...]


@frozen
class Record:
    fields: tuple[tuple[str, WitType], ...]


@frozen
class Flags:
    names: tuple[str, ...]


@frozen
class Enum:
    names: tuple[str, ...]


@frozen
class Option:
    payload: WitType


@frozen
class ResultOf:
    ok: WitType | None
    error: WitType | None


@frozen
class Variant:
    cases: tuple[tuple[str, WitType | None], ...]


@frozen
class Unsupported:
    """A type that cannot cross as data: resources, streams, futures… `what` names it."""

    what: str


WitType = Union[Prim, ListOf, TupleOf, Record, Flags, Enum, Option, ResultOf, Variant, Unsupported]

U8 = Prim("u8")
BYTES = ListOf(U8)
STRING = Prim("string")


@frozen
class Case:
    """One case of a variant, option (`none`, `some`) or result (`ok`, `error`)."""

    name: str
    payload: Any = None


@frozen
class FuncType:
    """A function's parameters, in order with their names, and its result if it has one."""

    params: tuple[tuple[str, WitType], ...]
    result: WitType | None


def cases_of(t: WitType) -> tuple[tuple[str, WitType | None], ...]:
    """The cases of a variant-like type in canonical-ABI order (component model: despecialise)."""
    match t:
        case Variant(cases):
            return cases
        case Enum(names):
            return tuple((name, None) for name in names)
        case Option(payload):
            return (("none", None), ("some", payload))
        case ResultOf(ok, error):
            return (("ok", ok), ("error", error))
        case _:
            raise TypeError(f"{render(t)} has no cases")


def parts_of(t: WitType) -> tuple[WitType, ...]:
    """The types that `t` is directly made of."""
    match t:
        case ListOf(element):
            return (element,)
        case TupleOf(items):
            return items
        case Record(fields):
            return tuple(f for _, f in fields)
        case Option() | ResultOf() | Variant():
            return tuple(c for _, c in cases_of(t) if c is not None)
        case _:
            return ()


def unwrapped(t: WitType | None) -> WitType | None:
    """What a call with a result of this type ends with when it went well: an outcome's `ok`, and
    the payload of an option."""
    if isinstance(t, ResultOf):
        t = t.ok
    while isinstance(t, Option):
        t = t.payload
    return t


def render(t: WitType | None) -> str:
    """The type as WIT text; anonymous records and variants are written out in braces."""
    match t:
        case None:
            return "_"
        case Prim(name):
            return name
        case ListOf(element):
            return f"list<{render(element)}>"
        case TupleOf(items):
            return f"tuple<{', '.join(map(render, items))}>"
        case Record(fields):
            return "record { " + ", ".join(f"{n}: {render(f)}" for n, f in fields) + " }"
        case Flags(names):
            return "flags { " + ", ".join(names) + " }"
        case Enum(names):
            return "enum { " + ", ".join(names) + " }"
        case Option(payload):
            return f"option<{render(payload)}>"
        case ResultOf(None, None):
            return "result"
        case ResultOf(ok, None):
            return f"result<{render(ok)}>"
        case ResultOf(ok, error):
            return f"result<{render(ok)}, {render(error)}>"
        case Variant(cases):
            return (
                "variant { "
                + ", ".join(n if c is None else f"{n}({render(c)})" for n, c in cases)
                + " }"
            )
        case Unsupported(what):
            return what


def render_func(name: str, f: FuncType) -> str:
    """`name: func(a: u32, b: string) -> u32`, as in a WIT world."""
    params = ", ".join(f"{n}: {render(t)}" for n, t in f.params)
    return f"{name}: func({params})" + (f" -> {render(f.result)}" if f.result is not None else "")


class TypeTable:
    """Types as IPLD rows. A row refers to earlier rows by number, so shared parts stay shared.

    A row is the name of a primitive, or a list: `["list", row]`, `["tuple", [row, …]]`,
    `["record", [[name, row], …]]`, `["flags", [name, …]]`, `["enum", [name, …]]`,
    `["option", row]`, `["result", row|null, row|null]`, `["variant", [[name, row|null], …]]`,
    `["unsupported", what]`.
    """

    def __init__(self) -> None:
        self.rows: list[Any] = []
        self._known: dict[int, tuple[int, WitType]] = {}  # id -> row; the type is kept alive

    def add(self, t: WitType) -> int:
        """The number of the row that describes `t`."""
        known = self._known.get(id(t))
        if known is not None:
            return known[0]
        row = self._row(t)
        self.rows.append(row)
        self._known[id(t)] = (len(self.rows) - 1, t)
        return len(self.rows) - 1

    def _optional(self, t: WitType | None) -> int | None:
        return None if t is None else self.add(t)

    def _row(self, t: WitType) -> Any:
        match t:
            case Prim(name):
                return name
            case ListOf(element):
                return ["list", self.add(element)]
            case TupleOf(items):
                return ["tuple", [self.add(item) for item in items]]
            case Record(fields):
                return ["record", [[name, self.add(f)] for name, f in fields]]
            case Flags(names):
                return ["flags", list(names)]
            case Enum(names):
                return ["enum", list(names)]
            case Option(payload):
                return ["option", self.add(payload)]
            case ResultOf(ok, error):
                return ["result", self._optional(ok), self._optional(error)]
            case Variant(cases):
                return ["variant", [[name, self._optional(c)] for name, c in cases]]
            case Unsupported(what):
                return ["unsupported", what]


def types_from_rows(rows: Any) -> list[WitType]:
    """The types that a `TypeTable` described.

    Raises:
        CodecError: the rows are not of that shape.
    """
    types: list[WitType] = []
    try:
        for row in rows:
            types.append(_from_row(row, types))
    except (TypeError, ValueError, IndexError, KeyError, RecursionError) as e:
        raise CodecError(f"row {len(types)} is not a WIT type: {e}") from None
    return types


def _from_row(row: Any, types: list[WitType]) -> WitType:
    if isinstance(row, str):
        return Prim(row)
    kind, *rest = row

    def at(index: int | None) -> WitType | None:
        return None if index is None else types[index]

    match kind:
        case "list":
            return ListOf(types[rest[0]])
        case "tuple":
            return TupleOf(tuple(types[i] for i in rest[0]))
        case "record":
            return Record(tuple((str(name), types[i]) for name, i in rest[0]))
        case "flags":
            return Flags(tuple(map(str, rest[0])))
        case "enum":
            return Enum(tuple(map(str, rest[0])))
        case "option":
            return Option(types[rest[0]])
        case "result":
            return ResultOf(at(rest[0]), at(rest[1]))
        case "variant":
            return Variant(tuple((str(name), at(i)) for name, i in rest[0]))
        case "unsupported":
            return Unsupported(str(rest[0]))
        case _:
            raise ValueError(f"unknown kind {kind!r}")


def to_data(t: WitType) -> list[Any]:
    """One type as IPLD: the rows of a `TypeTable`, of which the last is `t`."""
    table = TypeTable()
    table.add(t)
    return table.rows


def from_data(data: Any) -> WitType:
    """The inverse of `to_data`. Raises `CodecError`."""
    types = types_from_rows(data)
    if not types:
        raise CodecError("no rows describe a WIT type")
    return types[-1]
