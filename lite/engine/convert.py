"""Arguments from IPLD to WIT values and results back, by the type of each parameter.

Nothing is guessed from how a value looks: the type decides. The rules, with the table of what each
type takes and gives, are in lite/ARCHITECTURE.md.

A link stands for what it links to: the bytes of a file for `list<u8>`, its UTF-8 text for `string`,
and for any other type the decoded block, which is converted in its place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from lite.engine.base import GuestFailure
from lite.engine.from_wit import FromWit
from lite.engine.refusal import Refused, expected, shorten
from lite.engine.to_wit import FLOAT_EXACT_MAX, Context, Load, ToWit
from lite.engine.wit import BYTES, STRING, FuncType, Prim, ResultOf, WitType, render_func
from lite.ipld.cid import CID

CORE_RANGES = {"i32": (-(2**31), 2**31 - 1), "i64": (-(2**63), 2**63 - 1)}

_CACHED_TYPES = 64


@lru_cache(_CACHED_TYPES)
def _to(t: WitType) -> Callable[[Context, Any], Any]:
    return ToWit().converter(t)


@lru_cache(_CACHED_TYPES)
def _from(t: WitType) -> Callable[[Any], Any]:
    return FromWit().converter(t)


def to_wit(value: Any, t: WitType, *, load: Load) -> Any:
    """One IPLD value as a neutral value of type `t`.

    Args:
        load: `load(cid, type)` gives what a link stands for: bytes for `list<u8>` and `string`,
            else the decoded value. What it raises is passed on.

    Raises:
        GuestFailure: `bad-argument`; the message says where and why.
    """
    try:
        return _to(t)(Context(load), value)
    except Refused as refused:
        raise refused.failure() from None


def from_wit(value: Any, t: WitType) -> Any:
    """A neutral value of type `t` as IPLD.

    Raises:
        GuestFailure: `float-not-finite` for NaN and infinities, which IPLD does not have.
    """
    try:
        return _from(t)(value)
    except Refused as refused:
        raise refused.failure() from None


def arguments(args: Sequence[Any], f: FuncType, *, load: Load) -> list[Any]:
    """The arguments of a call, one neutral value a parameter.

    Raises:
        GuestFailure: `bad-argument`, also for too many or too few.
    """
    check_arity(len(args), f)
    context = Context(load)
    made = []
    for i, (arg, (name, t)) in enumerate(zip(args, f.params, strict=True), 1):
        try:
            made.append(_to(t)(context, arg))
        except Refused as refused:
            raise refused.at(f"arg {i} ({shorten(name)})").failure() from None
    return made


def check_arity(given: int, f: FuncType) -> None:
    """Raises `bad-argument` unless there is one argument for each parameter."""
    if given != len(f.params):
        raise GuestFailure(
            "bad-argument",
            f"{given} arguments for {len(f.params)} parameters: {signature(f)}",
        )


def signature(f: FuncType) -> str:
    """The function's type for a message, of bounded length."""
    text = render_func("", f)[len(": ") :]
    return text if len(text) <= 300 else text[:299] + "…"


def outcome(value: Any, f: FuncType) -> Any:
    """What a call of a function of type `f` comes to, from its neutral result.

    No result is `{}`. A result of type `result<T, E>` is unwrapped: its ok is the outcome, its
    error is the failure of the task.

    Raises:
        GuestFailure: `guest-error` with the error's payload as `value`; `float-not-finite`.
    """
    if f.result is None:
        return {}
    if not isinstance(f.result, ResultOf):
        return from_wit(value, f.result)
    t = f.result.ok if value.name == "ok" else f.result.error
    payload = None if t is None else from_wit(value.payload, t)
    if value.name == "ok":
        return {} if t is None else payload
    text = f': "{shorten(payload)}"' if isinstance(payload, str) else ""
    raise GuestFailure("guest-error", f"the function returned an error{text}", value=payload)


# Untyped core modules


def core_arguments(args: Sequence[Any], f: FuncType, *, load: Load) -> list[Any]:
    """The arguments of a call into an untyped core module: int, float or bytes-like.

    Integers are signed, as results are: a larger one would come back as another number. Text, bytes
    and links to files take two i32 parameters.

    Raises:
        GuestFailure: `bad-argument`.
    """
    kinds = [t.name if isinstance(t, Prim) else "" for _, t in f.params]
    context = Context(load)
    made: list[Any] = []
    at = 0
    for i, arg in enumerate(args, 1):
        try:
            if at >= len(kinds):
                taken = "; text and bytes take two i32" if at > len(made) else ""
                raise Refused(f"there is no parameter left for it: {signature(f)}{taken}")
            value = _core_value(context, arg, kinds[at : at + 2])
        except Refused as refused:
            raise refused.at(f"arg {i}").failure() from None
        at += 1 if isinstance(value, (int, float)) else 2
        made.append(value)
    if at != len(kinds):
        raise GuestFailure(
            "bad-argument", f"the arguments fill {at} of {len(kinds)} parameters: {signature(f)}"
        )
    return made


def _core_value(context: Context, arg: Any, kinds: list[str]) -> Any:
    kind = kinds[0]
    if kind not in CORE_RANGES and kind not in ("f32", "f64"):
        raise Refused(f"a {kind} cannot be passed as data", "unsupported-type")
    if isinstance(arg, bool) or not isinstance(arg, (int, float)):
        if isinstance(arg, bool) or kinds != ["i32", "i32"]:
            raise expected(kind, arg)
        return _core_bytes(context, arg)
    if kind in ("f32", "f64"):
        return _to(Prim(kind))(context, arg)
    low, high = CORE_RANGES[kind]
    if isinstance(arg, float) and FLOAT_EXACT_MAX < abs(arg) < math.inf:
        raise Refused(f"{arg} may not be the number that was meant: write an integer")
    if not float(arg).is_integer() or not low <= arg <= high:
        raise Refused(f"{arg} is not an {kind}: {low} to {high}")
    return int(arg)


def _core_bytes(context: Context, arg: Any) -> Any:
    """Bytes, text, or a link to either, as bytes."""
    try:
        return _to(BYTES)(context, arg.encode() if isinstance(arg, str) else arg)
    except Refused:
        if not isinstance(arg, CID):
            raise
        try:
            return context.follow(arg, STRING, _to(STRING)).encode()
        except Refused:
            pass
        raise


def core_outcome(value: Any, f: FuncType) -> Any:
    """What `canonical.call_core` gave, as IPLD; nothing is `{}`, several results are a list.

    Raises:
        GuestFailure: `float-not-finite`.
    """
    if f.result is None:
        return {}
    values = value if isinstance(value, tuple) else (value,)
    for part in values:
        if isinstance(part, float) and not math.isfinite(part):
            raise GuestFailure("float-not-finite", f"the result is {part}, which IPLD has not")
    return list(value) if isinstance(value, tuple) else value
