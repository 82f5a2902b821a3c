"""Random workflows, failures, crashes, clock jumps and second processes: `IPVM_SIM_SEED=N` runs one
seed alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.simulator.simulation import Simulation

SEEDS_PER_HOME = 50


@pytest.mark.timeout(1_800)  # 2,000 seeds on a slow machine
def test_every_seed_holds_every_invariant(
    tmp_path: Path, scaled: Callable[[int, int], int]
) -> None:
    told = os.environ.get("IPVM_SIM_SEED")
    seeds = range(scaled(40, 2_000)) if told is None else [int(told)]
    for seed in seeds:
        try:
            Simulation(tmp_path / str(seed // SEEDS_PER_HOME), seed).run()
        except Exception as fault:
            pytest.fail(f"seed {seed} (IPVM_SIM_SEED={seed} runs it alone): {fault!r}")
