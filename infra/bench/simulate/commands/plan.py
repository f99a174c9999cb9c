"""``python -m infra.bench plan --rate 3 --p99 12``: how many devices of each kind that traffic needs."""

import argparse
import sys
from collections.abc import Sequence
from typing import get_args

from infra.bench.simulate.commands.options import add_fleet, add_traffic, fleet_of, traffic_of
from infra.bench.simulate.config import FleetConfig, Policy
from infra.bench.simulate.measurements import read_measurements
from infra.bench.simulate.planner import Plan, make_plan

HEAD = (
    "| devices | of them for ControlNets | p50, s | p99, s | images/s | idle | enough |\n"
    "|--:|--:|--:|--:|--:|--:|---|"
)


def main(words: Sequence[str]) -> int:
    """Do what the command line asks for; the exit code is 1 if no fleet is good enough."""
    parser = _parser()
    options = parser.parse_args(words)
    measured, fixed = read_measurements(options.measured), int(options.policy == "fixed")
    try:
        traffic = traffic_of(options, options.rate)
        config = fleet_of(options, policy=options.policy, devices=2, controlnet_devices=fixed)
        plan = make_plan(measured, config, traffic, p99_s=options.p99, most=options.most)
    except ValueError as error:
        parser.error(str(error))
    print(table(plan))
    print(f"\n{answer(plan, options)}\n\n{assumptions(options)}")
    return 0 if plan.best is not None else 1


def table(plan: Plan) -> str:
    """Every fleet that was tried."""
    rows = [
        f"| {tried.config.devices} | {tried.config.controlnet_devices} "
        f"| {tried.outcome.percentile_s(50):.2f} | {tried.outcome.percentile_s(99):.2f} "
        f"| {tried.outcome.images_per_s:.2f} | {tried.outcome.activities['idle']:.0%} "
        f"| {'yes' if tried.is_enough else 'no'} |"
        for tried in plan.tried
    ]
    return "\n".join([HEAD, *rows])


def answer(plan: Plan, options: argparse.Namespace) -> str:
    """The plan in a sentence."""
    wanted = f"For {options.rate:g} jobs a second and 99 % of them within {options.p99:g} s"
    if plan.best is None:
        return f"{wanted}, {options.most} devices are not enough."
    outcome = plan.best.outcome
    return (
        f"{wanted}, {_devices(plan.best.config)}: p50 {outcome.percentile_s(50):.1f} s, "
        f"p99 {outcome.percentile_s(99):.1f} s, idle {outcome.activities['idle']:.0%} of the time."
    )


def _devices(config: FleetConfig) -> str:
    if config.policy != "fixed":
        return f"{config.devices} {config.policy} devices"
    unets = config.devices - config.controlnet_devices
    return f"{unets} UNet devices and {config.controlnet_devices} ControlNet devices"


def assumptions(options: argparse.Namespace) -> str:
    """What the answer holds for."""
    arrivals = "Poisson arrivals" if options.cv == 1 else f"gaps with coefficient of variation {options.cv:g}"
    lines = (
        f"times and sizes of {options.measured.name}, where each says where it was measured",
        f"{options.steps} steps, {options.models} base models, {options.controlnets} ControlNets, the mix of "
        f"the production trace; {arrivals}; {options.minutes:g} minutes, seed {options.seed}",
        f"{options.memory_gb:g} GB for models on each device, {options.devices_per_host} devices a host, "
        f"{options.s3_gbit:g} Gbit/s to S3 {'for all' if options.s3_shared else 'for each host'}",
        "no worker dies, all devices are alike, more devices are never worse",
    )
    return "Assumed:\n" + "\n".join(f"- {line}" for line in lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m infra.bench plan", description=__doc__)
    parser.add_argument("--rate", type=float, required=True, metavar="JOBS/S")
    parser.add_argument("--p99", type=float, required=True, metavar="SECONDS")
    parser.add_argument("--policy", choices=get_args(Policy), default="elastic")
    parser.add_argument("--most", type=int, default=1000, metavar="DEVICES")
    add_traffic(parser)
    add_fleet(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
