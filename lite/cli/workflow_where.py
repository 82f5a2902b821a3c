"""Where the steps of a workflow can run, for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lite.cli.peers_find import called
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


class _Others(Known):
    """Those whose records or delegations a node has, as its outbox would look at them."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._looked: Rights | None = None

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
        from lite.offload.invoking import command_of

        rights, command = self._rights(), command_of(asked.instruction)
        if did not in rights.providers(command):
            return f"it has given this node no right to {command}"
        if (why := rights.beyond(did, asked)) or asked.instruction.awaits():
            return why  # a policy may be about what is not known yet
        allowed = rights.chain(did, command, rights.args(did, asked)) is not None
        return "" if allowed else f"no delegation of it allows {command} as it is asked for"


def outlook_of(node: Node) -> Outlook:
    """The outlook of a node among those whose records or delegations it has."""
    return node.workflows.outlook_among(_Others(node))


def where_words(node: Node, where: Whereabouts | None, *, starts: bool = True) -> str:
    """`runs here`, or why not, and who else can; empty when there is nothing to say.

    Args:
        starts: nothing else keeps the step from running here; if something does, that is said
            already, and others may lack it as well.
    """
    if where is None:
        return ""
    others = [*where.elsewhere, *where.perhaps, *(did for did, _ in where.barred)]
    names = node.store.peer_names() if others else {}
    sure, perhaps = where.elsewhere, where.perhaps
    if not where.here.ok:
        said = [str(where.here)]
    elif starts:
        said = [f"runs here, or on {_listed(sure, names)}" if sure else "runs here"]
        sure = ()
    else:
        said, sure, perhaps = [], (), tuple(sorted({*sure, *perhaps}))
    if sure:
        said.append(f"{_listed(sure, names)} can run it")
    if perhaps:
        who = "what it has" if len(perhaps) == 1 else "what they have"
        said.append(f"perhaps {_listed(perhaps, names)}: {who} is asked when the step runs")
    if where.here.ok or where.elsewhere or where.perhaps:
        return "; ".join(said)
    return "; ".join([*said, *_barred(where, names)])


def _barred(where: Whereabouts, names: Mapping[str, str]) -> list[str]:
    """Why nobody else may be asked, or that nobody else has what it needs."""
    if where.stays:
        return ["it is secret, so no other node is asked"]
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
        return {"here": True, "why_not": [], "elsewhere": [], "perhaps": [], "barred": []}
    return {
        "here": where.here.ok,
        "why_not": [{"code": one.code, "text": one.text} for one in where.here.reasons],
        "elsewhere": list(where.elsewhere),
        "perhaps": list(where.perhaps),
        "barred": [{"did": did, "text": why} for did, why in where.barred],
    }
