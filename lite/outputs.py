"""Keep receipts thin: what is larger than one protocol constant becomes blocks and a link.

A result whose DAG-CBOR exceeds `INLINE_BYTES_MAX` is stored beside the receipt (bytes as a UnixFS
file, any other value as one dag-cbor block) and flagged, so that it cannot be mistaken for a link
that the guest itself returned.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Literal

from lite.engine.base import Outcome
from lite.engine.spool import Spooled
from lite.errors import CodecError, LimitError, UsageError
from lite.frozen import field, frozen, replace
from lite.ipld import dag_cbor, unixfs
from lite.ipld.block import Block
from lite.ipld.cid import CID, DAG_CBOR
from lite.keys import Key
from lite.limits import BLOCK_BYTES_MAX, INLINE_BYTES_MAX, NESTING_MAX, Limits
from lite.model.effects import BAD_EFFECTS, Effects
from lite.model.instruction import WASM_RUN, Instruction
from lite.model.receipt import Receipt
from lite.model.result import Result
from lite.store import Store

LinkKind = Literal["file", "dag-cbor"]
FUNC_CHARS_MAX = 256  # of a function's name in a receipt's meta
TRACE_INLINE_BYTES_MAX = 1024  # leaves room for the rest of a token
MESSAGE_CHARS_MAX = 1024  # of an error that cannot be kept as it is
BAD_RESULT: Final = "bad-result"
"""The error code of a result that an operation gave and that is no value of the data model."""
_AROUND: Final = 5  # lists and maps that a receipt puts around a result


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


@frozen
class Written:
    """The receipt of an outcome, and what is kept with it."""

    receipt: Receipt
    linked: Linked
    effects: Effects


def write_receipt(
    key: Key,
    instruction: Instruction,
    outcome: Outcome,
    limits: Limits,
    level: str | None,
    *,
    mode: str,
    now: int,
    invocation: CID | None = None,
    ran: CID | None = None,
) -> Written:
    """Sign what came of an instruction, awaits filled in. What no receipt can hold of a result, an
    error in it, so that there is one of everything that ended.

    Args:
        level, now, invocation, ran: as for `receipt_meta` and `Receipt.issue`.
    """

    def write(outcome: Outcome) -> Written:
        outcome, effects = effects_of(outcome)
        linked = link_large(outcome)
        receipt = Receipt.issue(
            key,
            instruction,
            linked.out,
            linked=linked.kind,
            meta=receipt_meta(instruction, outcome, linked, limits, level),
            mode=mode,
            fork=[one.cid for one in effects.fork],
            join=None if effects.join is None else effects.join.cid,
            now=now,
            invocation=invocation,
            ran=ran,
        )
        return Written(receipt, linked, effects)

    try:
        return write(outcome)
    except (LimitError, CodecError) as fault:  # what an operation says of itself, or all of it
        return write(Outcome(error=_unsayable(fault)))


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
        except (LimitError, CodecError) as fault:
            error = _unsayable(fault)
    else:
        error = outcome.error
    try:
        value, kind = link_value(error, blocks)
    except (LimitError, CodecError):  # what came with the error cannot be kept: what it says can
        error = {key: _sayable(error[key]) for key in ("code", "message") if key in error}
        value, kind = link_value({**error, "truncated": True}, blocks)
    return Linked(Result.of_error(value), kind, str(error.get("code", "")), trace, blocks)


def _unsayable(fault: LimitError | CodecError) -> dict[str, Any]:
    """The error of a result that no receipt can hold."""
    if isinstance(fault, LimitError) or fault.rule == "nesting":
        return {"code": "output-limit", "message": f"the result: {fault}"}
    return {"code": BAD_RESULT, "message": f"the result: {fault}"}


def _sayable(text: Any) -> str:
    return str(text)[:MESSAGE_CHARS_MAX].encode(errors="backslashreplace").decode()


def _without_large_bytes(outcome: Outcome, blocks: list[Block]) -> Any:
    """A record that an operation made, with its large byte strings (the body of an HTTP answer,
    what a program printed) as links to files. What a guest returned stays as it is, so that links
    in it are its own."""
    made_here = not outcome.path and isinstance(outcome.ok, (dict, list))
    return link_bytes(outcome.ok, blocks) if made_here else outcome.ok


def link_bytes(value: Any, blocks: list[Block], depth: int = 0) -> Any:
    """`value` with every byte string that is too large for it replaced by a link to a file.

    An input follows the same constant as a result, so that the memo key does not depend on the way
    in which bytes came in.

    Raises:
        CodecError: it is nested too deep for the data model, counted from `depth`.
    """
    if isinstance(value, bytes):
        return link_value(value, blocks)[0]
    if not isinstance(value, (dict, list)):
        return value
    if depth >= NESTING_MAX:
        raise CodecError(f"nested deeper than {NESTING_MAX} levels", rule="nesting")
    if isinstance(value, dict):
        return {key: link_bytes(item, blocks, depth + 1) for key, item in value.items()}
    return [link_bytes(item, blocks, depth + 1) for item in value]


def thinned(store: Store, instruction: Instruction, is_secret: Callable[[], bool]) -> Instruction:
    """An instruction with large byte strings as links to files, which are stored; itself where it
    has none.

    Args:
        is_secret: whether they stay on this node.
    """
    if len(instruction.data) <= INLINE_BYTES_MAX:
        return instruction
    blocks: list[Block] = []
    thin = link_bytes(instruction.input, blocks)
    if not blocks:
        return instruction
    store.blocks.put_many(blocks, secret=is_secret())
    return replace(instruction, input=thin)


def link_value(value: Any, blocks: list[Block]) -> tuple[Any, LinkKind | None]:
    """`value` itself when it is small, else a link to it; new blocks are appended to `blocks`.

    Raises:
        LimitError: a value that is not bytes is larger than one block.
        CodecError: it is no value of the IPLD data model, or nested too deep for a receipt.
    """
    if isinstance(value, bytes):
        if len(value) <= INLINE_BYTES_MAX and len(dag_cbor.encode(value)) <= INLINE_BYTES_MAX:
            return value, None
        return unixfs.write_file(io.BytesIO(value), blocks.append), "file"
    data = dag_cbor.encode(value, depth=_AROUND)
    if len(data) <= INLINE_BYTES_MAX:
        return value, None
    if len(data) > BLOCK_BYTES_MAX:
        raise LimitError(
            f"{len(data)} bytes as one value; the limit is {BLOCK_BYTES_MAX}, "
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
    if outcome.trace_stdout:
        meta["trace_stdout"] = list(outcome.trace_stdout)
    if linked.kind is not None and linked.code:
        meta["code"] = linked.code
    return meta


def effects_of(outcome: Outcome) -> tuple[Outcome, Effects]:
    """What a result asks for. A result whose effects cannot be read is an error."""
    if outcome.fx is None:
        return outcome, Effects()
    try:
        fork, join = outcome.fx
        return outcome, Effects.of(fork, join)
    except (UsageError, TypeError, ValueError) as fault:  # of another form at all, by a plug-in
        error = {"code": BAD_EFFECTS, "message": str(fault)}
        return replace(outcome, ok=None, error=error, fx=None), Effects()
