"""Meshes of five nodes, thousands of ways to go wrong, no divergence: `IPVM_MESH_SEED=N` runs one
seed alone."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.simulator.mesh import Mesh


@pytest.mark.timeout(1_800)  # 2,000 seeds on a slow machine
def test_every_mesh_converges_and_blames_nobody(scaled: Callable[[int, int], int]) -> None:
    told = os.environ.get("IPVM_MESH_SEED")
    seeds = range(scaled(12, 2_000)) if told is None else [int(told)]
    for seed in seeds:
        try:
            Mesh(seed).run()
        except Exception as fault:
            pytest.fail(f"seed {seed} (IPVM_MESH_SEED={seed} runs it alone): {fault!r}")
