"""Options that both commands take, and the configurations that they stand for."""

import argparse
from pathlib import Path
from typing import Any

from infra.bench.simulate.config import GB, FleetConfig, Traffic
from infra.bench.simulate.measurements import H800

GIGABIT = 1e9 / 8


def add_traffic(parser: argparse.ArgumentParser) -> None:
    """Options of the traffic, but for its rate."""
    group = parser.add_argument_group("traffic: the production trace's mix of add-ons and popularity")
    group.add_argument("--cv", type=float, default=1.0, help="of the gaps; 1: Poisson, else gamma")
    group.add_argument("--steps", type=int, default=50, help="of an image")
    group.add_argument("--models", type=int, default=3, help="base models, unevenly popular")
    group.add_argument("--controlnets", type=int, default=8, help="in the catalog; they fit all base models")
    group.add_argument("--minutes", type=float, default=20.0, help="of traffic")
    group.add_argument("--warm-up-minutes", type=float, default=3.0, help="of them, not counted")
    group.add_argument("--seed", type=int, default=1)


def add_fleet(parser: argparse.ArgumentParser) -> None:
    """Options of the fleet, but for its size and policy."""
    group = parser.add_argument_group("fleet")
    group.add_argument("--memory-gb", type=float, default=72.0, help="for models, of each device")
    group.add_argument("--models-per-worker", type=int, help="base models that each worker serves")
    group.add_argument("--devices-per-host", type=int, default=8)
    group.add_argument("--lora-memory-gb", type=float, default=2.147, help="of parsed LoRAs, each worker's")
    group.add_argument("--lora-cache-gb", type=float, default=10.74, help="of LoRA files, each host's")
    group.add_argument("--s3-gbit", type=float, default=10.0, help="of each host's line")
    group.add_argument("--s3-shared", action="store_true", help="one line for the whole fleet")
    group.add_argument(
        "--models-in-turn",
        action="store_true",
        help="a worker takes jobs of its models in turn, whatever it has loaded",
    )
    group.add_argument("--no-placement", action="store_true")
    group.add_argument("--no-split", action="store_true", help="both CFG branches always on one device")
    group.add_argument("--measured", type=Path, default=H800, help="times and sizes, and their sources")


def traffic_of(options: argparse.Namespace, rate_per_s: float) -> Traffic:
    """The traffic that the options ask for."""
    return Traffic(
        rate_per_s=rate_per_s,
        duration_s=60 * options.minutes,
        warm_up_s=60 * options.warm_up_minutes,
        cv=options.cv,
        steps=options.steps,
        models=options.models,
        controlnets=options.controlnets,
        seed=options.seed,
    )


def fleet_of(options: argparse.Namespace, **changes: Any) -> FleetConfig:
    """The fleet that the options ask for; ``changes`` are its policy and its devices."""
    return FleetConfig(
        memory_bytes=options.memory_gb * GB,
        models_per_worker=options.models_per_worker,
        devices_per_host=options.devices_per_host,
        lora_memory_bytes=options.lora_memory_gb * GB,
        lora_cache_bytes=options.lora_cache_gb * GB,
        s3_bytes_per_s=options.s3_gbit * GIGABIT,
        is_s3_shared=options.s3_shared,
        loaded_first=not options.models_in_turn,
        placement=not options.no_placement,
        split=not options.no_split,
        **changes,
    )
