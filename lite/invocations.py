"""Doing what others ask for: an invocation in, a receipt that names it out.

    check     `proofs.check` lets it in, and claims it so that it counts once
    rebuild   args {rsc, input, nnc?} and the nonce give back the instruction that was meant
    bound     args.limits, within what guests may use here
    promises  awaits are filled in; the policies are asked again about what they became
    answer    a receipt of ours with the Task ID and the CID of the invocation

The nonce of the invocation is the instruction's `nnc`, unless that is text (args.nnc), or the nonce
only repeats the start of the instruction's digest, for those who refuse an empty one.
Source: UCAN Invocation 1.0.0-rc.1; the mapping of IPVM instructions is ours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from lite.authority import Authority
from lite.errors import CidError, UsageError
from lite.executor import Executor, Settled, Warrant
from lite.ipld.cid import CID
from lite.limits import Limits
from lite.model.instruction import Instruction
from lite.model.limits_map import limits_from_meta
from lite.model.promise import Await
from lite.parcel import Parcel
from lite.store import Store
from lite.ucan import proofs
from lite.ucan.authorised import Authorised
from lite.ucan.checks import Place
from lite.ucan.invocation import Invocation
from lite.ucan.refusals import Replayed

NONCE_BYTES: Final = 12
IPFS = "ipfs://"
_ARGS: Final = frozenset({"rsc", "input", "nnc", "limits"})


def serve(
    data: bytes,
    *,
    authority: Authority,
    executor: Executor,
    store: Store,
    did: str,
    guest: Limits,
) -> Settled:
    """Do what an invocation asks for; see `Node.run_invocation`.

    Args:
        data: a token, or a container with it and its proofs.
        did: of this node.
        guest: what it may use at most.
    """
    parcel = Parcel.read(data)
    if len(parcel.invocations) != 1:
        raise UsageError(f"there are {len(parcel.invocations)} invocations in it, not one")
    claims = _Claims(store)
    try:
        allowed = authority.authorise(
            parcel.invocations[0],
            executor=did,
            proofs_with_it=parcel.delegations,
            claim=claims.claim,
        )
    except Replayed:
        earlier = claims.earlier()
        if earlier is None:
            raise
        return earlier
    try:
        store.tokens.add(allowed.chain, durable=False)
        return _do(allowed, claims.cid, executor, guest)
    except BaseException:
        claims.release()
        raise


def _do(allowed: Authorised, claim: CID, executor: Executor, guest: Limits) -> Settled:
    invocation = allowed.invocation
    warrant = Warrant(invocation.task, invocation.cid, claim, _permit(allowed))
    return executor.run_for(warrant, instruction_of(invocation), limits_of(invocation, guest))


class _Claims:
    """The claim of one invocation: made by `proofs.check`, kept unless it led to nothing."""

    def __init__(self, store: Store) -> None:
        self._tokens = store.tokens
        self._cid: CID | None = None

    @property
    def cid(self) -> CID:
        assert self._cid is not None, "the check claims before it lets anything in"
        return self._cid

    def claim(self, cid: CID, until: int | None) -> bool:
        self._cid = cid
        return self._tokens.claim(cid, until)

    def release(self) -> None:
        self._tokens.release(self.cid)

    def earlier(self) -> Settled | None:
        """The receipt of the first time."""
        receipt = self._tokens.receipt_of(self.cid)
        return None if receipt is None else Settled(receipt, "cached", "done before")


def instruction_of(invocation: Invocation) -> Instruction:
    """The instruction that an invocation asks to run.

    Raises:
        UsageError: it is none that could be run; it names the field.
    """
    args = invocation.args
    for name in sorted(args.keys() - _ARGS):
        raise UsageError(f"args: {name[:64]!r} is not known for {invocation.command}")
    if "rsc" not in args:
        raise UsageError("args: rsc is missing")
    rsc: Any = args["rsc"]
    _check_spelling(rsc)
    fields = (Await.from_value(rsc) or rsc, invocation.command[1:], args.get("input", {}))
    told = args.get("nnc")
    if told is not None:
        if type(told) is not str:
            raise UsageError("args: nnc must be text; bytes are in the nonce")
        return Instruction(*fields, told)
    nonce = invocation.nonce
    plain = Instruction(*fields)
    if not nonce or nonce == nonce_for(plain):
        return plain
    return Instruction(*fields, nonce)


def _check_spelling(rsc: Any) -> None:
    """One module, one spelling: policies compare `rsc` as text."""
    if type(rsc) is not str or not rsc.startswith(IPFS):
        return
    root, slash, path = rsc.removeprefix(IPFS).partition("/")
    whole = all(part not in ("", ".", "..") for part in path.split("/")) and "%" not in path
    try:
        usual = str(CID.parse(root)) == root
    except CidError:
        return  # the instruction will say what is wrong with it
    if not usual or (slash and not whole):
        raise UsageError(
            "args: rsc has to be written as ipfs://CID[/path] with the CID in its usual form"
        )


def nonce_for(instruction: Instruction) -> bytes:
    """A nonce that is always the same for an instruction and as long as the spec advises."""
    return instruction.cid.digest[:NONCE_BYTES]


def args_of(instruction: Instruction, limits: dict[str, int] | None = None) -> dict[str, Any]:
    """The arguments of an invocation of an instruction.

    Args:
        limits: `fuel`, `memory` (bytes), `time` (ms), `output` (bytes), as far as policies or the
            one who asks want them.
    """
    value = instruction.value()
    args: dict[str, Any] = {"rsc": value["rsc"], "input": value["input"]}
    if type(instruction.nnc) is str and instruction.nnc:
        args["nnc"] = instruction.nnc
    if limits:
        args["limits"] = dict(limits)
    return args


def limits_of(invocation: Invocation, guest: Limits) -> Limits:
    """What the run may use: what the invocation asks for, within what guests get.

    Raises:
        UsageError: args.limits is not a map of whole numbers.
    """
    asked = limits_from_meta({"limits": invocation.args.get("limits")}, None, guest)
    return asked.clamp(guest)


def _permit(allowed: Authorised) -> Callable[[Instruction], None]:
    """Ask the policies again, about arguments whose awaits were filled in."""

    def permit(reified: Instruction) -> None:
        value = reified.value()
        args = {**allowed.invocation.args, "rsc": value["rsc"], "input": value["input"]}
        failed = allowed.failure(args)
        if failed is None:
            return
        position, failure = failed
        place = Place(allowed.chain[position].cid, position, len(allowed.chain))
        raise place.refused(proofs.policy_refusal(failure), "7i")

    return permit
