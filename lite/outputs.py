"""Keep receipts thin: what is larger than one protocol constant becomes blocks and a link.

A result whose DAG-CBOR exceeds `INLINE_BYTES_MAX` is stored beside the receipt (bytes as a UnixFS
file, any other value as one dag-cbor block) and flagged, so that it cannot be mistaken for a link
that the guest itself returned.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from lite.engine.base import Outcome
from lite.engine.spool import Spooled
from lite.errors import LimitError, UsageError
from lite.frozen import field, frozen, replace
from lite.ipld import dag_cbor, unixfs
from lite.ipld.block import Block
from lite.ipld.cid import CID, DAG_CBOR
from lite.limits import BLOCK_BYTES_MAX, INLINE_BYTES_MAX, Limits
from lite.model.effects import BAD_EFFECTS, Effects
from lite.model.instruction import WASM_RUN, Instruction
from lite.model.result import Result

LinkKind = Literal["file", "dag-cbor"]
FUNC_CHARS_MAX = 256  # of a function's name in a receipt's meta
TRACE_INLINE_BYTES_MAX = 1024  # leaves room for the rest of a token


@frozen
class Linked:
    """An outcome ready for a receipt.

    Attributes:
        out: the result as it stands there.
        kind: how to read the link in `out`, when it was put there.
        code: the error's code, or "".
        trace: bytes, or a link to a file, or None.
        blocks: what `out` and `trace` link to.
        more: the rest of it, made while it is written, anew each time: a large file.
    """

    out: Result
    kind: LinkKind | None
    code: str = ""
    trace: Any = None
    blocks: list[Block] = field(default_factory=list)
    more: Iterable[Block] = ()


class FileBlocks:
    """The blocks of a file that is too large for memory."""

    def __init__(self, spooled: Spooled) -> None:
        self._spooled = spooled

    def __iter__(self) -> Iterator[Block]:
        return unixfs.file_blocks(self._spooled.open())

    def root(self) -> CID:
        for block in self:
            cid = block.cid
        return cid


def link_large(outcome: Outcome) -> Linked:
    """The outcome as a receipt holds it."""
    blocks: list[Block] = []
    trace: Any = outcome.trace or None
    if len(outcome.trace) > TRACE_INLINE_BYTES_MAX:
        trace = unixfs.write_file(io.BytesIO(outcome.trace), blocks.append)
    if isinstance(outcome.ok, Spooled):
        file = FileBlocks(outcome.ok)
        return Linked(Result.of_ok(file.root()), "file", "", trace, blocks, file)
    if outcome.error is None:
        try:
            value, kind = link_value(_without_large_bytes(outcome, blocks), blocks)
            return Linked(Result.of_ok(value), kind, "", trace, blocks)
        except LimitError as limit:
            error: dict[str, Any] = {"code": "output-limit", "message": str(limit)}
    else:
        error = outcome.error
    try:
        value, kind = link_value(error, blocks)
    except LimitError:  # what came with the error is too large: keep what it says
        told = {key: error[key] for key in ("code", "message") if key in error}
        value, kind = link_value({**told, "truncated": True}, blocks)
    return Linked(Result.of_error(value), kind, str(error.get("code", "")), trace, blocks)


def _without_large_bytes(outcome: Outcome, blocks: list[Block]) -> Any:
    """A record that an operation made, with its large byte strings (the body of an HTTP answer,
    what a program printed) as links to files. What a guest returned stays as it is, so that links
    in it are its own."""
    made_here = not outcome.path and isinstance(outcome.ok, (dict, list))
    return link_bytes(outcome.ok, blocks) if made_here else outcome.ok


def link_bytes(value: Any, blocks: list[Block]) -> Any:
    """`value` with every byte string that is too large for it replaced by a link to a file.

    An input follows the same constant as a result, so that the memo key does not depend on the way
    in which bytes came in.
    """
    if isinstance(value, bytes):
        return link_value(value, blocks)[0]
    if isinstance(value, dict):
        return {key: link_bytes(item, blocks) for key, item in value.items()}
    if isinstance(value, list):
        return [link_bytes(item, blocks) for item in value]
    return value


def link_value(value: Any, blocks: list[Block]) -> tuple[Any, LinkKind | None]:
    """`value` itself when it is small, else a link to it; new blocks are appended to `blocks`.

    Raises:
        LimitError: a value that is not bytes is larger than one block.
    """
    if isinstance(value, bytes):
        if len(value) <= INLINE_BYTES_MAX and len(dag_cbor.encode(value)) <= INLINE_BYTES_MAX:
            return value, None
        return unixfs.write_file(io.BytesIO(value), blocks.append), "file"
    data = dag_cbor.encode(value)
    if len(data) <= INLINE_BYTES_MAX:
        return value, None
    if len(data) > BLOCK_BYTES_MAX:
        raise LimitError(
            f"the result has {len(data)} bytes as one value; the limit is {BLOCK_BYTES_MAX}, "
            "and list<u8> results have no such limit"
        )
    block = Block.make(data, DAG_CBOR)
    blocks.append(block)
    return block.cid, "dag-cbor"


def receipt_meta(
    instruction: Instruction, outcome: Outcome, linked: Linked, limits: Limits, level: str | None
) -> dict[str, Any]:
    """What a receipt says about the run besides its result; never part of any key.

    Args:
        level: of the operation. That it is pure is said for those who do not know the operation;
            all know `wasm/run`.
    """
    usage = outcome.usage
    meta: dict[str, Any] = {
        "op": instruction.op,
        "time_us": round(usage.time_ms * 1000),
        "limits": {
            "fuel": limits.fuel,
            "memory": limits.memory_bytes,
            "time": limits.time_ms,
            "output": limits.output_bytes,
        },
    }
    if level == "pure" and instruction.op != WASM_RUN:
        meta["level"] = level
    func = instruction.input.get("func")
    if isinstance(func, str) and len(func) <= FUNC_CHARS_MAX:
        meta["func"] = func
    if outcome.engine:
        meta["engine"] = outcome.engine
        meta["path"] = outcome.path
    if usage.memory_bytes is not None:
        meta["memory_bytes"] = usage.memory_bytes
    if usage.memory_refused is not None:
        meta["memory_refused"] = usage.memory_refused
    if usage.fuel is not None:
        meta["fuel"] = usage.fuel
    if outcome.attempts > 1:
        meta["attempts"] = outcome.attempts
    if linked.trace is not None:
        meta["trace"] = linked.trace
    if linked.kind is not None and linked.code:
        meta["code"] = linked.code
    return meta


def effects_of(outcome: Outcome) -> tuple[Outcome, Effects]:
    """What a result asks for. A result whose effects cannot be read is an error."""
    if outcome.fx is None:
        return outcome, Effects()
    try:
        return outcome, Effects.of(*outcome.fx)
    except UsageError as fault:
        error = {"code": BAD_EFFECTS, "message": str(fault)}
        return replace(outcome, ok=None, error=error, fx=None), Effects()
