"""What the clerk hands to the dispatcher: what is to go, and what is to be fetched."""

from __future__ import annotations

from lite.frozen import field, frozen
from lite.ipld.cid import CID
from lite.model.receipt import Receipt
from lite.needs.requirements import Requirements
from lite.offload import wire
from lite.offload.groups import Group
from lite.store.outbox_rows import Item, Job

__all__ = ["Plan", "Wanted"]


@frozen
class Plan:
    """One item that is to go, with what goes along, and whom to ask."""

    item: Item
    group: Group
    providers: tuple[str, ...]

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
