"""Example arguments made from types, so that an example call works when it is pasted."""

from __future__ import annotations

import shlex
from typing import Any

from lite.engine.wit import (
    BYTES,
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

_SCALARS: dict[str, Any] = {"bool": True, "char": "a", "string": "hello", "f32": 1.5, "f64": 1.5}


def example_call(module: str, name: str, func: FuncType, *, core: bool = False) -> str | None:
    """A whole command line that calls `name`, None when a type cannot be written down.

    Args:
        core: of an untyped module, where every parameter is a number.
    """
    if not all(callable_type(t) for _, t in func.params):
        return None
    texts = ["2" if core else example_text(t) for _, t in func.params]
    return " ".join(["ipvm run", operand(f"{module}:{name}"), *texts])


def operand(text: str) -> str:
    """A module as a shell takes it, and no option whatever the file is called."""
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def callable_type(t: WitType | None) -> bool:
    """Whether every value of the type is data."""
    match t:
        case Unsupported():
            return False
        case ListOf(element):
            return callable_type(element)
        case Option(payload):
            return callable_type(payload)
        case TupleOf(items):
            return all(map(callable_type, items))
        case Record(fields):
            return all(callable_type(f) for _, f in fields)
        case ResultOf(ok, error):
            return callable_type(ok) and callable_type(error)
        case Variant(cases):
            return all(callable_type(c) for _, c in cases)
        case _:
            return True


def example_text(t: WitType) -> str:
    """An argument of the type, quoted for a shell."""
    value = example_value(t)
    match t:
        case Prim("string" | "char") | Enum():
            text = str(value)
        case Option(Prim("string" | "char") | Enum()):
            text = str(value)
        case _:
            from lite.ipld import dag_json

            text = dag_json.encode(value).decode()
    return shlex.quote(text)


def example_value(t: WitType) -> Any:
    """A small IPLD value of the type, the same each time."""
    match t:
        case Prim(name):
            return _SCALARS.get(name, 2)
        case ListOf():
            return b"hello" if t == BYTES else [example_value(t.element)]
        case TupleOf(items):
            return [example_value(item) for item in items]
        case Record(fields):
            return {name: example_value(f) for name, f in fields}
        case Flags(names):
            return list(names[:1])
        case Enum(names):
            return names[0]
        case Option(payload):
            value = example_value(payload)
            return {"some": value} if _nullable(payload) else value
        case ResultOf(ok, _):
            return {"ok": None if ok is None else example_value(ok)}
        case Variant(cases):
            name, inner = next((c for c in cases if c[1] is None), cases[0])
            return {name: None if inner is None else example_value(inner)}
        case Unsupported():
            return None


def _nullable(t: WitType) -> bool:
    """Whether a value of the type may itself be written as null."""
    return isinstance(t, Option)
