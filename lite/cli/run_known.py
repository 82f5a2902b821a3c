"""`ipvm run` of a module that is not here: its answer may be here, or at a peer, all the same.

What the arguments are is said by the module. Without it they are taken for what they look like,
and that counts only where somebody made just that call, and it went well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lite.absent_module import answered_call
from lite.cli.arguments import by_its_look

if TYPE_CHECKING:
    from lite.cli.target import Target
    from lite.model.instruction import Instruction
    from lite.node import Node

__all__ = ["known_call"]


def known_call(
    node: Node,
    target: Target,
    texts: Sequence[str],
    env: dict[str, str] | None,
    *,
    homestar: bool,
    ask: bool,
) -> Instruction | None:
    """The call whose answer is known; None: the module is needed, or something is known of it.

    Args:
        ask: peers may be asked for it.
    """
    if node.store.modules.get(target.cid) is not None:
        return None
    if any(text == "-" or text.startswith("@") for text in texts):
        return None  # what of a file goes into the call, its type says
    from lite.executor import HOMESTAR

    calls, mode = list(_readings(target, texts, env, homestar)), HOMESTAR if homestar else ""
    return answered_call(node, calls, node.config.limits, mode, ask=ask)


def _readings(
    target: Target, texts: Sequence[str], env: dict[str, str] | None, homestar: bool
) -> Iterator[Instruction]:
    from lite.model.instruction import wasm

    words = list(texts)
    if target.func is None:
        yield wasm(target.cid, None, *words, env=env)
    elif env is None:
        read = [by_its_look(text, homestar=homestar) for text in words]
        yield wasm(target.cid, target.func, *read)
        if read != words:
            yield wasm(target.cid, target.func, *words)
