"""Part ``overhead``: a job through the whole fleet, minus the same work in one process."""

import base64
import gc
import os
import time
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from infra.bench.baselines.diffusers_baseline import DiffusersBaseline
from infra.bench.harness.fleet import RELAXED_POLL_S, Fleet, read_pixels, running_fleet
from infra.bench.harness.processes import cpu_s, pin, pin_this_process
from infra.bench.harness.report import Bound, CheckFailed, Measured, Result
from infra.bench.harness.samples import percentile
from infra.bench.parts.latency.step_overlap import Step, read_steps
from infra.emoji_files import CONTROL

BOUNDS = {"overhead_ms_p50": Bound("at_most", 30)}
#: The UNet's device, in the fleet and in one process; and everything else.
UNET_CORE, OTHER_CORE = 0, 1
WARM_UPS = 2
#: No job ends this early: of its time in one process, the share in which the fleet is left alone.
QUIET_SHARE = 0.75
PROMPT, STEPS, GUIDANCE, SCHEDULER = "a penguin on a teal background", 25, 3.0, "ddim"


class Pair(NamedTuple):
    """The same image generated twice, in milliseconds. CPU time is what a busy machine disturbs least."""

    process_ms: float
    process_cpu_ms: float
    fleet_ms: float
    worker_cpu_ms: float  # of the UNet worker alone
    queued_ms: float
    store_ms: float


def measure(quick: bool) -> Measured:
    """Generate the same images in turn; the worker waits while this process generates, and the reverse."""
    pairs, controlnet_jobs = (9, 3) if quick else (100, 10)
    baseline = DiffusersBaseline(SCHEDULER)
    with running_fleet(unet_workers=1, controlnet_workers=1) as fleet:
        _pin(fleet)
        generated = _alternate(fleet, baseline, pairs)
        steps = _measure_controlnet_steps(fleet, controlnet_jobs)
    samples = {name: [float(getattr(pair, name)) for pair in generated] for name in Pair._fields}
    samples["overhead_ms"] = [pair.fleet_ms - pair.process_ms for pair in generated]
    samples["overhead_share"] = [pair.fleet_ms / pair.process_ms - 1 for pair in generated]
    samples["overhead_cpu_ms"] = [pair.worker_cpu_ms - pair.process_cpu_ms for pair in generated]
    samples["overlap_share"] = [step.overlap_ms / step.step_ms for step in steps]
    figures = {
        "overhead_ms_p50": percentile(samples["overhead_ms"], 50),
        "overhead_ms_p99": percentile(samples["overhead_ms"], 99),
        "overhead_ms_min": min(samples["overhead_ms"]),
        "overhead_share_p50": percentile(samples["overhead_share"], 50),
        "overlap_share": median(samples["overlap_share"]),
        "overhead_cpu_ms_p50": percentile(samples["overhead_cpu_ms"], 50),
        **{f"{name}_p50": median(samples[name]) for name in Pair._fields},
        **{
            f"controlnet_job_{name}_p50": median(getattr(step, name) for step in steps)
            for name in Step._fields
        },
    }
    return Measured(figures, samples, BOUNDS)


def plot(result: Result, left: Any, right: Any) -> None:
    """The same image both ways, pair by pair."""
    for name, label in (("process_ms", "in one process"), ("fleet_ms", "in the fleet")):
        left.plot(result.samples[name], ".-", label=label)
    left.set(xlabel="pair", ylabel="ms", title="the same image")
    left.set_ylim(bottom=0)
    left.legend()
    right.ecdf(result.samples["overhead_ms"])
    right.axvline(result.targets["overhead_ms_p50"].at_most, linestyle=":", label="target of the median")
    right.set(xlabel="ms", ylabel="share of pairs", title="fleet minus one process")
    right.legend()


def _pin(fleet: Fleet) -> None:
    """The UNet worker on its core, all others on the other."""
    if (os.cpu_count() or 1) <= OTHER_CORE:
        raise CheckFailed("two cores are needed: one for the UNet, one for everything else")
    for name, pid in fleet.stack.pids().items():
        pin(pid, UNET_CORE if name == "unet1" else OTHER_CORE)


def _alternate(fleet: Fleet, baseline: DiffusersBaseline, pairs: int) -> list[Pair]:
    """Generate in this process and in the fleet by turns; raises `CheckFailed` if pixels differ."""
    generated = []
    for i in range(-WARM_UPS, pairs):
        pair = _generate_both(fleet, baseline, seed=1000 + i)
        if i >= 0:
            generated.append(pair)
            outcome = f"{pair.process_ms:.0f} ms in one process, {pair.fleet_ms:.0f} ms in the fleet"
            print(f"  pair {i + 1} of {pairs}: {outcome}", flush=True)
    return generated


def _generate_both(fleet: Fleet, baseline: DiffusersBaseline, seed: int) -> Pair:
    worker = fleet.stack.pids()["unet1"]
    gc.collect()
    pin_this_process(UNET_CORE)
    process_cpu_s = time.process_time()
    process_s, png = baseline.generate(prompt=PROMPT, seed=seed, steps=STEPS, guidance_scale=GUIDANCE)
    process_cpu_s = time.process_time() - process_cpu_s
    pin_this_process(OTHER_CORE)
    worker_cpu_s = cpu_s(worker)
    fleet_s, job = fleet.generate(_request(seed), quiet_s=QUIET_SHARE * process_s)
    worker_cpu_s = cpu_s(worker) - worker_cpu_s
    if not np.array_equal(fleet.pixels(job), read_pixels(png)):
        raise CheckFailed(f"seed {seed}: the fleet's image is not the pipeline's")
    spent_s = {span["name"]: span["end_s"] - span["start_s"] for span in job["timeline"]}
    seconds = (process_s, process_cpu_s, fleet_s, worker_cpu_s, spent_s["queued"], spent_s["store"])
    return Pair(*(1e3 * value for value in seconds))


def _measure_controlnet_steps(fleet: Fleet, jobs: int) -> list[Step]:
    """The steps of jobs with one ControlNet, after a warm-up; raises `CheckFailed` if it missed one."""
    print(f"  {jobs} jobs with one ControlNet", flush=True)
    image = base64.b64encode(CONTROL.read_bytes()).decode()
    steps = []
    for i in range(-1, jobs):
        request = {**_request(2000 + i), "controlnets": [{"name": "edge", "image": image}]}
        _, job = fleet.generate(request, poll_s=RELAXED_POLL_S)
        try:
            found = read_steps(job["timeline"])
        except ValueError as error:
            raise CheckFailed(f"job {job['id']}: {error}") from error
        if len(found) != STEPS - 1:
            raise CheckFailed(f"job {job['id']}: {len(found) + 1} steps, not {STEPS}")
        if i >= 0:
            steps += found
    return steps


def _request(seed: int) -> dict[str, Any]:
    return {
        "prompt": PROMPT,
        "seed": seed,
        "num_inference_steps": STEPS,
        "guidance_scale": GUIDANCE,
        "scheduler": SCHEDULER,
    }
