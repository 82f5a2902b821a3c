"""Where the steps of a workflow can run, for people and for programs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from lite.cli.peers_find import called
from lite.ipld.cid import CID
from lite.workflow_places import Known

if TYPE_CHECKING:
    from lite.needs.capabilities import Capabilities
    from lite.needs.fit import Whereabouts
    from lite.node import Node
    from lite.offload.invoking import Rights
    from lite.workflow_outlook import Outlook
    from lite.workflow_places import Asked

__all__ = ["outlook_of", "where_fields", "where_words"]

_NAMED_MAX = 3
_HERE: Final = {
    "here": True,
    "why_not": [],
    "elsewhere": [],
    "perhaps": [],
    "had": [],
    "barred": [],
    "kept": None,
}


class _Others(Known):
    """Those whose records or delegations a node has, as its outbox would look at them."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._looked: Rights | None = None
        self._liars: Mapping[str, str] | None = None

    def capabilities(self) -> Mapping[str, Capabilities]:
        from lite.peering.capability_set import known_capabilities

        node = self._node
        found = known_capabilities(node.store, node.clock.now())
        return {did: has for did, has in found.items() if did != node.did}

    def claims(self, asked: Asked) -> Mapping[str, Capabilities]:
        from lite.offload.choosing import claimed
        from lite.offload.invoking import command_of

        providers = self._rights().providers(command_of(asked.instruction))
        return {did: claimed(did, asked.needs) for did in providers}

    def _rights(self) -> Rights:
        from lite.offload.invoking import Rights

        if self._looked is None:
            self._looked = Rights(self._node.store, self._node.key, self._node.clock)
        return self._looked

    def refusal(self, did: str, asked: Asked) -> str:
        from lite.offload.court import liars
        from lite.offload.invoking import command_of

        rights, command = self._rights(), command_of(asked.instruction)
        if did not in rights.providers(command):
            return f"it has given this node no right to {command}"
        if self._liars is None:
            self._liars = liars(self._node.store)
        if did in self._liars:
            return self._liars[did]
        if asked.instruction.awaits():  # a policy may be about what is not known yet
            return rights.beyond(did, asked)
        return rights.refusal(did, asked)

    def had(self, lacking: Collection[CID]) -> Collection[str]:
        from lite.model.trust import doer

        found: set[str] | None = None
        receipts = self._node.store.receipts
        for cid in lacking:
            seen = [*receipts.by_output(cid), *receipts.using(cid)]
            dids = {did for one in seen for did in (one.issuer, doer(one))}
            found = dids if found is None else found & dids
        return found or ()


def outlook_of(node: Node) -> Outlook:
    """The outlook of a node among those whose records or delegations it has."""
    return node.workflows.outlook_among(_Others(node))


def where_words(node: Node, where: Whereabouts | None, *, runs: bool = True) -> str:
    """`runs here`, or why not, and who else can; empty when there is nothing to say.

    Args:
        runs: nothing else, which is told apart from this, keeps the step from running now.
    """
    if where is None or (where.here.ok and not runs):
        return ""
    others = [*where.elsewhere, *where.perhaps, *(did for did, _ in where.barred)]
    names = node.store.peer_names() if others else {}
    if where.here.ok:
        sure = where.elsewhere
        said = [f"runs here, or on {_listed(sure, names)}" if sure else "runs here"]
    else:
        said = [str(where.here)]
        if where.elsewhere:
            said.append(f"{_listed(where.elsewhere, names)} can run it")
    if where.perhaps:
        said.append(_perhaps(where, names))
    if where.here.ok or where.elsewhere or where.perhaps:
        return "; ".join(said)
    return "; ".join([*said, *_barred(where, names)])


def _perhaps(where: Whereabouts, names: Mapping[str, str]) -> str:
    """Who is asked, first those that had what is lacking here."""
    who = "what it has" if len(where.perhaps) == 1 else "what they have"
    told = f"perhaps {_listed(where.perhaps, names)}: {who} is asked when the step runs"
    return f"{told} ({_listed(where.had, names)} had what is not here)" if where.had else told


def _barred(where: Whereabouts, names: Mapping[str, str]) -> list[str]:
    """Why nobody else may be asked, or that nobody else has what it needs."""
    if where.kept:
        return [where.kept]
    if not where.barred:
        return ["no node that is known here can run it"]
    found = [f"not on {_called(did, names)}: {why}" for did, why in where.barred[:_NAMED_MAX]]
    more = len(where.barred) - len(found)
    return [*found, f"nor on {more} more"] if more else found


def _called(did: str, names: Mapping[str, str]) -> str:
    return called(did, names.get(did, ""))


def _listed(dids: Sequence[str], names: Mapping[str, str]) -> str:
    """`one, two and 5 more`."""
    others = [_called(did, names) for did in dids[:_NAMED_MAX]]
    if more := len(dids) - len(others):
        others.append(f"{more} more")
    return " and ".join(filter(None, [", ".join(others[:-1]), *others[-1:]]))


def where_fields(where: Whereabouts | None) -> dict[str, Any]:
    """The same as JSON; the lists of others are empty also where nobody was looked for."""
    if where is None:
        return _HERE
    return {
        "here": where.here.ok,
        "why_not": [{"code": one.code, "text": one.text} for one in where.here.reasons],
        "elsewhere": list(where.elsewhere),
        "perhaps": list(where.perhaps),
        "had": list(where.had),
        "barred": [{"did": did, "text": why} for did, why in where.barred],
        "kept": where.kept or None,
    }
