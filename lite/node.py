"""The node: a home with a key and a store, and what its owner does with them.

Synchronous, opens no socket, works alone. Being offline is the normal case, not a mode.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, overload

from lite.answer import Answer
from lite.clock import Clock, SystemClock
from lite.config import Config
from lite.engine.pool import Workers, default_size
from lite.errors import LimitError, ModuleError, NotFoundError, UsageError, quoted
from lite.executor import HOMESTAR, Executor, Settled
from lite.files import add_source, open_file
from lite.frozen import frozen
from lite.identity import identity
from lite.ipld import unixfs
from lite.ipld.cid import CID
from lite.keys import Key
from lite.limits import Limits
from lite.memo import policy_of
from lite.model.instruction import Instruction
from lite.model.receipt import Receipt
from lite.ops.registry import Ops
from lite.settled import Watch
from lite.store import Store

if TYPE_CHECKING:
    from lite.archive import ImportReport, Verified
    from lite.authority import Authority
    from lite.capabilities.here import Here
    from lite.engine.module import ModuleInfo
    from lite.model.workflow import Workflow
    from lite.nearby import Nearby
    from lite.neighbours import Neighbours
    from lite.provenance import Provenance
    from lite.workflow_run import Run, Workflows


@frozen
class Forecast:
    """What a run would do now: "cached" (with the answer), "run", or "queued" (with the reason)."""

    state: str
    answer: Answer | None = None
    reason: str = ""


class Node:
    """One home, opened. A context manager; `close` stops its workers and closes its store.

    Example:
        with Node.open() as node:
            tools = node.add("imaging.wasm")
            answer = node.run(wasm(tools, "blur", node.add("cat.png"), 2))
            print(answer.out.unwrap())
    """

    def __init__(
        self,
        config: Config,
        key: Key,
        store: Store,
        workers: Workers,
        clock: Clock,
        neighbours: Neighbours | None = None,
    ) -> None:
        self.config = config
        self.home = config.home
        self.key = key
        self.did = key.did
        self.store = store
        self.clock = clock
        self.first_use = False
        self._workers = workers
        self._authority: Authority | None = None
        self._ops = Ops(config, workers)
        self.executor = self._executor = Executor(
            store,
            key,
            self._ops,
            policy_of(key.did, config),
            config.engine_caps,
            clock,
            _nearby(store, neighbours, config),
        )

    @staticmethod
    def open(
        home: str | Path | None = None,
        *,
        in_process: bool | None = None,
        engine: str | None = None,
        config: Config | None = None,
        clock: Clock | None = None,
        neighbours: Neighbours | None = None,
    ) -> Node:
        """Open a home, making it with a fresh key and store on first use. One that cannot be
        written is opened to be read, also when its key may not be read.

        Args:
            home: its folder; default `IPVM_HOME` or the platform's data folder.
            in_process: run guests in this process; only for guests that you trust.
            engine: "auto", "wasmtime" or "wasmer"; default from the configuration.
            neighbours: who is asked before computing, and for content that is missing here.

        Raises:
            ConfigError: the configuration does not parse.
            StoreError: the home or its database cannot be used (see its subclasses), or its key is
                gone.
        """
        config = config or Config.load(Path(home) if home is not None else None)
        store = Store.open(
            config.home,
            durability=config.durability,
            quota_bytes=config.quota_bytes,
            clock=clock,
        )
        try:
            key, created = identity(store)
            workers = Workers(
                engine=engine or config.engine,
                cache_dir=config.cache_dir,
                in_process=config.in_process if in_process is None else in_process,
                size=config.workers,
                cache_bytes=config.cache_bytes,
            )
            node = Node(config, key, store, workers, clock or SystemClock(), neighbours)
        except BaseException:
            store.close()
            raise
        node.first_use = created
        return node

    def close(self) -> None:
        """Stop the workers and close the store. Safe to call twice."""
        self._workers.close()
        self.store.close()

    def __enter__(self) -> Node:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # Files.

    def add(
        self,
        source: str | Path | bytes | BinaryIO,
        *,
        profile: str | None = None,
        name: str | None = None,
        pin: bool = False,
        bytes_max: int | None = None,
        secret: bool = False,
    ) -> CID:
        """Store a file (path, bytes or open binary file) or a folder; its CID.

        Args:
            secret: it stays on this node. What came of it before: `lite.privacy.make_secret`.
            profile: a name in `lite.ipld.unixfs.PROFILES`; default from the configuration.
            name: also give it this petname. pin: keep it from being collected.
            bytes_max: take only a regular file of up to this size.

        Raises:
            UsageError: no such file, or an unknown profile.
            LimitError: it is larger than `bytes_max`, or a pipe or the like with more than the
                setting `limits.stream`.
            StoreError: it does not fit or cannot be written.
        """
        chosen = unixfs.PROFILES.get(profile or self.config.unixfs_profile)
        if chosen is None:
            raise UsageError(
                f"no UnixFS profile is named {quoted(profile)}",
                hint=f"Choose one of {', '.join(unixfs.PROFILES)}.",
            )
        with self.store.adding(secret=secret) as put:
            cid = add_source(source, put, chosen, bytes_max, self.config.stream_bytes)
        if name is not None:
            self.store.names.set(name, cid)
        if pin:
            self.store.pins.add(cid)
        return cid

    def cat(
        self, cid: CID, path: str = "", *, offset: int = 0, length: int | None = None
    ) -> Iterator[bytes]:
        """The bytes of a file, a block at a time. Raises `NotFoundError` for absent blocks."""
        get = self.store.blocks.get
        target = unixfs.resolve_path(cid, path, get) if path else cid
        return unixfs.read_file(target, get, offset=offset, length=length)

    def size(self, cid: CID) -> int:
        """Length of a file in bytes."""
        return unixfs.file_size(cid, self.store.blocks.get)

    def ls(self, cid: CID, path: str = "") -> list[unixfs.Entry]:
        """What is in a folder."""
        get = self.store.blocks.get
        return unixfs.list_directory(unixfs.resolve_path(cid, path, get) if path else cid, get)

    # Running.

    @overload
    def run(
        self,
        instruction: Instruction,
        *,
        limits: Limits | None = None,
        fresh: bool = False,
        redo: bool = False,
        homestar: bool = False,
        on_trace: Callable[[bytes], None] | None = None,
    ) -> Answer: ...

    @overload
    def run(self, instruction: Workflow) -> Run: ...

    def run(
        self,
        instruction: Instruction | Workflow,
        *,
        limits: Limits | None = None,
        fresh: bool = False,
        redo: bool = False,
        homestar: bool = False,
        on_trace: Callable[[bytes], None] | None = None,
    ) -> Answer | Run:
        """Answer an instruction: from a receipt that is known and trusted, else by running it.

        Args:
            instruction: or a workflow, which goes to `workflow_run`.
            limits: what the guest may use; default from the configuration.
            fresh: run it even when the answer is known. redo: also when it is in doubt.
            homestar: Homestar's value rules; such receipts answer only such runs.
            on_trace: gets what the guest writes while it runs, in pieces; standard output of a
                command as `Stdout`; of a known answer nothing. Workflows: see `Workflows.begin`.

        Raises:
            QueuedError: it cannot run here now; the message says what is missing.
            StoreError: the receipt could not be kept.
            EngineUnavailable: no engine here can run it.
        """
        if not isinstance(instruction, Instruction):
            return self.workflow_run(instruction, limits=limits, fresh=fresh, homestar=homestar)
        settled = self._executor.run(
            instruction,
            limits or self.config.limits,
            fresh=fresh,
            redo=redo,
            mode=HOMESTAR if homestar else "",
            watch=Watch(on_trace=on_trace),
        )
        return self._answer(settled)

    def workflow_run(self, workflow: Workflow, **asked: Any) -> Run:
        """Run a workflow as far as that can be done here now; see `Workflows.begin`."""
        from lite.model.workflow import Workflow

        if not isinstance(workflow, Workflow):
            kind = type(workflow).__name__
            raise TypeError(f"an instruction (`wasm(…)` makes one) or a workflow runs, no {kind}")
        return self.workflows.begin(workflow, **asked).go()

    @property
    def workflows(self) -> Workflows:
        """Runs of workflows: begin, go on, resume. What they need is loaded now."""
        from lite.workflow_run import Place, Workflows

        workers, limits = self.config.workers or default_size(), self.config.limits
        place = Place.of(self.config, lambda: self.here)
        return Workflows(self._executor, self.store, self.clock, limits, workers, place)

    @cached_property
    def here(self) -> Here:  # what this node has for steps, measured when it is asked
        from lite.capabilities.here import Here

        return Here(self.did, self.config, self._ops, self.store)

    def run_invocation(self, data: bytes, *, limits: Limits | None = None) -> Answer:
        """Do what somebody else asks for, if their proofs allow it; the receipt names the
        invocation. One that was answered before is refused: `answered` has the receipt.

        Args:
            data: the invocation, or a container with it and its proofs, in any form.
            limits: what the guest may use at most, whatever the invocation asks for; default
                `Limits.guest()` within the configuration.

        Raises:
            Refusal: why it may not be done (see `lite.ucan.refusals`); of a `Replayed` one that was
                answered the details name the `receipt`.
            UsageError: not exactly one invocation, or arguments that no instruction has.
            QueuedError, StoreError, EngineUnavailable: as `run` does; it may be sent again then.
        """
        from lite.invocations import serve

        settled = serve(
            data,
            authority=self.authority,
            executor=self._executor,
            store=self.store,
            did=self.did,
            guest=limits or Limits.guest().clamp(self.config.limits),
            ops_allowed=self.config["ops.allowed_for_others"],
            info=self.info,
        )
        return self._answer(settled)

    def answered(self, invocation: CID) -> Answer | None:
        """What answered an invocation that was accepted here before, or None."""
        from lite.invocations import answer_to

        settled = answer_to(invocation, self.store)
        return None if settled is None else self._answer(settled)

    @property
    def authority(self) -> Authority:
        """Delegations, revocations, and what they allow. What it needs is loaded now."""
        if self._authority is None:
            from lite.authority import Authority

            self._authority = Authority(self.store, self.key, self.clock)
        return self._authority

    def plan(
        self, instruction: Instruction, *, limits: Limits | None = None, homestar: bool = False
    ) -> Forecast:
        """What `run` would do now. Runs nothing and starts nothing."""
        bounds = limits or self.config.limits
        mode = HOMESTAR if homestar else ""
        if (settled := self._executor.known(instruction, bounds, mode)) is not None:
            return Forecast("cached", self._answer(settled))
        reason = self._executor.blocker(instruction, bounds, mode)
        return Forecast("run") if reason is None else Forecast("queued", reason=reason)

    def needs(self, instruction: Instruction) -> frozenset[str]:
        """What running it takes beside this node, such as "network"."""
        return self._executor.needs_of(instruction)

    def info(self, module: CID) -> ModuleInfo:
        """Kind, exports with their types, and imports of a module; read once, then remembered.

        Raises:
            NotFoundError: its blocks are not here.
            ModuleError: it is not a WebAssembly module, or too large. LimitError: to compile it is.
        """
        from lite.engine.base import LIMIT_ERRORS, GuestFailure
        from lite.engine.module import ModuleInfo
        from lite.engine.spool import gathered
        from lite.ipld import dag_cbor

        known = self.store.modules.get(module)
        if known is not None:
            return ModuleInfo.from_data(dag_cbor.decode_trusted(known))
        size, caps = self.size(module), self.config.engine_caps
        if size > (bound := caps.module_bytes):
            raise ModuleError(f"{module} has {size} bytes; this node takes modules up to {bound}")
        try:
            info = self._workers.describe(module, lambda: gathered(self.cat(module)), caps)
        except GuestFailure as failure:
            kind = LimitError if failure.code in LIMIT_ERRORS else ModuleError
            raise kind(f"{module} is not a module that runs here: {failure}") from failure
        if not self.store.read_only:
            self.store.modules.put(module, dag_cbor.encode(info.to_data()))
        return info

    @property
    def workers_started(self) -> int:
        """How many worker processes this node has started so far."""
        return self._workers.started

    @property
    def note(self) -> str | None:
        """What the owner should know about the last run besides its answer: why compiled code could
        not be kept."""
        return self._workers.note

    def _answer(self, told: Settled) -> Answer:
        return Answer(told.receipt, told.source, told.rule, self.store, told.passed_over)

    # Receipts and archives.

    def receipt(self, ref: str | CID) -> Receipt:
        """A receipt by its CID, a unique part of it, or the CID of its instruction."""
        cid = ref if isinstance(ref, CID) else self.resolve(ref)
        found = self.store.receipts.get(cid) or self.best_receipt(cid)
        if found is not None:
            return found
        raise NotFoundError(
            f"{cid} is neither a receipt nor an instruction with one here",
            hint="`ipvm receipt list` shows the receipts of this home.",
        )

    def known(self, instruction: CID) -> Answer | None:
        """What would answer an instruction now without running it, if anything."""
        settled = self._executor.lookup(instruction, self.config.limits)
        return None if settled is None else self._answer(settled)

    def best_receipt(self, instruction: CID) -> Receipt | None:
        """The receipt to show for an instruction: its answer, else the best of what is here.

        The best is a success before an error, an own one before others', the newest first.
        """
        answer = self.known(instruction)
        if answer is not None:
            return answer.receipt
        known = self.store.receipts.by_instruction(instruction, {self.did})
        return min(
            known, key=lambda r: (not r.out.is_ok, r.issuer != self.did, -r.issued_at), default=None
        )

    def answer(self, receipt: Receipt) -> Answer:
        """A receipt as an answer, with access to the outputs it links to."""
        return Answer(receipt, "cached", "", self.store)

    def verify(self, source: str | Path | BinaryIO | Receipt) -> list[Verified]:
        """Check a receipt of this store, or every receipt of an archive file.

        Raises:
            IntegrityError: a hash, a signature or a structure is wrong.
            NotFoundError: something that a receipt links to is absent.
        """
        from lite import archive

        if isinstance(source, Receipt):
            return [archive.verify_receipt(source, archive.at_hand(self.store))]
        if isinstance(source, (str, Path)):
            with open_file(source) as file:
                return archive.verify(file)
        return archive.verify(source)

    def export(
        self,
        refs: Sequence[CID],
        out: BinaryIO,
        *,
        with_code: bool = False,
        with_inputs: bool = False,
        with_secrets: bool = False,
    ) -> int:
        """Write receipts (with instruction and outputs) or files as a CAR; bytes written.

        Raises:
            AuthorityError: something of it was marked secret, and `with_secrets` was not given.
        """
        from lite import archive

        told = {"with_code": with_code, "with_inputs": with_inputs, "with_secrets": with_secrets}
        return archive.export(self.store, refs, out, **told)

    def import_(self, source: str | Path | BinaryIO) -> ImportReport:
        """Take in a CAR: every block is hashed and every receipt checked before it is stored."""
        from lite import archive

        if isinstance(source, (str, Path)):
            with open_file(source) as file:
                return archive.import_(self.store, file, self.config.stream_bytes)
        return archive.import_(self.store, source, self.config.stream_bytes)

    def why(self, cid: CID) -> Provenance:
        """Where a receipt, an instruction's result or a value comes from, down to its inputs."""
        from lite import provenance

        return provenance.trace(self.store, cid, self.best_receipt)

    def came_of(self, cid: CID) -> Provenance:
        """Everything that was computed from a module, a file, a value or a receipt."""
        from lite import provenance

        return provenance.descend(self.store, cid, self.best_receipt)

    # References.

    def resolve(self, ref: str) -> CID:
        """The CID that a person means.

        `ref` is a CID, `ipfs://CID[/path]`, a petname, or at least four characters that begin or
        end the CID of exactly one receipt or block here.

        Raises:
            NotFoundError: nothing here answers to it.
            UsageError: several things do.
        """
        from lite import references

        return references.resolve(self.store, ref)


def _nearby(store: Store, neighbours: Neighbours | None, config: Config) -> Nearby | None:
    if neighbours is None:
        return None
    from lite.nearby import Nearby

    return Nearby(store, neighbours, config["peers.ask_ms"])
