"""Homestar's rules between IPLD and WIT values, for the mode "homestar".

They are reproduced with their faults, because receipts are compared by their bytes. What made
Homestar panic or hang for ever is a failure here (`homestar-…`); what it let fail at the call is
a `bad-argument`. One thing is different: a link given to a `string` parameter stays its text,
where Homestar fetched it and passed base64.

Source: homestar 0f0a4f5, homestar-wasm/src/wasmtime/ipld.rs and world.rs; rust_decimal 1.34.3. The
numbers of the rules are those of the table in lite/ARCHITECTURE.md.
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Sequence
from typing import Any

from lite.engine.base import GuestFailure
from lite.engine.f32_decimal import through_decimal
from lite.engine.refusal import Refused, expected, shorten
from lite.engine.to_wit import Load
from lite.engine.wit import (
    BYTES,
    INTEGER_RANGES,
    STRING,
    U8,
    Case,
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
    render,
)
from lite.errors import CidError
from lite.ipld.cid import CID

BOOL = Prim("bool")

_IPFS_PATH = "/ipfs/"
_FROM_FLOAT = INTEGER_RANGES.keys() - {"s64"}  # rule 12: it was forgotten


def to_wit(value: Any, t: WitType, *, load: Load) -> Any:
    """One argument as a neutral value of type `t`.

    Raises:
        GuestFailure: `bad-argument`, or `homestar-panic` where Homestar's worker died.
    """
    try:
        return _argument(value, t, load)
    except Refused as refused:
        raise refused.failure() from None


def from_wit(value: Any, t: WitType) -> Any:
    """A neutral value of type `t` as IPLD.

    Raises:
        GuestFailure: `float-not-finite`, `homestar-float-range` or `homestar-map-key` for what left
            Homestar's workflow running for ever.
    """
    try:
        return _from(value, t)
    except Refused as refused:
        raise refused.failure() from None


def arguments(args: Sequence[Any], f: FuncType, *, load: Load) -> list[Any]:
    """The arguments of a call; those beyond the parameters are dropped."""
    if len(args) < len(f.params):
        raise GuestFailure("bad-argument", f"expected {len(f.params)} argument(s), got {len(args)}")
    made = []
    for i, (arg, (name, t)) in enumerate(zip(args, f.params), 1):  # noqa: B905 - extra are dropped
        try:
            made.append(_argument(arg, t, load))
        except Refused as refused:
            raise refused.at(f"arg {i} ({shorten(name)})").failure() from None
    return made


def outcome(value: Any, f: FuncType) -> Any:
    """What a call of a function of type `f` comes to. An error result is no failure."""
    return None if f.result is None else from_wit(value, f.result)


# IPLD to WIT


def _argument(value: Any, t: WitType, load: Load) -> Any:
    """The outermost value: links are fetched, and a bool parameter takes nothing but a bool."""
    if isinstance(value, CID) and t != STRING:
        value = load(value, BYTES)
    if t == BOOL:
        return _bool(value)
    return _to(value, t)


def _bool(value: Any) -> bool:
    if isinstance(value, list):  # rule 23
        return _bool(value[0]) if value else False
    if not isinstance(value, bool):
        raise expected("true or false", value)
    return value


def _to(value: Any, t: WitType) -> Any:
    """Rules 1 to 28, in their order."""
    if value is None:
        return _null(t)
    if isinstance(t, Option):  # rule 3
        return Case("some", _to(value, t.payload))
    if isinstance(t, ResultOf):
        return _result(value, t)
    if isinstance(value, bool):
        if t != BOOL:  # rule 5
            raise expected(render(t)[:40], value)
        return value
    if isinstance(value, int):
        return _integer(value, t)
    if isinstance(value, float):
        return _float(value, t)
    if isinstance(value, str):
        return _text(value, t)
    if isinstance(value, CID):  # rule 19
        return _only_string(str(value), t, value)
    if isinstance(value, list):
        return _list(value, t)
    if isinstance(value, dict):
        return _map(value, t)
    return _bytes(bytes(value), t)


def _null(t: WitType) -> Any:
    if isinstance(t, Option):  # rule 1
        return Case("none")
    if t == STRING:  # rule 2
        return "null"
    raise Refused("no conversion possible from null")


def _result(value: Any, t: ResultOf) -> Case:
    """Rule 4: a list of two."""
    if not isinstance(value, list):
        raise Refused("no match possible: a result is a list of two")
    if len(value) != 2:
        raise Refused("a result must have two elements")
    ok, error = value
    if _is_one(ok) and error is None and t.ok is None:
        return Case("ok")
    if ok is None and _is_one(error) and t.error is None:
        return Case("error")
    if error is None and t.ok is not None:
        return Case("ok", _inside(ok, t.ok, "ok"))
    if ok is None and t.error is not None:
        return Case("error", _inside(error, t.error, "error"))
    if error is None:
        return Case("ok")
    if ok is None:
        return Case("error")
    raise Refused("a result is [value, null] or [null, error]")


def _is_one(value: Any) -> bool:
    return type(value) is int and value == 1


def _integer(value: int, t: WitType) -> Any:
    name = t.name if isinstance(t, Prim) else ""
    if name in INTEGER_RANGES:  # rule 6
        low, high = INTEGER_RANGES[name]
        if not low <= value <= high:
            raise Refused(f"{value} is outside of {name}")
        return value
    if name == "f32":  # rule 7
        return _cast_f32(float(value))
    if name == "f64":
        return float(value)
    raise Refused("expected conversion to integer/float")  # rule 8


def _float(value: float, t: WitType) -> Any:
    name = t.name if isinstance(t, Prim) else ""
    if name == "f32":  # rule 9
        return _cast_f32(value)
    if name == "f64":  # rule 10
        return value
    if name in _FROM_FLOAT:  # rule 11
        low, high = INTEGER_RANGES[name]
        return int(min(max(value, low), high))
    raise Refused("expected conversion to float/integer")  # rule 12


def _cast_f32(value: float) -> float:
    try:
        made: float = struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)
    return made


def _text(value: str, t: WitType) -> Any:
    if isinstance(t, Enum):  # rule 13
        if value not in t.names:
            raise Refused(f'"{shorten(value)}" is not a case of the enum')
        return value
    if t == Prim("char"):  # rule 14
        if len(value) != 1:
            raise Refused("text is empty" if not value else "text is not one character")
        return value
    return _only_string(value, t, value)  # rules 15 and 16


def _only_string(text: str, t: WitType, value: Any) -> str:
    """Homestar made a string value whatever was wanted; the call then refused it."""
    if t != STRING:
        raise expected(render(t)[:40], value)
    return text


def _bytes(value: bytes, t: WitType) -> Any:
    if isinstance(t, ListOf):  # rule 17
        if t.element == U8:
            return value
        if value:
            raise expected(render(t)[:40], value)
        return []
    text = base64.b64encode(value).decode().rstrip("=")
    return _only_string(text, t, value)  # rule 18


def _list(value: list[Any], t: WitType) -> Any:
    if isinstance(t, ListOf):  # rule 20
        made = [_inside(item, t.element, f"item {i}") for i, item in enumerate(value)]
        return bytes(made) if t.element == U8 else made
    if isinstance(t, TupleOf):  # rule 21
        if len(value) < len(t.items):
            raise Refused(f"expected {len(t.items)} value(s); got {len(value)}")
        return tuple(
            _inside(item, item_type, f"item {i}")
            for i, (item, item_type) in enumerate(zip(value, t.items))  # noqa: B905
        )
    if isinstance(t, Flags):  # rule 22
        if not all(isinstance(name, str) and name in t.names for name in value):
            raise Refused("flags are a list of the names of flags")
        return frozenset(value)
    if value:  # rule 23: the first element, on its own
        return _to(value[0], t)
    if t != BOOL:
        raise expected(render(t)[:40], value)
    return False


def _map(value: dict[str, Any], t: WitType) -> Any:
    if isinstance(t, ListOf):
        return _pairs(value, t)
    if isinstance(t, Variant):
        return _variant(value, t)
    if isinstance(t, Record):  # rule 27
        for name, _ in t.fields:
            if name not in value:
                raise Refused(f'no key of the map is the field "{shorten(name)}"')
        return {name: _inside(value[name], f, f'field "{shorten(name)}"') for name, f in t.fields}
    raise expected("no map, as the type is no list, variant or record", value)  # rule 28


def _pairs(value: dict[str, Any], t: ListOf) -> list[Any]:
    pair = t.element
    if not isinstance(pair, TupleOf):  # rule 25
        raise Refused("Homestar's worker panics on a map for a list without tuples",
                      "homestar-panic")  # fmt: skip
    if not value:
        return []
    if len(pair.items) != 2 or pair.items[0] != STRING:
        raise Refused("a map becomes pairs of a string and a value")
    made = []
    for key in sorted(value):  # rule 24: the value is converted to the type of the key
        where = f'key "{shorten(key)}"'
        if pair.items[1] == BOOL and isinstance(value[key], list):
            made.append((key, _inside(value[key], BOOL, where)))
        elif pair.items[1] == STRING:
            made.append((key, _inside(value[key], STRING, where)))
        else:
            raise Refused("a map becomes pairs of two strings").at(where)
    return made


def _variant(value: dict[str, Any], t: Variant) -> Case:
    """Rule 26: the smallest key is the case, the others are ignored."""
    if not value:
        raise Refused("a map for a variant must have at least one key")
    name = min(value)
    cases = dict(t.cases)
    if name not in cases:
        raise Refused(f'the key "{shorten(name)}" is not a case of the variant')
    payload = cases[name]
    if payload is None:
        return Case(name)
    return Case(name, _inside(value[name], payload, f'case "{shorten(name)}"'))


def _inside(value: Any, t: WitType, where: str) -> Any:
    try:
        return _to(value, t)
    except Refused as refused:
        raise refused.at(where) from None


# WIT to IPLD


def _from(value: Any, t: WitType) -> Any:
    match t:
        case Prim("string"):
            return _read_text(value)
        case Prim("f32"):
            return _f32_out(value)
        case Prim("f64"):
            return _finite(value)
        case Prim() | Enum():
            return value
        case ListOf(TupleOf() as pair):
            return _map_out(value, pair)
        case ListOf(element):
            if element == U8:
                return value or []  # the first element tells the type
            return [_from(item, element) for item in value]
        case TupleOf(items):
            return [_from(item, item_type) for item, item_type in zip(value, items, strict=True)]
        case Record(fields):
            return {name: _from(value[name], f) for name, f in fields}
        case Flags(names):
            return [name for name in names if name in value]
        case Option(payload):
            return None if value.name == "none" else _from(value.payload, payload)
        case ResultOf(ok, error):
            payload_type = ok if value.name == "ok" else error
            made = 1 if payload_type is None else _from(value.payload, payload_type)
            return [made, None] if value.name == "ok" else [None, made]
        case Variant(cases):
            case_type = dict(cases)[value.name]
            return {value.name: None if case_type is None else _from(value.payload, case_type)}
        case Unsupported(what):
            raise Refused(f"{what} cannot be returned as data", "unsupported-type")


def _read_text(text: str) -> Any:
    if text == "null":
        return None
    try:
        return CID.parse(text.partition(_IPFS_PATH)[2] if _IPFS_PATH in text else text)
    except CidError:
        return text


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise Refused(f"the result is {value}: Homestar's workflow hangs", "float-not-finite")
    return value


def _f32_out(value: float) -> float:
    made = through_decimal(_finite(value))
    if made is None:
        raise Refused(
            f"the result {value} is beyond a 96-bit decimal: Homestar's workflow hangs",
            "homestar-float-range",
        )
    return made


def _map_out(pairs: list[Any], pair: TupleOf) -> dict[str, Any]:
    """Sorted by key; of equal keys the last one wins."""
    if pairs and (len(pair.items) != 2 or pair.items[0] != STRING):
        raise Refused(
            "a list of tuples is a map from strings for Homestar: its workflow hangs",
            "homestar-map-key",
        )
    made = {key: _from(value, pair.items[1]) for key, value in pairs}
    return {key: made[key] for key in sorted(made)}
