"""Runs seeds: `python -m tests.simulation --seeds 1000`, or one with its schedule: `--seed 123`."""

from __future__ import annotations

import argparse
import gc
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import structlog

from tests.simulation import seeds
from tests.simulation.simulation import Outcome, simulate

_CHUNK = 25


Simulate = Callable[[int], Outcome]


def main(module: str, simulate: Simulate) -> int:
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order of sets of strings is part of what a seed decides.
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]])
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this one, and print its schedule")
    parser.add_argument("--seeds", type=int, default=0, help="run so many")
    parser.add_argument(
        "--first", type=int, default=None, help="from this one on; otherwise by the tree's hash"
    )
    parser.add_argument(
        "--until-broken", action="store_true", help="end with the first that fails, one at a time"
    )
    parser.add_argument("--kept", action="store_true", help="run all that are kept as well")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    if arguments.seed is not None:
        return _report_one(simulate(arguments.seed))
    chosen = [*seeds.kept()] if arguments.kept else []
    first = seeds.first_of_the_tree() if arguments.first is None else arguments.first
    if arguments.until_broken:
        return _search(simulate, range(first, first + arguments.seeds))
    return _report_all(simulate, [*chosen, *range(first, first + arguments.seeds)])


def _report_one(outcome: Outcome) -> int:
    print(outcome.trace.text())
    print()
    _print_broken(outcome)
    print(f"seed {outcome.seed}: {outcome.runs} runs in {outcome.seconds:.1f} s, {_shown(outcome.injected)}")
    return bool(outcome.broken)


def _search(simulate: Simulate, chosen: Iterable[int]) -> int:
    _prepare()
    for seed in chosen:
        if (outcome := simulate(seed)).broken:
            _print_broken(outcome)
            return 1
        if seed % _CHUNK == 0:
            gc.collect()
    return 0


def _report_all(simulate: Simulate, chosen: list[int]) -> int:
    injected: Counter[str] = Counter()
    failed: list[int] = []
    runs = 0
    began = time.monotonic()
    for outcome in _run(simulate, chosen):
        injected += outcome.injected
        runs += outcome.runs
        if outcome.broken:
            if not failed:
                print(outcome.trace.text())
            _print_broken(outcome)
            failed.append(outcome.seed)
    seconds = time.monotonic() - began
    print(
        f"{len(chosen)} seeds from {min(chosen)} on, {runs} runs, in {seconds:.0f} s: {len(chosen) / seconds:.1f} seeds/s"
    )
    print(_shown(injected))
    if failed:
        print(f"{len(failed)} failed: {' '.join(map(str, sorted(failed)))}")
    return bool(failed)


def _print_broken(outcome: Outcome) -> None:
    for what in outcome.broken:
        print(f"BROKEN by seed {outcome.seed}: {what}")
    if outcome.broken:
        print(f"To see it again: {outcome.again}")


def _shown(injected: Counter[str]) -> str:
    return "injected: " + (
        ", ".join(f"{count} {kind}" for kind, count in injected.most_common()) or "nothing"
    )


def _run(simulate: Simulate, chosen: list[int]) -> Iterator[Outcome]:
    parts = [chosen[start : start + _CHUNK] for start in range(0, len(chosen), _CHUNK)]
    with ProcessPoolExecutor(os.cpu_count(), initializer=_prepare) as pool:
        for outcomes in pool.map(partial(_simulate_all, simulate), parts):
            yield from outcomes


def _prepare() -> None:
    gc.collect()
    gc.freeze()
    gc.disable()


def _simulate_all(simulate: Simulate, part: Iterable[int]) -> list[Outcome]:
    outcomes = [simulate(seed) for seed in part]
    gc.collect()
    # What went well need not be told.
    return [outcome if outcome.broken else outcome._replace(trace=None) for outcome in outcomes]


if __name__ == "__main__":
    sys.exit(main("tests.simulation", simulate))
