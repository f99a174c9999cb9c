"""Part ``overhead``: a job through the whole fleet, minus the same work in one process."""

import base64
import gc
import os
from statistics import median
from typing import Any

import numpy as np

from infra.bench.fleet import Fleet, read_pixels, running_fleet
from infra.bench.overlap import Step, read_steps
from infra.bench.peer import Peer
from infra.bench.processes import pin
from infra.bench.report import Bound, CheckFailed, Measured
from infra.bench.samples import percentile
from infra.local.demo import CONTROL

BOUNDS = {"overhead_ms_p50": Bound("at_most", 30)}
#: The UNet's device, in the fleet and in one process; and everything else.
UNET_CORE, OTHER_CORE = 0, 1
WARM_UPS = 3
PROMPT, STEPS, GUIDANCE, SCHEDULER = "a penguin on a teal background", 25, 3.0, "ddim"


def measure(quick: bool) -> Measured:
    """Draw the same pictures in turn; the worker waits while this process draws, and the reverse."""
    pairs, net_jobs = (15, 3) if quick else (100, 10)
    peer = Peer(SCHEDULER)
    with running_fleet() as fleet:
        _pin(fleet)
        in_process, in_fleet = _alternate(fleet, peer, pairs)
        steps = _draw_beside_a_net(fleet, net_jobs)
    differences = [1e3 * (ours - alone) for ours, alone in zip(in_fleet, in_process, strict=True)]
    figures = {
        "overhead_ms_p50": percentile(differences, 50),
        "overhead_ms_p99": percentile(differences, 99),
        "overhead_share_p50": percentile(differences, 50) / (1e3 * median(in_process)),
        "in_process_ms_p50": 1e3 * median(in_process),
        "in_fleet_ms_p50": 1e3 * median(in_fleet),
        "overlap_share": median(step.overlap_ms / step.step_ms for step in steps),
        "step_ms_p50": median(step.step_ms for step in steps),
        "encoder_ms_p50": median(step.encoder_ms for step in steps),
        "net_ms_p50": median(step.net_ms for step in steps),
    }
    samples = {
        "in_process_s": in_process,
        "in_fleet_s": in_fleet,
        "overhead_ms": differences,
        "overlap_share": [step.overlap_ms / step.step_ms for step in steps],
    }
    return Measured(figures, samples, BOUNDS)


def _pin(fleet: Fleet) -> None:
    """The UNet worker on its core, all others on the other."""
    if (os.cpu_count() or 1) <= OTHER_CORE:
        raise CheckFailed("two cores are needed: one for the UNet, one for everything else")
    for name, pid in fleet.stack.pids().items():
        pin(pid, UNET_CORE if name == "unet1" else OTHER_CORE)


def _alternate(fleet: Fleet, peer: Peer, pairs: int) -> tuple[list[float], list[float]]:
    """Seconds in this process and in the fleet, pair by pair; raises `CheckFailed` if pixels differ."""
    in_process, in_fleet = [], []
    for i in range(-WARM_UPS, pairs):
        seed = 1000 + i
        gc.collect()
        _move_to(UNET_CORE)
        alone_s, png = peer.draw(prompt=PROMPT, seed=seed, steps=STEPS, guidance_scale=GUIDANCE)
        _move_to(OTHER_CORE)
        fleet_s, job = fleet.draw(_request(seed))
        if not np.array_equal(fleet.pixels(job), read_pixels(png)):
            raise CheckFailed(f"seed {seed}: the fleet's picture is not the pipeline's")
        if i >= 0:
            in_process.append(alone_s)
            in_fleet.append(fleet_s)
            told = f"{1e3 * alone_s:.0f} ms in one process, {1e3 * fleet_s:.0f} ms in the fleet"
            print(f"  pair {i + 1} of {pairs}: {told}", flush=True)
    return in_process, in_fleet


def _draw_beside_a_net(fleet: Fleet, jobs: int) -> list[Step]:
    """The steps of jobs with one ControlNet, after a warm-up; raises `CheckFailed` if it missed one."""
    print(f"  {jobs} jobs with one ControlNet", flush=True)
    image = base64.b64encode(CONTROL.read_bytes()).decode()
    steps = []
    for i in range(-1, jobs):
        _, job = fleet.draw({**_request(2000 + i), "controlnets": [{"name": "edge", "image": image}]})
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


def _move_to(core: int) -> None:
    """This process alone: the stack it has started stays where it is."""
    for thread in os.listdir("/proc/self/task"):
        os.sched_setaffinity(int(thread), {core})
