"""What may be offered now, of all that waits, and why the rest may not.

A look goes through one page of the rows, the next one through the page behind it, from the most
urgent to the least, so that what nobody can take keeps no other row from its turn, and however many
wait a look costs the same. What was put in since comes with the next page, wherever that is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final

from lite.clock import Clock
from lite.errors import IpvmError, StoreError
from lite.ipld import dag_cbor
from lite.keys import Key
from lite.limits import Limits
from lite.needs.requirements import Requirements
from lite.offload.behalf import Own
from lite.offload.court import Court, Tell
from lite.offload.groups import Runs, group_of
from lite.offload.invoking import Rights, command_of
from lite.offload.plans import Plan, away
from lite.offload.resting import Rest, Resting, first_over, waited_for
from lite.offload.secrecy import STAYS, judged
from lite.offload.sharing import Sharing
from lite.store import Store, sql_outbox
from lite.store.database import Transaction
from lite.store.outbox_rows import Item

__all__ = ["Planning"]

BACKOFF_S: Final = 5
BACKOFF_S_MAX: Final = 3_600
SAME: Final = "the same step is asked for already"
Fits = Callable[[Item, Requirements], bool]


class Planning:
    """See the module. In the thread of the clerk.

    Args:
        fits: whether a step fits here now, all inputs at hand. behalf: for whom a step is done.

    Attributes:
        rights: as the latest look found them.
        resting: who is left alone with what.
        freed: runs whose steps stand where they stood before.
        has_more: rows are left that this round of looks has not come to.
    """

    def __init__(
        self,
        store: Store,
        key: Key,
        clock: Clock,
        *,
        base: Limits,
        fits: Fits,
        tell: Tell,
        court: Court,
        sharing: Sharing,
        behalf: Own,
    ) -> None:
        self.rights = Rights(store, key, clock)
        self.resting = Resting(store.outbox, clock)
        self.freed: set[str] = set()
        self.has_more = False
        self._store = store
        self._outbox = store.outbox
        self._key = key
        self._clock = clock
        self._base = base
        self._fits = fits
        self._tell = tell
        self._court = court
        self._sharing = sharing
        self._behalf = behalf
        self._tried_here: set[tuple[str, int]] = set()
        self._newest = 0  # the greatest number of a row that was looked at
        self._behind: tuple[int, int] | None = None  # priority and number; None: from the top
        self._again = False
        self._banned: Collection[str] = ()
        self._given: int | None = None  # the newest delegation that the last look saw

    # Pages.

    def begin(self) -> None:
        """Something happened: every row is looked at once more, those first that a round under way
        has not come to."""
        self._again = self._again or self.has_more

    def plans(
        self,
        limit: int,
        near: Collection[str] | None = None,
        came: Collection[str] = (),
        banned: Collection[str] = (),
    ) -> list[Plan]:
        """What may be offered of the next page, the most urgent first; notes of the rest say why
        not.

        Args:
            limit: rows that are looked at.
            near: who can be asked now; None: everybody. came: of providers, those to which there
                is a new channel. banned: those that broke too many rules.
        """
        self._banned = banned
        if self.resting.is_over():
            self.begin()
        if self.resting.has_come({*came, *self._new_givers()}):
            with self._store.database.write(durable=False) as transaction:
                transaction.execute(sql_outbox.ROUSE)  # but what is left to its owner
            self.begin()
        self.rights = Rights(self._store, self._key, self._clock)
        runs, found = Runs(self._store, self._base), list[Plan]()
        queue, liars = self._sharing.queue(runs), self._court.liars()
        for item in self._page(limit):
            if queue.has_before(item):
                self.note(item, SAME)
                continue
            try:
                plan = self._plan(item, runs, liars, near)
            except IpvmError as error:
                later = self.later(item) if isinstance(error, StoreError) else None
                self.note(item, str(error), later)
                continue
            if plan is not None:
                found.append(plan)
        return found

    def _new_givers(self) -> list[str]:
        """Whose delegations for this node came since the last look."""
        before, self._given = self._given, self._store.tokens.newest_delegation()
        if before is None or self._given <= before:
            return []
        return self._store.tokens.subjects_given_since(self._key.did, before)

    def _page(self, limit: int) -> list[Item]:
        """The rows that are next, without those that rest."""
        rows = {one.id: one for one in self._outbox.ready(limit, since=self._newest)}
        self._newest = max([self._newest, *rows])
        left = limit - len(rows)
        page = self._outbox.ready(left, behind=self._behind) if left else []
        self.has_more = len(page) == left
        if page:
            self._behind = page[-1].priority, page[-1].id
        if not self.has_more:
            self._behind, self.has_more, self._again = None, self._again, False
        rows |= {one.id: one for one in page}
        return sorted(rows.values(), key=lambda one: (-one.priority, one.id))

    # One row.

    def _plan(
        self, item: Item, runs: Runs, liars: Mapping[str, str], near: Collection[str] | None
    ) -> Plan | None:
        """What is cheap to know comes first: most rows that wait wait for the same reason."""
        needs = Requirements.from_value(dag_cbor.decode_trusted(item.needs))
        if self._runs_here(item, needs) or self._court.takes(item):
            return None
        providers = self._providers(item, needs)
        if providers is None:
            return None
        refused = {did: Rest(liars[did]) for did in providers if did in liars}
        refused |= self.resting.of(item, [did for did in providers if did not in liars])
        left = tuple(did for did in providers if did not in refused)
        if not left:
            later = self.later(item, first_over(refused))
            self.note(item, self._nobody_left(item, refused), later)
            return None
        waits = waited_for(refused.values())
        if near is not None and not any(did in near for did in left):
            note = "; ".join([*waits, *away(left, self._banned)])
            self.note(item, self._court.so_far(item, note))
            return None
        if self._is_withheld(item):
            return None
        return self._grouped(item, runs, left, waits, first_over(refused))

    def _is_withheld(self, item: Item) -> bool:
        """Whether it is done for a customer whose right is gone; it is noted why."""
        why = self._behalf.refusal(item)
        if why:
            self.note(item, why)
        return bool(why)

    def _runs_here(self, item: Item, needs: Requirements) -> bool:
        """Whether it runs here by now, or is answered; then it stands where it stood before. Each
        step is given back so once."""
        step = item.run, item.position
        if step in self._tried_here or not self._fits(item, needs) or self._is_withheld(item):
            return False
        self._tried_here.add(step)
        with self._store.database.write() as transaction:
            self.drop(transaction, item)
        self._tell("job.ended", item, {"state": "cancelled", "reason": "it runs here now"})
        return True

    def _providers(self, item: Item, needs: Requirements) -> tuple[str, ...] | None:
        """Who may do it, and is to be asked; None: nobody may, and it is noted why."""
        instruction = self._store.instructions.get(item.instruction)
        if instruction is None:
            self.note(item, f"the step {item.label} of run {item.run} is not here")
            return None
        command = command_of(instruction)
        providers = self.rights.providers(command)
        if not providers:
            self.note(item, f"no node has given this one the right to {command}")
            return None
        only = {needs.key, self._court.awaited(item)} - {""}
        return tuple(did for did in providers if only <= {did})

    def _grouped(
        self, item: Item, runs: Runs, left: tuple[str, ...], waits: list[str], again_s: int | None
    ) -> Plan | None:
        """A step with what goes along, for those whose delegations allow as much as it names.

        Args:
            waits: why others are not asked, for people. again_s: how much later the first is.
        """
        group = judged(self._store, group_of(self._store, item, runs))
        if group is None:
            self.note(item, STAYS)
            return None
        over = {did: why for did in left if (why := self.rights.beyond(did, group.lead))}
        if len(over) == len(left):
            self.note(item, "; ".join([*waits, *over.values()]))
            return None
        left = tuple(did for did in left if did not in over)
        if any(self.rights.beyond(did, one) for one in group.members[1:] for did in left):
            group = group.alone
        return Plan(item, group, left, (*waits, *over.values()), again_s)

    def _nobody_left(self, item: Item, refused: Mapping[str, Rest]) -> str:
        """Why nobody is asked for an item, of those who may be: first, who is asked again later."""
        done = {job.provider for job in self._outbox.jobs_of(item.id) if job.state == "done"}
        ranked = sorted(refused.items(), key=lambda one: one[1].left_s is None)
        if item.confirm > 1 and done:
            whys = [rest.why for did, rest in ranked if did not in done]
            return "; ".join([self._court.standing(item), *whys])
        return "; ".join(rest.why for _, rest in ranked) or "none of them holds the key"

    # What the books say of rows.

    def drop(self, transaction: Transaction, item: Item) -> None:
        """A step stands where it stood before it was put into the outbox."""
        self._outbox.drop(transaction, item)
        self.freed.add(item.run)

    def note(self, item: Item, note: str, next_try_at: int | None = None) -> None:
        """Say why a row is no further, where it does not say so yet."""
        if (item.note, item.next_try_at) != (note, next_try_at):
            self._outbox.note(item.id, note, next_try_at=next_try_at)

    def later(self, item: Item, again_s: int | None = None) -> int:
        """When a row is looked at again that nobody takes, in seconds since 1970. `again_s`: after
        which the first that rests is asked again."""
        longest = BACKOFF_S_MAX if again_s is None else min(again_s, BACKOFF_S_MAX)
        return self._clock.now() + min(longest, BACKOFF_S << min(item.attempts, 12))
