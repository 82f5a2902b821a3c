"""From WIT values to IPLD: one converter for each type, made once."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from lite.engine.refusal import Refused, shorten
from lite.engine.to_wit import nullable
from lite.engine.wit import (
    BYTES,
    Enum,
    Flags,
    ListOf,
    Option,
    Prim,
    Record,
    TupleOf,
    Unsupported,
    WitType,
    cases_of,
)

Converter = Callable[[Any], Any]


def _same(value: Any) -> Any:
    return value


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise Refused(f"the result is {value}, which IPLD does not have", "float-not-finite")
    return value


class FromWit:
    """Makes converters; types share parts, so each is made once.

    A converter that changes nothing is `_same` itself, so that lists of such values are passed on
    as they are.
    """

    def __init__(self) -> None:
        self._made: dict[int, Converter] = {}
        self._kept: list[WitType] = []

    def converter(self, t: WitType) -> Converter:
        """`converter(value)`; raises `Refused`."""
        known = self._made.get(id(t))
        if known is None:
            known = self._made[id(t)] = self._make(t)
            self._kept.append(t)
        return known

    def _make(self, t: WitType) -> Converter:
        match t:
            case Prim("f32" | "f64"):
                return _finite
            case Prim() | Enum():
                return _same
            case ListOf():
                return _same if t == BYTES else self._list(t.element)
            case TupleOf(items):
                return self._tuple(items)
            case Record(fields):
                return self._record(fields)
            case Flags(names):
                return lambda value: [name for name in names if name in value]
            case Option(payload):
                return self._option(payload)
            case Unsupported(what):
                raise Refused(f"the type {what} cannot be returned as data", "unsupported-type")
            case _:
                return self._case(t)

    def _list(self, element: WitType) -> Converter:
        convert = self.converter(element)
        if convert is _same:
            return _same

        def convert_list(values: Any) -> Any:
            if convert is _finite and math.isfinite(sum(values)):
                return values
            made = []
            try:
                for value in values:
                    made.append(convert(value))
            except Refused as refused:
                raise refused.at(f"item {len(made)}") from None
            return made

        return convert_list

    def _tuple(self, items: tuple[WitType, ...]) -> Converter:
        converters = [self.converter(item) for item in items]

        def convert_tuple(values: Any) -> Any:
            made = []
            try:
                for convert, value in zip(converters, values, strict=True):
                    made.append(convert(value))
            except Refused as refused:
                raise refused.at(f"item {len(made)}") from None
            return made

        return convert_tuple

    def _record(self, fields: tuple[tuple[str, WitType], ...]) -> Converter:
        parts = [(name, self.converter(f)) for name, f in fields]

        def convert_record(value: Any) -> Any:
            made = {}
            for name, convert in parts:
                try:
                    made[name] = convert(value[name])
                except Refused as refused:
                    raise refused.at(f'field "{shorten(name)}"') from None
            return made

        return convert_record

    def _option(self, payload: WitType) -> Converter:
        convert = self.converter(payload)
        if nullable(payload):
            return lambda v: None if v.name == "none" else {"some": convert(v.payload)}
        return lambda v: None if v.name == "none" else convert(v.payload)

    def _case(self, t: WitType) -> Converter:
        by_name = {n: None if case is None else self.converter(case) for n, case in cases_of(t)}

        def convert_case(value: Any) -> Any:
            convert = by_name[value.name]
            if convert is None:
                return {value.name: None}
            try:
                return {value.name: convert(value.payload)}
            except Refused as refused:
                raise refused.at(f'case "{shorten(value.name)}"') from None

        return convert_case
