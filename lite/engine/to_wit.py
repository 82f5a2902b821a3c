"""From IPLD to WIT values: one converter for each type, made once."""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Callable
from typing import Any

from lite.engine.refusal import Refused, expected, shorten
from lite.engine.wit import (
    BYTES,
    INTEGER_RANGES,
    STRING,
    Case,
    Enum,
    Flags,
    ListOf,
    Option,
    Prim,
    Record,
    ResultOf,
    TupleOf,
    Unsupported,
    Variant,
    WitType,
    render,
)
from lite.ipld.cid import CID

Load = Callable[[CID, WitType], Any]
"""What a link stands for: bytes for `list<u8>` and `string`, else the decoded value. It may raise
`Refused`, which then also says where the link was met."""

LINKS_DEEP_MAX = 32  # a link to a link to a link…
ABSENT_FIELDS_MAX = 4_000_000  # fields that a few bytes of empty maps ask to fill in

_NONE = Case("none")

_f32 = struct.Struct("<f")


class Context:
    """One conversion: where links come from. The same link and type is loaded once."""

    __slots__ = ("_absent", "_deep", "_load", "_loaded")

    def __init__(self, load: Load) -> None:
        self._load = load
        self._loaded: dict[tuple[CID, int], Any] = {}
        self._deep = 0
        self._absent = 0

    def fill_in(self, absent: int) -> None:
        """Count option fields that a map leaves out."""
        self._absent += absent
        if self._absent > ABSENT_FIELDS_MAX:
            raise Refused(f"more than {ABSENT_FIELDS_MAX} optional fields are left out")

    def follow(self, cid: CID, t: WitType, convert: Converter) -> Any:
        """What `cid` stands for as a `t`."""
        key = (cid, id(t))
        if key in self._loaded:
            return self._loaded[key]
        if self._deep >= LINKS_DEEP_MAX:
            raise Refused(f"links lead to links more than {LINKS_DEEP_MAX} times")
        self._deep += 1
        try:
            made = convert(self, self._load(cid, t))
        except Refused as refused:
            raise refused.at(f"in {cid}") from None
        finally:
            self._deep -= 1
        self._loaded[key] = made
        return made


Converter = Callable[[Context, Any], Any]


def nullable(t: WitType) -> bool:
    """Whether a value of the type is written as null: then some(x) needs a mark of its own."""
    return isinstance(t, Option)


class ToWit:
    """Makes converters; types share parts, so each is made once."""

    def __init__(self) -> None:
        self._made: dict[int, Converter] = {}
        self._kept: list[WitType] = []

    def converter(self, t: WitType) -> Converter:
        """`converter(context, value)`; raises `Refused`."""
        known = self._made.get(id(t))
        if known is None:
            known = self._made[id(t)] = _following(t, self._make(t))
            self._kept.append(t)
        return known

    def _make(self, t: WitType) -> Converter:
        match t:
            case Prim(name):
                return _SCALARS[name]
            case ListOf():
                return self._list(t)
            case TupleOf(items):
                return self._tuple(items)
            case Record(fields):
                return self._record(fields)
            case Flags(names):
                return _flags(names)
            case Enum(names):
                return _enum(names)
            case Option():
                return self._option(t)
            case ResultOf():
                return self._result(t)
            case Variant(cases):
                return self._variant(cases)
            case Unsupported(what):
                return _never(what)

    # Lists and tuples

    def _list(self, t: ListOf) -> Converter:
        if t == BYTES:
            return _bytes
        bulk = _BULK.get(t.element.name) if isinstance(t.element, Prim) else None
        convert = self.converter(t.element)
        takes_map = _is_pair_with_text(t.element)

        def convert_list(context: Context, value: Any) -> Any:
            if isinstance(value, dict) and takes_map:
                value = [[key, value[key]] for key in sorted(value, key=_canonical_order)]
            if not isinstance(value, list):
                raise expected(render(t) if len(render(t)) < 40 else "a list", value)
            if bulk is not None:
                made = bulk(value)
                if made is not None:
                    return made
            return _each(context, value, convert)

        return convert_list

    def _tuple(self, items: tuple[WitType, ...]) -> Converter:
        converters = [self.converter(item) for item in items]

        def convert_tuple(context: Context, value: Any) -> Any:
            if not isinstance(value, list):
                raise expected(f"a list of {len(converters)}", value)
            if len(value) != len(converters):
                raise Refused(f"{len(value)} items for a tuple of {len(converters)}")
            made = []
            for i, (convert, item) in enumerate(zip(converters, value, strict=True)):
                try:
                    made.append(convert(context, item))
                except Refused as refused:
                    raise refused.at(f"item {i}") from None
            return tuple(made)

        return convert_tuple

    def _record(self, fields: tuple[tuple[str, WitType], ...]) -> Converter:
        parts = [(name, self.converter(f), isinstance(f, Option)) for name, f in fields]
        names = frozenset(name for name, _, _ in parts)

        def convert_record(context: Context, value: Any) -> Any:
            if not isinstance(value, dict):
                raise expected("a map of the record's fields", value)
            unknown = value.keys() - names
            if unknown:
                raise Refused(_unknown("field", min(unknown), [name for name, _, _ in parts]))
            context.fill_in(len(parts) - len(value))
            made = {}
            for name, convert, optional in parts:
                if name not in value and not optional:
                    raise Refused(f'the field "{shorten(name)}" is missing')
                try:
                    made[name] = convert(context, value.get(name))
                except Refused as refused:
                    raise refused.at(f'field "{shorten(name)}"') from None
            return made

        return convert_record

    # Cases

    def _option(self, t: Option) -> Converter:
        convert = self.converter(t.payload)
        marked = nullable(t.payload)

        def convert_option(context: Context, value: Any) -> Any:
            if value is None:
                return _NONE
            if marked:
                if isinstance(value, CID):  # no payload of it is a link, so this is all of it
                    return context.follow(value, t, convert_option)
                if not isinstance(value, dict) or value.keys() != {"some"}:
                    raise expected('null or {"some": value}', value)
                value = value["some"]
            return Case("some", convert(context, value))

        return convert_option

    def _result(self, t: ResultOf) -> Converter:
        cases = (("ok", t.ok), ("error", t.error))
        pick = self._cases(cases)

        def convert_result(context: Context, value: Any) -> Any:
            if not isinstance(value, dict) or len(value) != 1:
                raise expected('{"ok": value} or {"error": value}', value)
            ((name, payload),) = value.items()
            return pick(context, name, payload)

        return convert_result

    def _variant(self, cases: tuple[tuple[str, WitType | None], ...]) -> Converter:
        pick = self._cases(cases)

        def convert_variant(context: Context, value: Any) -> Any:
            if isinstance(value, str):
                return pick(context, value, None)
            if not isinstance(value, dict) or len(value) != 1:
                raise expected('a map with one key, the case: {"case": payload}', value)
            ((name, payload),) = value.items()
            return pick(context, name, payload)

        return convert_variant

    def _cases(
        self, cases: tuple[tuple[str, WitType | None], ...]
    ) -> Callable[[Context, str, Any], Case]:
        by_name = {n: None if case is None else self.converter(case) for n, case in cases}

        def pick(context: Context, name: str, payload: Any) -> Case:
            if name not in by_name:
                raise Refused(_unknown("case", name, list(by_name)))
            convert = by_name[name]
            try:
                if convert is not None:
                    return Case(name, convert(context, payload))
                if payload is not None:
                    raise expected("null, because the case has no payload", payload)
            except Refused as refused:
                raise refused.at(f'case "{shorten(name)}"') from None
            return Case(name)

        return pick


def _following(t: WitType, convert: Converter) -> Converter:
    """`convert`, for links too."""

    def following(context: Context, value: Any) -> Any:
        if isinstance(value, CID):
            return context.follow(value, t, following)
        return convert(context, value)

    # null is none, a link to an option is a link to its payload, and what is no data has no links
    return convert if isinstance(t, (Option, Unsupported)) else following


def _each(context: Context, values: list[Any], convert: Converter) -> list[Any]:
    made = []
    try:
        for value in values:
            made.append(convert(context, value))
    except Refused as refused:
        raise refused.at(f"item {len(made)}") from None
    return made


def _is_pair_with_text(t: WitType) -> bool:
    return isinstance(t, TupleOf) and len(t.items) == 2 and t.items[0] == STRING


def _canonical_order(key: str) -> tuple[int, bytes]:
    """The order of map keys in DAG-CBOR."""
    data = key.encode()
    return len(data), data


def _unknown(what: str, name: str, known: list[str]) -> str:
    listed = ", ".join(known[:10]) + (", …" if len(known) > 10 else "")
    return f'unknown {what} "{shorten(name)}"; there is {listed}'


def _never(what: str) -> Converter:
    def refuse(context: Context, value: Any) -> Any:
        raise Refused(f"the type {what} cannot be passed as data", "unsupported-type")

    return refuse


# Scalars


def _bool(context: Context, value: Any) -> Any:
    if not isinstance(value, bool):
        raise expected("true or false", value)
    return value


FLOAT_EXACT_MAX = 2**53  # beyond it a float stands for several integers


def _integer(name: str) -> Converter:
    low, high = INTEGER_RANGES[name]

    def convert(context: Context, value: Any) -> Any:
        if isinstance(value, float) and value.is_integer():
            if abs(value) > FLOAT_EXACT_MAX:
                raise Refused(f"{value} may not be the number that was meant: write an integer")
            value = int(value)
        if type(value) is not int:
            raise expected(name, value)
        if not low <= value <= high:
            raise Refused(f"{value} is outside of {name}: {low} to {high}")
        return value

    return convert


def _float(name: str, rounded: Callable[[float], float]) -> Converter:
    def convert(context: Context, value: Any) -> Any:
        if type(value) is int:
            made = rounded(float(value))
            if made != value:
                raise Refused(f"{value} is not exact as {name}; write it as a float")
            return made
        if type(value) is not float:
            raise expected(name, value)
        if not math.isfinite(value):
            raise Refused(f"{value} is not a finite number")
        return rounded(value)

    return convert


def _to_f32(value: float) -> float:
    try:
        made: float = _f32.unpack(_f32.pack(value))[0]
    except OverflowError:
        raise Refused(f"{value} is too large for f32") from None
    return made


def _char(context: Context, value: Any) -> Any:
    if not isinstance(value, str) or len(value) != 1 or "\ud800" <= value <= "\udfff":
        raise expected("text of one character", value)
    return value


def _string(context: Context, value: Any) -> Any:
    if isinstance(value, str):
        if not value.isascii() and not _encodes(value):
            raise Refused("the text holds half of a surrogate pair")
        return value
    if isinstance(value, (bytes, bytearray, memoryview)):
        try:
            return str(value, "utf-8")
        except UnicodeDecodeError as e:
            raise Refused(f"the bytes are not valid UTF-8, at byte {e.start}") from None
    raise expected("text", value)


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_SCALARS: dict[str, Converter] = {
    "bool": _bool,
    **{name: _integer(name) for name in INTEGER_RANGES},
    "f32": _float("f32", _to_f32),
    "f64": _float("f64", lambda value: value),
    "char": _char,
    "string": _string,
}


# Many at once: the list itself or None, to look at each element


def _bytes(context: Context, value: Any) -> Any:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return value
    if not isinstance(value, list):
        raise expected("bytes", value)
    if set(map(type, value)) <= {int} and 0 <= min(value, default=0) <= max(value, default=0) < 256:
        return bytes(value)
    return bytes(_each(context, value, _following(BYTES.element, _SCALARS["u8"])))


def _bulk_integers(name: str) -> Callable[[list[Any]], list[Any] | None]:
    low, high = INTEGER_RANGES[name]

    def bulk(values: list[Any]) -> list[Any] | None:
        if set(map(type, values)) == {int} and low <= min(values) and max(values) <= high:
            return values
        return None

    return bulk


def _bulk_floats(values: list[Any]) -> list[Any] | None:
    return values if set(map(type, values)) == {float} and math.isfinite(sum(values)) else None


def _bulk_f32(values: list[Any]) -> list[Any] | None:
    if set(map(type, values)) != {float}:
        return None
    made = array("f", values).tolist()
    return made if math.isfinite(sum(made)) else None


_BULK: dict[str, Callable[[list[Any]], list[Any] | None]] = {
    **{name: _bulk_integers(name) for name in INTEGER_RANGES},
    "f32": _bulk_f32,
    "f64": _bulk_floats,
}


# Names


def _flags(names: tuple[str, ...]) -> Converter:
    known = frozenset(names)

    def convert(context: Context, value: Any) -> Any:
        if not isinstance(value, list):
            raise expected("a list of flag names", value)
        for i, name in enumerate(value):
            if not isinstance(name, str):
                raise expected("the name of a flag", name).at(f"item {i}")
            if name not in known:
                raise Refused(_unknown("flag", name, list(names))).at(f"item {i}")
        if len(set(value)) != len(value):
            raise Refused("a flag is named twice")
        return frozenset(value)

    return convert


def _enum(names: tuple[str, ...]) -> Converter:
    known = frozenset(names)

    def convert(context: Context, value: Any) -> Any:
        if not isinstance(value, str):
            raise expected("the name of a case", value)
        if value not in known:
            raise Refused(_unknown("case", value, list(names)))
        return value

    return convert
