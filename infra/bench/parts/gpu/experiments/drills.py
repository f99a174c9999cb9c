"""E10: a worker loses its device in the middle of a job, and the card has no memory left for one.

Both through a whole fleet with two UNet workers: the job must end with the image it would have had, the
worker that lost its device must end and come back, and what follows must work. Tests run the drill over a
fleet that answers at once, and `tests/fleet` lose devices of a real one; a full card needs a GPU.
"""

import json
import time
from typing import Any

import numpy as np
import torch

from infra.bench.harness.fleet import RELAXED_POLL_S
from infra.bench.harness.report import CheckFailed
from infra.bench.parts.gpu.context import Context
from infra.bench.parts.gpu.experiments.controlnet_jobs import best_engine
from infra.bench.parts.gpu.fleet.fault_requests import REQUEST
from infra.bench.parts.gpu.fleet.jobs import FinishedJob, GpuFleet, finished, fleet_of, stop_fleets

UNETS = 2
BACK_S, JOB_S = 90.0, 60.0
#: Memory of the card that is left free while it is said to be full.
LEFT_BYTES = 600 << 20
FULL_S = 3.0


def run(context: Context) -> None:
    """See the module."""
    stop_fleets(context)
    fleet = fleet_of(context, "drills", unet_workers=UNETS)
    engine = best_engine(context)
    undisturbed = _undisturbed(fleet, engine)
    lose_device(context, fleet, engine, undisturbed)
    if context.is_gpu:
        fill_memory(context, fleet, engine, undisturbed)
    else:
        context.note("E10: the drill for a full card needs a GPU")
    stop_fleets(context)


def lose_device(context: Context, fleet: GpuFleet, engine: str, undisturbed: FinishedJob) -> None:
    """One step of the job ends in a device-side assert."""
    before = _unet_pids(fleet)
    (fleet.fleet.stack.home / REQUEST).touch()
    began = time.monotonic()
    job = _generate(fleet, engine, undisturbed)
    context.figure("drill_lost_device_s", time.monotonic() - began - undisturbed.job_s)
    if (fleet.fleet.stack.home / REQUEST).exists():
        raise CheckFailed("no step has met the fault")
    is_equal = np.array_equal(job.pixels, undisturbed.pixels)
    context.check(is_equal, "after a lost device the job's image is another")
    context.figure("drill_lost_device_back_s", _await_other_pids(fleet, before) - began)
    lost = {name for name, pid in _unet_pids(fleet).items() if pid != before[name]}
    taken_by = {
        str(span["worker"]).partition("@")[0] for span in job.job["timeline"] if span["name"] == "vae"
    }
    context.figure("drill_lost_device_other_took_it", float(not taken_by & lost))
    if taken_by & lost:
        context.note(f"E10: no other worker took the job: {', '.join(lost)} did, after it had come back")
    for seed in range(700, 700 + 2 * UNETS):  # both workers serve on
        fleet.generate(engine, seed, num_inference_steps=2)
    context.figure("drill_lost_device", 1.0)


def fill_memory(context: Context, fleet: GpuFleet, engine: str, undisturbed: FinishedJob) -> None:
    """The card is full when the job begins, and has its memory back a little later."""
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(context.device)
    filler = torch.empty(max(0, free - LEFT_BYTES), dtype=torch.uint8, device=context.device)
    began = time.monotonic()
    try:
        body = fleet.body(engine, 1, num_inference_steps=undisturbed.job["progress"]["total"], num_images=4)
        job_id = fleet.fleet.submit(body)
        time.sleep(FULL_S)
    finally:
        del filler
        torch.cuda.empty_cache()
    fleet.fleet.wait_for_status(job_id, "succeeded")
    context.figure("drill_full_s", time.monotonic() - began)
    logs = "".join(fleet.fleet.stack.log(name) for name in _unet_pids(fleet))
    was_full = "DeviceFull" in logs or "device_full" in logs or "out of memory" in logs
    context.figure("drill_full_was_full", float(was_full))
    if not was_full:
        context.note(f"E10: with {LEFT_BYTES >> 20} MiB free no worker ran out of memory")
    again = _generate(fleet, engine, undisturbed)
    is_equal = np.array_equal(again.pixels, undisturbed.pixels)
    context.check(is_equal, "after a full card the next job's image is another")


def _undisturbed(fleet: GpuFleet, engine: str) -> FinishedJob:
    """The job without a fault, once on each worker at least."""
    jobs = [fleet.generate(engine, 1, num_inference_steps=10) for _ in range(UNETS + 1)]
    return jobs[-1]


def _generate(fleet: GpuFleet, engine: str, like: FinishedJob) -> FinishedJob:
    body = fleet.body(engine, 1, num_inference_steps=like.job["progress"]["total"])
    _, job = fleet.fleet.generate(body, poll_s=RELAXED_POLL_S)
    return finished(fleet.fleet, job)


def _unet_pids(fleet: GpuFleet) -> dict[str, int]:
    return {name: pid for name, pid in fleet.fleet.stack.pids().items() if name.startswith("unet")}


def _await_other_pids(fleet: GpuFleet, before: dict[str, int]) -> float:
    """When a worker in another process has reported that it takes work, by the monotonic clock."""
    deadline = time.monotonic() + BACK_S
    while time.monotonic() < deadline:
        workers: list[dict[str, Any]] = json.loads(fleet.fleet.ask("GET", "/v1/fleet"))["workers"]
        new = set(_unet_pids(fleet).values()) - set(before.values())
        if any(worker["pid"] in new and not worker["unavailable_reasons"] for worker in workers):
            return time.monotonic()
        time.sleep(RELAXED_POLL_S)
    raise CheckFailed(f"no worker has come back {BACK_S:.0f} s after it lost its device")
