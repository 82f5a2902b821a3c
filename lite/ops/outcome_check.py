"""Whether what somebody else's operation returned is an `Outcome` in all its parts."""

from __future__ import annotations

from typing import Any

from lite.engine.base import Outcome, Usage

__all__ = ["check_outcome"]


def check_outcome(outcome: Any) -> None:
    """Raise `TypeError` with what is wrong with it: a field of another type, or a value that is
    not IPLD."""
    from lite.errors import CodecError
    from lite.ipld import dag_cbor

    if not isinstance(outcome, Outcome):
        raise TypeError(f"run returned {type(outcome).__name__}, not an Outcome")
    error = outcome.error
    if error is not None:
        if type(error) is not dict or not {"code", "message"} <= error.keys():
            raise TypeError("an error needs code and message")
        if not isinstance(error["code"], str) or not isinstance(error["message"], str):
            raise TypeError("code and message of an error are texts")
    _check_rest(outcome)
    try:
        dag_cbor.encode(outcome.ok if error is None else error)
        if isinstance(outcome.fx, tuple):  # what else is wrong with it is `bad-effects`
            dag_cbor.encode(list(outcome.fx))
    except CodecError as fault:
        raise TypeError(f"the result is not IPLD: {fault}") from None


def _check_rest(outcome: Outcome) -> None:
    usage = outcome.usage
    if not isinstance(usage, Usage):
        raise TypeError(f"its usage is {type(usage).__name__}, not a Usage")
    for name in ("time_ms", "fuel", "memory_bytes"):
        value = getattr(usage, name)
        if type(value) not in (int, float) and not (value is None and name != "time_ms"):
            raise TypeError(f"{name} of its usage is {type(value).__name__}, not a number")
        if value is not None and not 0 <= value < 2**63:
            raise TypeError(f"{name} of its usage is {value}")
        if name != "time_ms" and type(value) is float:
            raise TypeError(f"{name} of its usage is float, not int")
    if type(usage.memory_refused) not in (bool, type(None)):
        raise TypeError("memory_refused of its usage is neither true, false nor None")
    for name, kind in (("trace", bytes), ("path", str), ("engine", str), ("attempts", int)):
        if type(getattr(outcome, name)) is not kind:
            raise TypeError(f"its {name} is no {kind.__name__}")
