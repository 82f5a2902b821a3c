"""The import contracts of pyproject.toml hold and cover every part."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# The parts that may import sync; all others are named in the contract that forbids it.
MAY_IMPORT_SYNC = {"cli", "__main__", "peering", "daemon", "http", "offload"}
MAY_IMPORT_SYNC |= {"bundle", "bundle_merge", "bundle_tokens"}


def contract(root: Path, name: str) -> dict[str, list[str]]:
    table = tomllib.loads((root / "pyproject.toml").read_text())
    contracts = table["tool"]["importlinter"]["contracts"]
    found: dict[str, list[str]] = next(entry for entry in contracts if entry["name"] == name)
    return found


def parts(package: Path) -> set[str]:
    folders = {path.parent.name for path in package.glob("*/__init__.py")}
    return folders | {path.stem for path in package.glob("*.py")} - {"__init__"}


def test_the_import_contracts_hold(root: Path) -> None:
    tool = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([tool, "--no-cache"], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_part_that_may_not_import_sync_is_named_in_the_contract(root: Path) -> None:
    named = contract(root, "only peering, daemon and cli import sync")["source_modules"]
    expected = {f"lite.{part}" for part in parts(root / "lite") - MAY_IMPORT_SYNC}
    assert set(named) == expected


def test_sync_names_lite_nowhere(root: Path) -> None:
    """Also not in a string that some loader could import."""
    for path in (root / "sync").rglob("*.py"):
        assert "import lite" not in path.read_text()
        assert "from lite" not in path.read_text()
