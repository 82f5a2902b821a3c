"""The result of a function that was called with `input.fx` true: a value and effects.

It is `{"out": any, "fx": {"fork": [instruction, …], "join": instruction or null}}`, as a record, as
DAG-JSON text or as DAG-CBOR bytes: only the last two can hold links and awaits, which a guest may
write but never follows. `join` may be absent. Source: UCAN Invocation 0.2.0, Effects.
"""

from __future__ import annotations

from typing import Any, Final

from lite.engine.base import Outcome
from lite.engine.spool import Spooled
from lite.errors import CodecError
from lite.frozen import replace
from lite.limits import BLOCK_BYTES_MAX
from lite.model.effects import BAD_EFFECTS

_SHAPE: Final = 'with input.fx a function returns {"out": …, "fx": {"fork": […], "join": …}}'


def with_effects(outcome: Outcome) -> Outcome:
    """The outcome with its value taken apart, or with the error `bad-effects`. Whether what stands
    there are instructions is for the executor to judge."""
    try:
        value = _read(outcome.ok)
        if type(value) is not dict or value.keys() != {"out", "fx"}:
            raise CodecError(_SHAPE)
        effects = value["fx"]
        if type(effects) is not dict or not {"fork"} <= effects.keys() <= {"fork", "join"}:
            raise CodecError(_SHAPE)
        if type(effects["fork"]) is not list:
            raise CodecError(_SHAPE)
    except CodecError as fault:
        return replace(outcome, ok=None, error={"code": BAD_EFFECTS, "message": str(fault)})
    return replace(outcome, ok=value["out"], fx=(effects["fork"], effects.get("join")))


def _read(value: Any) -> Any:
    """The value itself, or what text or bytes hold; raises `CodecError`."""
    if not isinstance(value, (str, bytes, Spooled)):
        return value
    if isinstance(value, Spooled) or len(value) > BLOCK_BYTES_MAX:
        raise CodecError(f"{_SHAPE}, of at most {BLOCK_BYTES_MAX} bytes")
    if isinstance(value, str):
        from lite.ipld import dag_json

        return dag_json.decode(value)
    from lite.ipld import dag_cbor

    return dag_cbor.decode(value)
