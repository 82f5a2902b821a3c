"""`ipvm capabilities`: what this node has for steps, and what others say that they have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from lite.cli.command import offers, verb
from lite.cli.peers_find import book_of, called, find_peer
from lite.cli.present import age, file_name, one_line, short
from lite.cli.shell import Shell
from lite.errors import NotFoundError

if TYPE_CHECKING:
    from lite.needs.capabilities import Capabilities, Gpu
    from lite.needs.record import CapabilityRecord
    from lite.node import Node


@verb("capabilities", example="ipvm capabilities\nipvm capabilities pi\nipvm capabilities --json")
@click.argument("node", metavar="[DID|NAME]", required=False, shell_complete=offers("peers"))
@click.pass_obj
def capabilities(shell: Shell, node: str | None) -> None:
    """Show what this node has for steps, measured now, and what others say that they have.

    Others say it in records that their nodes sign and that go from peer to peer; one counts for at
    most a day. What is shown of this node is for its owner; its record says what is held for
    others. Exit status 5: nothing is known of the node.
    """
    here, book = book_of(shell)
    records = _records(here)
    if node is not None:
        did = here.did if node == here.did else _found(node, records) or find_peer(book, node)
        records = {did: records[did]} if did in records else {}
        if did != here.did and not records:
            raise NotFoundError(
                f"nothing is known of what {called(did, here.store.peer_names().get(did, ''))} has",
                hint="It says so when it offers something and a daemon of both meets.",
            )
    own = here.here.capabilities() if node is None or did == here.did else None
    if shell.json:
        shell.emit(_as_json(here, own, records))
    else:
        _say(shell, here, own, records)


def _records(node: Node) -> dict[str, CapabilityRecord]:
    """The records that count now, by DID."""
    from lite.needs.record import newest
    from lite.peering.capability_set import capability_records

    return newest(capability_records(node.store), node.clock.now())


def _found(text: str, records: dict[str, CapabilityRecord]) -> str | None:
    """A DID that is no peer's, but of which there is a record."""
    return text if text in records else None


def _as_json(
    node: Node, own: Capabilities | None, records: dict[str, CapabilityRecord]
) -> dict[str, Any]:
    names = node.store.peer_names()
    return {
        "own": None if own is None else {"did": own.did, **own.value()},
        "nodes": [
            {
                "did": did,
                "name": names.get(did, ""),
                "self": did == node.did,
                "record": str(record.cid),
                "issued_at": record.issued_at,
                "expires_at": record.expires_at,
                **record.capabilities.value(),
            }
            for did, record in sorted(records.items())
        ],
    }


def _say(
    shell: Shell, node: Node, own: Capabilities | None, records: dict[str, CapabilityRecord]
) -> None:
    now, names = node.clock.now(), node.store.peer_names()
    if own is not None:
        shell.line(f"this node  {own.did}")
        for line in _lines(own):
            shell.line(f"  {line}")
        mine = records.get(node.did)
        held = "nothing is held for others"
        if mine is not None:
            ops = ", ".join(mine.capabilities.ops) or "no operation"
            held = f"for others: {ops}  record {short(mine.cid)}, {age(mine.issued_at, now)}"
        shell.line(f"  {held}")
    for did, record in sorted(records.items()):
        if did != node.did:
            said = f"said {age(record.issued_at, now)}, holds until {age(record.expires_at, now)}"
            shell.line(f"{called(did, names.get(did, ''))}  {did}  {said}")
            for line in _lines(record.capabilities):
                shell.line(f"  {line}")


def _lines(has: Capabilities) -> Iterator[str]:
    from lite.needs import wording

    system = f"{has.system} {has.arch}".strip() or "no machine is named"
    memory, disk = wording.size(has.memory_bytes), wording.size(has.disk_bytes)
    yield f"{system}, {wording.counted(has.cores, 'core')}, {memory} of memory, {disk} of disk"
    for gpu in has.gpus:
        yield f"GPU     {one_line(_gpu(gpu))}"
    for title, words in (("engine", has.engine), ("ops", has.ops), ("tags", has.tags)):
        if words:
            yield f"{title:<6}  {file_name(' '.join(words))}"


def _gpu(gpu: Gpu) -> str:
    from lite.needs import wording

    name = gpu.name or gpu.vendor or "of an unknown kind"
    return name if gpu.memory_bytes is None else f"{name}, {wording.size(gpu.memory_bytes)}"
