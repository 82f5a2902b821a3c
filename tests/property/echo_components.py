"""Components that give back what they are given, made from WAT for any type.

Two functions: `flat` takes the value in registers where the canonical ABI allows it and writes it
to memory itself; `spilled` has so many parameters that the value comes by pointer, and hands the
pointer back.
"""

from __future__ import annotations

from lite.engine.layout import FLAT_PARAMS_MAX, Layouts, discriminant_size, flags_size, items_of
from lite.engine.plan import Encoding
from lite.engine.wit import (
    Enum,
    Flags,
    ListOf,
    Option,
    Prim,
    Record,
    ResultOf,
    TupleOf,
    Variant,
    WitType,
    cases_of,
)

PADDING = FLAT_PARAMS_MAX + 1  # u8 parameters that push the value into memory

_REALLOC = """
  (global $heap (mut i32) (i32.const 1024))
  (func (export "cabi_realloc") (param $old i32) (param $had i32) (param $align i32)
        (param $size i32) (result i32) (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.sub (local.get $align) (i32.const 1)))
                            (i32.sub (i32.const 0) (local.get $align))))
    (global.set $heap (i32.add (local.get $at) (local.get $size)))
    (block $enough (loop $more
      (br_if $enough (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
      (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))
      unreachable))
    (memory.copy (local.get $at) (local.get $old)
      (select (local.get $had) (local.get $size) (i32.lt_u (local.get $had) (local.get $size))))
    (local.get $at))
  (func (export "post") (param i32) (global.set $heap (i32.const 1024)))
"""
_CORE = {"i": "i32", "l": "i64", "f": "f32", "d": "f64"}
_STORES = {1: "i32.store8", 2: "i32.store16", 4: "i32.store"}
_SCALAR_STORES = {
    "bool": "i32.store8", "u8": "i32.store8", "s8": "i32.store8", "u16": "i32.store16",
    "s16": "i32.store16", "u64": "i64.store", "s64": "i64.store", "f32": "f32.store",
    "f64": "f64.store",
}  # fmt: skip
_SCALAR_LOADS = {
    "bool": "i32.load8_u", "u8": "i32.load8_u", "s8": "i32.load8_s", "u16": "i32.load16_u",
    "s16": "i32.load16_s", "u64": "i64.load", "s64": "i64.load", "f32": "f32.load",
    "f64": "f64.load",
}  # fmt: skip
_CASTS = {
    "il": "i32.wrap_i64", "fi": "f32.reinterpret_i32", "dl": "f64.reinterpret_i64",
    "fl": "f32.reinterpret_i32 (i32.wrap_i64",
}  # fmt: skip


def component(t: WitType, encoding: Encoding = "utf8") -> str:
    """The WAT of a component with `flat` and `spilled` for `t`."""
    writer = _Types()
    name = writer.name(t)
    wide = len(Layouts().flat(t)) > 1
    options = f'(memory (core memory $i "memory")) (realloc (core func $i "cabi_realloc")) \
string-encoding={encoding}'
    post = ' (post-return (core func $i "post"))' if wide else ""
    padding = "".join(f' (param "p{i}" u8)' for i in range(PADDING))
    return f"""(component
  (core module $m (memory (export "memory") 1){_REALLOC}{_flat(t)}{_spilled(t)})
  (core instance $i (instantiate $m))
  {writer.text}
  (func (export "flat") (param "x" {name}) (result {name})
    (canon lift (core func $i "flat") {options}{post}))
  (func (export "spilled") (param "x" {name}){padding} (result {name})
    (canon lift (core func $i "spilled") {options}{post})))"""


class _Types:
    """Component-level type definitions; named types are exported, as validation demands."""

    def __init__(self) -> None:
        self.text = ""
        self._count = 0

    def name(self, t: WitType) -> str:
        if isinstance(t, Prim):
            return t.name
        body = self._body(t)
        self._count += 1
        n = self._count
        if isinstance(t, (Record, Variant, Enum, Flags)):
            self.text += f'(type $d{n} {body}) (export $t{n} "t{n}" (type $d{n}))\n  '
        else:
            self.text += f"(type $t{n} {body})\n  "
        return f"$t{n}"

    def _body(self, t: WitType) -> str:
        match t:
            case ListOf(element):
                return f"(list {self.name(element)})"
            case TupleOf(items):
                return f"(tuple {' '.join(map(self.name, items))})"
            case Record(fields):
                return (
                    "(record " + " ".join(f'(field "{n}" {self.name(f)})' for n, f in fields) + ")"
                )
            case Flags(names):
                return "(flags " + " ".join(f'"{n}"' for n in names) + ")"
            case Enum(names):
                return "(enum " + " ".join(f'"{n}"' for n in names) + ")"
            case Option(payload):
                return f"(option {self.name(payload)})"
            case ResultOf(ok, error):
                made = "" if ok is None else f" {self.name(ok)}"
                return (
                    f"(result{made}"
                    + ("" if error is None else f" (error {self.name(error)})")
                    + ")"
                )
            case Variant(cases):
                listed = [
                    f'(case "{n}"' + ("" if c is None else f" {self.name(c)}") + ")"
                    for n, c in cases
                ]
                return "(variant " + " ".join(listed) + ")"
        raise AssertionError(t)


def _flat(t: WitType) -> str:
    layouts = Layouts()
    flat = layouts.flat(t)
    if len(flat) == 1:
        return f'(func (export "flat") (param {_CORE[flat]}) (result {_CORE[flat]}) local.get 0)'
    if len(flat) > FLAT_PARAMS_MAX:
        return '(func (export "flat") (param i32) (result i32) local.get 0)'
    size, alignment = layouts.box(t)
    params = " ".join(_CORE[code] for code in flat)
    values = [(f"(local.get {i})", code) for i, code in enumerate(flat)]
    return f"""
  (func (export "flat") (param {params}) (result i32) (local $at i32)
    (global.set $heap (i32.and (i32.add (global.get $heap) (i32.const {alignment - 1}))
                               (i32.const {-alignment})))
    (local.set $at (global.get $heap))
    (global.set $heap (i32.add (local.get $at) (i32.const {size})))
    (block $enough (loop $more
      (br_if $enough (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
      (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))
      unreachable))
    {_store(layouts, t, values, 0)}
    (local.get $at))"""


def _spilled(t: WitType) -> str:
    flat = Layouts().flat(t)
    if len(flat) > 1:
        return '(func (export "spilled") (param i32) (result i32) local.get 0)'
    load = _load(t)
    return f'(func (export "spilled") (param i32) (result {_CORE[flat]}) ({load} (local.get 0)))'


def _load(t: WitType) -> str:
    match t:
        case Prim(name):
            return _SCALAR_LOADS.get(name, "i32.load")
        case Record() | TupleOf():
            return _load(items_of(t)[0])
        case Flags():
            size = flags_size(t)
        case _:
            size = discriminant_size(len(cases_of(t)))
    return {1: "i32.load8_u", 2: "i32.load16_u", 4: "i32.load"}[size]


def _store(layouts: Layouts, t: WitType, values: list[tuple[str, str]], at: int) -> str:
    """Instructions that write flat values (expression, its core type) at `$at` + `at`."""

    def put(op: str, value: str, offset: int) -> str:
        return f"({op} offset={offset} (local.get $at) {value})\n"

    match t:
        case Prim("string") | ListOf():
            return put("i32.store", values[0][0], at) + put("i32.store", values[1][0], at + 4)
        case Prim(name):
            return put(_SCALAR_STORES.get(name, "i32.store"), values[0][0], at)
        case Record() | TupleOf():
            text = ""
            for item, offset in zip(items_of(t), layouts.fields(t)[0], strict=True):
                n = len(layouts.flat(item))
                text += _store(layouts, item, values[:n], at + offset)
                values = values[n:]
            return text
        case Flags():
            return put(_STORES[flags_size(t)], values[0][0], at)
        case _:
            size = discriminant_size(len(cases_of(t)))
            text = put(_STORES[size], values[0][0], at)
            return text + _store_payloads(layouts, t, values, at)


def _store_payloads(layouts: Layouts, t: WitType, values: list[tuple[str, str]], at: int) -> str:
    text = ""
    offset = layouts.payload(t)[0]
    for i, (_, payload) in enumerate(cases_of(t)):
        if payload is None:
            continue
        cast = [
            (_cast(value, have, want), want)
            for (value, have), want in zip(values[1:], layouts.flat(payload))  # noqa: B905
        ]
        inner = _store(layouts, payload, cast, at + offset)
        text += f"(if (i32.eq {values[0][0]} (i32.const {i})) (then {inner}))\n"
    return text


def _cast(value: str, have: str, want: str) -> str:
    if have == want:
        return value
    op = _CASTS[want + have]
    return f"({op} {value})" + ")" * op.count("(")


def constant(t: WitType, memory: bytes, at: int, encoding: Encoding) -> str:
    """The WAT of a component whose `f` says that its result, a `t`, is at `at` in `memory`."""
    writer = _Types()
    name = writer.name(t)
    flat = Layouts().flat(t)
    data = "".join(f"\\{byte:02x}" for byte in memory)
    value = f"{_CORE[flat]}.const {at}" if len(flat) == 1 else f"i32.const {at}"
    return f"""(component
  (core module $m (memory (export "memory") 1) (data (i32.const 0) "{data}")
    (func (export "f") (result {_CORE[flat] if len(flat) == 1 else "i32"}) {value}))
  (core instance $i (instantiate $m))
  {writer.text}
  (func (export "f") (result {name})
    (canon lift (core func $i "f") (memory (core memory $i "memory")) \
string-encoding={encoding})))"""
