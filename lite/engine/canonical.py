"""Calling a typed function of a core instance by the component model's canonical ABI.

Everything that the guest hands over (pointers, lengths, discriminants, characters, text) is
checked; a wrong one is `GuestFailure("bad-canonical-abi")`.

Source: component model, CanonicalABI.md (canon lift).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lite.engine.base import GuestFailure
from lite.engine.guest_memory import Guest, Instance, signed32, signed64
from lite.engine.layout import FLAT_PARAMS_MAX, FLAT_RESULTS_MAX, Layouts
from lite.engine.lift import Lifting, load_bytes
from lite.engine.lower import Flat, Lowering, place_bytes
from lite.engine.plan import Lift
from lite.engine.spool import Spooled
from lite.engine.wit import BYTES, TupleOf, WitType, render

__all__ = ["Instance", "call", "call_core"]

Result = Callable[[Guest, Any], Any]


def call(lift: Lift, instance: Instance, args: list[Any], *, output_bytes: int) -> Any:
    """Lower `args`, call, lift the result, call post-return.

    Args:
        lift: what to call, from `ModuleInfo.plan.lifts`.
        instance: where.
        args: one neutral value (`lite.engine.wit`) per parameter. `list<u8>` may be any
            bytes-like object.
        output_bytes: bound on the result. One byte list or string counts its length, every other
            value at least 8, so that a guest cannot describe a huge result in a few bytes.

    Returns:
        The neutral value of the result type, None for a function without result.

    Raises:
        GuestFailure: `bad-canonical-abi`, `output-limit`, `bad-argument` for a list or string that
            the ABI has no room for, `unsupported-type`, or whatever `invoke` raises.
    """
    if not lift._compiled:
        lift._compiled.append(_compile(lift))
    return lift._compiled[0](instance, args, output_bytes)


def _compile(lift: Lift) -> Callable[[Instance, list[Any], int], Any]:
    layouts = Layouts()
    _refuse_unsupported(lift, layouts)
    lower = _compile_params(lift, layouts)
    finish = _compile_result(lift, layouts)
    arity, memory = len(lift.type.params), lift.memory is not None
    as_argument = _RESIGN[layouts.shape(lift.type).result]

    def run(instance: Instance, args: list[Any], output_bytes: int) -> Any:
        assert len(args) == arity, "the caller converts the arguments to the parameters"
        guest = Guest(instance, lift.realloc, output_bytes)
        flat: list[Any] = []
        lower(guest, args, flat)
        raw = instance.invoke(lift.core_func, *flat)
        if memory:
            guest.refresh()
        result = finish(guest, raw)
        if lift.post_return is not None:
            instance.invoke(lift.post_return, *(() if raw is None else (as_argument(raw),)))
        return result

    return run


_RESIGN: dict[str, Callable[[Any], Any]] = {
    "": lambda raw: raw,
    "i": signed32,
    "l": signed64,
    "f": lambda raw: raw,
    "d": lambda raw: raw,
}
"""A core result, by its flat type, as an argument."""


def _refuse_unsupported(lift: Lift, layouts: Layouts) -> None:
    types = [t for _, t in lift.type.params]
    if lift.type.result is not None:
        types.append(lift.type.result)
    for t in types:
        if layouts.unsupported(t):
            raise GuestFailure("unsupported-type", f"{render(t)} cannot be passed as data")


def _compile_params(lift: Lift, layouts: Layouts) -> Flat:
    lowering = Lowering(layouts, lift.encoding)
    items = tuple(t for _, t in lift.type.params)
    if sum(len(layouts.flat(t)) for t in items) <= FLAT_PARAMS_MAX:
        return lowering.flat(TupleOf(items))
    whole = TupleOf(items)
    size, alignment = layouts.box(whole)
    store = lowering.store(whole)

    def spill(guest: Guest, args: Any, out: list[Any]) -> None:
        at = guest.allocate(alignment, size)
        store(guest, args, at)
        out.append(signed32(at))

    return spill


def _compile_result(lift: Lift, layouts: Layouts) -> Result:
    result = lift.type.result
    if result is None:
        return lambda guest, raw: None
    cost = layouts.result_cost(result)
    lifting = Lifting(layouts, lift.encoding)
    if len(layouts.flat(result)) <= FLAT_RESULTS_MAX:
        from_flat = lifting.from_flat(result)

        def finish_flat(guest: Guest, raw: Any) -> Any:
            guest.charge(cost)
            return from_flat(raw)

        return finish_flat
    size, alignment = layouts.box(result)
    load = lifting.load(result)

    def finish(guest: Guest, raw: Any) -> Any:
        at = raw & 0xFFFFFFFF
        guest.check(at, alignment, size, "the result has")
        guest.charge(cost)
        return load(guest, at)

    return finish


# Untyped core modules


def call_core(lift: Lift, instance: Instance, args: list[Any], *, output_bytes: int) -> Any:
    """Call a function of an untyped core module (kind "core").

    Args:
        args: from `lite.engine.convert.core_arguments`: int, float, or bytes-like, which is placed
            with the module's realloc and passed as two i32 (pointer, length).

    Returns:
        int (signed) or float, a tuple for several results, bytes where `lift.type.result` is
        `list<u8>` (the function returned a pointer to (pointer, length)), None for no result.

    Raises:
        GuestFailure: as `call`; `bad-argument` for bytes where the module has no realloc or memory.
    """
    guest = Guest(instance, lift.realloc, output_bytes)
    flat: list[Any] = []
    for arg in args:
        if isinstance(arg, (int, float)):
            flat.append(arg)
            continue
        if lift.realloc is None or lift.memory is None:
            raise GuestFailure(
                "bad-argument", "the module exports no cabi_realloc and memory to take bytes with"
            )
        pointer, length = place_bytes(guest, arg)
        flat += (signed32(pointer), signed32(length))
    raw = instance.invoke(lift.core_func, *flat)
    if lift.type.result != BYTES:
        return _core_result(lift.type.result, raw)
    guest.refresh()
    result = _pointed_bytes(guest, raw & 0xFFFFFFFF)
    assert lift.post_return is not None, "describe() gives bytes only to functions with post-return"
    instance.invoke(lift.post_return, signed32(raw))
    return result


def _pointed_bytes(guest: Guest, at: int) -> bytes | Spooled:
    guest.check(at, 4, 8, "the result has")
    pointer = int.from_bytes(guest.view[at : at + 4], "little")
    length = int.from_bytes(guest.view[at + 4 : at + 8], "little")
    return load_bytes(guest, pointer, length)


def _core_result(t: WitType | None, raw: Any) -> Any:
    if isinstance(t, TupleOf):
        return tuple(map(_core_result, t.items, raw))
    if isinstance(raw, int):
        return signed32(raw) if render(t) == "i32" else signed64(raw)
    return raw
