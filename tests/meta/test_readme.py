"""README.md is true: its commands run, in order, and print what it shows.

A ```console block holds `$ command` lines, each followed by what it prints. They all run in one
fresh home, in a folder where `examples` is the project's. `…` in a shown line stands for any text,
a line of only `…` for any lines. A command that is meant to fail ends in `# exit status N`.
The ```python blocks run there afterwards.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from lite.cli.main import cli

ROOT = Path(__file__).resolve().parent.parent.parent
README = (ROOT / "README.md").read_text("utf-8")
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
STATUS = re.compile(r"\s+# exit status (\d+)$")
IPVM_SPAN = re.compile(r"`ipvm ([^`]+)`")
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]+")


@dataclass(frozen=True)
class Shown:
    """One command of the README, with what it should print and end with."""

    command: str
    output: list[str]
    status: int


def shown() -> Iterator[Shown]:
    for block in BLOCK.findall(README):
        for part in re.split(r"^\$ ", block.replace("\\\n", ""), flags=re.MULTILINE)[1:]:
            command, *output = part.rstrip("\n").split("\n")
            found = STATUS.search(command)
            status = int(found[1]) if found else 0
            yield Shown(STATUS.sub("", command), [line for line in output if line], status)


def pattern(lines: list[str]) -> str:
    """A regular expression for the shown lines; blank lines do not count."""
    wild = [
        r"(?:[^\n]*\n)*" if line.strip() == "…" else re.escape(line).replace("…", ".*") + r"\n"
        for line in lines
    ]
    return "".join(wild)


def in_console(shown: Shown, folder: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["sh", "-c", shown.command],
        cwd=folder,
        env={**os.environ, "PATH": path, "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )


def verbs(group: click.Command, before: str = "") -> dict[str, set[str]]:
    """Every verb of the command line with its flags."""
    found = {before.strip(): {flag for one in group.params for flag in one.opts}}
    if isinstance(group, click.Group):
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            found |= verbs(command, f"{before} {name}")
    return found


def test_every_command_shown_runs_and_prints_what_is_shown(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "examples").symlink_to(ROOT / "examples")
    for one in shown():
        done = in_console(one, folder)
        printed = "".join(f"{line}\n" for line in done.stdout.splitlines() if line)
        assert done.returncode == one.status, f"$ {one.command}\n{done.stdout}"
        expected = "\n".join(one.output)
        assert re.fullmatch(pattern(one.output), printed), (
            f"$ {one.command}\nREADME shows:\n{expected}\nit printed:\n{printed}"
        )
    for program in PYTHON.findall(README):
        subprocess.run([sys.executable, "-c", program], cwd=folder, check=True, timeout=60)


def test_every_command_named_in_the_text_exists_with_its_flags() -> None:
    known = verbs(cli)
    for text in IPVM_SPAN.findall(README):
        words = text.split()
        verb = max((name for n in range(3) if (name := " ".join(words[:n])) in known), key=len)
        assert verb or words[0].startswith("-"), f"`ipvm {text}`: no such verb"
        assert set(FLAG.findall(text)) <= known[verb] | known[""] | {"--help"}, (
            f"`ipvm {text}`: no such flag"
        )


def test_every_flag_in_the_text_exists() -> None:
    flags = set().union(*verbs(cli).values())
    for script in (ROOT / "scripts").rglob("*"):
        if script.is_file() and "__pycache__" not in script.parts:
            flags |= set(FLAG.findall(script.read_text()))
    flags |= {"--help"}
    assert set(FLAG.findall(README)) <= flags
