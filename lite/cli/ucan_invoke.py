"""`ipvm ucan invoke` and `ipvm ucan run`: asking another node to run something, and doing it."""

from __future__ import annotations

from typing import Any

import click

from lite.cli.command import verb
from lite.cli.present import one_line
from lite.cli.results import exit_status, show_trace, show_value, summary
from lite.cli.run import RunCommand, end_queued, make_instruction
from lite.cli.shell import Shell, TaskEnded, need_stdout
from lite.cli.sources import NodeSources
from lite.errors import AuthorityError, QueuedError, UsageError

COMMAND = "/wasm/run"
LABEL_CHARS = 64

EXAMPLE = """
ipvm ucan invoke --subject did:key:z6Mk… add.wasm:add 2 40 > job.ucan
ipvm ucan invoke --subject did:key:z6Mk… --fuel 1M imaging.wasm:blur @photo.png 2
"""


@click.command("invoke", cls=RunCommand, example=EXAMPLE)
@click.argument("words", metavar="MODULE[:FUNC] [ARGS]...", nargs=-1)
@click.option("--subject", metavar="DID", required=True, help="The node that is to run it.")
@click.option("--exp", metavar="TIME", default="1h", show_default=True, help="Until when: 5m, 1h.")
@click.option("--fuel", metavar="N", help="Fuel it may use, where policies can see it.")
@click.option("--memory", metavar="SIZE", help="Memory it may use, where policies can see it.")
@click.option("--time", metavar="TIME", help="Time it may take, where policies can see it.")
@click.option("--env", metavar="K=V", multiple=True, help="Environment of a command; repeatable.")
@click.option("--stdin", metavar="FILE", help="Standard input of a command; - passes on ours.")
@click.option("--args", is_flag=True, help="What follows are arguments, whatever it looks like.")
@click.pass_obj
def invoke(
    shell: Shell,
    words: tuple[str, ...],
    subject: str,
    exp: str,
    fuel: str | None,
    memory: str | None,
    time: str | None,
    env: tuple[str, ...],
    stdin: str | None,
    args: bool,
) -> None:
    """Ask another node to run something: an invocation with its proofs, on stdout.

    The call is written as for `ipvm run`; the module is named by its CID, so the other node needs
    its bytes, and those of large inputs, before it can run it. The proofs are delegations of this
    home. `ipvm ucan run` does what is asked, once.
    """
    from lite.cli.target import find_target
    from lite.cli.ucan_delegate import hand_out, lasting, note_shorter
    from lite.cli.ucan_source import did
    from lite.cli.ucan_words import ODD_NOTE, odd
    from lite.invocations import args_of, nonce_for, spelt
    from lite.ucan import container

    if not words:
        raise UsageError("`ipvm ucan invoke` needs a module", hint="For example: add.wasm:add 2 40")
    need_stdout("Nothing was asked of anybody; do it again with somewhere for the token to go.")
    limits = _limits(fuel, memory, time)
    at = did(subject, "--subject")
    seconds = lasting(exp)
    node = shell.node()
    try:
        target = find_target(node, words[0])
        with NodeSources(node) as sources:
            instruction = make_instruction(node, sources, target, words[1:], env, stdin)
    except QueuedError as queued:
        end_queued(shell, words[0], str(queued), queued.hint)
    if sources.secret or node.store.secrets.instructions_among([instruction]):
        what = ", ".join(sources.secret) or "this call"
        raise AuthorityError(
            f"the invocation would let out what was marked secret: {what}",
            hint="Give the other the file in a way of your own, and name it by its CID.",
        )
    told = args_of(spelt(instruction), limits)
    if found := odd(told):
        shell.note(f"ipvm: {found}; {ODD_NOTE}")
    tokens = node.authority.invoke(
        at,
        COMMAND,
        told,
        nonce=nonce_for(instruction),  # the same call has the same Task ID each time
        expires_in_s=seconds,
    )
    text = container.write(tokens).decode()
    fields = {"ins": str(instruction.cid), "token": text, **_invocation(tokens[0])}
    hand_out(shell, text, fields, "Nothing was asked of anybody; do it again when there is room.")
    note_shorter(shell, fields["exp"], exp, seconds, node.clock.now(), "ask for")


def _invocation(data: bytes) -> dict[str, Any]:
    from lite.ucan.invocation import Invocation

    invocation = Invocation.parse(data)
    return {
        "cid": str(invocation.cid),
        "sub": invocation.subject,
        "exp": invocation.expires_at,
        "prf": [str(cid) for cid in invocation.proofs],
    }


def _limits(fuel: str | None, memory: str | None, time: str | None) -> dict[str, int]:
    from lite.quantities import parse_duration_ms, parse_fuel, parse_size

    read = {"fuel": (fuel, parse_fuel), "memory": (memory, parse_size)}
    read["time"] = (time, parse_duration_ms)
    return {name: parse(text) for name, (text, parse) in read.items() if text is not None}


@verb(
    "run",
    example="""
    ipvm ucan run job.ucan
    ssh phone cat job.ucan | ipvm ucan run - --json
    """,
)
@click.argument("token", metavar="FILE|TEXT|-")
@click.option("--out", metavar="FILE", help="Write the value there instead of to stdout.")
@click.pass_obj
def run(shell: Shell, token: str, out: str | None) -> None:
    """Do what another asks this node to do, if its proofs allow it; else end with 4.

    Prints what `ipvm run` prints. An invocation counts once: sent again, it is refused as a replay,
    and the receipt of the first time is named.
    """
    from lite.cli.outfile import check_folder
    from lite.cli.ucan_source import load
    from lite.ucan.show import printable

    if out is not None:
        check_folder(out)
    if out == "-" and shell.json:
        raise UsageError("--json and --out - both want stdout", hint="Give --out a file.")
    node = shell.node()
    try:
        answer = node.run_invocation(load(node, token))
    except QueuedError as queued:
        end_queued(shell, "invocation", str(queued), queued.hint)
    show_trace(shell, node, answer)
    label = printable(one_line(str(answer.receipt.meta.get("func") or "invocation"), LABEL_CHARS))
    shell.note(summary(shell, node, answer, label))
    show_value(shell, node, answer, out)
    if shell.json:
        from lite.json_fields import answer_fields

        invocation = answer.receipt.invocation
        shell.emit(
            {**answer_fields(answer), "inv": None if invocation is None else str(invocation)}
        )
    if status := exit_status(answer.receipt):
        raise TaskEnded(status)
