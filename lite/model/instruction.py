"""What to compute: `{rsc, op, input, nnc}`.

The CID of an instruction is the memo key: it holds no subject, limit or signature, so that nodes
share results. Its bytes are those of Homestar, whose sha3-256 CID of them is kept as an alias.
Source: UCAN Invocation 0.2.0, Instruction.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from lite.errors import BugError, CidError, CodecError, UsageError
from lite.frozen import field, frozen
from lite.ipld import dag_cbor
from lite.ipld.cid import CID, DAG_CBOR, SHA3_256
from lite.limits import BLOCK_BYTES_MAX, NESTING_MAX
from lite.model.place import FieldError
from lite.model.promise import Await, leaves

__all__ = ["WASM_RUN", "Await", "Instruction", "wasm"]

WASM_RUN: Final = "wasm/run"
OP_CHARS_MAX: Final = 128
NONCE_CHARS_MAX: Final = 128

_IPFS = "ipfs://"
_MODULES_CACHED = 64
_URI_CHARS_CACHED = 256
_KEYS = frozenset({"rsc", "op", "input", "nnc"})
_LEAVES = frozenset({str, int, bytes, CID, float, bool, type(None)})
_AWAIT = b"await/"  # in the bytes of every await
_OP_KEY_BYTES = len(dag_cbor.encode("op"))
_NNC_KEY_BYTES = len(dag_cbor.encode("nnc"))
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s\x00-\x1f\x7f]+")
_OP = re.compile(r"[a-z0-9_.-]+(/[a-z0-9_.-]+)+")


@frozen
class Instruction:
    """One computation, checked when made, and its bytes. Equal to another when the bytes are.

    Attributes:
        rsc: the URI of what `op` acts on, or the await that gives it.
        op: ability, lower case, e.g. `wasm/run`.
        input: IPLD map; may hold awaits in encoded form at any depth (`Await` objects are encoded,
            tuples become lists).
        nnc: empty for work that may be repeated and reused; else what makes it unique.
        data: canonical DAG-CBOR of the four keys.
        cid: sha2-256 of `data`: the memo key.

    Raises:
        UsageError: it names the field that is wrong.
    """

    rsc: str | Await = field(compare=False)
    op: str = field(compare=False)
    input: dict[str, Any] = field(default_factory=dict, compare=False)
    nnc: str | bytes = field(default="", compare=False)
    data: bytes = field(init=False, repr=False)
    cid: CID = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        head = _head(self.rsc, self.op, self.nnc)
        if type(self.input) is not dict:
            raise FieldError(("input",), "a map is needed", hint='Write {"args": […]}.')
        object.__setattr__(self, "input", _plain(self.input, 0))
        try:
            data = head + dag_cbor.encode(self.input, depth=1)
        except CodecError:
            raise _unfit(self.value()) from None
        if len(data) > BLOCK_BYTES_MAX:
            raise FieldError(
                ("input",),
                f"the instruction has {len(data)} bytes, at most {BLOCK_BYTES_MAX}",
                hint="Add large values as files and pass their CIDs.",
            )
        object.__setattr__(self, "data", data)
        object.__setattr__(self, "cid", CID.of(data, DAG_CBOR))

    @staticmethod
    def from_value(value: Any) -> Instruction:
        """Read an instruction that a person or another tool wrote, as an IPLD value.

        `input` and `nnc` may be absent (empty), and `rsc` may be a link, which becomes an `ipfs:`
        URI; so the CID is that of the completed form, not always of the bytes that came in.

        Raises:
            UsageError: it names the field that is wrong.
        """
        if type(value) is not dict:
            raise UsageError("an instruction is a map with rsc, op, input and nnc")
        for key in sorted(map(str, value.keys() - _KEYS)):
            raise FieldError(
                (key,), "is not a field of an instruction", hint="It has rsc, op, input and nnc."
            )
        for key, example in (("rsc", "ipfs://CID"), ("op", WASM_RUN)):
            if key not in value:
                raise FieldError((key,), "missing from the instruction", hint=f"Such as {example}.")
        rsc = value["rsc"]
        if type(rsc) is CID:
            rsc = f"{_IPFS}{rsc}"
        return Instruction(
            Await.from_value(rsc) or rsc,
            value["op"],
            value.get("input", {}),
            value.get("nnc", ""),
        )

    @staticmethod
    def parse(data: bytes) -> Instruction:
        """Read the block of an instruction: exactly the bytes that `data` of the result holds.

        Raises:
            CodecError: other bytes.
        """
        value = dag_cbor.decode(data)
        try:
            instruction = Instruction.from_value(value)
        except UsageError as error:
            raise CodecError(f"not an instruction: {error}") from None
        if instruction.data != data:
            raise CodecError("not the block of an instruction: it has other fields or forms")
        return instruction

    @property
    def sha3(self) -> CID:
        """The same bytes under sha3-256, the name that Homestar gives to them."""
        return CID.of(self.data, DAG_CBOR, SHA3_256)

    @property
    def ok(self) -> Await:
        """The value of this instruction, for the input of another; that fails if this does."""
        return Await("ok", self.cid)

    @property
    def error(self) -> Await:
        """The error of this instruction, for the input of another; that fails if there is none."""
        return Await("error", self.cid)

    @property
    def any(self) -> Await:
        """The whole result, keyed by `ok` or `error`, for the input of another instruction."""
        return Await("*", self.cid)

    @property
    def module(self) -> CID | None:
        """The CID in an `ipfs://` resource, else None."""
        parts = self._ipfs_parts
        return parsed_cid(parts[0]) if parts else None

    @property
    def module_path(self) -> str:
        """The path behind the CID in an `ipfs://` resource, percent-decoded and without the slash
        in front; else empty."""
        parts = self._ipfs_parts
        path = parts[2] if parts else ""
        if "%" not in path:
            return path
        from urllib.parse import unquote

        return unquote(path)

    @property
    def _ipfs_parts(self) -> tuple[str, str, str] | None:
        if type(self.rsc) is not str or not self.rsc.startswith(_IPFS):
            return None
        return self.rsc[len(_IPFS) :].partition("/")

    def value(self) -> dict[str, Any]:
        """The IPLD map of all four keys."""
        rsc = self.rsc.value() if isinstance(self.rsc, Await) else self.rsc
        return {"op": self.op, "nnc": self.nnc, "rsc": rsc, "input": self.input}

    def awaits(self) -> list[Await]:
        """Every distinct await in `rsc` and `input`, in the order of the encoded form."""
        if _AWAIT not in self.data:
            return []
        found = [part for part in leaves(self.value()) if type(part) is Await]
        return list(dict.fromkeys(found))

    @property
    def args_data(self) -> bytes:
        """The DAG-CBOR of the arguments of a UCAN task: `{rsc, input}`, and `nnc` when that is
        text. In the bytes of the instruction these are the last keys, in the same order."""
        at = 1 + _OP_KEY_BYTES + len(dag_cbor.encode(self.op))
        if type(self.nnc) is str and self.nnc:
            return b"\xa3" + self.data[at:]
        at += _NNC_KEY_BYTES + len(dag_cbor.encode(self.nnc))
        return b"\xa2" + self.data[at:]

    def links(self) -> list[CID]:
        """Every distinct link in `input` to content, which awaits are not."""
        found = [part for part in leaves(self.input) if type(part) is CID]
        return list(dict.fromkeys(found))

    def substitute(self, values: Mapping[Await, Any]) -> Instruction:
        """The same instruction with every await replaced: the reified instruction.

        Args:
            values: for each of `awaits()`, what its `select` gave. For an await in `rsc`, a CID or
                a URI.

        Raises:
            UsageError: a value does not fit, or would itself be read as an await.
        """
        rsc: Any = self.rsc
        if isinstance(rsc, Await):
            rsc = _lookup(values, rsc)
            if type(rsc) is CID:
                rsc = f"{_IPFS}{rsc}"
        reified = Instruction(rsc, self.op, _substituted(self.input, values), self.nnc)
        # Else a task could hand out data that make the next step wait for, and be remembered as,
        # the result of an instruction of its choice.
        for found in reified.awaits():
            raise FieldError(("input",), f"a value would be read as await/{found.branch}")
        return reified


def wasm(
    rsc: CID | str | Await,
    func: str | None,
    *args: Any,
    nnc: str | bytes = "",
    env: Mapping[str, str] | None = None,
    stdin: Any = None,
) -> Instruction:
    """A call of a WebAssembly function, or a run of a WASI command.

    Args:
        rsc: the CID of the module, its URI, or the await that gives it.
        func: exported function; None for a WASI command, and then `input` has no `func`.
        args: IPLD values, CIDs of content, awaits (`step.ok`), nested as needed.
        nnc: set it to make this call unlike an equal one.
        env: environment of a WASI command.
        stdin: standard input of a WASI command: bytes, text, or the CID of a file.

    Raises:
        UsageError: it names the field that is wrong.
    """
    given: dict[str, Any] = {"args": list(args)}
    if func is not None:
        given["func"] = func
    if env is not None:
        if not isinstance(env, Mapping):
            raise FieldError(("input", "env"), "a map of texts is needed")
        given["env"] = dict(env)
    if stdin is not None:
        given["stdin"] = stdin
    return Instruction(f"{_IPFS}{rsc}" if isinstance(rsc, CID) else rsc, WASM_RUN, given, nnc)


# A node runs few modules many times, and reads the CID of each on every run.
parsed_cid = lru_cache(_MODULES_CACHED)(CID.parse)


def _head(rsc: Any, op: Any, nnc: Any) -> bytes:
    """The bytes of an instruction up to the value of its last key, `input`; checks the rest."""
    plain = type(rsc) is type(op) is type(nnc) is str
    if plain and not nnc and len(rsc) <= _URI_CHARS_CACHED:
        return _known_head(rsc, op)
    return _checked_head(rsc, op, nnc)


def _checked_head(rsc: Any, op: Any, nnc: Any = "") -> bytes:
    _check_rsc(rsc)
    if type(op) is not str or len(op) > OP_CHARS_MAX or not _OP.fullmatch(op):
        raise FieldError(("op",), "an ability like wasm/run is needed, in lower case")
    if type(nnc) not in (str, bytes) or len(nnc) > NONCE_CHARS_MAX:
        raise FieldError(("nnc",), f"text or bytes, at most {NONCE_CHARS_MAX} long")
    rsc = rsc.value() if type(rsc) is Await else rsc
    value = {"op": op, "nnc": nnc, "rsc": rsc, "input": None}
    try:
        return dag_cbor.encode(value)[:-1]  # without the null
    except CodecError:
        raise _unfit(value) from None


_known_head = lru_cache(_MODULES_CACHED)(_checked_head)


def _unfit(value: dict[str, Any]) -> UsageError:
    """What to say of an instruction that has no bytes."""
    try:
        dag_cbor.encode(value)
    except CodecError as error:
        return UsageError(f"the instruction {error}")
    raise BugError("an instruction whose parts have no bytes has some")


def _check_rsc(rsc: Any) -> None:
    if type(rsc) is Await:
        return
    if type(rsc) is not str or not _URI.fullmatch(rsc):
        raise FieldError(("rsc",), "a URI like ipfs://CID is needed")
    if not rsc.startswith(_IPFS):
        return
    try:
        parsed_cid(rsc[len(_IPFS) :].partition("/")[0])
    except CidError as error:
        raise FieldError(("rsc",), str(error), hint=error.hint) from None


def _plain(value: Any, depth: int) -> Any:
    """A copy with awaits encoded and tuples as lists; the encoder judges everything else."""
    if depth > NESTING_MAX:
        raise FieldError(("input",), f"nested deeper than {NESTING_MAX} levels")
    kind = type(value)
    depth += 1
    if kind is dict:
        return {
            key: item if type(item) in _LEAVES else _plain(item, depth)
            for key, item in value.items()
        }
    if kind is list or kind is tuple:
        return [item if type(item) in _LEAVES else _plain(item, depth) for item in value]
    if kind is Await:
        return value.value()
    if kind is Instruction:
        raise FieldError(
            ("input",), "an instruction is not a value", hint="Pass its result, step.ok."
        )
    return value


def _substituted(value: Any, values: Mapping[Await, Any]) -> Any:
    found = Await.from_value(value)
    if found:
        return _lookup(values, found)
    if type(value) is dict:
        return {key: _substituted(item, values) for key, item in value.items()}
    if type(value) is list:
        return [_substituted(item, values) for item in value]
    return value


def _lookup(values: Mapping[Await, Any], wanted: Await) -> Any:
    if wanted not in values:
        raise BugError(f"no value was given for {wanted}")
    return values[wanted]
