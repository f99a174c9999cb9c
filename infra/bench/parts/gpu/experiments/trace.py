"""E11: a stream with the production trace's mix on one GPU, against a plain Celery worker with diffusers.

All jobs are there at once: what counts is images per second, and latency with its queueing. Both have the
same files, the same S3 and the card for themselves. With as many ControlNets as the trace has, the
fleet's UNet worker and its ControlNet worker share the card. Whole runs need two fleets for minutes: tests
replay our half over a fleet that answers at once, the other half is tested with `infra.bench.baselines`.
"""

import time
from collections.abc import Sequence
from typing import Any

from infra.bench.baselines.celery_fleet import running_baseline_fleet
from infra.bench.harness.samples import percentile
from infra.bench.parts.gpu.context import Context
from infra.bench.parts.gpu.experiments.controlnet_jobs import best_engine
from infra.bench.parts.gpu.fleet.files import catalog, lora_file
from infra.bench.parts.gpu.fleet.jobs import GpuFleet, absolute_s, fleet_of, stop_fleets
from infra.bench.parts.gpu.peer import GUIDANCE
from infra.bench.workloads.trace_jobs import TraceJob, lora_name, make_stream
from shared.settings import Settings

#: At once, nearly: as fast as jobs can be submitted.
PER_S = 20.0
JOBS, TOY_JOBS, LORAS, TOY_LORAS = 12, 3, 5, 2
STEPS, TOY_STEPS = 30, 2
#: One of each kind before the clock runs: both ControlNets are loaded then.
WARM_UP = [TraceJob(0.0, "a warm up", 900 + i, [("edge", 1.0), ("colour", 1.0)], []) for i in range(2)]


def run(context: Context) -> None:
    """See the module."""
    count, loras = (JOBS, LORAS) if context.is_gpu else (TOY_JOBS, TOY_LORAS)
    steps = STEPS if context.is_gpu else TOY_STEPS
    stream = make_stream(count, PER_S, lora_count=loras)
    fleet = fleet_of(context)
    for rank in range(loras):
        fleet.fleet.put_lora(lora_name(rank), lora_file(context, 10 + rank))
    ours, took_s = replay_ours(fleet, stream, steps)
    context.median_of("trace_latency_s", ours)
    rate = context.figure("trace_images_per_s", count / took_s)
    theirs, took_s = _replay_theirs(context, fleet, stream, steps)
    stop_fleets(context)
    context.median_of("trace_naive_latency_s", theirs)
    naive = context.figure("trace_naive_images_per_s", count / took_s)
    context.figure("trace_images_per_s_vs_naive", rate / naive)
    for percent in (50, 99):
        ratio = percentile(ours, percent) / percentile(theirs, percent)
        context.figure(f"trace_p{percent}_vs_naive", ratio)


def replay_ours(fleet: GpuFleet, stream: Sequence[TraceJob], steps: int) -> tuple[list[float], float]:
    """Latencies, each from a job's arrival to its stored image, and seconds until the last image."""
    _wait(fleet, [_submit(fleet, job, steps) for job in WARM_UP])
    began, ids = time.time(), list[str]()
    for job in stream:
        time.sleep(max(0.0, began + job.at_s - time.time()))
        ids.append(_submit(fleet, job, steps))
    _wait(fleet, ids)
    ends = [_stored_at(fleet.fleet.job(job_id)) for job_id in ids]
    latencies = [end - began - job.at_s for end, job in zip(ends, stream, strict=True)]
    return latencies, max(ends) - began


def _stored_at(job: dict[str, Any]) -> float:
    return absolute_s(job, max(float(span["end_s"]) for span in job["timeline"]))


def _submit(fleet: GpuFleet, job: TraceJob, steps: int) -> str:
    engine = best_engine(fleet.context)
    controlnets = [{**fleet.controlnet(name), "conditioning_scale": scale} for name, scale in job.controlnets]
    loras = [{"name": name, "scale": scale} for name, scale in job.loras]
    body = fleet.body(engine, job.seed, num_inference_steps=steps, controlnets=controlnets, loras=loras)
    return fleet.fleet.submit({**body, "prompt": job.prompt})


def _wait(fleet: GpuFleet, ids: Sequence[str]) -> None:
    for job_id in ids:
        fleet.fleet.wait_for_status(job_id, "succeeded")


def _replay_theirs(
    context: Context, fleet: GpuFleet, stream: Sequence[TraceJob], steps: int
) -> tuple[list[float], float]:
    """The same by one Celery worker, while our workers have nothing to do."""
    env = fleet.fleet.stack.env
    settings = Settings.model_validate(
        {
            "home": context.folder / "naive",
            "s3_endpoint_url": env["SWIFT_S3_ENDPOINT_URL"],
            "catalog": catalog(context),
            "device": context.device.type,
        }
    )
    credentials = {name: env[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    generation = {"steps": steps, "guidance_scale": GUIDANCE, "side_px": context.size.side_px}
    with running_baseline_fleet(settings, credentials, workers=1, generation=generation) as naive:
        naive.replay(WARM_UP)
        ended = naive.replay(stream)
    latencies = [ended[job.seed].after_s for job in stream]
    return latencies, max(after + job.at_s for after, job in zip(latencies, stream, strict=True))
