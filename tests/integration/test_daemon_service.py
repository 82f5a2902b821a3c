"""`ipvm service`: the files that it writes, and what it asks of systemd."""

from __future__ import annotations

import json
import os
import plistlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lite.daemon.service_files import AGENT, agent, unit
from tests.daemon_support import daemon
from tests.integration.conftest import Ipvm

FAKE = """#!/bin/sh
echo "$@" >> "$SYSTEMCTL_LOG"
case "$*" in
*show-environment*) [ -z "$NO_BUS" ] || { echo "Failed to connect to bus" >&2; exit 1; } ;;
*is-active*) echo active ;;
*restart*) [ -z "$FAILS" ] || { echo "Job for ipvm.service failed" >&2; exit 1; } ;;
esac
"""


def words(text: str, key: str) -> list[str]:
    """The values of a key in a unit."""
    return [line.partition("=")[2] for line in text.splitlines() if line.startswith(f"{key}=")]


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """A systemctl that writes down what it is asked for; what it was asked for so far."""
    if sys.platform == "darwin":
        pytest.skip("macOS has launchd")
    folder, log = tmp_path / "bin", tmp_path / "asked"
    folder.mkdir()
    (folder / "systemctl").write_text(FAKE)
    (folder / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("SYSTEMCTL_LOG", str(log))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return lambda: log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config" / "systemd" / "user" / "ipvm.service"


def test_the_unit_lets_the_daemon_write_its_home_and_nothing_else() -> None:
    text = unit(["/usr/bin/python3", "-m", "lite", "daemon"], Path("/home/me/ipvm"))
    assert words(text, "ExecStart") == ["/usr/bin/python3 -m lite daemon"]
    assert words(text, "ReadWritePaths") == ["/home/me/ipvm"]
    for name, value in {
        "Type": "notify",
        "NoNewPrivileges": "true",
        "ProtectSystem": "strict",
        "PrivateTmp": "true",
        "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6 AF_NETLINK",
        "CapabilityBoundingSet": "",
        "KillMode": "mixed",
        "Restart": "on-failure",
        "UMask": "0077",
    }.items():
        assert words(text, name) == [value], name


def test_the_unit_lets_compiled_guests_run() -> None:
    assert words(unit(["/x"], Path("/h")), "MemoryDenyWriteExecute") == []


def test_odd_characters_in_paths_stay_what_they_are() -> None:
    text = unit(["/a b/py", "--home", '/x/100%/$HOME/q"uote\\'], Path("/x/100%"), [Path("/a b")])
    assert words(text, "ExecStart") == ['"/a b/py" --home "/x/100%%/$$HOME/q\\"uote\\\\"']
    assert words(text, "ReadWritePaths") == ['/x/100%% "-/a b"']


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("needs systemd-analyze")
    path = tmp_path / "ipvm.service"
    path.write_text(unit([sys.executable, "-m", "lite", "daemon"], tmp_path))
    command = [tool, "verify", "--user", "--man=no", str(path)]
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    complaints = [line for line in done.stderr.splitlines() if "ipvm.service" in line]
    assert complaints == [], done.stderr


def test_the_agent_of_launchd_starts_the_same_command() -> None:
    keys = plistlib.loads(agent(["/py", "-m", "lite"], Path("/home/log")).encode())
    assert keys["Label"] == AGENT
    assert keys["ProgramArguments"] == ["/py", "-m", "lite"]
    assert keys["RunAtLoad"] is True and keys["KeepAlive"] == {"SuccessfulExit": False}


def test_print_shows_the_file_and_changes_nothing(
    ipvm: Ipvm, home: Path, systemctl: Callable[[], list[str]], file: Path
) -> None:
    options = ("--listen", "127.0.0.1:4747", "--metered", "--no-mdns", "--api", "127.0.0.1:8470")
    shown = ipvm("service", "install", "--print", *options)
    assert shown.status == 0
    (command,) = words(shown.text, "ExecStart")
    assert command.startswith(f"{sys.executable} -m lite --home {home} daemon --listen 127.0.0.1")
    assert command.endswith("--no-mdns --metered --api 127.0.0.1:8470")
    assert not file.exists() and systemctl() == []


def test_install_status_uninstall(
    ipvm: Ipvm, systemctl: Callable[[], list[str]], file: Path
) -> None:
    done = ipvm("service", "install", "--json")
    assert done.status == 0, done.err
    assert done.json["file"] == str(file)
    assert words(file.read_text(), "WantedBy") == ["default.target"]
    assert systemctl()[-3:] == [
        "--user daemon-reload",
        "--user enable ipvm.service",
        "--user restart ipvm.service",
    ]
    status = ipvm("service", "status", "--json").json
    assert (status["installed"], status["state"], status["daemon"]) == (True, "active", None)
    assert "active" in ipvm("service", "status").text
    assert ipvm("service", "uninstall").text == f"removed  {file}\n"
    assert "--user disable --now ipvm.service" in systemctl()
    assert not file.exists()
    again = ipvm("service", "uninstall")
    assert again.status == 5 and "no service is installed" in again.err


def test_without_a_service_manager_it_says_what_to_do_instead(
    ipvm: Ipvm, file: Path, systemctl: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    refused = ipvm("service", "install")
    assert refused.status == 2 and not file.exists()
    assert "neither systemd nor launchd" in refused.err
    for way in ("@reboot", "Termux", "--print"):
        assert way in refused.err
    assert ipvm("service", "install", "--print").text.startswith("[Unit]")
    assert ipvm("service", "status").text.startswith("service  not installed")


def test_a_user_without_a_bus_is_told_so_before_anything_is_written(
    ipvm: Ipvm, file: Path, systemctl: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_BUS", "1")
    refused = ipvm("service", "install", "--json")
    assert refused.status == 6 and not file.exists()
    assert "Failed to connect to bus" in refused.json["error"]["message"]
    assert "enable-linger" in refused.json["error"]["hint"]


def test_a_daemon_that_runs_by_hand_is_not_run_into(
    ipvm: Ipvm, home: Path, systemctl: Callable[[], list[str]], file: Path
) -> None:
    with daemon(home) as here:
        refused = ipvm("service", "install")
        assert refused.status == 6 and not file.exists()
        assert f"started by hand: process {here.child.pid}" in refused.err
        status = ipvm("service", "status", "--json").json
        assert status["daemon"]["pid"] == here.child.pid and not status["installed"]


def test_a_start_that_fails_is_told(
    ipvm: Ipvm, systemctl: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAILS", "1")
    refused = ipvm("service", "install")
    assert refused.status == 6
    assert "Job for ipvm.service failed" in refused.err and "journalctl" in refused.err


@pytest.mark.parametrize("option", [("--listen", "x"), ("--api", "0.0.0.0:1")])
def test_what_the_daemon_would_refuse_is_not_installed(
    ipvm: Ipvm, file: Path, systemctl: Callable[[], list[str]], option: tuple[str, str]
) -> None:
    assert ipvm("service", "install", *option).status == 2
    assert not file.exists()


def test_no_daemon_no_events(ipvm: Ipvm) -> None:
    refused = ipvm("events", "--json")
    assert refused.status == 5
    assert json.loads(refused.out)["error"]["message"].startswith("no daemon runs on ")
