"""`ipvm run --op`: an operation other than calling a module, from the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lite.cli.arguments import parse_inputs
from lite.errors import QueuedError, UsageError
from lite.model.instruction import WASM_RUN

if TYPE_CHECKING:
    from lite.cli.arguments import Sources
    from lite.model.instruction import Instruction


def check_operation(op: str, *, for_modules: dict[str, bool]) -> str:
    """The name of an operation in lower case.

    Args:
        for_modules: options of a call of a module, and whether they were given.

    Raises:
        UsageError: it calls a module, or an option does not go with it.
    """
    op = op.strip().lower()
    if op == WASM_RUN:
        raise UsageError(
            f"--op {WASM_RUN} is what `ipvm run` does without it",
            hint="For example: ipvm run add.wasm:add 2 40",
        )
    for option, given in for_modules.items():
        if given:
            raise UsageError(
                f"{option} is for modules; {op} takes KEY=VALUE",
                hint="For example: ipvm run --op exec/run exec:NAME stdin=@FILE",
            )
    return op


def refuse_network(needs: frozenset[str]) -> None:
    """Raises `QueuedError` for what needs the network: --offline was given."""
    if "network" in needs:
        from lite.workflow_forecast import NO_NETWORK

        raise QueuedError(NO_NETWORK, hint="Leave out --offline when the host can be reached.")


def make_operation(
    op: str, words: tuple[str, ...], sources: Sources, nonce: str | None = None
) -> Instruction:
    """The instruction of `RSC KEY=VALUE…`.

    Raises:
        UsageError: RSC is no URI, or a word is not of this form.
        NotFoundError: a file or name among the values is not there.
    """
    from lite.model.instruction import Instruction

    rsc, *texts = words
    return Instruction(rsc, op, parse_inputs(texts, sources), nonce or "")
