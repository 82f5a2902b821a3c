"""What TAB offers, and that it never answers with an error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lite.cli import completing
from lite.cli.main import cli
from tests.integration.conftest import Ipvm

if TYPE_CHECKING:
    import subprocess

Start = Callable[..., "subprocess.Popen[bytes]"]
Offers = Callable[..., list[str]]


@pytest.fixture
def offers(ipvm: Ipvm) -> Offers:
    """What stands behind the words of a command line."""
    from click.shell_completion import ShellComplete

    def offer(*words: str) -> list[str]:
        found = ShellComplete(cli, {}, "ipvm", "_IPVM_COMPLETE").get_completions(
            list(words[:-1]), words[-1]
        )
        return [item.value for item in found if item.type == "plain"]

    return offer


@pytest.mark.parametrize("option", ["--engine", "--fuel", "--env", "--stdin", "--out", "--home"])
def test_behind_an_option_that_takes_a_value_there_is_no_traceback(
    process: Start, option: str
) -> None:
    child = process(
        env={
            "_IPVM_COMPLETE": "bash_complete",
            "COMP_WORDS": f"ipvm run x {option} ",
            "COMP_CWORD": "4",
        }
    )
    _, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (0, b"")


def test_names_settings_profiles_and_engines_are_offered(ipvm: Ipvm, offers: Offers) -> None:
    assert ipvm("add", "numbers.wasm", "--name", "numbers").status == 0
    for verb in (["cat"], ["ls"], ["run"], ["inspect"], ["why"], ["pin", "add"], ["name", "rm"]):
        assert offers(*verb, "nu") == ["numbers"], verb
    assert "limits.fuel" in offers("config", "get", "limits.")
    assert offers("add", "--profile", "leg") == ["legacy-256k"]
    assert offers("run", "x", "--engine", "") == ["auto", "wasmtime", "wasmer"]


def test_runs_of_workflows_are_offered(ipvm: Ipvm, offers: Offers, here: Path) -> None:
    (here / "w.yaml").write_text('steps: {one: {run: "numbers.wasm:add", args: [1, 2]}}\n')
    assert ipvm("workflow", "run", "w.yaml").status == 0
    (run,) = ipvm("workflow", "list", "--json").json["runs"]
    for verb in (["workflow", "show"], ["workflow", "resume"], ["workflow", "cancel"], ["logs"]):
        assert offers(*verb, "") == [run["run"][:8]], verb


def test_asking_makes_no_home(offers: Offers, home: Path) -> None:
    assert offers("cat", "x") == []
    assert not home.exists()


def test_a_damaged_home_offers_nothing(ipvm: Ipvm, offers: Offers, home: Path) -> None:
    assert ipvm("add", "numbers.wasm", "--name", "numbers").status == 0
    for name in ("ipvm.db-wal", "ipvm.db-shm"):
        (home / name).unlink(missing_ok=True)
    (home / "ipvm.db").write_bytes(b"x" * 9999)
    assert offers("cat", "nu") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_serves_both_names_of_the_program(shell: str) -> None:
    assert (
        completing.script(shell)
        .splitlines()[-1]
        .endswith(("ipvm-lite", 'ipvm-lite --arguments "(_ipvm_completion)"'))
    )
