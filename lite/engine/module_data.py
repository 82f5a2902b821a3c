"""A `ModuleInfo` as plain IPLD, for caching.

Types and function types are tables, so that what functions share is written once.
"""

from __future__ import annotations

from typing import Any, cast

from lite.engine.module import ModuleInfo
from lite.engine.plan import Lift, Plan
from lite.engine.wit import FuncType, TypeTable, WitType, types_from_rows
from lite.errors import CodecError
from lite.frozen import fields

VERSION = 1

_LIFT_FIELDS = ("core_func", "realloc", "post_return", "memory", "encoding")
assert set(fields(Lift)) == {*_LIFT_FIELDS, "type"}


class _Funcs:
    """Function types as rows, by identity."""

    def __init__(self) -> None:
        self.types = TypeTable()
        self.rows: list[Any] = []
        self._known: dict[int, int] = {}

    def add(self, f: FuncType) -> int:
        known = self._known.get(id(f))
        if known is None:
            params = [[name, self.types.add(t)] for name, t in f.params]
            result = None if f.result is None else self.types.add(f.result)
            self.rows.append([params, result])
            known = self._known[id(f)] = len(self.rows) - 1
        return known


def encode(info: ModuleInfo) -> dict[str, Any]:
    """See `ModuleInfo.to_data`."""
    funcs = _Funcs()
    exports = [[name, funcs.add(f)] for name, f in info.exports.items()]
    return {
        "v": VERSION,
        "kind": info.kind,
        "path": info.path,
        "exports": exports,
        "imports": list(info.imports),
        "typed": info.typed,
        "component": info.component,
        "plan": None if info.plan is None else _encode_plan(info.plan, funcs),
        "funcs": funcs.rows,
        "types": funcs.types.rows,
    }


def _encode_plan(plan: Plan, funcs: _Funcs) -> dict[str, Any]:
    return {
        "offset": plan.offset,
        "length": plan.length,
        "initialize": plan.initialize,
        "lifts": [
            [name, funcs.add(lift.type), *(getattr(lift, f) for f in _LIFT_FIELDS)]
            for name, lift in plan.lifts.items()
        ],
    }


def decode(data: Any) -> ModuleInfo:
    """See `ModuleInfo.from_data`."""
    if not isinstance(data, dict) or data.get("v") != VERSION:
        raise CodecError("not a module description of this version")
    try:
        types = types_from_rows(data["types"])
        funcs = [_func(row, types) for row in data["funcs"]]
        plan = data["plan"]
        return ModuleInfo(
            kind=data["kind"],
            path=data["path"],
            exports={str(name): funcs[i] for name, i in data["exports"]},
            imports=tuple(map(str, data["imports"])),
            typed=bool(data["typed"]),
            plan=None if plan is None else _decode_plan(plan, funcs),
            component=bool(data["component"]),
        )
    except (TypeError, ValueError, IndexError, KeyError) as e:
        raise CodecError(f"not a module description: {e}") from None


def _func(row: Any, types: list[WitType]) -> FuncType:
    params, result = row
    return FuncType(
        tuple((str(name), types[i]) for name, i in params),
        None if result is None else types[result],
    )


def _decode_plan(plan: Any, funcs: list[FuncType]) -> Plan:
    lifts = {}
    for name, func, *values in plan["lifts"]:
        options = cast(dict[str, Any], dict(zip(_LIFT_FIELDS, values, strict=True)))
        lifts[str(name)] = Lift(type=funcs[func], **options)
    return Plan(int(plan["offset"]), int(plan["length"]), lifts, plan["initialize"])
