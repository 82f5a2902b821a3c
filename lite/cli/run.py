"""`ipvm run`: call a function of a module, or run a command."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn, TypeVar

import click

from lite.cli.arguments import (
    WrongCount,
    bytes_or_link,
    parse_arguments,
    parse_core_arguments,
    parse_words,
)
from lite.cli.command import HELP_NAMES, Verb
from lite.cli.outfile import check_folder
from lite.cli.results import as_json, exit_status, show_trace, show_value, summary
from lite.cli.shell import Shell, TaskEnded
from lite.cli.target import COMMAND, Target, find_target, function_name, module_info
from lite.errors import NotFoundError, QueuedError, UsageError
from lite.ipld.cid import CID

if TYPE_CHECKING:
    from lite.engine.module import ModuleInfo
    from lite.model.instruction import Instruction
    from lite.node import Node

_F = TypeVar("_F", bound=Callable[..., Any])
_NEGATIVE = re.compile(r"-(\d|\.\d)")
_REST = ("--", "--args")

EXAMPLE = """
ipvm run add.wasm:add 2 -40
ipvm run imaging.wasm:blur @photo.png 2 --out blurred.png
ipvm run ipfs://bafy…/tools/wc.wasm --stdin book.txt -- -l
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
            if token in _REST:
                words += rest
                break
            if not token.startswith("-") or token == "-" or _NEGATIVE.match(token):
                words.append(token)
            elif name in takes_value:
                options.append(token)
                if takes_value[name] and name == token:
                    if not rest:
                        raise UsageError(f"the option {name} requires an argument")
                    options.append(rest.pop(0))
            else:
                raise _unknown_option(token, takes_value)
        return super().parse_args(ctx, [*options, "--", *words])


def _unknown_option(token: str, known: dict[str, bool]) -> UsageError:
    import difflib

    near = difflib.get_close_matches(token, known, 1, 0.6)
    hint = "To pass it to the guest, put -- in front of the guest's arguments."
    if near:
        hint = f"Did you mean {near[0]}? {hint}"
    return UsageError(f"there is no option {token}", hint=hint)


def _setting(name: str) -> Callable[[click.Context, click.Parameter, str | None], None]:
    """A callback that checks a flag's text and lets it override a setting."""

    def override(ctx: click.Context, _param: click.Parameter, text: str | None) -> None:
        if text is not None:
            from lite.config import setting

            flag = "--" + name.removeprefix("limits.").removesuffix(".name")
            try:
                setting(name).parse(text)
            except UsageError as error:
                raise UsageError(f"{flag}: {error}", hint=error.hint) from None
            ctx.ensure_object(Shell).overrides[name] = text

    return override


def _in_process(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        ctx.ensure_object(Shell).overrides["engine.in_process"] = "true"


def _limit(flag: str, name: str, metavar: str, text: str) -> Callable[[_F], _F]:
    return click.option(
        flag, metavar=metavar, callback=_setting(name), expose_value=False, help=text
    )


@click.command("run", cls=RunCommand, example=EXAMPLE)
@click.argument("words", metavar="MODULE[:FUNC] [ARGS]...", nargs=-1)
@_limit("--fuel", "limits.fuel", "N", "Fuel it may use: 1000000, 1M, 2G.")
@_limit("--memory", "limits.memory", "SIZE", "Memory it may use: 64M, 1GiB.")
@_limit("--time", "limits.time", "TIME", "Wall time it may take: 500ms, 10s.")
@_limit("--output", "limits.output", "SIZE", "Largest result.")
@_limit("--engine", "engine.name", "NAME", "auto, wasmtime or wasmer.")
@click.option(
    "--in-process",
    is_flag=True,
    callback=_in_process,
    expose_value=False,
    help="Run it inside this process: only for guests that you trust.",
)
@click.option("--env", metavar="K=V", multiple=True, help="Environment of a command; repeatable.")
@click.option("--stdin", metavar="FILE", help="Standard input of a command; - passes on ours.")
@click.option("--out", metavar="FILE", help="Write the value there instead of to stdout.")
@click.option("--no-cache", is_flag=True, help="Run it even when the answer is known.")
@click.option("--dry-run", is_flag=True, help="Only say whether it would run.")
@click.option("--homestar", is_flag=True, help="Homestar's rules for values.")
@click.option("--args", is_flag=True, help="What follows are arguments, whatever it looks like.")
@click.pass_obj
def run(
    shell: Shell,
    words: tuple[str, ...],
    env: tuple[str, ...],
    stdin: str | None,
    out: str | None,
    no_cache: bool,
    dry_run: bool,
    homestar: bool,
    args: bool,
) -> None:
    """Run a function of a WebAssembly module, or a command.

    MODULE is a file, a CID, ipfs://CID/path or a name. Arguments are read by the types of the
    function (`ipvm inspect MODULE` shows them): a string is taken as it is, @file is a file's
    bytes, - is standard input, a CID is a link, anything else is JSON. The value goes to stdout,
    one line about the run to stderr. The same call again is answered from its receipt.
    """
    if not words:
        raise UsageError(
            "`ipvm run` needs a module", hint="For example: ipvm run add.wasm:add 2 40"
        )
    if out is not None:
        check_folder(out)
    if out == "-" and shell.json:
        raise UsageError("--json and --out - both want stdout", hint="Give --out a file.")
    node = shell.node()
    label = words[0]
    try:
        target = find_target(node, words[0])
        label = target.func or target.stem
        instruction = make_instruction(node, target, words[1:], env, stdin)
        if dry_run:
            _forecast(shell, node, instruction, label, homestar)
            return
        answer = node.run(instruction, fresh=no_cache, homestar=homestar)
    except QueuedError as queued:
        end_queued(shell, label, str(queued), queued.hint)
    show_trace(shell, node, answer.receipt)
    shell.note(summary(shell, node, answer, label))
    if shell.json:
        shell.emit(as_json(answer))
    show_value(shell, node, answer, out)
    if status := exit_status(answer.receipt):
        raise TaskEnded(status)


def end_queued(shell: Shell, label: str, reason: str, hint: str | None) -> NoReturn:
    """Say that it waits, and for what; ends the command."""
    if shell.json:
        shell.emit_error(QueuedError.code, reason, hint)
    shell.note(f"{shell.paint('⇢', 'yellow')} {label}  queued: {reason}")
    if hint:
        shell.note(f"  → {hint}")
    raise TaskEnded(QueuedError.exit_code)


def _forecast(
    shell: Shell, node: Node, instruction: Instruction, label: str, homestar: bool
) -> None:
    forecast = node.plan(instruction, homestar=homestar)
    if forecast.state == "queued":
        end_queued(shell, label, forecast.reason, None)
    answer = forecast.answer
    if shell.json:
        known = {} if answer is None else as_json(answer)
        shell.emit({"state": forecast.state, "ins": str(instruction.cid), **known})
    elif answer is not None:
        shell.line(f"✓ {label}  cached  receipt {answer.receipt.cid}")
    else:
        shell.line(f"⇢ {label}  would run")


def make_instruction(
    node: Node, target: Target, texts: tuple[str, ...], env: tuple[str, ...], stdin: str | None
) -> Instruction:
    """The instruction of a command line, its arguments read by the function's types.

    Raises:
        UsageError: the texts are not arguments of the function.
        NotFoundError: a file or name among them is not there.
    """
    from lite.model.instruction import wasm

    info = module_info(node, target)
    name = function_name(info, target)
    with NodeSources(node) as sources:
        if info.kind == "wasi-command" and name == COMMAND:
            given = None if stdin is None else bytes_or_link(_stdin(sources, stdin), sources)
            words = parse_words(texts, sources)
            return wasm(target.cid, None, *words, env=_environment(env), stdin=given)
        if env or stdin is not None:
            raise UsageError(f"--env and --stdin are for commands; {name} is a function")
        return wasm(target.cid, name, *_values(info, target, name, texts, sources))


def _values(
    info: ModuleInfo, target: Target, name: str, texts: tuple[str, ...], sources: NodeSources
) -> list[Any]:
    func = info.exports[name]
    try:
        if info.kind == "core":
            takes_bytes = info.plan is not None and info.plan.lifts[name].realloc is not None
            return parse_core_arguments(texts, func, sources, takes_bytes=takes_bytes)
        return parse_arguments(texts, func, sources)
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


class NodeSources:
    """Files, standard input, petnames and links, with a node to store what is large.

    A context manager: it closes the files that it opened.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._stdin_used = False
        self._opened: list[BinaryIO] = []

    def __enter__(self) -> NodeSources:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._opened:
            file.close()

    def open(self, path: str) -> BinaryIO | None:
        from lite.files import open_file

        if not path or not _exists(path):
            return None
        self._opened.append(open_file(path))
        return self._opened[-1]

    def stdin(self) -> BinaryIO:
        if self._stdin_used:
            raise UsageError("standard input can be used for one argument only")
        self._stdin_used = True
        return sys.stdin.buffer

    def store(self, stream: BinaryIO) -> CID:
        return self._node.add(stream)

    def named(self, name: str) -> CID | None:
        return self._node.store.names.get(name)

    def link(self, text: str) -> CID:
        return self._node.resolve(text)


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # too long for a path, or with a NUL
        return False
