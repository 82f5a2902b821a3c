"""The battery that this machine runs on, if any: so that what can wait does when it is low.

Linux says it in files below `/sys/class/power_supply`; Termux and macOS by a program of theirs,
which takes a moment. Nothing here watches: who wants to know asks, and an answer holds for five
minutes.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from lite.clock import Clock
from lite.frozen import frozen

__all__ = ["Battery", "Power", "read_battery"]

LOOK_S: Final = 300.0  # how long an answer holds
_PROGRAM_S: Final = 10.0
_SUPPLIES: Final = Path("/sys/class/power_supply")
_TERMUX: Final = "termux-battery-status"
_MACOS: Final = "pmset"


@frozen
class Battery:
    """How full it is, in percent, and whether nothing else feeds the machine."""

    percent: int
    discharging: bool


class Power:
    """Whether the battery is low. For one thread at a time.

    Args:
        percent_min: below this it is low while it discharges; 0: never.
        read: looks at the battery; may take seconds.
    """

    def __init__(
        self,
        percent_min: int,
        clock: Clock,
        read: Callable[[], Battery | None] | None = None,
    ) -> None:
        self._percent_min = percent_min
        self._clock = clock
        self._read = read or read_battery
        self._looked_at: float | None = None
        self._battery: Battery | None = None

    @property
    def is_due(self) -> bool:
        """Whether `is_low` would look anew."""
        at = self._looked_at
        return at is None or self._clock.monotonic() - at >= LOOK_S

    def is_low(self) -> bool:
        """Whether it is low; as of the last five minutes."""
        if not self._percent_min:
            return False
        if self.is_due:
            self._battery = self._read()
            self._looked_at = self._clock.monotonic()
        return self._is_low

    @property
    def problem(self) -> str:
        """What the last look found, in one line; empty: nothing to be careful about."""
        if self._battery is None or not self._is_low:
            return ""
        return f"the battery is low ({self._battery.percent} %): blocks come only by name"

    @property
    def _is_low(self) -> bool:
        found = self._battery
        return found is not None and found.discharging and found.percent < self._percent_min


def read_battery(supplies: Path = _SUPPLIES) -> Battery | None:
    """The emptiest battery of this machine; None: it has none, or does not say."""
    found = _from_files(supplies)
    if found is None and shutil.which(_TERMUX):
        found = _of_termux(_told([_TERMUX]))
    if found is None and sys.platform == "darwin" and shutil.which(_MACOS):
        found = _of_macos(_told([_MACOS, "-g", "batt"]))
    return found


def _from_files(supplies: Path) -> Battery | None:
    found = []
    try:
        for folder in sorted(supplies.iterdir()):
            if (one := _supply(folder)) is not None:
                found.append(one)
    except OSError:  # no such files here, or not for us, as on Android
        return None
    if not found:
        return None
    # Of several all count as one: the emptiest says when it gets tight.
    return Battery(min(one.percent for one in found), any(one.discharging for one in found))


def _supply(folder: Path) -> Battery | None:
    """A battery of the machine itself, not one of a mouse; None for what is none."""
    try:
        if (folder / "type").read_text().strip() != "Battery":
            return None
        scope = folder / "scope"
        if scope.exists() and scope.read_text().strip() == "Device":
            return None
        status = (folder / "status").read_text().strip()
        return Battery(int((folder / "capacity").read_text()), status == "Discharging")
    except (OSError, ValueError):  # taken out just now, or it does not say how full it is
        return None


def _told(words: Sequence[str]) -> str:
    import subprocess

    try:
        ended = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PROGRAM_S, check=True
        )
    except (OSError, subprocess.SubprocessError):  # the Termux:API app may be missing
        return ""
    return ended.stdout.decode(errors="replace")


def _of_termux(text: str) -> Battery | None:
    try:
        told = json.loads(text)
        return Battery(int(told["percentage"]), told["status"] == "DISCHARGING")
    except (ValueError, KeyError, TypeError):
        return None


def _of_macos(text: str) -> Battery | None:
    percent = re.search(r"\b(\d{1,3})%", text)
    return None if percent is None else Battery(int(percent[1]), "Battery Power" in text)
