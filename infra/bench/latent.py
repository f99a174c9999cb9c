"""Part ``latent``: the halves of guidance on two UNet devices, against both on one."""

from statistics import median
from typing import Any

import numpy as np

from infra.bench.fleet import Fleet, running_fleet
from infra.bench.processes import pin
from infra.bench.report import Bound, CheckFailed, Measured, Result
from infra.bench.workloads import open_workload

#: The paper has 1.36 on H800 and 1.71 on A10.
BOUNDS = {"latent_speedup_mid": Bound("at_least", 1.8), "latent_max_abs_diff": Bound("at_most", 2)}
WORKLOAD = "mid"
DEVICES = 2


def measure(quick: bool) -> Measured:
    """The same pictures on one worker and on two, by turns, each worker on a core of its own.

    Times are those of the denoising loop, from the start of the first step to the picture's decoding.
    """
    pairs, steps = (2, 4) if quick else (5, 10)
    workload = open_workload(WORKLOAD)
    with running_fleet(catalog=workload.catalogue, unet_workers=DEVICES) as fleet:
        for core in range(DEVICES):
            pin(fleet.stack.pids()[f"unet{core + 1}"], core)
        samples: dict[str, list[float]] = {"whole_s": [], "split_s": [], "speedup": [], "max_abs_diff": []}
        for i in range(-1, pairs):
            whole, split = (_draw(fleet, steps, 100 + i, choice) for choice in ("off", "on"))
            if i < 0:
                continue
            samples["whole_s"].append(_loop_s(whole))
            samples["split_s"].append(_loop_s(split))
            samples["speedup"].append(samples["whole_s"][-1] / samples["split_s"][-1])
            samples["max_abs_diff"].append(_distance(fleet, whole, split))
            print(f"  pair {i + 1} of {pairs}: {samples['speedup'][-1]:.2f} times as fast", flush=True)
    figures = {
        "latent_speedup_mid": median(samples["speedup"]),
        "latent_speedup_mid_min": min(samples["speedup"]),
        "latent_speedup_mid_max": max(samples["speedup"]),
        "latent_max_abs_diff": max(samples["max_abs_diff"]),
        "latent_device_seconds_ratio": DEVICES / median(samples["speedup"]),
        "latent_devices": DEVICES,
    }
    return Measured(figures, samples, BOUNDS)


def plot(result: Result, left: Any, right: Any) -> None:
    """Both times of every pair, and how the ratio spreads."""
    for name, label in (("whole_s", "one device"), ("split_s", "two devices")):
        left.plot(result.samples[name], ".-", label=label)
    left.set(xlabel="pair", ylabel="s", title="the same denoising loop")
    left.set_ylim(bottom=0)
    left.legend()
    right.ecdf(result.samples["speedup"])
    right.axvline(result.targets["latent_speedup_mid"].at_least, linestyle=":", label="target of the median")
    right.set(xlabel="times as fast", ylabel="share of pairs", title="two devices against one")
    right.legend()


def _draw(fleet: Fleet, steps: int, seed: int, choice: str) -> dict[str, Any]:
    """A finished job; raises `CheckFailed` unless all its steps were split, or none."""
    body = {"prompt": "a penguin", "seed": seed, "num_inference_steps": steps, "latent_parallelism": choice}
    _, job = fleet.draw(body)
    split = job["receipt"]["split_steps"]
    if split != (list(range(steps)) if choice == "on" else []):
        raise CheckFailed(f"job {job['id']}, latent_parallelism {choice}: steps {split} were split")
    return job


def _loop_s(job: dict[str, Any]) -> float:
    start = min(span["start_s"] for span in job["timeline"] if span["name"] == "encoder")
    return float(next(span["start_s"] for span in job["timeline"] if span["name"] == "vae") - start)


def _distance(fleet: Fleet, one: dict[str, Any], other: dict[str, Any]) -> float:
    """The largest difference of two pictures' pixels, of 255."""
    first, second = (fleet.pixels(job).astype(np.int16) for job in (one, other))
    return float(np.abs(first - second).max())
