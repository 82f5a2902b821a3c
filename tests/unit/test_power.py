"""How full the battery is, read from files and programs that others make."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lite import power
from lite.power import LOOK_S, Battery, Power, read_battery
from tests.store_support import FakeClock


def supply(folder: Path, name: str, **files: object) -> None:
    (folder / name).mkdir(parents=True)
    for file, text in files.items():
        (folder / name / file).write_text(f"{text}\n")


@pytest.fixture
def supplies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Like /sys/class/power_supply, of a machine without the programs of others."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(sys, "platform", "linux")
    supply(tmp_path / "sys", "AC", type="Mains", online=0)
    return tmp_path / "sys"


def program(supplies: Path, name: str, says: str) -> None:
    path = supplies.parent / "bin" / name
    path.parent.mkdir()
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)


def test_a_machine_without_a_battery_has_none(supplies: Path, tmp_path: Path) -> None:
    assert read_battery(supplies) is None
    assert read_battery(tmp_path / "nowhere") is None


@pytest.mark.parametrize("status", ["Discharging", "Charging", "Full", "Not charging", "Unknown"])
def test_linux_says_it_in_files(supplies: Path, status: str) -> None:
    supply(supplies, "BAT0", type="Battery", status=status, capacity=17)
    assert read_battery(supplies) == Battery(17, status == "Discharging")


def test_of_several_the_emptiest_counts_and_others_do_not(supplies: Path) -> None:
    supply(supplies, "BAT0", type="Battery", status="Full", capacity=100)
    supply(supplies, "BAT1", type="Battery", status="Discharging", capacity=40)
    supply(supplies, "mouse", type="Battery", scope="Device", status="Discharging", capacity=3)
    supply(supplies, "BAT2", type="Battery", status="Discharging", capacity="?")
    supply(supplies, "BAT3", type="Battery")
    assert read_battery(supplies) == Battery(40, True)


@pytest.mark.parametrize(
    ("says", "found"),
    [
        ('{"percentage": 12, "status": "DISCHARGING", "plugged": "UNPLUGGED"}', Battery(12, True)),
        ('{"percentage": 80, "status": "CHARGING"}', Battery(80, False)),
        ("no API", None),
        ("[]", None),
    ],
)
def test_termux_says_it_by_a_program(supplies: Path, says: str, found: Battery | None) -> None:
    program(supplies, "termux-battery-status", says)
    assert read_battery(supplies) == found


def test_a_program_that_fails_says_nothing(supplies: Path) -> None:
    program(supplies, "termux-battery-status", "12")
    path = supplies.parent / "bin" / "termux-battery-status"
    path.write_text("#!/bin/sh\nexit 1\n")
    assert read_battery(supplies) is None


def test_macos_says_it_by_a_program(supplies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    program(supplies, "pmset", 'Now drawing from "Battery Power" 9%; discharging; 0:41')
    assert read_battery(supplies) == Battery(9, True)
    (supplies.parent / "bin" / "pmset").write_text("#!/bin/sh\necho 'AC Power' 55%\n")
    assert read_battery(supplies) == Battery(55, False)


def test_an_answer_holds_for_five_minutes() -> None:
    clock = FakeClock()
    found = [Battery(19, True), Battery(19, False), Battery(20, True), None]
    own = Power(20, clock, lambda: found.pop(0))
    assert own.problem == "" and own.is_due
    assert own.is_low() and own.is_low() and not own.is_due
    assert own.problem == "the battery is low (19 %): blocks come only by name"
    for _ in range(3):
        clock.seconds += int(LOOK_S)
        assert own.is_due and not own.is_low() and own.problem == ""
    assert found == []


def test_nobody_looks_when_it_does_not_matter() -> None:
    own = Power(0, FakeClock(), lambda: pytest.fail("it looked"))
    assert not own.is_low()


def test_the_real_files_can_be_read() -> None:
    found = read_battery(power._SUPPLIES)
    assert found is None or 0 <= found.percent <= 100
