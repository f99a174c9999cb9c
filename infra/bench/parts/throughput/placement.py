"""Part ``placement``: what placement brings, with LoRAs of real size on a line of 1 Gbit/s.

Two and four elastic workers on timed devices; the production trace's add-ons, LoRAs of 100 to 300 MB by
Zipf's law from a real S3 server, a disk cache that holds a third of their bytes. Every variant is an API of
its own before the same workers: it is the API that places jobs. Rounds alternate the variants, with the same
jobs for both in a round, and begin with an empty disk cache. A verdict is the ratio of the two in the same
round: its median, least and most.
"""

import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from psutil import cpu_times  # type: ignore[import-untyped]

from infra.bench.harness.fleet import running_fleet
from infra.bench.harness.report import Measured
from infra.bench.harness.s3 import running_s3
from infra.bench.harness.samples import percentile
from infra.bench.harness.throttled_proxy import shared_line
from infra.bench.parts.throughput.lora_variants import (
    LINE_BYTES_PER_S,
    VARIANTS,
    Run,
    Variants,
    check_line,
    running_variants,
)
from infra.bench.parts.throughput.lora_verdicts import Case, Runs, describe, judge, plot, samples_of
from infra.bench.simulate.config import Traffic
from infra.bench.simulate.measurements import TIMED, read_measurements
from infra.bench.simulate.traffic import SimulatedJob, make_traffic
from infra.bench.timed.fleet import devices
from infra.bench.timed.large_loras import LORA_HOME, put_large_loras
from infra.bench.timed.models import CONTROLNETS, make_timed
from infra.bench.workloads.addon_mix import ZipfChoice

STEPS, STRETCH = 20, 1.25
MODEL_BYTES, LORA_MEMORY_BYTES, CACHE_BYTES = 24_000_000_000, 700_000_000, 2_000_000_000
#: Files in the bucket, of which the disk cache holds ten; the few of the quick form fit.
LORAS, QUICK_LORAS, ROUNDS = 32, 4, 3


class Load(NamedTuple):
    """How jobs arrive: at this share of what the devices could generate, so many for each worker."""

    share: float
    jobs_per_worker: int


LOADS: Mapping[str, Load] = {"busy": Load(3.0, 6), "light": Load(0.5, 4)}
QUICK_LOADS: Mapping[str, Load] = {"busy": Load(3.0, 2)}

__all__ = ["measure", "plot"]


def measure(quick: bool) -> Measured:
    """The quick form takes two workers, few LoRAs and one round: noise is larger than any difference."""
    counts, loads, rounds, loras = [2], QUICK_LOADS, 1, QUICK_LORAS
    if not quick:
        counts, loads, rounds, loras = [2, 4], LOADS, ROUNDS, LORAS
    settings: dict[str, object] = {"lora_cache_bytes": CACHE_BYTES, "lora_memory_bytes": LORA_MEMORY_BYTES}
    settings |= {"worker_models": ("emoji-sd",), "worker_controlnets": ("none",)}
    runs: dict[Case, Runs] = {}
    with tempfile.TemporaryDirectory() as folder, running_s3(LORA_HOME) as storage:
        put_large_loras(storage, loras)
        catalog = make_timed(Path(folder), stretch=STRETCH, lora_load_s=0.0)
        with shared_line(storage.port, LINE_BYTES_PER_S) as line:
            figures = {"stretch": STRETCH, **check_line(storage, line)}
            url = f"http://127.0.0.1:{line.port}"
            with (
                running_fleet(
                    storage.environment,
                    unet_workers=1,
                    controlnet_workers=0,
                    catalog=catalog,
                    s3_endpoint_url=url,
                    **settings,
                ) as fleet,
                running_variants(fleet, line, storage.environment, loras) as variants,
            ):
                own = {**storage.environment, "SWIFT_MODEL_MEMORY_BYTES": str(MODEL_BYTES)}
                for count in counts:
                    with devices(fleet, unets=count, environment=own):
                        variants.warm_up(count)
                        before = cpu_times()
                        for name, load in loads.items():
                            streams = [make_jobs(count, load, loras, seed) for seed in range(rounds)]
                            runs[Case(count, name)] = replay_rounds(variants, tuple(VARIANTS), streams)
                        figures[f"cpu_share_{count}"] = _cpu_share(before, cpu_times())
    for case, by_variant in runs.items():
        figures |= describe(case, by_variant) | judge(case, by_variant)
    return Measured(figures, samples_of(runs), {})


def make_jobs(workers: int, load: Load, loras: int, seed: int) -> list[SimulatedJob]:
    """Jobs with the trace's add-ons, whose LoRAs are chosen among ``loras`` by the trace's Zipf law."""
    measured = read_measurements(TIMED).stretched(STRETCH)
    own_s = measured.text_s + STEPS * (measured.unet_s + 1.6 * measured.controlnet_s) + measured.vae_s
    traffic = Traffic(
        rate_per_s=load.share * workers / own_s,
        duration_s=1e6,
        warm_up_s=0.0,
        steps=STEPS,
        models=1,
        controlnets=len(CONTROLNETS),
        seed=seed,
    )
    rng, popular = random.Random(seed), ZipfChoice(loras)
    jobs = islice(make_traffic(traffic), workers * load.jobs_per_worker)
    return [replace(job, loras=popular.choose(rng, len(job.loras))) for job in jobs]


def replay_rounds(
    variants: Variants, names: Sequence[str], streams: Sequence[Sequence[SimulatedJob]]
) -> dict[str, list[Run]]:
    """Every round's jobs through all variants; each round begins with another one."""
    runs: dict[str, list[Run]] = {name: [] for name in names}
    for number, jobs in enumerate(streams):
        first = number % len(names)
        for name in (*names[first:], *names[:first]):
            run = variants.run(name, [replace(job) for job in jobs])
            runs[name].append(run)
            print(
                f"  round {number + 1}, {name}, {len(jobs)} jobs: {run.images_per_s:.2f} images/s, "
                f"p50 {percentile(run.latencies_s, 50):.1f} s, {run.fetched_bytes / 1e6:.0f} MB",
                flush=True,
            )
    return runs


def _cpu_share(before: Any, after: Any) -> float:
    """The share of the machine's CPU time that was used between two moments."""
    total_s = sum(after) - sum(before)
    return 1.0 - float(after.idle + after.iowait - before.idle - before.iowait) / float(total_s)
