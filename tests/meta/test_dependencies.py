"""pyproject.toml and requirements.lock: lower bounds, pins that suit, hashes, no addresses."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements.lock").read_text()
SECTION = re.compile(r"^# \[(\w+)\]\n", re.MULTILINE)

IMPORT_NAMES = {"pynacl": "nacl", "ruamel-yaml": "ruamel.yaml"}


def requirements() -> list[Requirement]:
    return [Requirement(text) for text in PYPROJECT["project"]["dependencies"]]


def group(name: str) -> list[Requirement]:
    return [Requirement(text) for text in PYPROJECT["dependency-groups"][name]]


def sections() -> dict[str, list[Requirement]]:
    """The pins of each section of the lock."""
    _, *rest = SECTION.split(LOCK)
    texts = dict(zip(rest[::2], rest[1::2], strict=True))
    return {name: list(map(pin, entries(text))) for name, text in texts.items()}


def entries(text: str) -> list[str]:
    return [entry for entry in re.split(r"\n(?! )", text) if entry.strip()]


def pin(entry: str) -> Requirement:
    return Requirement(entry.split("\\\n")[0])


def extras() -> list[Requirement]:
    """What examples want besides; nothing of it is in the lock."""
    listed = PYPROJECT["project"]["optional-dependencies"].values()
    return [Requirement(text) for texts in listed for text in texts]


@pytest.mark.parametrize("requirement", [*requirements(), *extras()], ids=lambda one: one.name)
def test_a_dependency_has_a_lower_bound(requirement: Requirement) -> None:
    assert any(one.operator in (">=", "==") for one in requirement.specifier)


@pytest.mark.parametrize("requirement", requirements(), ids=lambda one: one.name)
def test_a_dependency_can_be_imported_where_its_marker_holds(requirement: Requirement) -> None:
    if requirement.marker is None or requirement.marker.evaluate():
        name = canonicalize_name(requirement.name)
        importlib.import_module(IMPORT_NAMES.get(name, name.replace("-", "_")))


def test_the_lock_has_its_four_sections() -> None:
    assert list(sections()) == ["runtime", "build", "dev", "full"]


def test_the_lock_pins_every_dependency_in_its_section() -> None:
    pins = sections()
    wanted = {"runtime": requirements(), "build": group("build"), "dev": group("dev")}
    wanted["full"] = group("full")
    for section, needed in wanted.items():
        for requirement in needed:
            versions = [
                next(iter(one.specifier)).version
                for one in pins[section]
                if canonicalize_name(one.name) == canonicalize_name(requirement.name)
            ]
            assert versions, f"{requirement.name} is not in [{section}]: run scripts/lock"
            assert all(version in requirement.specifier for version in versions)


def test_every_pin_is_exact_and_hashed() -> None:
    _, *rest = SECTION.split(LOCK)
    for text in rest[1::2]:
        for entry in entries(text):
            assert [one.operator for one in pin(entry).specifier] == ["=="]
            assert re.search(r"\\\n    --hash=sha256:[0-9a-f]{64}", entry), entry[:60]


def test_the_lock_names_no_address_and_no_option() -> None:
    for line in LOCK.splitlines():
        assert "://" not in line
        assert not line.startswith("-")
        assert " @ " not in line


def test_wasmer_is_locked_for_python_3_10_on_x86_64_alone() -> None:
    (wasmer,) = [one for one in sections()["runtime"] if one.name == "wasmer"]
    assert wasmer.marker is not None
    there = {"platform_machine": "x86_64", "platform_python_implementation": "CPython"}
    assert wasmer.marker.evaluate({**there, "python_full_version": "3.10.13"})
    assert not wasmer.marker.evaluate({**there, "python_full_version": "3.11.0"})
    arm = {**there, "platform_machine": "aarch64"}
    assert not wasmer.marker.evaluate({**arm, "python_full_version": "3.10.13"})
