"""Doing what others ask for: an invocation in, a receipt that names it out.

    check     `proofs.check` lets it in, and claims it so that it counts once
    rebuild   args {rsc, input, nnc?} and the nonce give back the instruction that was meant
    bound     args.limits, within what guests may use here
    promises  awaits are filled in; the policies are asked again about what they became, and about
              the function that is meant
    answer    a receipt of ours with the Task ID and the CID of the invocation

The nonce of the invocation is the instruction's `nnc`, unless that is text (args.nnc), or the nonce
only repeats the start of the instruction's digest, for those who refuse an empty one.
Source: UCAN Invocation 1.0.0-rc.1; the mapping of IPVM instructions is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from lite.authority import Authority
from lite.content import StoreFiles
from lite.engine.base import GuestFailure
from lite.errors import (
    AuthorityError,
    CodecError,
    IpvmError,
    ModuleError,
    NotFoundError,
    QueuedError,
    UsageError,
)
from lite.executor import FOR_OTHERS, Executor, Settled, Warrant, Watch
from lite.ipld.block import Block
from lite.ipld.cid import CID
from lite.limits import Limits
from lite.model import spelling
from lite.model.instruction import WASM_RUN, Instruction
from lite.model.known_meta import is_private
from lite.model.limits_map import limits_from_meta
from lite.model.promise import Await
from lite.model.receipt import Receipt
from lite.ops import base as ops
from lite.parcel import Parcel
from lite.settled import Also, NotHere, Results
from lite.store import Store
from lite.ucan import envelope, proofs, twins
from lite.ucan.authorised import Authorised
from lite.ucan.checks import Place
from lite.ucan.invocation import Invocation
from lite.ucan.proofs import Claim
from lite.ucan.refusals import InDoubt, Refusal, Replayed, Revoked

if TYPE_CHECKING:
    from lite.engine.module import ModuleInfo

NONCE_BYTES: Final = 12
Bounds = Callable[[Authorised], Limits]
"""What one that was let in may use at most."""
Act = Callable[[Warrant, Instruction, Limits], Settled]
"""Answers an instruction for somebody else, and keeps the receipt with the claim."""
Info = Callable[[CID], "ModuleInfo"]
"""What a module is (`Node.info`), for policies that ask which function is called."""
_ARGS: Final = frozenset({"rsc", "input", "nnc", "limits"})


def serve(
    data: bytes,
    *,
    authority: Authority,
    executor: Executor,
    store: Store,
    did: str,
    guest: Limits | Bounds,
    ops_allowed: Collection[str],
    info: Info,
    watch: Watch = FOR_OTHERS,
    results: Results | None = None,
    begins: Callable[[], object] | None = None,
    undone: Callable[[], object] | None = None,
    act: Act | None = None,
    also: Also | None = None,
) -> Settled:
    """Do what an invocation asks for; see `Node.run_invocation`.

    Args:
        data: a token, or a container with it and its proofs.
        did: of this node.
        guest: what it may use at most.
        ops_allowed: the operations that others may have done here at all, whatever they can prove.
        info: see `Info`.
        results: asked first for the receipts of awaited instructions; then what is known here is.
        begins: called when it was let in, before anything is done for it.
        undone: called when its claim is taken back: it came to nothing, and nothing was begun.
        act: answers it, in place of running it here. It has to ask `Warrant.permit` first.
        also: see `Warrant.also`.
    """
    parcel = Parcel.read(data)
    asked = parcel.asked()
    if len(asked) != 1:
        raise _not_one(parcel)
    with _Claim(store, durable=not _is_harmless(asked[0], executor), undone=undone) as claim:
        try:
            allowed = admit(authority, parcel, asked[0], did, claim.take)
        except Replayed as refusal:
            earlier = claim.earlier()
            if earlier is None:
                raise
            raise _answered(refusal, earlier) from None
        bounds = guest if isinstance(guest, Limits) else guest(allowed)
        act = act or partial(executor.run_for, watch=watch, results=results)
        return _do(allowed, claim, store, executor, bounds, ops_allowed, act, info, begins, also)


def _is_harmless(data: bytes, executor: Executor) -> bool:
    """Whether what is asked for may be done again, as far as can be said before any check."""
    try:
        return executor.may_repeat(instruction_of(Invocation.parse(data)))
    except IpvmError:
        return False


def _not_one(parcel: Parcel) -> UsageError:
    count = len(parcel.asked())
    if count:
        return UsageError(
            f"there are {count} invocations in it, not one", hint="send them one by one"
        )
    kinds = {
        "delegation": parcel.delegations,
        "revocation": parcel.revocations,
        "receipt": parcel.receipts,
    }
    held = [f"a {kind}" for kind, tokens in kinds.items() if tokens]
    return UsageError(
        f"there is no invocation in it, but {' and '.join(held) or 'nothing at all'}",
        hint="`ipvm ucan import` keeps delegations, revocations and receipts" if held else None,
    )


def admit(
    authority: Authority, parcel: Parcel, data: bytes, did: str, claim: Claim | None
) -> Authorised:
    """Let one of the invocations of a parcel in, or not. The revocations that came with it are
    heeded, and kept when they matter: those of what is here first, for whatever comes of it.

    Args:
        did: of this node.
        claim: None: only look whether it would be let in.

    Raises:
        Refusal: why not. UsageError: too many revocations came with it.
    """
    heeded = authority.heeded(parcel) if parcel.revocations else []
    authority.keep(heeded, parcel)
    try:
        return authority.authorise(
            data,
            executor=did,
            proofs_with_it=parcel.delegations,
            claim=claim,
            heeded=heeded,
        )
    except Revoked as refusal:
        authority.keep_stopping(heeded, parcel, refusal)
        raise


def _answered(refusal: Replayed, earlier: Receipt) -> Refusal:
    """The refusal of what was answered before; its details name the receipt."""
    return Replayed(
        str(refusal),
        step=refusal.step,
        token=refusal.token,
        details={"receipt": str(earlier.cid)},
        hint=f"`ipvm receipt show {earlier.cid}` shows the receipt of the first; to have it done "
        "again, send a new invocation",
    )


def answer_to(invocation: CID | Invocation, store: Store) -> Settled | None:
    """What answered an invocation that was accepted here, or None.

    Signatures with a twin were claimed under one of two names. The other is found from the token,
    which is here with its receipt.
    """
    token = _token_of(invocation, store) if isinstance(invocation, CID) else invocation.token
    own = (invocation,) if isinstance(invocation, CID) else ()
    receipt = store.tokens.receipt_of(*own, *(() if token is None else twins.names(token)))
    return None if receipt is None else Settled(receipt, "cached", "done before")


def _token_of(invocation: CID, store: Store) -> envelope.Token | None:
    try:
        return envelope.parse(store.blocks.get(invocation))
    except (NotFoundError, CodecError):  # never done under this name, or no token
        return None


def _do(
    allowed: Authorised,
    claim: _Claim,
    store: Store,
    executor: Executor,
    guest: Limits,
    ops_allowed: Collection[str],
    act: Act,
    info: Info,
    begins: Callable[[], object] | None,
    also: Also | None,
) -> Settled:
    invocation = allowed.invocation
    instruction, limits = instruction_of(invocation), limits_of(invocation, guest)
    harmless = executor.may_repeat(instruction)
    if claim.is_taken_over and not harmless:
        raise _in_doubt(
            invocation,
            "accepted once already, and this node was stopped before it could sign a receipt; "
            f"whether {instruction.op} had its effect is not known",
        )
    claim.undone_by = (BaseException,)
    customer = whose_secret(invocation, instruction, store)
    check_open(instruction, store, ops_allowed, customer)
    store.tokens.add(allowed.chain, durable=False)
    asked = Block.trusted(invocation.cid, invocation.data)
    allows = permit_of(allowed, instruction, store, info, customer)

    def permit(reified: Instruction) -> None:
        allows(reified)
        if not harmless:  # it may begin to act now, unless an error says that it could not
            claim.undone_by = (QueuedError, UsageError, AuthorityError)

    warrant = Warrant(invocation.task, invocation.cid, claim.cid, asked, permit, also, customer)
    try:
        if begins is not None:
            begins()
        return act(warrant, instruction, limits)
    except ops.InDoubt as doubt:
        claim.undone_by = ()
        raise _in_doubt(invocation, str(doubt)) from doubt


def whose_secret(invocation: Invocation, instruction: Instruction, store: Store) -> str:
    """The DID of whoever asks, where that is a secret: it says so, as the steps of a workflow do,
    or the same instruction is here as the secret of another customer. Else empty."""
    secret = is_private(invocation.meta) or store.secrets.is_entrusted(instruction.cid)
    return invocation.issuer if secret else ""


def check_open(
    instruction: Instruction, store: Store, ops_allowed: Collection[str], customer: str = ""
) -> None:
    """Whether this node does such a thing for others at all.

    Args:
        customer: as `whose_secret` says; it may have read what it brought itself.

    Raises:
        AuthorityError: it does not.
    """
    _check_op(instruction.op, ops_allowed)
    store.secrets.refuse_reading(instruction, customer)
    _refuse_secret_answers(instruction, store, customer)


def _refuse_secret_answers(instruction: Instruction, store: Store, customer: str) -> None:
    """Stop an await whose answer is secret, by whatever name it asks: a Task ID is not marked."""
    waits = instruction.awaits()
    if not waits or store.secrets.is_empty():
        return
    for wait in waits:
        known = store.receipts.by_instruction(wait.instruction)
        behind = [cid for receipt in known for cid in (receipt.cid, receipt.instruction)]
        if store.secrets.leading_to(behind, customer) is not None:
            raise AuthorityError(
                f"{wait.instruction} is not here for others, or leads to something that is not",
                hint="Ask the owner of this node for it.",
            )


def _check_op(op: str, allowed: Collection[str]) -> None:
    """Refuse what this node does for its owner alone: a delegation of everything, made when there
    were fewer operations, does not open the later ones."""
    if op not in allowed:
        raise AuthorityError(
            f"this node does {op} for its owner only",
            hint="Its owner can add it to the setting ops.allowed_for_others.",
        )


def _in_doubt(invocation: Invocation, reason: str) -> Refusal:
    doubt = InDoubt(reason, hint="see whether it was done; if it was not, send a new invocation")
    return Place(invocation.cid).refused(doubt, "9")


class _Claim:
    """The claim of one invocation, made by `proofs.check`; a context manager.

    It holds a lease while it lasts: who comes with the same invocation meanwhile waits and gets
    the same receipt, and a claim without a receipt that nobody holds is that of a dead process.
    When its block ends with an error that says that it led to nothing, it is taken back.

    Args:
        durable: it survives a power cut. What is pure need not: it is done again then, which is no
            harm, and its receipt and claim are durable together.
        undone: called when it is taken back.

    Attributes:
        is_taken_over: it was such a one.
        undone_by: errors that take it back: any from the moment of the claim, until what is asked
            for may have begun to act. None for one that was taken over, of which that is not known.
    """

    def __init__(
        self, store: Store, *, durable: bool, undone: Callable[[], object] | None = None
    ) -> None:
        self._store = store
        self._durable = durable
        self._undone = undone
        self._tokens = store.tokens
        self._cid: CID | None = None
        self._lease = ExitStack()
        self.is_taken_over = False
        self.undone_by: tuple[type[BaseException], ...] = ()

    def __enter__(self) -> _Claim:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        with self._lease:
            if isinstance(error, self.undone_by):
                self._tokens.release(self.cid)
                if self._undone is not None:
                    self._undone()

    @property
    def cid(self) -> CID:
        assert self._cid is not None, "the check claims before it lets anything in"
        return self._cid

    def take(self, cid: CID, until: int | None) -> bool:
        """Claim it, after whoever holds it now; whether it is to be done.

        Raises:
            Replayed: it may have been done so long ago that this is not known any more.
        """
        self._lease.enter_context(self._store.lease(cid))
        self._cid = cid
        found = self._tokens.claim(cid, until, durable=self._durable)
        if found == "forgotten":
            refusal = Replayed(
                "may have been accepted before: of those that ended so early not all are known",
                hint="send a new invocation that ends later",
            )
            raise Place(cid).refused(refusal, "9")
        self.is_taken_over = found == "open"
        if found == "new":
            self.undone_by = (BaseException,)
        return found in ("new", "open")

    def earlier(self) -> Receipt | None:
        """The receipt of the first time, if it was answered."""
        return None if self._cid is None else self._tokens.receipt_of(self._cid)


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
    fields = (Await.from_value(rsc) or rsc, invocation.command[1:], args.get("input", {}))
    told = args.get("nnc")
    if told is not None:
        if type(told) is not str:
            raise UsageError("args: nnc must be text; bytes are in the nonce")
        return spelt(Instruction(*fields, told))
    nonce = invocation.nonce
    plain = Instruction(*fields)
    if not nonce or nonce == nonce_for(plain):
        return spelt(plain)
    return spelt(Instruction(*fields, nonce))


def spelt(instruction: Instruction) -> Instruction:
    """The same. Raises UsageError when its resource, which policies compare as text, is spelled in
    another way than the usual one."""
    rsc = instruction.rsc
    found = spelling.fault(rsc) if type(rsc) is str else None
    if found is not None:
        raise UsageError(
            f"args: rsc has to be in its usual form, because policies compare it as text: {found}",
            hint="Name a module as ipfs://CID[/path], with the CID in base32.",
        )
    return instruction


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
    try:
        asked = limits_from_meta({"limits": invocation.args.get("limits")}, None, guest)
    except UsageError as error:
        told = str(error).replace("meta.limits", "args.limits")
        raise UsageError(told, hint=error.hint) from None
    return asked.clamp(guest)


def permit_of(
    allowed: Authorised, instruction: Instruction, store: Store, info: Info, customer: str = ""
) -> Callable[[Instruction], None]:
    """What asks the policies again, about what is going to be done: with awaits filled in, and with
    the function that is meant where the arguments leave it open or spell it in another way."""

    def permit(reified: Instruction) -> None:
        spelt(reified)
        asked = allowed.invocation.args
        value = reified.value()
        args = {**asked, "rsc": value["rsc"], "input": value["input"]}
        if reified.cid != instruction.cid:
            store.secrets.refuse_reading(reified, customer)
            _ask_policies(allowed, args)
        if not any(link.policy.may_see("input", "func") for link in allowed.chain):
            return
        func = _function(reified, store, info)
        if func is not None and func != reified.input.get("func"):
            _ask_policies(allowed, {**args, "input": {**value["input"], "func": func}})

    return permit


def _ask_policies(allowed: Authorised, args: dict[str, Any]) -> None:
    failed = allowed.failure(args)
    if failed is None:
        return
    position, failure = failed
    place = Place(allowed.chain[position].cid, position, len(allowed.chain))
    raise place.refused(proofs.policy_refusal(failure), "7i")


def _function(instruction: Instruction, store: Store, info: Info) -> str | None:
    """The full name of the export that a call of WebAssembly means; None when it is no such call,
    or one that calls nothing.

    Raises:
        NotHere: the module is not here, so that nobody knows.
        ModuleError: what is there is no file or folder of any kind.
    """
    func = instruction.input.get("func")
    module = instruction.module
    if instruction.op != WASM_RUN or module is None or type(func) not in (str, type(None)):
        return None
    try:
        found = info(StoreFiles(store).resolve(module, instruction.module_path))
        return found.find(func)
    except NotFoundError as absent:
        raise NotHere(
            f"the module is not here: {absent}, and policies ask which function is meant", "module"
        ) from absent
    except (ModuleError, GuestFailure):
        return None
    except CodecError as broken:
        raise ModuleError(
            f"the module {instruction.rsc} cannot be read ({broken}), and policies ask which "
            "function is meant",
            hint="See whether the CID is that of a module, or of a file or folder with one.",
        ) from broken
