"""Receipts: a node's signed word on how an instruction ended.

A receipt is a UCAN 1.0 invocation of `/ucan/assert/receipt` that its executor issues to itself:

    iss = sub = executor    cmd "/ucan/assert/receipt"    no aud    prf []    exp null or a time
    args = {ran, ins, out, fx: {fork, join?}, outl?, mode?, inv?}    meta    iat    nonce

`ins` is the CID of the instruction, the memo key; `ran` the UCAN Task ID, which also holds the
executor's name. `outl` says that the link in `out` was put there by the node, because the value is
large: "file" for bytes in a UnixFS file, "dag-cbor" for any other value. `mode` names value rules
other than the usual ones. A receipt is stored and shared as the bytes of its token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Literal

from lite.errors import LimitError
from lite.frozen import frozen
from lite.ipld import dag_cbor
from lite.ipld.cid import CID, DAG_CBOR, SHA3_256
from lite.keys import Key
from lite.limits import INLINE_BYTES_MAX
from lite.model import receipt_shape
from lite.model.instruction import Instruction
from lite.model.result import Result
from lite.ucan import envelope, self_issued
from lite.ucan.envelope import Token

Linked = Literal["file", "dag-cbor"]

COMMAND: Final = receipt_shape.COMMAND
_NONCE_KEY = dag_cbor.encode("nonce")


@frozen
class Receipt:
    """One receipt. Equal to another when the bytes are."""

    token: Token

    @staticmethod
    def issue(
        key: Key,
        instruction: Instruction,
        out: Result,
        *,
        now: int,
        meta: Mapping[str, Any] | None = None,
        linked: Linked | None = None,
        mode: str = "",
        fork: Sequence[CID] = (),
        join: CID | None = None,
        expires_at: int | None = None,
        invocation: CID | None = None,
        ran: CID | None = None,
        nonce: bytes | None = None,
    ) -> Receipt:
        """Sign a receipt for an instruction that this node ran.

        Args:
            now: seconds since 1970; becomes `iat`.
            meta: what was used and by which engine; never part of the memo key.
            linked: the body of `out` is a link that the node put there, see above.
            mode: value rules other than the usual ones, e.g. "homestar".
            fork: instructions to be run because of this one, in any order; sorted here.
            join: the instruction that goes on with this one's thread.
            expires_at: last second in which it holds; None when pure, so for ever.
            invocation: the invocation that asked for it, if anybody did.
            ran: the Task ID of that invocation; made for the executor's own task when absent.
            nonce: 12 random bytes when absent.

        Raises:
            CodecError: a value is outside the IPLD data model.
            LimitError: a value is too large to stand in a receipt; the caller links it instead.
        """
        args = {
            "ran": ran or own_task_id(key.did, instruction),
            "ins": instruction.cid,
            "out": out.value(),
            "fx": _given(fork=sorted(set(fork), key=str), join=join),
            **_given(outl=linked, mode=mode or None, inv=invocation),
        }
        payload = self_issued.payload(
            key, COMMAND, args, now=now, expires_at=expires_at, nonce=nonce
        )
        payload["meta"] = dict(meta or {})
        receipt_shape.check(payload)
        token = envelope.sign(envelope.TAG_INVOCATION, payload, key)
        if len(token.data) > INLINE_BYTES_MAX:
            _check_inline(out, meta or {})
        return Receipt(token)

    @staticmethod
    def parse(data: bytes, *, verify: bool = True) -> Receipt:
        """Read a receipt from outside.

        Args:
            verify: check the signature as well; only a caller that does it later says False.

        Raises:
            CodecError: not the canonical bytes of a token.
            IntegrityError: a token, but not one of the form above.
            SignatureError: not signed by its issuer.
        """
        return Receipt(self_issued.read(data, receipt_shape.check_token, verify=verify))

    @staticmethod
    def from_store(data: bytes, cid: CID | None = None) -> Receipt:
        """Read a receipt that was parsed and verified before it was stored. Checks nothing.

        Args:
            cid: of `data`, when known.

        Raises:
            CodecError: the stored bytes are damaged.
        """
        return Receipt(envelope.parse_trusted(data, cid))

    @property
    def cid(self) -> CID:
        return self.token.cid

    @property
    def data(self) -> bytes:
        """The bytes of the token."""
        return self.token.data

    @property
    def issuer(self) -> str:
        """The DID of the executor, which signed."""
        return self.token.issuer

    @property
    def ran(self) -> CID:
        """The UCAN Task ID."""
        cid: CID = self._args["ran"]
        return cid

    @property
    def instruction(self) -> CID:
        """The CID of the instruction, under the hash function that the executor used."""
        cid: CID = self._args["ins"]
        return cid

    @property
    def out(self) -> Result:
        return Result.from_value(self._args["out"])

    @property
    def linked(self) -> Linked | None:
        """How to read the link in `out`, when the node put it there."""
        linked: Linked | None = self._args.get("outl")
        return linked

    def output_links(self) -> list[CID]:
        """Links to output that did not fit into the receipt: the result's and the trace's."""
        links = [] if self.linked is None else [self.out.body]
        trace = self.meta.get("trace")
        return links + ([trace] if type(trace) is CID else [])

    @property
    def error_code(self) -> str:
        """The code of the error; when the error is linked, the one in `meta`; else empty."""
        code = self.out.error_code
        if code or self.out.is_ok or self.linked is None:
            return code
        told = self.meta.get("code")
        return told if type(told) is str else ""

    @property
    def mode(self) -> str:
        """Value rules other than the usual ones, e.g. "homestar"; else empty."""
        mode: str = self._args.get("mode", "")
        return mode

    @property
    def fork(self) -> list[CID]:
        """Instructions to be run because of this one, in no order."""
        fork: list[CID] = self._args.get("fx", {}).get("fork", [])
        return fork

    @property
    def join(self) -> CID | None:
        """The instruction that goes on with this one's thread."""
        join: CID | None = self._args.get("fx", {}).get("join")
        return join

    @property
    def invocation(self) -> CID | None:
        cid: CID | None = self._args.get("inv")
        return cid

    @property
    def meta(self) -> dict[str, Any]:
        meta: dict[str, Any] = self.token.payload.get("meta", {})
        return meta

    @property
    def issued_at(self) -> int:
        """Seconds since 1970, as the executor's clock had it."""
        iat: int = self.token.payload["iat"]
        return iat

    @property
    def expires_at(self) -> int | None:
        """The last second in which the receipt holds; None: for ever."""
        exp: int | None = self.token.payload["exp"]
        return exp

    @property
    def proofs(self) -> list[CID]:
        proofs: list[CID] = self.token.payload["prf"]
        return proofs

    @property
    def _args(self) -> dict[str, Any]:
        args: dict[str, Any] = self.token.payload["args"]
        return args

    def view(self) -> dict[str, Any]:
        """The receipt as the talk on IPVM drew it, `{ran, out, fx, meta, iss, prf, sig}`, with its
        `cid`, `ins`, times, and those of `outl`, `mode` and `inv` that it has."""
        return {
            "cid": self.cid,
            "ins": self.instruction,
            "ran": self.ran,
            "out": self._args["out"],
            "fx": _given(fork=self.fork, join=self.join),
            "meta": self.meta,
            "iss": self.issuer,
            "prf": self.proofs,
            "sig": self.token.signature,
            "iat": self.issued_at,
            "exp": self.expires_at,
            **_given(outl=self.linked, mode=self.mode or None, inv=self.invocation),
        }

    def homestar_view(self, task: Mapping[str, Any]) -> dict[str, Any]:
        """The unsigned receipt that Homestar would have made; for its clients only.

        Args:
            task: the IPLD map of the task as it stood in the workflow, instruction inlined.

        Raises:
            CodecError: `task` is outside the IPLD data model.
        """
        invocation = dag_cbor.encode({"task": dict(task)})
        return {
            "ran": CID.of(invocation, DAG_CBOR, SHA3_256),
            "out": [self.out.branch, self.out.body],
            "meta": {"op": self.meta.get("func", "")},
            "iss": None,
            "prf": [],
        }


def own_task_id(did: str, instruction: Instruction) -> CID:
    """The UCAN Task ID of an instruction that nobody invoked: the executor is its own subject.

    It is what `lite.ucan.task.task_id` gives for it, put together from the instruction's own bytes.
    """
    nonce = instruction.nnc if isinstance(instruction.nnc, bytes) else b""
    head = _task_head(did, instruction.op)
    data = b"".join((head, instruction.args_data, _NONCE_KEY, dag_cbor.encode(nonce)))
    return CID.of(data, DAG_CBOR)


@lru_cache(maxsize=16)
def _task_head(did: str, op: str) -> bytes:
    """How the bytes of `{cmd, sub, args, nonce}` begin, up to the value of `args`."""
    pairs = ("cmd", f"/{op}", "sub", did, "args")
    return b"\xa4" + b"".join(map(dag_cbor.encode, pairs))


def _given(**fields: Any) -> dict[str, Any]:
    """The fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def _check_inline(out: Result, meta: Mapping[str, Any]) -> None:
    parts = {f"out.{out.branch}": out.body, **{f"meta.{name}": meta[name] for name in meta}}
    for name, value in parts.items():
        size = len(dag_cbor.encode(value))
        if size > INLINE_BYTES_MAX:
            raise LimitError(f"{name} has {size} bytes, at most {INLINE_BYTES_MAX} in a receipt")
