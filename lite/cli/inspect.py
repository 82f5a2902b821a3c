"""`ipvm inspect`: what a module is, what it offers, and a call that works."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lite.cli.command import offers, verb
from lite.cli.present import file_name, size
from lite.cli.shell import Shell

if TYPE_CHECKING:
    from lite.cli.target import Target
    from lite.engine.module import ModuleInfo

_KINDS = {
    "core": "core module (numbers and bytes)",
    "core-wit": "core module with WIT types",
    "component": "component",
    "wasi-command": "WASI command",
}


@verb("inspect", example="ipvm inspect imaging.wasm\nipvm inspect add.wasm --json")
@click.argument("module", shell_complete=offers("names"))
@click.pass_obj
def inspect(shell: Shell, module: str) -> None:
    """Show a module's kind, size, CID, imports and exports with their types, and an example call.

    MODULE is a file, a CID, ipfs://CID/path or a name. A file is added to the store. A module that
    is not here is fetched from the peers of a running daemon.
    """
    from lite.cli.bringing import bringing
    from lite.cli.target import find_target, function_name, module_info
    from lite.engine.wit import render_func

    node = shell.node()
    bring = bringing(shell, node)
    target = find_target(node, module, bring)
    info = module_info(node, target, bring)
    size_bytes = node.size(target.cid)
    names = [function_name(info, target)] if target.func else sorted(info.exports)
    if shell.json:
        shell.emit(
            {
                "cid": str(target.cid),
                "kind": info.kind,
                "bytes": size_bytes,
                "imports": list(info.imports),
                "exports": [
                    {
                        "name": name,
                        "type": render_func(name, info.exports[name]),
                        "example": _example(info, target, name),
                    }
                    for name in names
                ],
            }
        )
        return
    shell.line(f"{file_name(target.label)}  {_KINDS[info.kind]}, {size(size_bytes)}")
    shell.line(str(target.cid))
    shell.line(f"imports: {', '.join(map(file_name, info.imports)) or 'none'}")
    shell.line("exports:")
    for name in names:
        shell.line(f"  {file_name(render_func(name, info.exports[name]))}")
    calls = [call for name in names if (call := _example(info, target, name))]
    if calls:
        shell.line(f"example: {file_name(calls[0])}")


def _example(info: ModuleInfo, target: Target, name: str) -> str | None:
    from lite.cli.examples import example_call, operand
    from lite.cli.target import COMMAND

    if not name:  # no argument names it
        return None
    if info.kind == "wasi-command" and name == COMMAND:
        return f"ipvm run {operand(target.label)}"
    return example_call(target.label, name, info.exports[name], core=info.kind == "core")
