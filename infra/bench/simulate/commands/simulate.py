"""``python -m infra.bench simulate --devices 50 --rate 5``: what a fleet would do with so much traffic.

Several rates and policies, separated by commas, are simulated in turn; ``--plot FILE`` plots attainment and
throughput over the rate. ``--goodput`` searches, from the first rate on, the highest one at which 90 % of
jobs end within k × their latency alone in diffusers.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

from infra.bench.simulate.commands.options import add_fleet, add_traffic, fleet_of, traffic_of
from infra.bench.simulate.config import Policy
from infra.bench.simulate.goodput import Attainment, goodput, measure_rates
from infra.bench.simulate.measurements import read_measurements
from infra.bench.simulate.outcome import FACTORS, Outcome
from infra.bench.simulate.run import simulate

HEAD = (
    "| policy | jobs/s | images/s | p50, s | p99, s | "
    + " | ".join(f"within {factor:g} ×" for factor in FACTORS)
    + " | generate | wait | serve | follow | load | idle | LoRAs from memory, disk, S3 |\n"
    + "|---|"
    + "--:|" * (10 + len(FACTORS))
    + "---|"
)


#: Rates that are tried for each factor.
GOODPUT_TRIES = 8


class Point(NamedTuple):
    """One simulated fleet under one rate."""

    policy: str
    rate_per_s: float
    outcome: Outcome


def main(words: Sequence[str]) -> int:
    """Do what the command line asks for; returns the exit code."""
    parser = _parser()
    options = parser.parse_args(words)
    measured = read_measurements(options.measured)

    def run(policy: str, rate: float) -> Outcome:
        fixed = options.controlnet_devices if policy == "fixed" else 0
        config = fleet_of(options, policy=policy, devices=options.devices, controlnet_devices=fixed)
        return simulate(measured, config, traffic_of(options, rate), options.steps_at_a_time)

    try:
        if options.goodput:
            _print_goodputs(options, run)
        else:
            _print_points(options, run)
    except ValueError as error:
        parser.error(str(error))
    return 0


def _print_goodputs(options: argparse.Namespace, run: Callable[[str, float], Outcome]) -> None:
    print(f"| policy | {' | '.join(f'goodput within {factor:g} ×, jobs/s' for factor in FACTORS)} |")
    print("|---|" + "--:|" * len(FACTORS))
    for policy in options.policy:

        def attain(rate: float, policy: str = policy) -> Attainment:
            outcome = run(policy, rate)
            return {factor: outcome.attainment(factor) for factor in FACTORS}

        curve: dict[float, Attainment] = {}
        for factor in FACTORS:
            curve |= measure_rates(attain, options.rate[0], tries=GOODPUT_TRIES, factor=factor)
        found = (f"{goodput(dict(sorted(curve.items())), factor):.2g}" for factor in FACTORS)
        print(f"| {policy} | {' | '.join(found)} |", flush=True)


def _print_points(options: argparse.Namespace, run: Callable[[str, float], Outcome]) -> None:
    points: list[Point] = []
    print(HEAD)
    for policy in options.policy:
        for rate in options.rate:
            points.append(Point(policy, rate, run(policy, rate)))
            print(_row(points[-1]), flush=True)
    print(_summary(options, points))
    if options.plot is not None:
        _plot(points, options.devices, options.plot)


def _row(point: Point) -> str:
    outcome = point.outcome
    times = f"{outcome.images_per_s:.2f} | {outcome.percentile_s(50):.2f} | {outcome.percentile_s(99):.2f}"
    within = " | ".join(f"{outcome.attainment(factor):.3f}" for factor in FACTORS)
    shares = " | ".join(f"{share:.0%}" for share in outcome.activities.values())
    found = ", ".join(f"{share:.0%}" for share in outcome.loras_found.values())
    return f"| {point.policy} | {point.rate_per_s:g} | {times} | {within} | {shares} | {found} |"


def _summary(options: argparse.Namespace, points: Sequence[Point]) -> str:
    events, took_s = (sum(getattr(point.outcome, name) for point in points) for name in ("events", "took_s"))
    return (
        f"\n{options.devices} devices, {options.minutes:g} minutes of traffic, seed {options.seed}, "
        f"times from {options.measured.name}; {events:.3g} events in {took_s:.1f} s of CPU, "
        f"{events / took_s:.3g} a second"
    )


def _plot(points: Sequence[Point], devices: int, path: Path) -> None:
    from infra.bench.harness.plots import save_plot

    save_plot(lambda left, right: draw(points, left, right), path, f"simulated, {devices} devices")


def draw(points: Sequence[Point], left: Any, right: Any) -> None:
    """Attainment over the rate on the left, throughput and p99 over it on the right."""
    styles = dict(zip(FACTORS, (":", "-", "--"), strict=True))
    for number, policy in enumerate(dict.fromkeys(point.policy for point in points)):
        own = sorted(
            (point for point in points if point.policy == policy), key=lambda point: point.rate_per_s
        )
        rates = [point.rate_per_s for point in own]
        for factor, style in styles.items():
            shares = [point.outcome.attainment(factor) for point in own]
            left.plot(rates, shares, style, color=f"C{number}", label=f"{policy}, {factor:g} ×")
        images = [point.outcome.images_per_s for point in own]
        right.plot(rates, images, "o-", color=f"C{number}", label=policy)
    left.axhline(0.9, color="gray", linewidth=0.8)
    left.set(xlabel="jobs/s", ylabel="share of jobs", title="ended within k × alone in diffusers")
    right.set(xlabel="jobs/s", ylabel="images/s", title="throughput over load")
    for axes in (left, right):
        axes.legend()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m infra.bench simulate", description=__doc__)
    parser.add_argument("--devices", type=int, required=True)
    parser.add_argument("--rate", type=_numbers, required=True, metavar="JOBS/S[,…]")
    parser.add_argument(
        "--policy",
        type=_policies,
        default=["elastic"],
        metavar="POLICY[,…]",
        help=", ".join(get_args(Policy)),
    )
    parser.add_argument("--controlnet-devices", type=int, default=1, help="of the devices, with policy fixed")
    parser.add_argument("--goodput", action="store_true")
    parser.add_argument("--steps-at-a-time", type=int, help="simulated as one; default: by the size")
    parser.add_argument("--plot", type=Path, metavar="FILE.png")
    add_traffic(parser)
    add_fleet(parser)
    return parser


def _numbers(text: str) -> list[float]:
    return [float(word) for word in text.split(",")]


def _policies(text: str) -> list[str]:
    words = text.split(",")
    if unknown := set(words) - set(get_args(Policy)):
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}")
    return words


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
