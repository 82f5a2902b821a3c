"""The story of the mesh: apart, allowed, together, and for free, with four real nodes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path


def test_jobs_go_out_receipts_come_back_and_a_second_phone_has_nothing_to_do(
    root: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mesh"
    env = {name: value for name, value in os.environ.items() if not name.startswith("IPVM_")}
    told = subprocess.run(
        [sys.executable, str(root / "examples" / "mesh" / "mesh.py"), str(folder)],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=110,
    )
    assert told.returncode == 0, told.stdout
    story = re.split(r"^\d\. ", told.stdout, flags=re.MULTILINE)
    assert len(story) == 5
    apart, allowed, together, free = story[1:]
    assert "needs a GPU; this node has none" in apart
    assert "2 ran · 2 queued · 0 failed" in apart
    assert apart.count("queued     ") == 4  # two steps, in the run and in the outbox
    assert "may have cuda/matmul done here" in allowed
    assert "4 of 4 without work · 0 ran" in together
    assert "Pretend GPU, 8 GiB" in together
    assert "cached     peer laptop" in together and "cached     peer gpu" in together
    assert "4 of 4 without work · 0 ran" in free
    assert not list(folder.rglob("daemon.json"))  # no daemon is left
