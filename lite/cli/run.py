"""`ipvm run`: call a function of a module, or run a command."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

import click

from lite.cli.arguments import (
    WrongCount,
    bytes_or_link,
    parse_arguments,
    parse_core_arguments,
    parse_words,
)
from lite.cli.bringing import bringing
from lite.cli.command import HELP_NAMES, NEGATIVE, REST, Verb, offers
from lite.cli.engine_options import engine_options
from lite.cli.guest_lines import GuestLines
from lite.cli.outfile import check_folder
from lite.cli.present import one_line, task_name, visible
from lite.cli.results import advice, exit_status, show_trace, show_value, summary
from lite.cli.shell import Shell, TaskEnded
from lite.cli.sources import NodeSources
from lite.cli.target import COMMAND, Target, find_target, function_name, module_info
from lite.cli.trust_option import trust_option
from lite.errors import LimitError, ModuleError, NotFoundError, QueuedError, UsageError
from lite.frozen import replace

if TYPE_CHECKING:
    from lite.absent_module import Bring
    from lite.answer import Answer
    from lite.engine.module import ModuleInfo
    from lite.model.instruction import Instruction
    from lite.node import Node

EXAMPLE = """
ipvm run add.wasm:add 2 -40
ipvm run imaging.wasm:blur @photo.png 2 --out blurred.png
ipvm run ipfs://bafy…/tools/wc.wasm --stdin book.txt -- -l
ipvm run --op http/get https://example.org/ only=body --out page.html
ipvm run --op http/post https://example.org/orders json='{"n": 2}' --nonce order-17
"""


class RunCommand(Verb):
    """Options may stand anywhere; negative numbers are arguments; `--` or `--args` end options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        takes_value = {
            name: isinstance(option, click.Option) and not option.is_flag
            for option in self.params
            for name in option.opts
            if name.startswith("-")
        }
        takes_value |= dict.fromkeys(HELP_NAMES, False)
        options: list[str] = []
        words: list[str] = []
        rest = list(args)
        while rest:
            token = rest.pop(0)
            name = token.partition("=")[0] if token.startswith("--") else token
            if token in REST:
                words += rest
                break
            if not token.startswith("-") or token == "-" or NEGATIVE.match(token):
                words.append(token)
            elif name in takes_value:
                options.append(token)
                if takes_value[name] and name == token:
                    if not rest and ctx.resilient_parsing:  # completing its value
                        options.pop()
                        break
                    if not rest:
                        raise UsageError(f"the option {name} requires an argument")
                    options.append(rest.pop(0))
            elif not ctx.resilient_parsing:
                raise _unknown_option(token, takes_value)
        return super().parse_args(ctx, [*options, "--", *words])


def _unknown_option(token: str, known: dict[str, bool]) -> UsageError:
    import difflib

    near = difflib.get_close_matches(token, known, 1, 0.6)
    hint = "To pass it to the guest, put -- in front of the guest's arguments."
    if near:
        hint = f"Did you mean {near[0]}? {hint}"
    return UsageError(f"there is no option {token}", hint=hint)


@click.command("run", cls=RunCommand, example=EXAMPLE, keeps=True)
@click.argument(
    "words",
    metavar="MODULE[:FUNC]|RSC [ARG|KEY=VALUE]...",
    nargs=-1,
    shell_complete=offers("names"),
)
@engine_options
@trust_option
@click.option("--env", metavar="K=V", multiple=True, help="Environment of a command; repeatable.")
@click.option("--stdin", metavar="FILE", help="Standard input of a command; - passes on ours.")
@click.option("--op", metavar="OP", help="An operation such as http/get, instead of a module.")
@click.option("--nonce", metavar="TEXT", help="Makes it unlike an equal one, and goes out with it.")
@click.option("--out", metavar="FILE", help="Write the value there instead of to stdout.")
@click.option("--no-cache", is_flag=True, help="Run it even when the answer is known.")
@click.option("--redo", is_flag=True, help="Do it again although it is in doubt, or was done.")
@click.option("--force", is_flag=True, help="Let --op send what is secret over the network.")
@click.option("--dry-run", is_flag=True, help="Only say whether it would run.")
@click.option("--homestar", is_flag=True, help="Homestar's rules for values.")
@click.option("--private", is_flag=True, help="It, and all that comes of it, stays on this node.")
@click.option("--args", is_flag=True, help="What follows are arguments, whatever it looks like.")
@click.pass_obj
def run(
    shell: Shell,
    words: tuple[str, ...],
    env: tuple[str, ...],
    stdin: str | None,
    op: str | None,
    nonce: str | None,
    out: str | None,
    no_cache: bool,
    redo: bool,
    force: bool,
    dry_run: bool,
    homestar: bool,
    private: bool,
    args: bool,
) -> None:
    """Run a function of a WebAssembly module, or a command.

    MODULE is a file, a CID, ipfs://CID/path or a name. Arguments are read by the types of the
    function (`ipvm inspect MODULE` shows them): a string is taken as it is, @file is a file's
    bytes, - is standard input, a CID is a link, anything else is JSON. The value goes to stdout,
    what the guest logs to stderr as it comes (not with -q), and at last one line about the run
    (with -q only when it failed or waits). The same call again is answered from its receipt.

    With --op it does an operation on the URI RSC. VALUE is @file (a link to its bytes), a CID, JSON
    or else text. What is not pure is done each time; what changes the world and has a --nonce is
    done once, and is in doubt when nobody knows whether it was, until --redo.
    What is made from secrets is secret; --private makes this call so, with its new files.
    """
    modules = {"--env": bool(env), "--stdin": stdin is not None, "--homestar": homestar}
    op = _check(shell, words, op, out, modules)
    node = shell.node(meeting=True)
    label, instruction = op or words[0], None
    try:
        bring = None if dry_run else bringing(shell, node)
        target = None if op else find_target(node, words[0], bring, later=True)
        label = target.called(None) if target else label
        with NodeSources(node, private=private) as sources:
            if target is None:
                instruction = _operation(label, words, sources, nonce)
            else:
                given = node, sources, target, words[1:], env, stdin
                ask = None if no_cache or nonce else not (dry_run or private)
                made = _known(*given, homestar, ask) or make_instruction(*given, bring, homestar)
                instruction = replace(made, nnc=nonce or "")
                label = target.called(instruction.input.get("func"))
        if op is not None:
            _refuse(shell, node, instruction, sources, private=private, force=force)
        if dry_run:
            _forecast(shell, node, instruction, label, homestar)
            return
        if private or sources.secret:
            _make_private(shell, node, instruction, sources)
        act = partial(node.run, instruction, fresh=no_cache, redo=redo, homestar=homestar)
        with GuestLines(shell) as said:
            answer = act(on_trace=said)
    except QueuedError as queued:
        _wait(shell, node, queued, label, None if dry_run else instruction)
    _show(shell, node, answer, instruction, label, out, told=said.heard)


def _show(
    shell: Shell,
    node: Node,
    answer: Answer,
    asked: Instruction,
    label: str,
    out: str | None,
    *,
    told: bool,
) -> None:
    """What came of it; ends the command unless that is a value."""
    # It was known, or the operation tells all at the end; or what is left has no other place.
    show_trace(shell, node, answer, told=told)
    secret = node.store.secrets.is_secret(answer.receipt.cid)
    tell = shell.note if answer.receipt.out.is_ok else shell.failure
    tell(summary(shell, node, answer, label) + ("  secret" if secret else ""))
    if (said := advice(answer.receipt, asked)) is not None:
        shell.note(f"  → {said}")
    if node.note:
        shell.note(f"ipvm: {node.note}")
    unused: list[dict[str, Any]] = []
    if answer.passed_over:
        from lite.cli.other_receipts import say_unused

        unused = say_unused(shell, node, answer)
    show_value(shell, node, answer, out)  # first: that it cannot be written is one object as well
    if shell.json:
        from lite.json_fields import answer_fields

        shell.emit({**answer_fields(answer), "secret": secret, "unused": unused})
    if status := exit_status(answer.receipt):
        raise TaskEnded(status)


def _check(
    shell: Shell,
    words: tuple[str, ...],
    op: str | None,
    out: str | None,
    for_modules: dict[str, bool],
) -> str | None:
    """Refuse what can be before the home is opened; the name of the operation, if it is one."""
    if op is not None:
        from lite.cli.operation import check_operation

        op = check_operation(op, for_modules=for_modules)
    if not words or not words[0]:
        raise UsageError(
            f"`ipvm run` needs a {'module' if op is None else 'URI that --op acts on'}",
            hint="For example: ipvm run add.wasm:add 2 40",
        )
    if out is not None:
        check_folder(out)
    if out == "-" and shell.json:
        raise UsageError("--json and --out - both want stdout", hint="Give --out a file.")
    return op


def _operation(
    op: str, words: tuple[str, ...], sources: NodeSources, nonce: str | None
) -> Instruction:
    from lite.cli.operation import make_operation

    return make_operation(op, words, sources, nonce)


def _refuse(
    shell: Shell,
    node: Node,
    instruction: Instruction,
    sources: NodeSources,
    *,
    private: bool,
    force: bool,
) -> None:
    """Refuse an operation that may not be done now, before anything is marked or begun."""
    shell.done["ins"] = str(instruction.cid)  # to name what is queued or in doubt by
    if shell.offline:
        from lite.cli.operation import refuse_network

        refuse_network(node.needs(instruction))
    if not force:
        from lite.scheduler.telling import refuse_telling

        of = (node.workflows.outlook, node.store, instruction)
        refuse_telling(*of, private=private, given=bool(sources.secret), consent="--force")


def _wait(
    shell: Shell, node: Node, queued: QueuedError, label: str, instruction: Instruction | None
) -> NoReturn:
    """Let a call wait, where another node may do it; ends the command."""
    from lite.cli.run_elsewhere import queue_elsewhere

    told = None if instruction is None else queue_elsewhere(shell, node, instruction)
    end_queued(shell, label, str(queued), told or queued.hint)


def end_queued(shell: Shell, label: str, reason: str, hint: str | None) -> NoReturn:
    """Say that it waits, and for what; ends the command."""
    if shell.json:
        shell.emit_error(QueuedError.code, reason, hint)
    shell.failure(f"{shell.paint('⇢', 'yellow')} {task_name(label)}  queued: {one_line(reason)}")
    if hint:
        shell.note(f"  → {visible(hint)}")
    raise TaskEnded(QueuedError.exit_code)


def _forecast(
    shell: Shell, node: Node, instruction: Instruction, label: str, homestar: bool
) -> None:
    forecast = node.plan(instruction, homestar=homestar)
    if forecast.state == "queued":
        end_queued(shell, label, forecast.reason, None)
    answer = forecast.answer
    if shell.json:
        from lite.json_fields import answer_fields

        known: dict[str, Any] = {}
        if answer is not None:
            secret = node.store.secrets.is_secret(answer.receipt.cid)
            known = {**answer_fields(answer), "secret": secret}
        shell.emit({"state": forecast.state, "ins": str(instruction.cid), **known})
    elif answer is not None:
        shell.line(f"✓ {task_name(label)}  cached  receipt {answer.receipt.cid}")
    else:
        shell.line(f"⇢ {task_name(label)}  would run")


def _make_private(shell: Shell, node: Node, instruction: Instruction, sources: NodeSources) -> None:
    """Mark a call before it runs, so that its receipt is never without the mark; with it the files
    that were stored for it, except those that other calls use which are not secret."""
    from lite.privacy import make_secret

    known = {one.cid for one in node.store.receipts.by_instruction(instruction.cid)}
    store = node.store
    users = {cid: set(store.instructions.using(cid)) - {instruction.cid} for cid in sources.stored}
    files = [cid for cid, found in users.items() if found <= store.secrets.any_secret(found)]
    fresh = make_secret(store, [instruction.cid, *files])
    if known.intersection(fresh):
        shell.note(
            "ipvm: this call was made before and was not secret; it is from now on, with what came "
            "of it"
        )


def _known(
    node: Node,
    _: NodeSources,
    target: Target,
    texts: tuple[str, ...],
    env: tuple[str, ...],
    stdin: str | None,
    homestar: bool,
    ask: bool | None,
) -> Instruction | None:
    """The call, where it needs no module because its answer is known.

    Args:
        ask: peers may be asked for it; None: a known answer does not count.
    """
    if ask is None or stdin is not None or node.store.blocks.has(target.cid):
        return None
    from lite.cli.run_known import known_call

    given = _environment(env)
    return known_call(node, target, texts, given, homestar=homestar, ask=ask)


def make_instruction(
    node: Node,
    sources: NodeSources,
    target: Target,
    texts: tuple[str, ...],
    env: tuple[str, ...],
    stdin: str | None,
    bring: Bring | None = None,
    homestar: bool = False,
) -> Instruction:
    """The instruction of a command line, its arguments read by the function's types.

    What is no module, or too much of one, is asked to run all the same, with its arguments as
    texts: the node then says in a receipt what is wrong with it.

    Args:
        bring: gets the module where it is not here.
        homestar: the arguments are judged by Homestar's rules alone.

    Raises:
        QueuedError: the module is not here.
        UsageError: the texts are not arguments of the function.
        NotFoundError: a file or name among them is not there.
    """
    from lite.model.instruction import wasm

    try:
        info = module_info(node, target, bring)
    except (LimitError, ModuleError):
        given = None if stdin is None else bytes_or_link(_stdin(sources, stdin), sources)
        words = parse_words(texts, sources)
        return wasm(target.cid, target.func, *words, env=_environment(env), stdin=given)
    name = function_name(info, target)
    if info.kind == "wasi-command" and name == COMMAND:
        given = None if stdin is None else bytes_or_link(_stdin(sources, stdin), sources)
        words = parse_words(texts, sources)
        return wasm(target.cid, None, *words, env=_environment(env), stdin=given)
    if env or stdin is not None:
        raise UsageError(f"--env and --stdin are for commands; {name} is a function")
    return wasm(target.cid, name, *_values(info, target, name, texts, sources, homestar))


def _values(
    info: ModuleInfo,
    target: Target,
    name: str,
    texts: tuple[str, ...],
    sources: NodeSources,
    homestar: bool,
) -> list[Any]:
    func = info.exports[name]
    try:
        if info.kind == "core":
            takes_bytes = info.plan is not None and info.plan.lifts[name].realloc is not None
            return parse_core_arguments(texts, func, sources, takes_bytes=takes_bytes)
        return parse_arguments(texts, func, sources, homestar=homestar)
    except WrongCount as error:
        from lite.cli.examples import example_call
        from lite.engine.wit import render_func

        example = example_call(target.label, name, func, core=info.kind == "core")
        raise UsageError(
            f"{render_func(name, func)}: {error}",
            hint=f"For example: {example}" if example else error.hint,
        ) from None


def _environment(pairs: tuple[str, ...]) -> dict[str, str] | None:
    env: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise UsageError(f"--env {pair}: not of the form NAME=VALUE")
        env[name] = value
    return env or None


def _stdin(sources: NodeSources, name: str) -> BinaryIO:
    if name == "-":
        return sources.stdin()
    stream = sources.open(name)
    if stream is None:
        raise NotFoundError(f"--stdin: there is no file {name}")
    return stream
