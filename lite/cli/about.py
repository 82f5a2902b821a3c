"""`ipvm version` and `ipvm completion`."""

from __future__ import annotations

import click

from lite.cli.command import verb
from lite.cli.shell import Shell
from lite.version import VERSION

SHELLS = ("bash", "zsh", "fish")


@verb("version", example="ipvm version")
@click.pass_obj
def version(shell: Shell) -> None:
    """Print the version."""
    say_version(shell)


def say_version(shell: Shell) -> None:
    """What `ipvm version` and `--version` print."""
    if not shell.json:
        shell.line(f"ipvm {VERSION}")
        return
    import platform

    shell.emit({"version": VERSION, "python": platform.python_version()})


@verb(
    "completion",
    example="""
    eval "$(ipvm completion bash)"
    ipvm completion fish > ~/.config/fish/completions/ipvm.fish
    """,
)
@click.argument("name", metavar="SHELL", type=click.Choice(SHELLS))
@click.pass_obj
def completion(shell: Shell, name: str) -> None:
    """Print the script that completes ipvm's commands in bash, zsh or fish."""
    from lite.cli.completing import script

    if shell.json:
        shell.emit({"shell": name, "script": script(name)})
    else:
        shell.line(script(name))
