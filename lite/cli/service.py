"""`ipvm service`: let the system start the daemon, at login and after a failure."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lite.cli.command import group, verb
from lite.cli.present import file_name
from lite.cli.shell import Shell
from lite.environment import environment
from lite.errors import NotFoundError, StoreError, UsageError

if TYPE_CHECKING:
    from subprocess import CompletedProcess

service = group(
    "service",
    help="Let the system start the daemon: systemd on Linux, launchd on macOS.",
    example="ipvm service install\nipvm service status",
)

_RUNNING = ("active", "activating", "reloading", "loaded")
_ELSEWHERE = (
    "Let something else start `ipvm daemon`: cron with a line `@reboot {command}`, "
    "on Termux a script in ~/.termux/boot (Termux:Boot), or `ipvm service install --print` "
    "for a machine that has systemd."
)


def _system() -> str:
    """What starts services here: "systemd", "launchd", or "" when nothing does that is known."""
    if sys.platform == "darwin":
        return "launchd"
    return "systemd" if shutil.which("systemctl") else ""


def _file(system: str) -> Path:
    """Where the file belongs."""
    from lite.daemon.service_files import AGENT, UNIT

    if system == "launchd":
        return Path.home() / "Library" / "LaunchAgents" / f"{AGENT}.plist"
    base = environment("XDG_CONFIG_HOME")
    folder = Path(base) if base else Path.home() / ".config"
    return folder / "systemd" / "user" / UNIT


@verb(
    "install",
    in_group=service,
    example="ipvm service install\n"
    "ipvm service install --listen 0.0.0.0:4747 --metered\n"
    "ipvm service install --print",
)
@click.option("--listen", metavar="IP:PORT", multiple=True, help="As of `ipvm daemon`.")
@click.option("--no-mdns", is_flag=True, help="As of `ipvm daemon`.")
@click.option("--metered", is_flag=True, help="As of `ipvm daemon`.")
@click.option("--api", metavar="IP:PORT|unix", default="unix", help="As of `ipvm daemon`.")
@click.option("--print", "only_print", is_flag=True, help="Print the file and change nothing.")
@click.pass_obj
def install(
    shell: Shell,
    listen: tuple[str, ...],
    no_mdns: bool,
    metered: bool,
    api: str,
    only_print: bool,
) -> None:
    """Write a service file for this user and home, and start the daemon by it, now and at login.

    On Linux the daemon may write its home, the folder of the setting `ops.crud_root` and, where the
    path of the home is too long for sockets, the folder of the user's sockets (XDG_RUNTIME_DIR);
    nothing else. The file says all that it may not. `loginctl enable-linger` lets it run while
    nobody is logged in.
    """
    from lite.daemon.meeting import parse_listen
    from lite.http.server import Address

    for text in listen:
        parse_listen(text)
    if api != "unix":
        Address.parse(api)
    options = [word for text in listen for word in ("--listen", text)]
    options += ["--no-mdns"] * no_mdns + ["--metered"] * metered
    options += ["--offline"] * shell.offline + (["--api", api] if api != "unix" else [])
    command = [*_command(shell), *options]
    system = _system()
    text = _text(shell, "systemd" if only_print and not system else system, command)
    if only_print:
        shell.write(os.fsencode(text))
        return
    _need(system, command)
    path = _file(system)
    _check_free(shell, system, path)
    shell.node()  # the system lets a service write only a folder that is there
    _write(path, text)
    for words in _starting(system, path):
        _tell(words, command)
    if shell.json:
        shell.emit({"system": system, "file": str(path), "command": command})
    else:
        shell.line(f"installed  {file_name(str(path))}")
        shell.note("ipvm: started; `ipvm service status` shows it")


def _command(shell: Shell) -> list[str]:
    """The command line of the daemon, for this home and this Python."""
    return [sys.executable, "-m", "lite", "--home", str(shell.home_path()), "daemon"]


def _text(shell: Shell, system: str, command: Sequence[str]) -> str:
    from lite.daemon.service_files import agent, unit

    home = shell.home_path()
    if system == "launchd":
        return agent(command, home / "daemon.log")
    from lite.daemon.place import Place

    more = []
    if Place(home).api.parent != home:  # sockets lie elsewhere where the home's path is long
        more.append(Place(home).api.parent.parent)
    files = shell.config()["ops.crud_root"]
    if files is not None:
        more.append(Path(files))
    return unit(command, home, more)


def _need(system: str, command: Sequence[str]) -> None:
    """What is checked before anything is written."""
    if not system:
        raise UsageError(
            "this machine has neither systemd nor launchd, so there is nothing to install into",
            hint=_ELSEWHERE.format(command=" ".join(command)),
        )
    if system == "systemd":
        answer = _run(["systemctl", "--user", "show-environment"])
        if answer.returncode:
            said = _said(answer)
            raise StoreError(
                f"the systemd of this user does not answer: {said}",
                hint="Log in as this user (not by su or sudo), or run `loginctl enable-linger` "
                f"once. {_ELSEWHERE.format(command=' '.join(command))}",
            )


def _check_free(shell: Shell, system: str, path: Path) -> None:
    """Raises `StoreBusy` for a daemon that runs and is not the system's: it would be in the way."""
    from lite.errors import StoreBusy
    from lite.link import Link

    link = Link.of(shell.home_path())
    if link is None or (path.exists() and _state(system, path) in _RUNNING):
        return
    raise StoreBusy(
        f"a daemon runs on {shell.home_path()} that was started by hand: process {link.card.pid}",
        hint=f"End it with `kill {link.card.pid}`, then install again.",
    )


def _starting(system: str, path: Path) -> list[list[str]]:
    if system == "launchd":
        _run(["launchctl", "bootout", f"gui/{os.getuid()}", str(path)])  # of an earlier install
        return [["launchctl", "bootstrap", f"gui/{os.getuid()}", str(path)]]
    return [
        ["systemctl", "--user", "daemon-reload"],
        ["systemctl", "--user", "enable", path.name],
        ["systemctl", "--user", "restart", path.name],
    ]


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.new")
        fresh.write_bytes(os.fsencode(text))
        fresh.replace(path)
    except OSError as fault:
        raise StoreError(f"{path} cannot be written: {fault.strerror or fault}") from fault


def _run(words: Sequence[str]) -> CompletedProcess[str]:
    import subprocess

    try:
        return subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError as fault:
        raise StoreError(f"{words[0]} cannot be run: {fault.strerror or fault}") from fault


def _tell(words: Sequence[str], command: Sequence[str]) -> None:
    answer = _run(words)
    if answer.returncode:
        raise StoreError(
            f"`{' '.join(words)}` failed: {_said(answer)}",
            hint="`systemctl --user status ipvm` and `journalctl --user -u ipvm` say more; "
            f"`{' '.join(command)}` runs it in the foreground.",
        )


def _said(answer: CompletedProcess[str]) -> str:
    lines = (answer.stderr or answer.stdout).strip().splitlines()
    return lines[-1] if lines else f"exit status {answer.returncode}"


@verb("uninstall", in_group=service, example="ipvm service uninstall")
@click.pass_obj
def uninstall(shell: Shell) -> None:
    """Stop the daemon that the system started, and remove its service file. The home stays."""
    system = _system()
    path = _file(system or "systemd")
    if not path.exists():
        raise NotFoundError(
            f"no service is installed: there is no {path}", hint="`ipvm service install` does."
        )
    if system == "launchd":
        _run(["launchctl", "bootout", f"gui/{os.getuid()}", str(path)])
    elif system:
        _tell(["systemctl", "--user", "disable", "--now", path.name], _command(shell))
    path.unlink(missing_ok=True)
    if system == "systemd":
        _run(["systemctl", "--user", "daemon-reload"])
    if shell.json:
        shell.emit({"system": system, "file": str(path)})
    else:
        shell.line(f"removed  {file_name(str(path))}")


@verb("status", in_group=service, example="ipvm service status --json")
@click.pass_obj
def status(shell: Shell) -> None:
    """Show whether a service is installed, and whether a daemon runs on this home."""
    from lite.link import Card, Link

    system, home = _system(), shell.home_path()
    path = _file(system or "systemd")
    link = Link.of(home)
    card: Card | None = None if link is None else link.card
    state = _state(system, path) if path.exists() else "not installed"
    if shell.json:
        running: dict[str, Any] | None = None
        if card is not None:
            running = {"pid": card.pid, "started_at": card.started_at, "api": card.api}
        shell.emit(
            {
                "system": system,
                "file": str(path),
                "installed": path.exists(),
                "state": state,
                "daemon": running,
            }
        )
        return
    shell.line(f"service  {state}" + (f"  {file_name(str(path))}" if path.exists() else ""))
    shell.line(
        "daemon   does not run on this home"
        if card is None
        else f"daemon   process {card.pid}, API at {card.api}"
    )


def _state(system: str, path: Path) -> str:
    """What the system says of the service, in one word."""
    if system == "systemd":
        answer = _run(["systemctl", "--user", "is-active", path.name])
        return answer.stdout.strip() or _said(answer)
    if system == "launchd":
        from lite.daemon.service_files import AGENT

        found = _run(["launchctl", "print", f"gui/{os.getuid()}/{AGENT}"])
        return "loaded" if found.returncode == 0 else "not loaded"
    return "installed, but nothing here starts services"
