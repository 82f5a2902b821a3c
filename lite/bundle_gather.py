"""What goes into a bundle: chosen workflows and receipts, and all that belongs to them here.

What is secret stays, unless its owner says otherwise: what was asked for by name is refused then,
what would only have come along is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Literal

from lite.bundle_index import BLOCKS_MAX, ENTRIES_MAX, Index
from lite.errors import AuthorityError, LimitError, NotFoundError
from lite.frozen import field, frozen
from lite.ipld import unixfs, varint
from lite.ipld.block import Block
from lite.ipld.cid import CID, DAG_CBOR, IDENTITY, RAW
from lite.limits import BLOCK_BYTES_MAX
from lite.model.instruction import Instruction
from lite.model.known_meta import is_private
from lite.model.receipt import Receipt
from lite.model.workflow import Workflow
from lite.store import Store

Sweep = Literal["workflows", "all", "none"]
AnswerOf = Callable[[CID], "Receipt | None"]
RECEIPTS_MAX: Final = ENTRIES_MAX // 2
_COMES_ALONG: Final = "what came along with it"


@frozen
class Wish:
    """What is to go into a bundle.

    Attributes:
        workflows: each with what to call it, and the run of it that counts; "": the latest.
        receipts: single ones, by their CIDs.
        sweep: which others: what is known of the workflows' steps, all that are here, or none.
        code, inputs: also the modules, also the files and values that are given to them.
        tokens: signed tokens that go along.
        audience: the DID of the node that it is for; empty: any.
        with_secrets: also what was marked secret.
    """

    workflows: Sequence[tuple[Workflow, str, str]] = ()
    receipts: Sequence[CID] = ()
    sweep: Sweep = "workflows"
    code: bool = True
    inputs: bool = True
    tokens: bytes | None = None
    audience: str = ""
    with_secrets: bool = False


@frozen
class Gathered:
    """A bundle before it is written.

    Attributes:
        blocks: binary CIDs in the order of the file, the index apart.
        own: blocks that need not be in the store.
        absent: what belongs to it and is not here, and what it is.
        withheld: how many secret receipts and blocks were left out.
    """

    index: Index
    blocks: Sequence[bytes]
    own: dict[bytes, bytes]
    absent: dict[CID, str] = field(default_factory=dict)
    withheld: int = 0

    def stream(self, store: Store) -> Iterator[Block]:
        """The index and all blocks, each hashed before it leaves.

        Raises:
            NotFoundError: one was collected meanwhile.
            HashMismatch: the disk changed one.
        """
        yield self.index.block()
        for raw in self.blocks:
            cid = CID.from_bytes(raw)
            data = self.own.get(raw)
            if data is None:
                receipt = store.receipts.get(cid) if cid in self.index.receipts else None
                data = store.blocks.get(cid) if receipt is None else receipt.data
            yield Block.trusted(cid, data)


def gather(store: Store, wish: Wish, answer_of: AnswerOf) -> Gathered:
    """Look together what a wish comes to; nothing is written.

    Args:
        answer_of: the receipt that would answer an instruction here now.

    Raises:
        AuthorityError: something that was asked for by name is secret.
        NotFoundError: a receipt that was asked for is not here.
        LimitError: it is too much for one bundle.
    """
    return _Gathering(store, wish, answer_of).all()


class _Gathering:
    def __init__(self, store: Store, wish: Wish, answer_of: AnswerOf) -> None:
        self._store = store
        self._wish = wish
        self._answer_of = answer_of
        self._own: dict[bytes, bytes] = {}
        self._order: list[bytes] = []
        self._bytes = 0
        self._leaves: set[bytes] = set()
        self._walked: set[bytes] = set()
        self._absent: dict[CID, str] = {}
        self._secret: list[CID] = []
        self._any_secret = not store.secrets.is_empty()
        self._withheld = 0
        self._code: dict[CID, str] = {}
        self._inputs: dict[CID, str] = {}

    def all(self) -> Gathered:
        wish = self._wish
        self._refuse_secret()
        tokens = None if wish.tokens is None else self._add_tokens(wish.tokens)
        workflows = {one.cid: one.name or name for one, name, _ in wish.workflows}
        for workflow, _, _ in wish.workflows:
            self._add_own(workflow.cid, workflow.data)
            for step in workflow:
                self._note_uses(step.instruction, f"step {step.label}")
        receipts, outputs = self._add_receipts()
        leaves = {*workflows, *receipts, *receipts.values()}
        code = tuple(cid for cid in self._code if wish.code and cid not in leaves)
        inputs = tuple(cid for cid in self._inputs if wish.inputs and cid not in leaves)
        for root in (*outputs, *code, *inputs):
            what = outputs.get(root) or self._code.get(root) or self._inputs.get(root)
            self._walk(root, what or _COMES_ALONG)
        index = Index(
            blocks=len(self._order),
            length=self._bytes,
            workflows=workflows,
            receipts=receipts,
            code=code,
            inputs=inputs,
            tokens=tokens,
            absent=tuple(self._absent),
            secret=tuple(self._secret),
            audience=wish.audience,
        )
        index.block()  # says so if it is too much
        return Gathered(index, self._order, self._own, self._absent, self._withheld)

    def _refuse_secret(self) -> None:
        if self._wish.with_secrets:
            return
        named = list(self._wish.receipts)
        for workflow, _, _ in self._wish.workflows:
            named.append(workflow.cid)
            named += [step.instruction.cid for step in workflow]
        self._store.secrets.refuse(named, "the bundle")
        for workflow, _, _ in self._wish.workflows:
            told = [workflow.meta, workflow.defaults or {}, *(step.meta for step in workflow)]
            if any(map(is_private, told)):
                raise AuthorityError(
                    f"the bundle would let out the workflow {workflow.name or workflow.cid}, which "
                    "says that it, or a step of it, is secret",
                    hint="Ask for it with --with-secrets if whoever gets it may know.",
                )

    # Tokens, workflows, receipts.

    def _add_tokens(self, data: bytes) -> CID:
        cid = CID.of(data, DAG_CBOR)
        self._add_own(cid, data)
        return cid

    def _add_own(self, cid: CID, data: bytes) -> None:
        self._own[cid.raw] = data
        self._add(cid, len(data))
        self._leaves.add(cid.raw)

    def _add_receipts(self) -> tuple[dict[CID, CID], dict[CID, str]]:
        """Receipts behind their instructions; and the outputs that they link to."""
        by_instruction: dict[CID, list[tuple[CID, int]]] = {}
        outputs: dict[CID, str] = {}
        for receipt in self._chosen():  # of each no more is kept than its name
            named = (receipt.cid, len(receipt.data))
            by_instruction.setdefault(receipt.instruction, []).append(named)
            for link in receipt.output_links():
                outputs.setdefault(link, f"the output of {receipt.cid}")
        pairs: dict[CID, CID] = {}
        for cid, some in by_instruction.items():
            self._leaves.add(cid.raw)
            instruction = self._instruction(cid)
            if instruction is not None:
                self._add(cid, len(instruction.data))
                self._note_uses(instruction, "an answered instruction")
            for name, size in some:
                pairs[name] = cid
                self._leaves.add(name.raw)
                self._add(name, size)
        return pairs, outputs

    def _chosen(self) -> Iterator[Receipt]:
        """Each receipt that goes, once."""
        seen: set[CID] = set()
        for cid in self._wish.receipts:
            receipt = self._store.receipts.get(cid)
            if receipt is None:
                raise NotFoundError(f"there is no receipt {cid} here")
            if cid not in seen:
                seen.add(cid)
                yield receipt
        for receipt in self._swept():
            if receipt.cid in seen:
                continue
            seen.add(receipt.cid)
            if len(seen) > RECEIPTS_MAX:
                raise LimitError(
                    f"more than {RECEIPTS_MAX} receipts are too many for one bundle",
                    hint="Name workflows or receipts instead of all.",
                )
            if self._may_go(receipt.cid) and self._may_go(receipt.instruction):
                yield receipt

    def _swept(self) -> Iterator[Receipt]:
        if self._wish.sweep == "all":
            yield from self._store.receipts
        if self._wish.sweep == "workflows":
            for workflow, _, run in self._wish.workflows:
                yield from self._known_of(workflow, run)

    def _known_of(self, workflow: Workflow, run: str) -> Iterator[Receipt]:
        """What answered the steps of a run, those that its results asked for too, and what would
        answer them now."""
        latest = self._store.runs.get(run) if run else self._store.runs.latest(workflow.cid)
        for step in self._store.runs.steps(latest.id) if latest else ():
            receipt = None if step.receipt is None else self._store.receipts.get(step.receipt)
            if receipt is not None:
                yield receipt
        for told in workflow:
            receipt = self._answer_of(told.instruction.cid)
            if receipt is not None:
                yield receipt

    def _instruction(self, cid: CID) -> Instruction | None:
        try:
            return Instruction.parse(self._store.blocks.get(cid))
        except NotFoundError:
            self._absent[cid] = "an answered instruction"
            return None

    def _note_uses(self, instruction: Instruction, who: str) -> None:
        if instruction.module is not None:
            self._code.setdefault(instruction.module, f"the code of {who}")
        for link in instruction.links():
            self._inputs.setdefault(link, f"an input of {who}")

    # Content.

    def _walk(self, root: CID, what: str) -> None:
        """A root and what is below it, depth first; leaves of the index end it."""
        todo = [root]
        while todo:
            cid = todo.pop()
            if cid.hash_code == IDENTITY:
                todo.extend(unixfs.block_links(cid, cid.digest)[::-1])
                continue
            if cid.raw in self._walked or cid.raw in self._leaves:
                continue
            self._walked.add(cid.raw)
            if not self._may_go(cid):
                self._absent[cid] = f"{what}, which is secret"
                continue
            todo.extend(self._content(cid, what)[::-1])

    def _content(self, cid: CID, what: str) -> list[CID]:
        """Take a block in; its links."""
        blocks = self._store.blocks
        try:
            if cid.codec == RAW:
                self._add(cid, blocks.size(cid))
                return []
            data = blocks.get(cid)
            self._add(cid, len(data))
            return unixfs.block_links(cid, data)
        except NotFoundError:
            self._absent[cid] = what
            return []

    def _may_go(self, cid: CID) -> bool:
        """Whether it is not secret, or may leave although it is; then the bundle says so."""
        if not self._any_secret or not self._store.secrets.is_secret(cid):
            return True
        if not self._wish.with_secrets:
            self._withheld += 1
        return self._wish.with_secrets

    def _add(self, cid: CID, size: int) -> None:
        if size > BLOCK_BYTES_MAX or len(self._order) == BLOCKS_MAX:
            raise LimitError(
                f"{cid} does not fit: a bundle takes {BLOCKS_MAX} blocks of {BLOCK_BYTES_MAX} bytes"
            )
        section = len(cid.raw) + size
        self._bytes += len(varint.encode(section)) + section
        self._order.append(cid.raw)
        if self._any_secret and self._wish.with_secrets and self._store.secrets.is_secret(cid):
            self._secret.append(cid)


def complete(absent: dict[CID, str]) -> None:
    """Refuse a bundle that lacks something.

    Raises:
        NotFoundError: it names the first of what is absent.
    """
    if absent:
        cid, what = next(iter(absent.items()))
        more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
        raise NotFoundError(
            f"the bundle would lack {cid} ({what}){more}",
            hint="Add what is missing, or make it without --complete.",
        )


def roots_of(index: Index) -> Iterable[CID]:
    """What to pin of a bundle, so that all of it stays."""
    return (*index.workflows, *index.code, *index.inputs)
