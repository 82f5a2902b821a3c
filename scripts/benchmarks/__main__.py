"""The benchmark's command line; `scripts/bench` calls it."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import traceback
from dataclasses import replace
from pathlib import Path

import flow_rows
import offload_rows
import peers
import sync_rows
import ucan_hostile
import ucan_rows
from fsyncs import fsyncs_each
from measure import QUICK, Effort, Pairs, busy_s, fdatasync_s, in_pairs
from plot import svg
from rows import ROWS, Row, Sides
from table import SCALE, Result, render

ROOT = Path(__file__).resolve().parent.parent.parent
DATA = ROOT / ".cache" / "bench"

assert "P3.chain" in ROWS, f"{flow_rows.__name__} enters its rows"
assert "P9.mesh" in ROWS, f"{sync_rows.__name__} enters its rows"
assert "P10.serial" in ROWS, f"{offload_rows.__name__} enters its rows"
assert "ucan.verify" in ROWS, f"{ucan_rows.__name__} enters its rows"
assert "ucan.named" in ROWS, f"{ucan_hostile.__name__} enters its row"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench",
        description="Measure ipvm-lite against its own floors, pair by pair.",
        epilog="rows: " + ", ".join(ROWS),
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="rows, or the start of their names"
    )
    parser.add_argument("--quick", action="store_true", help="fewer and shorter pairs")
    parser.add_argument("--pairs", type=int, help="how many pairs of each row must count")
    parser.add_argument("--peers", default="", help=f"also against these: {','.join(peers.PINS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw the ratios there")
    options = parser.parse_args()
    options.peers = [name for name in options.peers.split(",") if name]
    if unknown := set(options.peers) - set(peers.PINS):
        parser.error(f"unknown peers: {', '.join(sorted(unknown))}")
    return options


def chosen(names: list[str]) -> list[Row]:
    if not names:
        return list(ROWS.values())
    found = [row for row in ROWS.values() if any(row.name.startswith(name) for name in names)]
    if not found:
        sys.exit(f"bench: no row begins with {' or '.join(names)}; there are {', '.join(ROWS)}")
    return found


def result(row: Row, pairs: Pairs, against: str, most: float | None) -> Result:
    scale, alone = SCALE[row.unit], against == ""
    is_time = row.unit in ("us", "ms") and not alone
    ratios = [] if alone else pairs.ratios
    compared = pairs.ours * scale if alone else statistics.median(ratios)
    return Result(
        name=row.name,
        what=row.what,
        unit=row.unit,
        ours=pairs.ours * scale,
        other=None if alone else pairs.other * scale,
        against=against,
        ratios=ratios,
        most=most,
        # Nothing can be said of times that others disturbed; memory and counts are the same.
        met=None if most is None or (pairs.noisy and is_time) else compared <= most,
        pairs=len(pairs.kept),
        discarded=pairs.discarded,
        noisy=pairs.noisy,
        fsyncs=None,
        foreign=max(pairs.foreign, default=0.0),
    )


def measure(row: Row, effort: Effort, asked: list[str]) -> list[Result]:
    """The row against its other side, then against each peer that was asked for."""
    with tempfile.TemporaryDirectory(dir=DATA) as folder:
        with row.sides(Path(folder), effort) as sides:
            against = row.other if sides.other else ""
            pairs = in_pairs(sides.ours, sides.other or (lambda: 1.0), effort)
            found = [result(row, pairs, against, row.most)]
            if row.kind:
                found += [one for name in asked for one in against_peer(row, sides, name, effort)]
        if row.kind and (count := fsyncs_each(row.kind, Path(folder))) is not None:
            found[0] = replace(found[0], fsyncs=count)
    return found


def against_peer(row: Row, sides: Sides, name: str, effort: Effort) -> list[Result]:
    try:
        peer = peers.side(name, row.kind, ROOT / ".cache" / "peers", DATA)
    except peers.NotRun as reason:
        print(f"{row.name}: {name} was not run: {reason}", file=sys.stderr)
        return []
    pairs = in_pairs(sides.ours, peer, replace(effort, pairs=3))
    faster = row.peers.get(name)
    return [result(row, pairs, name, 1 / faster if faster else None)]


def heading(fdatasync: float) -> str:
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    alone = "" if busy_s() is not None else "; others' processor use cannot be seen here"
    return (
        f"{os.cpu_count()} processors, {system}, CPython {platform.python_version()}; "
        f"write 4 KiB + fdatasync {fdatasync * 1e3:.2f} ms{alone}"
    )


def measured(
    rows: list[Row], effort: Effort, asked: list[str]
) -> tuple[list[Result], dict[str, str]]:
    """Every row; and, by name, why one broke: it does not take with it what the others found."""
    results: list[Result] = []
    failed: dict[str, str] = {}
    for row in rows:
        print(f"{row.name}: {row.what} …", file=sys.stderr, flush=True)
        try:
            results += measure(row, effort, asked)
        except peers.NotRun as reason:
            print(f"{row.name} was not run: {reason}", file=sys.stderr)
        except Exception as fault:
            traceback.print_exc()
            failed[row.name] = f"{type(fault).__name__}: {fault}"
    return results, failed


def main() -> int:
    options = arguments()
    effort = QUICK if options.quick else Effort()
    if options.pairs:
        effort = replace(effort, pairs=options.pairs)
    DATA.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=DATA) as folder:
        fdatasync = fdatasync_s(Path(folder))
    print(heading(fdatasync), file=sys.stderr)
    results, failed = measured(chosen(options.names), effort, options.peers)
    print(heading(fdatasync))
    print(render(results))
    for name, why in failed.items():
        print(f"{name}  FAILED: {why}")
    if options.json:
        rows = [one.json() for one in results]
        document = {"v": 1, "machine": heading(fdatasync), "rows": rows, "failed": failed}
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    if options.plot:
        options.plot.write_text(svg(results, heading(fdatasync)))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
