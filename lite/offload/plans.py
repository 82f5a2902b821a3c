"""What the clerk hands to the dispatcher: what is to go, and what is to be fetched."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from lite.frozen import field, frozen
from lite.ipld.cid import CID
from lite.model.receipt import Receipt
from lite.needs.requirements import Requirements
from lite.offload import wire
from lite.offload.groups import Group
from lite.store.outbox_rows import Item, Job
from sync.health import BANNED

__all__ = ["Plan", "Wanted", "away"]


@frozen
class Plan:
    """One item that is to go, with what goes along, and whom to ask.

    Attributes:
        aside: why others that may do it are not asked, for people.
        again_s: seconds after which the first of these is asked; None: nobody is by itself.
    """

    item: Item
    group: Group
    providers: tuple[str, ...]
    aside: tuple[str, ...] = field(default=())
    again_s: int | None = None

    @property
    def along(self) -> tuple[Requirements, ...]:
        return tuple(member.needs for member in self.group.members[1:])


@frozen
class Wanted:
    """What has to be fetched before an answer counts.

    Attributes:
        blocks: with all below them. private: they are secret, so its provider alone is asked.
    """

    job: Job
    told: wire.Job
    receipt: Receipt
    blocks: tuple[CID, ...] = field(default=())
    private: bool = False


def away(providers: Iterable[str], banned: Collection[str]) -> list[str]:
    """Why some providers cannot be asked now, for people."""
    known = list(providers)
    far = [did for did in known if did not in banned]
    told = [f"not connected: {', '.join(far)}"] if far else []
    return [*told, *(f"{did}: {BANNED}" for did in known if did in banned)]
