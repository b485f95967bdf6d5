"""Run seeds: `python -m tests.simulation --seeds 200 --start 1`; a failing one is told how to see.

The same seed gives the same run, whatever machine it is on; `--trace` shows all that happened.
"""

import argparse
import sys
import time
from collections import Counter

from tests.simulation.run import DISAGREEING, LARGE, SMALL, Outcome, run_seed


def main(arguments: list[str] | None = None) -> int:
    """Return 0 if every seed held and carried enough, else 1."""
    options = _options(arguments)
    plan = DISAGREEING if options.disagreeing else LARGE if options.large else SMALL
    began = time.process_time()
    sums: Counter[str] = Counter()
    failed: list[Outcome] = []
    idle: list[Outcome] = []
    for seed in range(options.start, options.start + options.seeds):
        outcome = run_seed(seed, plan)
        sums.update(outcome.counts)
        if outcome.wrong:
            failed.append(outcome)
            _say(outcome.report())
        elif outcome.lacking:
            idle.append(outcome)
        done = seed - options.start + 1
        if done % _PROGRESS == 0 and done < options.seeds:
            _say(f"{done} of {options.seeds} seeds, {len(failed)} fail")
        if options.trace:
            _say("\n".join([*outcome.lines, f"trace {outcome.trace}"]))
    _say(f"{options.seeds} seeds, {len(failed)} fail, {len(idle)} carried too little")
    _say(f"{time.process_time() - began:.0f} s of CPU for {sums['seconds']:,} simulated seconds")
    _say(", ".join(f"{number:,} {what}" for what, number in sorted(sums.items())))
    if options.seeds >= _ENOUGH and 2 * len(idle) > options.seeds:
        _say("too many seeds carried too little to prove anything")
        return 1
    return 1 if failed else 0


_ENOUGH = 10
_PROGRESS = 25


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=50, help="how many seeds to run")
    parser.add_argument("--start", type=int, default=1, help="the first seed")
    parser.add_argument("--trace", action="store_true", help="show all that happened")
    parser.add_argument("--large", action="store_true", help="more sites, edits and mishaps")
    parser.add_argument(
        "--disagreeing", action="store_true", help="both sides edit the same, and decide conflicts"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
