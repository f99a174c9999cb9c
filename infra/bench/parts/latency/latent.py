"""Part ``latent``: the two CFG branches on two UNet devices, against both on one."""

import time
from collections.abc import Iterator
from statistics import median
from typing import Any

import numpy as np
import torch

from infra.bench.harness.background_load import load_unet, running_background_load, unet_step
from infra.bench.harness.background_process import BackgroundProcess
from infra.bench.harness.fleet import RELAXED_POLL_S, Fleet, running_fleet
from infra.bench.harness.processes import CONTROLNET_CORE, UNET_CORE, pin, pin_this_process
from infra.bench.harness.report import Bound, CheckFailed, Measured, Result
from infra.bench.workloads.addon_jobs import loop_s
from infra.bench.workloads.models import open_workload
from infra.bench.workloads.workload import Workload

#: The paper has 1.36 on H800 and 1.71 on A10.
BOUNDS = {"latent_speedup_mid": Bound("at_least", 1.8), "latent_max_abs_diff": Bound("at_most", 2)}
WORKLOAD = "mid"
DEVICES = 2
#: Repetitions of a UNet's pass, of which the median counts.
STEP_ROUNDS = 3


def measure(quick: bool) -> Measured:
    """The same images on one worker and on two, by turns, each worker on a core of its own.

    Times are those of the denoising loop, from the start of the first step to the image's decoding. The
    limit is the UNet's own: all rows alone, against half of them while the other core computes as many.
    """
    pairs, steps = (2, 4) if quick else (5, 10)
    workload = open_workload(WORKLOAD)
    torch.set_num_threads(1)
    limit = SplitLimit(workload)
    samples: dict[str, list[float]] = {
        name: [] for name in ("whole_s", "split_s", "speedup", "bound", "share")
    }
    distances = []
    with (
        running_fleet(catalog=workload.catalog, unet_workers=DEVICES, controlnet_workers=0) as fleet,
        running_background_load("unet", workload.model, workload.side_px, 1) as other,
    ):
        for core in range(DEVICES):
            pin(fleet.stack.pids()[f"unet{core + 1}"], core)
        for i, (whole, split) in enumerate(_pairs(fleet, pairs, steps)):
            samples["whole_s"].append(loop_s(whole))
            samples["split_s"].append(loop_s(split))
            samples["speedup"].append(samples["whole_s"][-1] / samples["split_s"][-1])
            samples["bound"].append(limit.measure(other))
            samples["share"].append(samples["speedup"][-1] / samples["bound"][-1])
            distances.append(_distance(fleet, whole, split))
            outcome = f"{samples['speedup'][-1]:.2f} times as fast, {samples['bound'][-1]:.2f} possible"
            print(f"  pair {i + 1} of {pairs}: {outcome}", flush=True)
    figures = {
        "latent_speedup_mid": median(samples["speedup"]),
        "latent_speedup_mid_min": min(samples["speedup"]),
        "latent_speedup_mid_max": max(samples["speedup"]),
        "latent_max_abs_diff": max(distances),
        "latent_bound_mid": median(samples["bound"]),
        "latent_bound_share_mid": median(samples["share"]),
        "latent_device_seconds_ratio": DEVICES / median(samples["speedup"]),
        "latent_devices": DEVICES,
    }
    return Measured(figures, samples | {"max_abs_diff": distances}, BOUNDS)


class SplitLimit:
    """What two devices can gain at most: batches of one row are dearer, and two cores share one memory."""

    def __init__(self, workload: Workload) -> None:
        unet = load_unet(workload.model)
        self._steps = {rows: unet_step(unet, workload.side_px, rows) for rows in (1, 2)}

    def measure(self, other: BackgroundProcess) -> float:
        """Two rows alone, over one row while ``other`` computes one, too."""
        pin_this_process(UNET_CORE)
        whole_s = self._step_s(2)
        other.go()
        half_s = self._step_s(1)
        other.stop()
        pin_this_process(UNET_CORE, CONTROLNET_CORE)
        return whole_s / half_s

    @torch.inference_mode()
    def _step_s(self, rows: int) -> float:
        times = []
        for _ in range(STEP_ROUNDS):
            start = time.perf_counter()
            self._steps[rows]()
            times.append(time.perf_counter() - start)
        return median(times)


def plot(result: Result, left: Any, right: Any) -> None:
    """Both times of every pair, and how the ratio spreads."""
    for name, label in (("whole_s", "one device"), ("split_s", "two devices")):
        left.plot(result.samples[name], ".-", label=label)
    left.set(xlabel="pair", ylabel="s", title="the same denoising loop")
    left.set_ylim(bottom=0)
    left.legend()
    right.ecdf(result.samples["speedup"], label="measured")
    right.ecdf(result.samples["bound"], linestyle="--", label="the UNet's own limit")
    right.axvline(result.targets["latent_speedup_mid"].at_least, linestyle=":", label="target of the median")
    right.set(xlabel="times as fast", ylabel="share of pairs", title="two devices against one")
    right.legend()


def _pairs(fleet: Fleet, count: int, steps: int) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Jobs whole and split. A pair whose follower came late or left does not count."""
    for seed in range(100, 100 + 1 + 2 * count):
        whole, split = (_generate(fleet, steps, seed, choice) for choice in ("off", "on"))
        if seed == 100:
            continue  # the warm-up
        split_steps = split["receipt"]["spec"]["split_steps"]
        if split_steps != list(range(steps)):
            print(f"  not counted: steps {split_steps} were split", flush=True)
            continue
        yield whole, split
        count -= 1
        if not count:
            return
    raise CheckFailed("too many jobs were not split from the first step to the last")


def _generate(fleet: Fleet, steps: int, seed: int, choice: str) -> dict[str, Any]:
    body = {"prompt": "a penguin", "seed": seed, "num_inference_steps": steps, "latent_parallelism": choice}
    _, job = fleet.generate(body, poll_s=RELAXED_POLL_S)
    if choice == "off" and job["receipt"]["spec"]["split_steps"]:
        raise CheckFailed(f"job {job['id']} was split, and should not have been")
    return job


def _distance(fleet: Fleet, one: dict[str, Any], other: dict[str, Any]) -> float:
    """The largest difference of two images' pixels, of 255."""
    first, second = (fleet.pixels(job).astype(np.int16) for job in (one, other))
    return float(np.abs(first - second).max())
