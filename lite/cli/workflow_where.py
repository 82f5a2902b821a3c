"""Where the steps of a workflow can run, for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lite.cli.peers_find import called

if TYPE_CHECKING:
    from lite.needs.capabilities import Capabilities
    from lite.needs.fit import Whereabouts
    from lite.node import Node
    from lite.workflow_outlook import Outlook

__all__ = ["outlook_of", "where_fields", "where_words"]

_NAMED_MAX = 3


def outlook_of(node: Node) -> Outlook:
    """The outlook of a node among those whose records it has."""

    def known() -> Mapping[str, Capabilities]:
        from lite.peering.capability_set import known_capabilities

        found = known_capabilities(node.store, node.clock.now())
        return {did: has for did, has in found.items() if did != node.did}

    return node.workflows.outlook_among(known)


def where_words(node: Node, where: Whereabouts | None) -> str:
    """`runs here`, or why not and who else can; empty when there is nothing to say."""
    if where is None:
        return ""
    names = node.store.peer_names() if where.elsewhere else {}
    others = [called(did, names.get(did, "")) for did in where.elsewhere[:_NAMED_MAX]]
    if more := len(where.elsewhere) - len(others):
        others.append(f"{more} more")
    listed = " and ".join(filter(None, [", ".join(others[:-1]), *others[-1:]]))
    if where.here.ok:
        return f"runs here, or on {listed}" if listed else "runs here"
    can = f"{listed} can run it" if listed else "no node that is known here can run it"
    return f"{where.here}; {can}"


def where_fields(where: Whereabouts | None) -> dict[str, Any]:
    """The same as JSON; `elsewhere` is empty also where nobody was looked for."""
    if where is None:
        return {"here": True, "why_not": [], "elsewhere": []}
    reasons = [{"code": one.code, "text": one.text} for one in where.here.reasons]
    return {"here": where.here.ok, "why_not": reasons, "elsewhere": list(where.elsewhere)}
