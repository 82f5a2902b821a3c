"""The invocations of a group for one provider, with the rights that they need on both sides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from lite import keys
from lite.authority import Authority
from lite.clock import Clock
from lite.errors import IpvmError, LimitError
from lite.frozen import frozen, replace
from lite.invocations import args_of, nonce_for
from lite.ipld import dag_cbor
from lite.ipld.cid import CID, DAG_CBOR
from lite.keys import Key
from lite.limits import Limits
from lite.model.instruction import Instruction
from lite.needs.choice import Ranked
from lite.needs.requirements import NOTHING, Requirements
from lite.offload.grants import grant
from lite.offload.groups import Group, Member
from lite.offload.limiting import asked_within, beyond, most_under
from lite.store import Store
from lite.store.outbox_rows import Grant, Item, Job, Wish
from lite.ucan.chains import end_within
from lite.ucan.delegation import Delegation
from lite.ucan.invocation import Invocation

__all__ = ["Cargo", "Rights", "command_of", "leaving", "pack_most"]


@frozen
class Cargo:
    """What goes to one provider at once, for one group.

    Attributes:
        jobs: as they are written down; those of steps without an item have a negative number.
        along: these steps, by that number. tokens: proofs, and the grant.
    """

    provider: str
    jobs: tuple[Job, ...]
    along: Mapping[int, Wish]
    grant: Grant | None
    tokens: tuple[bytes, ...]


def command_of(instruction: Instruction) -> str:
    """The command that an operation is asked for by."""
    return f"/{instruction.op}"


class Asked(Protocol):
    """A step as its provider is asked for it; `limits` are those that it has here."""

    @property
    def instruction(self) -> Instruction: ...
    @property
    def needs(self) -> Requirements: ...
    @property
    def limits(self) -> Limits: ...


class Rights:
    """Who lets this node do what, as its delegations say; for one thread, and one look at them."""

    def __init__(self, store: Store, key: Key, clock: Clock) -> None:
        self._store = store
        self._did = key.did
        self._authority = Authority(store, key, clock)
        self._providers: dict[str, tuple[str, ...]] = {}
        self._loose: dict[tuple[str, str], list[Delegation] | None] = {}

    def check_clock(self) -> None:
        """Raises ClockWrong while nothing that ends at a time can be signed."""
        self._authority.check_clock()

    def providers(self, command: str) -> tuple[str, ...]:
        """The nodes whose compute this node has a delegation of, for one command."""
        known = self._providers.get(command)
        if known is None:
            subjects = self._store.tokens.subjects_given_to(self._did)
            known = tuple(did for did in subjects if did != self._did and self._may(did, command))
            self._providers[command] = known
        return known

    def chain(
        self, provider: str, command: str, args: dict[str, Any] | None
    ) -> list[Delegation] | None:
        """The delegations that allow one invocation; with args None those that may."""
        if args is None and (provider, command) in self._loose:
            return self._loose[provider, command]
        found = self._authority.find_chain(
            subject=provider, audience=self._did, command=command, args=args
        )
        if args is None:
            self._loose[provider, command] = found
        return found

    def args(self, provider: str, member: Asked) -> dict[str, Any]:
        """What an invocation of a step asks a provider for."""
        chain = self.chain(provider, command_of(member.instruction), None) or ()
        limits = asked_within(member.limits, member.needs.limits, chain)
        return args_of(member.instruction, limits)

    def beyond(self, provider: str, member: Asked) -> str:
        """Why no delegation of a provider allows the limits that a step names; empty: one does."""
        named, command = member.needs.limits, command_of(member.instruction)
        if named == NOTHING:
            return ""
        most = most_under(self.chain(provider, command, None) or ())
        found = beyond(named, most, f"the delegation of {provider}")
        if found.ok or self.chain(provider, command, self.args(provider, member)) is not None:
            return ""
        return f"{found.codes[0]}: {found}"

    def refusal(self, provider: str, member: Asked) -> str:
        """Why no delegation of a provider allows a step as it would be asked for; empty: one
        does."""
        command = command_of(member.instruction)
        if self.chain(provider, command, self.args(provider, member)) is not None:
            return ""
        told = f"no delegation of {provider} allows {command} as it is asked for"
        return self.beyond(provider, member) or told

    def private_meta(self, member: Member) -> dict[str, Any]:
        """What tells a provider that a step is secret, and which of its inputs are none."""
        from lite.offload.private_jobs import private_meta  # brings in aiohttp

        marks, roots = self._store.secrets, [cid for cid, _ in member.needs.inputs]
        return private_meta([cid for cid in roots if not marks.any_below([cid])])

    def _may(self, did: str, command: str) -> bool:
        return self.chain(did, command, None) is not None


def pack(
    key: Key,
    rights: Rights,
    group: Group,
    ranked: Ranked,
    *,
    now: int,
    lease_s: int,
    along_from: int,
) -> Cargo:
    """Sign what goes to the provider of a bid.

    Args:
        now: seconds since 1970. lease_s: how late the provider may be.
        along_from: the first number, below 0, for steps that have no item yet.

    Raises:
        LimitError: an instruction is too large for a token, or has too many inputs.
        NoChain: no delegation allows what the group asks for.
        ClockWrong: the clock cannot be right, and all of it ends at a time.
    """
    rights.check_clock()
    item = group.lead.item
    assert item is not None, "a group is behind an item"
    provider = ranked.bid.provider
    until = _until(item, group, ranked, now, lease_s)
    roots = _roots(group, ranked)
    given = grant(key, provider, roots, until, secret=item.secret) if roots else None
    tokens: dict[CID, bytes] = {} if given is None else {given.delegation: given.token}
    signed: list[tuple[Member, Invocation]] = []
    for member in group.members:
        meta = rights.private_meta(member) if item.secret else {}
        invocation, chain = _invocation(key, rights, member, provider, until, now, meta)
        tokens.update((one.cid, one.data) for one in chain)
        signed.append((member, invocation))
    cargo = CID.of(b"".join(one.cid.raw for _, one in signed), DAG_CBOR)
    jobs: list[Job] = []
    along: dict[int, Wish] = {}
    for member, invocation in signed:
        number = along_from - len(along)
        if member.item is None:
            along[number] = _wish(member, item)
        else:
            number = member.item.id
        to = (provider, None if given is None else given.delegation, ranked.reason, until, now)
        jobs.append(_job(member, number, invocation, cargo, *to))
    return Cargo(provider, tuple(jobs), along, given, tuple(tokens.values()))


def pack_most(key: Key, rights: Rights, group: Group, ranked: Ranked, **when: int) -> Cargo:
    """As `pack`; the first step alone where what goes along cannot be asked for so. It is asked for
    by itself then, once what it awaits is known."""
    try:
        return pack(key, rights, group, ranked, **when)
    except (NoChain, LimitError):
        if len(group.members) == 1:
            raise
        return pack(key, rights, group.alone, ranked, **when)


def leaving(cargos: Sequence[Cargo], sent: Iterable[Job]) -> list[Cargo]:
    """Cargos with those of their jobs that were written down, in their order; those of which none
    was are left out."""
    jobs: dict[CID, list[Job]] = {}
    for job in sent:
        jobs.setdefault(job.cargo, []).append(job)
    return [
        replace(cargo, jobs=tuple(jobs[name]), along={})
        for cargo in cargos
        if (name := cargo.jobs[0].cargo) in jobs
    ]


def _job(
    member: Member,
    number: int,
    invocation: Invocation,
    cargo: CID,
    provider: str,
    given: CID | None,
    choice: str,
    until: int,
    now: int,
) -> Job:
    """A job as it is written down before it leaves."""
    return Job(
        invocation.cid,
        item=number,
        provider=provider,
        token=invocation.data,
        instruction=member.instruction.cid,
        cargo=cargo,
        grant=given,
        final=member.final,
        choice=choice,
        state="sent",
        begun=False,
        lease_until=until,
        code="",
        message="",
        receipt=None,
        sent_at=now,
        ended_at=None,
    )


class NoChain(IpvmError):
    """No delegation allows an invocation as it would have to be."""

    code = "no-chain"


def _until(item: Item, group: Group, ranked: Ranked, now: int, lease_s: int) -> int:
    """The last second of the lease. What must not be done twice is its provider's to the end."""
    if not item.may_repeat:
        return item.deadline_at
    work_ms = ranked.time_ms + sum(member.limits.time_ms for member in group.members)
    return min(item.deadline_at, now + -(-work_ms // 1000) + lease_s)


def _roots(group: Group, ranked: Ranked) -> list[CID]:
    """The inputs that the provider has to read here."""
    held = frozenset(ranked.bid.holds)
    all_ = [cid for member in group.members for cid, _ in member.needs.inputs]
    return [cid for cid in dict.fromkeys(all_) if cid not in held]


def _invocation(
    key: Key,
    rights: Rights,
    member: Member,
    provider: str,
    until: int,
    now: int,
    private: Mapping[str, Any],
) -> tuple[Invocation, Sequence[Delegation]]:
    instruction, command = member.instruction, command_of(member.instruction)
    args = rights.args(provider, member)
    chain = rights.chain(provider, command, args)
    if chain is None:
        raise NoChain(rights.refusal(provider, member))
    nonce = instruction.nnc if type(instruction.nnc) is bytes else b""
    invocation = Invocation.issue(
        key,
        subject=provider,
        command=command,
        args=args,
        expires_at=end_within(chain, until),
        proofs=[link.cid for link in chain],
        issued_at=now,
        meta={"needs": member.needs.value(), "salt": keys.random_nonce(), **private},
        nonce=nonce or nonce_for(instruction),
    )
    return invocation, chain


def _wish(member: Member, lead: Item) -> Wish:
    row = member.row
    return Wish(
        row.run,
        row.position,
        row.label,
        row.instruction,
        member.instruction,
        row.level,
        dag_cbor.encode(member.needs.value()),
        "along",
        f"it goes with {lead.label}",
        lead.deadline_at,
        priority=lead.priority,
    )
