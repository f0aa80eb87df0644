"""Run the benchmarks and say of each promise whether it is kept: `make bench`.

    python -m bench [--scale 1.0] [--rounds 3] [--work DIR] [--only plan|scan|images|download|ollama]

Seconds depend on the machine; the ratios are of runs that took turns within this one run. Exit code 1 when a promise
is broken.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from bench import bench_download, bench_images, bench_ollama, bench_plan, bench_scan


class Promise(NamedTuple):
    """A figure, and the bound that it must keep; `at_least` or at most."""

    name: str
    bound: float
    at_least: bool


PROMISES = (
    Promise("--help, s", 0.25, False),
    Promise("plan of 1000, s", 0.5, False),
    Promise("plan of 10000, s", 4.0, False),
    Promise("plan of 10000, MiB", 300.0, False),
    Promise("status of 10000 files, 2500 of them image models, s", 2.0, False),
    Promise("status of 10000 files, 250 of them image models, s", 2.0, False),
    Promise("first inventory of 100000 files in 1000 directories, s", 15.0, False),
    Promise("second inventory of 100000 files in 1000 directories, s", 3.0, False),
    Promise("first hash of a tree: speed / sha256 on all cores", 0.9, True),
    Promise("verify: speed / sha256 on all cores", 0.9, True),
    Promise("second verify, bytes read", 0.0, False),
)


def main() -> int:
    """Measure, print a table of Markdown, and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, help="a directory on the disk to be measured")
    parser.add_argument("--only", choices=["plan", "scan", "images", "download", "ollama"])
    options = parser.parse_args()
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=options.work, prefix="bench-") as directory:
        if options.only in (None, "plan"):
            found |= bench_plan.measure(Path(directory), scale=options.scale, rounds=options.rounds)
        if options.only in (None, "scan"):
            found |= bench_scan.measure(Path(directory), scale=options.scale, rounds=options.rounds)
        if options.only in (None, "images"):
            found |= bench_images.measure(Path(directory), scale=options.scale, rounds=options.rounds)
        if options.only in (None, "ollama"):
            found |= bench_ollama.measure(
                Path(directory), scale=options.scale, rounds=options.rounds, disk=options.work
            )
    if options.only in (None, "download"):
        for bench, figures in bench_download.measure(
            scale=options.scale, rounds=options.rounds, work=options.work
        ).items():
            found |= {f"{bench}: {name}": figure for name, figure in figures.items()}
    return report(found)


def report(found: dict[str, float]) -> int:
    """Print every figure with its promise; return 1 when one is broken."""
    promises = {promise.name: promise for promise in (*PROMISES, *further())}
    print(f"\n{time.strftime('%Y-%m-%d')}, Python {platform.python_version()}, {platform.machine()}, "
          f"{platform.system()} {platform.release()}\n")  # fmt: skip
    print("| figure | measured | promise | |\n|---|---|---|---|")
    broken = 0
    for name, figure in found.items():
        promise = promises.get(name)
        if promise is None:
            print(f"| {name} | {figure:.3g} | | |")
            continue
        kept = figure >= promise.bound if promise.at_least else figure <= promise.bound
        broken += not kept
        print(f"| {name} | {figure:.3g} | {'at least' if promise.at_least else 'at most'} {promise.bound:g} | "
              f"{'kept' if kept else 'BROKEN'} |")  # fmt: skip
    return 1 if broken else 0


def further() -> tuple[Promise, ...]:
    """Return the promises of the other modules, under the names that their figures have."""
    return tuple(Promise(*row) for row in (*bench_download.PROMISES, *bench_ollama.PROMISES))


if __name__ == "__main__":
    sys.exit(main())
