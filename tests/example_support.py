"""The example packages as an installer would put them into a folder of libraries."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    from tomllib import loads
else:
    from tomli import loads


def install(source: Path, target: Path) -> None:
    """Copy the code of a package into a folder, with the entry points that it declares."""
    project: dict[str, Any] = loads((source / "pyproject.toml").read_text())["project"]
    name = project["name"].replace("-", "_")
    info = target / f"{name}-{project['version']}.dist-info"
    shutil.copytree(source / "src", target, dirs_exist_ok=True)
    info.mkdir()
    (info / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    lines: list[str] = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines))


def environment(root: Path, *libraries: Path, **more: str) -> Mapping[str, str]:
    """For processes that see the project and these folders of libraries."""
    paths = os.pathsep.join(map(str, (root, *libraries)))
    return {**os.environ, "PYTHONPATH": paths, **more}
