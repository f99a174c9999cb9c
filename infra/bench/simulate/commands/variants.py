"""``python -m infra.bench variants --devices 50 --rate 6``: what placement brings.

Each seed's traffic goes through a fleet with placement and through one without; the table shows medians over
the seeds with least and most, and how often a variant was ahead of `placement` at the same traffic.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from infra.bench.simulate.commands.options import add_fleet, add_traffic, fleet_of, traffic_of
from infra.bench.simulate.measurements import read_measurements
from infra.bench.simulate.outcome import Outcome
from infra.bench.simulate.run import simulate

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "placement": {},
    "no placement": {"placement": False},
}
#: What is compared: its name, and how it is read. Less is better but for images.
FIGURES: Mapping[str, Callable[[Outcome], float]] = {
    "p50, s": lambda outcome: outcome.percentile_s(50),
    "p99, s": lambda outcome: outcome.percentile_s(99),
    "images/s": lambda outcome: outcome.images_per_s,
    "first step with a LoRA": lambda outcome: outcome.late_steps,
    "LoRAs in memory, %": lambda outcome: 100 * outcome.loras_found["memory"],
    "from S3, %": lambda outcome: 100 * outcome.loras_found["s3"],
}


def main(words: Sequence[str]) -> int:
    """Do what the command line asks for; returns the exit code."""
    parser = _parser()
    options = parser.parse_args(words)
    measured = read_measurements(options.measured)
    outcomes: dict[str, list[Outcome]] = {name: [] for name in VARIANTS}
    try:
        config = fleet_of(options, policy=options.policy, devices=options.devices)
        traffic = traffic_of(options, options.rate)
        for seed in range(options.seed, options.seed + options.seeds):
            for name, changes in VARIANTS.items():
                fleet, jobs = replace(config, **changes), replace(traffic, seed=seed)
                outcomes[name].append(simulate(measured, fleet, jobs, options.steps_at_a_time))
    except ValueError as error:
        parser.error(str(error))
    print(table(outcomes))
    return 0


def table(outcomes: Mapping[str, Sequence[Outcome]]) -> str:
    """A row for each variant: medians, least and most, and how often its p50 was below `placement`'s."""
    seeds = len(outcomes["placement"])
    lines = ["| variant | " + " | ".join(FIGURES) + f" | p50 below `placement`'s, of {seeds} |"]
    lines.append("|---|" + "--:|" * (len(FIGURES) + 1))
    placed = [outcome.percentile_s(50) for outcome in outcomes["placement"]]
    for name, of_seeds in outcomes.items():
        cells = [_spread([read(outcome) for outcome in of_seeds]) for read in FIGURES.values()]
        pairs = zip(of_seeds, placed, strict=True)
        ahead = sum(outcome.percentile_s(50) < other for outcome, other in pairs)
        lines.append(f"| {name} | {' | '.join(cells)} | {ahead if name != 'placement' else ''} |")
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    return f"{median(values):.3g} ({min(values):.3g}–{max(values):.3g})"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m infra.bench variants", description=__doc__)
    parser.add_argument("--devices", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True, metavar="JOBS/S")
    parser.add_argument("--policy", choices=("elastic", "fixed"), default="elastic")
    parser.add_argument("--seeds", type=int, default=5, help="from --seed on")
    parser.add_argument("--steps-at-a-time", type=int, help="that are simulated as one; default: by the size")
    add_traffic(parser)
    add_fleet(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
