"""`ipvm run` of a module that is not here: its answer may be here, or at a peer, all the same.

What the arguments are is said by the module. Without it they are taken for what they look like,
and that counts only where somebody made just that call, and it went well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from lite.absent_module import SCHEME, answered_call
from lite.errors import CidError, IpvmError
from lite.ipld.cid import CID

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

    calls, mode = list(_readings(target, texts, env)), HOMESTAR if homestar else ""
    return answered_call(node, calls, node.config.limits, mode, ask=ask)


def _readings(
    target: Target, texts: Sequence[str], env: dict[str, str] | None
) -> Iterator[Instruction]:
    from lite.model.instruction import wasm

    words = list(texts)
    if target.func is None:
        yield wasm(target.cid, None, *words, env=env)
    elif env is None:
        read = [_read(text) for text in words]
        yield wasm(target.cid, target.func, *read)
        if read != words:
            yield wasm(target.cid, target.func, *words)


def _read(text: str) -> Any:
    """A number, a truth value, a list, a map or a link; anything else is a text. A text in quotes
    is one with them, as it is where a string is wanted."""
    from lite.ipld import dag_json

    if text.startswith('"'):
        return text
    try:
        return CID.parse(text.removeprefix(SCHEME))
    except CidError:
        pass
    try:
        return dag_json.decode(text.encode())
    except (IpvmError, UnicodeEncodeError):
        return text
