"""What the system needs to start the daemon by itself: a systemd unit, or a launchd agent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

__all__ = ["AGENT", "UNIT", "agent", "unit"]

UNIT: Final = "ipvm.service"
AGENT: Final = "org.ipvm-lite.daemon"

_UNIT_TEXT: Final = """\
[Unit]
Description=ipvm-lite: a node that meets others and runs schedules
After=network.target

[Service]
Type=notify
NotifyAccess=main
ExecStart={command}
Restart=on-failure
RestartSec=5
# Wrong usage does not get better by trying again.
RestartPreventExitStatus=2
TimeoutStopSec=30
# The daemon ends its own workers; what is left is killed.
KillMode=mixed
# A guest that took too much memory ends alone.
OOMPolicy=continue
UMask=0077

NoNewPrivileges=true
PrivateUsers=true
ProtectSystem=strict
ReadWritePaths={writable}
PrivateTmp=true
PrivateDevices=true
ProtectKernelTunables=true
ProtectKernelModules=true
ProtectKernelLogs=true
ProtectControlGroups=true
ProtectClock=true
ProtectHostname=true
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=true
RestrictRealtime=true
RestrictSUIDSGID=true
LockPersonality=true
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
CapabilityBoundingSet=
# Not MemoryDenyWriteExecute: guests are compiled to machine code, in memory that is then executed.

[Install]
WantedBy=default.target
"""


def unit(command: Sequence[str], home: Path, more: Iterable[Path] = ()) -> str:
    """A unit for the user's own systemd, as small in rights as the daemon can be.

    Args:
        command: the daemon's command line; the first is an absolute path.
        home: what it may write. more: other folders that it may write if they are there.

    Sources: systemd.service(5), systemd.exec(5).
    """
    return _UNIT_TEXT.format(
        command=" ".join(_quoted(word.replace("$", "$$")) for word in command),
        writable=" ".join([_quoted(str(home)), *(_quoted(f"-{path}") for path in more)]),
    )


def _quoted(word: str) -> str:
    """A word of a unit file: percent signs are doubled, others than plain words are quoted."""
    text = word.replace("%", "%%")
    if text and not any(char in " \t\"'\\;\n" for char in text):
        return text
    for plain, written in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\t", "\\t")):
        text = text.replace(plain, written)
    return f'"{text}"'


def agent(command: Sequence[str], log: Path) -> str:
    """A property list for launchd: runs at login, and again when it failed.

    Source: launchd.plist(5).
    """
    import plistlib

    keys = {
        "Label": AGENT,
        "ProgramArguments": list(command),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ProcessType": "Background",
        "StandardErrorPath": str(log),
        "Umask": 0o077,
    }
    return plistlib.dumps(keys).decode()
