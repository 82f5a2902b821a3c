"""The scripts: runnable from anywhere, and a setup that trusts no half-made environment."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPTS = sorted(path for path in (ROOT / "scripts").iterdir() if path.is_file())
SHELL = [path for path in [*SCRIPTS, ROOT / ".ci" / "run"] if "/sh" in path.read_text()[:12]]


def step(name: str) -> ModuleType:
    """scripts/steps/NAME.py as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / "steps" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LIBRARY = {"runtime", "build"}


@pytest.fixture
def install() -> ModuleType:
    return step("install")


def empty_venv(folder: Path) -> Path:
    """Looks like an environment with `ipvm` in it; its Python is this one."""
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "ipvm").touch()
    (folder / "bin" / "python").symlink_to(Path(sys.executable))
    return folder


@pytest.mark.parametrize("script", [*SCRIPTS, ROOT / ".ci" / "run"], ids=lambda path: path.name)
def test_a_script_can_be_executed_and_starts_with_its_interpreter(script: Path) -> None:
    assert os.access(script, os.X_OK)
    assert script.read_text().startswith(("#!/bin/sh\n", "#!/usr/bin/env python3\n"))


@pytest.mark.parametrize("script", SHELL, ids=lambda path: path.name)
def test_a_shell_script_parses_and_does_not_depend_on_the_current_folder(script: Path) -> None:
    subprocess.run(["sh", "-n", script], check=True)
    assert 'dirname -- "$0"' in script.read_text()


def test_the_lock_is_cut_at_its_sections(install: ModuleType) -> None:
    text = (
        "# heading\n\n# [runtime]\na==1\n# [build]\nb==1\n"
        "# [dev]\nc==1 \\\n    --hash=x\n# [full]\nd==1\n"
    )
    assert install.sections(text) == {
        "runtime": "a==1\n",
        "build": "b==1\n",
        "dev": "c==1 \\\n    --hash=x\n",
        "full": "d==1\n",
    }


def test_a_lock_without_its_sections_is_refused(install: ModuleType) -> None:
    with pytest.raises(install.SetupError, match="sections"):
        install.sections("# [runtime]\na==1\n")


@pytest.mark.parametrize("more", [set(), {"dev"}, {"dev", "full"}], ids=len)
def test_an_environment_made_from_the_files_of_today_is_current(
    install: ModuleType, tmp_path: Path, more: set[str]
) -> None:
    venv = empty_venv(tmp_path / "venv")
    install.write_stamp(venv, install.made_from(LIBRARY | more))
    assert install.is_current(venv, LIBRARY)


def test_an_environment_without_the_dev_tools_is_not_current_for_tests(
    install: ModuleType, tmp_path: Path
) -> None:
    venv = empty_venv(tmp_path / "venv")
    install.write_stamp(venv, install.made_from(LIBRARY))
    assert not install.is_current(venv, LIBRARY | {"dev"})


@pytest.mark.parametrize(
    "stamp",
    [{"state": "interrupted"}, {"state": "complete", "root": "/elsewhere"}],
    ids=["interrupted", "made in another folder"],
)
def test_such_an_environment_is_made_anew(
    install: ModuleType, tmp_path: Path, stamp: dict[str, str]
) -> None:
    venv = empty_venv(tmp_path / "venv")
    (venv / install.STAMP).write_text(json.dumps(stamp))
    assert not install.is_current(venv, LIBRARY)
    assert not install.may_keep(venv)


def test_an_environment_whose_python_is_gone_is_made_anew(
    install: ModuleType, tmp_path: Path
) -> None:
    venv = empty_venv(tmp_path / "venv")
    (venv / "bin" / "python").unlink()
    (venv / "bin" / "python").symlink_to(tmp_path / "gone")
    assert not install.may_keep(venv)


def test_the_stamp_says_interrupted_while_packages_are_installed(
    install: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    venv, seen = tmp_path / "venv", []
    monkeypatch.setattr(install, "find_uv", lambda: None)
    monkeypatch.setattr(install, "create", lambda venv, uv: empty_venv(venv))
    monkeypatch.setattr(
        install, "install", lambda venv, uv, requirements: seen.append(install.read_stamp(venv))
    )
    install.make(venv, LIBRARY)
    assert seen == [install.WORKING]
    assert install.is_current(venv, LIBRARY)


def test_a_failing_uv_is_followed_by_pip(
    install: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    venv, used = tmp_path / "venv", []

    def packages(venv: Path, uv: str | None, requirements: Path) -> None:
        used.append(uv)
        if uv is not None:
            raise install.SetupError("no network")

    monkeypatch.setattr(install, "find_uv", lambda: "uv")
    monkeypatch.setattr(install, "may_keep", lambda venv: False)
    monkeypatch.setattr(install, "create", lambda venv, uv: venv.mkdir(exist_ok=True))
    monkeypatch.setattr(install, "install", packages)
    install.make(venv, LIBRARY)
    assert used == ["uv", None]


def test_a_python_3_10_that_only_complains_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verify = step("verify")
    shim = tmp_path / "python3.10"
    shim.write_text("#!/bin/sh\necho python3.10: command not found >&2\nexit 127\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "gone"))
    monkeypatch.setattr(verify.shutil, "which", lambda name: None)
    assert verify.python_310() is None
    shim.write_text("#!/bin/sh\nexit 0\n")
    assert verify.python_310() == "python3.10"


@pytest.mark.parametrize(
    ("arguments", "leg", "status"),
    [
        (["tests/integration/test_wasmer.py"], [0, 0, 0], 0),
        (["tests/integration/test_wasmer.py"], [], 5),
        (["tests/integration/test_wasmer.py"], [0, 0, 1], 1),
        (["tests/unit", "-k", "nothing"], [0, 0, 0], 5),
        (["-k", "nothing"], [0, 0, 0], 5),
    ],
)
def test_finding_no_tests_is_fine_only_where_the_leg_ran_those_asked_for(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], leg: list[int], status: int
) -> None:
    verify = step("verify")
    nothing = subprocess.CompletedProcess([], 5)
    monkeypatch.setattr(verify.subprocess, "run", lambda *_, **__: nothing)
    monkeypatch.setattr(verify, "checks", list)
    monkeypatch.setattr(verify, "wasmer_leg", lambda full: leg)
    assert verify.main(arguments) == status
