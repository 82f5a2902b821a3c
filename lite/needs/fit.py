"""Whether a node can run a step, and why not: for people, and by codes for programs.

code              the node
unknown           has said nothing of itself that counts now
op                does not know, or has switched off, an operation
gpu               has no such GPU, or not as many
cpu, memory, disk has less than is asked for
engine, arch      has another engine or processor
key               is not the one that holds the key
affinity          is none of those that the step has to be at
anti-affinity     is one of those that it has to stay away from
over-fuel, over-memory, over-time, over-output
                  takes no step that names so high a limit
module-size       compiles no module of that size
fetch-size        lacks inputs, and downloads less than that for one step

And of this node alone, which knows it before it begins:

op                what `Op.missing` says
module, input     lacks code or content
await             lacks the result of an instruction that the step awaits
network           is told to work without it
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final, Literal

from lite.frozen import frozen
from lite.ipld.cid import CID
from lite.model.requires import GpuNeed, Term
from lite.needs import wording
from lite.needs.capabilities import Capabilities
from lite.needs.requirements import Requirements
from lite.quantities import render_fuel

Code = Literal[
    "unknown",
    "op",
    "gpu",
    "cpu",
    "memory",
    "disk",
    "engine",
    "arch",
    "key",
    "affinity",
    "anti-affinity",
    "over-fuel",
    "over-memory",
    "over-time",
    "over-output",
    "module-size",
    "fetch-size",
    "module",
    "input",
    "await",
    "network",
]
Holds = Callable[[CID], bool]
"""Whether a node has what is at a CID, with all below."""

HERE: Final = "this node"


@frozen
class Reason:
    """Why a node cannot run a step.

    Attributes:
        code: see the module.
        text: one line, such as "needs a GPU with 8 GiB; this node has none".
    """

    code: Code
    text: str


@frozen
class Fit:
    """Whether a node can run a step; every reason why not."""

    reasons: tuple[Reason, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.reasons

    @property
    def codes(self) -> tuple[Code, ...]:
        return tuple(reason.code for reason in self.reasons)

    def __str__(self) -> str:
        return "; ".join(reason.text for reason in self.reasons)


@frozen
class Whereabouts:
    """Where a step can run.

    Attributes:
        here: whether this node can run it; else it is queued here.
        elsewhere: DIDs of other nodes that can, as far as is known, in order.
        perhaps: DIDs of those of which that is not known before they are asked for a bid: it hangs
            on what they hold, or they have said nothing of themselves.
        had: those of `perhaps` that had all that is lacking here, as their receipts show.
        barred: DIDs of those of both kinds that this node does not ask, each with why.
        kept: why nobody else is asked at all; empty: others are.
    """

    here: Fit
    elsewhere: tuple[str, ...] = ()
    perhaps: tuple[str, ...] = ()
    had: tuple[str, ...] = ()
    barred: tuple[tuple[str, str], ...] = ()
    kept: str = ""


def stays(needs: Requirements, *, secret: bool) -> bool:
    """Whether nobody else is asked for a step: it is secret, and names no holder of a key."""
    return secret and not needs.key


def lacks_op(op: str, who: str = HERE) -> Reason:
    """That a node does not run an operation."""
    return Reason("op", f"needs the operation {op}; {who} does not run it")


def fit(needs: Requirements, has: Capabilities | None, holds: Holds, who: str = HERE) -> Fit:
    """Whether a node can run a step now, given what it has.

    An input whose size is not known is taken for one that it can fetch: what it fetches is bounded
    anyway.

    Args:
        has: None: nothing is known of the node; then it can run nothing.
        holds: what of the inputs is at the node.
        who: what to call it in the reasons.
    """
    if has is None:
        return Fit((Reason("unknown", f"nothing is known of what {who} has"),))
    reasons = [
        *_machine(needs, has, who),
        *_software(needs, has, who),
        *_places(needs, has, holds, who),
        *_bounds(needs, has, who),
        *_contents(needs, has, holds, who),
    ]
    return Fit(tuple(reasons))


def elsewhere(
    needs: Requirements, known: Mapping[str, Capabilities]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Those of other nodes that can run a step whatever they hold, and those that can if they hold
    what it asks for, or nothing that it stays away from; each in order.

    Args:
        known: what others have, by DID.
    """
    shunned = frozenset(
        cid
        for term in needs.anti_affinity
        if term.by == "holds" and not term.soft_ms
        for cid in term.any_of
    )
    sure = [did for did, has in sorted(known.items()) if fit(needs, has, shunned.__contains__).ok]
    able = [did for did, has in sorted(known.items()) if fit(needs, has, _none_of(shunned)).ok]
    return tuple(sure), tuple(did for did in able if did not in sure)


def _none_of(cids: Collection[CID]) -> Holds:
    """Holds all there is but these."""
    return lambda cid: cid not in cids


def matches(term: Term, has: Capabilities, holds: Holds) -> bool:
    """Whether a node is one of those that a term means."""
    if term.by == "did":
        return has.did in term.any_of
    if term.by == "tag":
        return not set(term.any_of).isdisjoint(has.tags)
    return any(holds(cid) for cid in term.any_of)


def term_text(term: Term) -> str:
    """`a node tagged lab`, `did:key:z6Mk… or did:key:z6Mx…`: whom a term means."""
    names = " or ".join(map(str, term.any_of))
    lead = {"did": "", "tag": "a node tagged ", "holds": "a node that holds "}[term.by]
    return f"{lead}{names}"


def _machine(needs: Requirements, has: Capabilities, who: str) -> Iterator[Reason]:
    if needs.gpu is not None and (lacking := _gpu_lacking(needs.gpu, has)):
        yield Reason("gpu", f"needs {_gpu_text(needs.gpu)}; {who} has {lacking}")
    if needs.cores > has.cores:
        wanted, there = wording.counted(needs.cores, "core"), has.cores
        yield Reason("cpu", f"needs {wanted}; {who} has {there}")
    if needs.memory_bytes > has.memory_bytes:
        wanted, left = wording.size(needs.memory_bytes), wording.size(has.memory_bytes)
        yield Reason("memory", f"needs {wanted} of memory; {who} has {left}")
    if needs.disk_bytes > has.disk_bytes:
        wanted, left = wording.size(needs.disk_bytes), wording.size(has.disk_bytes)
        yield Reason("disk", f"needs {wanted} of free disk; {who} has {left}")
    if needs.arch and needs.arch != has.arch:
        other = has.arch or "an unknown one"
        yield Reason("arch", f"needs the processor {needs.arch}; {who} has {other}")


def _gpu_text(need: GpuNeed) -> str:
    what = "a GPU" if need.count == 1 else f"{need.count} GPUs"
    what += f" of kind {need.kind}" if need.kind else ""
    each = " each" if need.count > 1 else ""
    return f"{what} with {wording.size(need.memory_bytes)}{each}" if need.memory_bytes else what


def _gpu_lacking(need: GpuNeed, has: Capabilities) -> str:
    """What a node has in place of the GPUs, or nothing when they are there."""
    if not has.gpus:
        return "none"
    of_kind = [gpu for gpu in has.gpus if gpu.is_of(need.kind)]
    if not of_kind:
        return "only " + ", ".join(sorted({gpu.name or gpu.vendor for gpu in has.gpus}))
    good = [gpu for gpu in of_kind if not need.memory_bytes or _has_memory(gpu.memory_bytes, need)]
    if len(good) >= need.count:
        return ""
    if good:
        return f"only {len(good)}"
    sizes = [gpu.memory_bytes for gpu in of_kind if gpu.memory_bytes is not None]
    if not sizes:
        return "one whose memory is not known"
    return f"at most {wording.size(max(sizes))}"


def _has_memory(memory_bytes: int | None, need: GpuNeed) -> bool:
    return memory_bytes is not None and memory_bytes >= need.memory_bytes


def _software(needs: Requirements, has: Capabilities, who: str) -> Iterator[Reason]:
    for op in needs.ops:
        if op not in has.ops:
            yield lacks_op(op, who)
    lacking = [feature for feature in needs.engine if feature not in has.engine]
    if lacking:
        wanted = ", ".join(lacking)
        there = f"the engine of {who} has no such feature" if has.engine else f"{who} has no engine"
        yield Reason("engine", f"needs {wanted} of the engine; {there}")


def _places(needs: Requirements, has: Capabilities, holds: Holds, who: str) -> Iterator[Reason]:
    if needs.key and needs.key != has.did:
        yield Reason("key", f"needs the key of {needs.key}, which {who} does not hold")
    for term in needs.affinity:
        if not term.soft_ms and not matches(term, has, holds):
            yield Reason("affinity", f"has to run at {term_text(term)}; {who} is another")
    for term in needs.anti_affinity:
        if not term.soft_ms and matches(term, has, holds):
            told = f"must not run at {term_text(term)}, which {who} is"
            yield Reason("anti-affinity", told)


def _bounds(needs: Requirements, has: Capabilities, who: str) -> Iterator[Reason]:
    asked, most = needs.limits, has.limits
    amounts: tuple[tuple[Code, str, int, int, Callable[[int], str]], ...] = (
        ("over-fuel", "fuel", asked.fuel, most.fuel, render_fuel),
        ("over-memory", "memory", asked.memory_bytes, most.memory_bytes, wording.size),
        ("over-time", "time", asked.time_ms, most.time_ms, wording.seconds),
        ("over-output", "output", asked.output_bytes, most.output_bytes, wording.size),
    )
    for code, name, wanted, cap, text in amounts:
        if wanted > cap:
            told = f"asks for {text(wanted)} of {name}; {who} allows a step {text(cap)}"
            yield Reason(code, told)


def _contents(needs: Requirements, has: Capabilities, holds: Holds, who: str) -> Iterator[Reason]:
    sizes = dict(needs.inputs)
    module_bytes = sizes.get(needs.module) if needs.module else None
    if module_bytes is not None and module_bytes > has.module_bytes:
        size, most = wording.size(module_bytes), wording.size(has.module_bytes)
        yield Reason("module-size", f"its module has {size}; {who} takes at most {most}")
    absent = sum(size or 0 for cid, size in needs.inputs if size and not holds(cid))
    if absent > has.fetch_bytes:
        size, most = wording.size(absent), wording.size(has.fetch_bytes)
        told = f"{size} of its inputs are not at {who}, which fetches at most {most}"
        yield Reason("fetch-size", told)
