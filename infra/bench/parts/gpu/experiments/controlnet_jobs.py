"""E5: a UNet worker and a ControlNet worker as two processes on one GPU, by each transport backend.

Two processes take turns on one GPU, so at best a step takes as long as UNet and ControlNet after each other:
the sum of a step without ControlNets in the same fleet and of a ControlNet's pass alone. Beside that, one
step's residuals are handed from process to process without any model.
"""

import json
from collections import Counter
from collections.abc import Mapping
from statistics import median
from typing import Any

import numpy as np

from infra.bench.harness.report import CheckFailed
from infra.bench.parts.gpu.context import Context
from infra.bench.parts.gpu.experiments.eager import controlnet_graph_ms, controlnet_ms
from infra.bench.parts.gpu.experiments.handover import measure_handover
from infra.bench.parts.gpu.fleet.files import served_engines
from infra.bench.parts.gpu.fleet.jobs import FinishedJob, GpuFleet, fleet_of
from infra.bench.parts.gpu.models import GUIDED_ROWS
from infra.bench.parts.gpu.peer import peer

CONTROLNET = "edge"
#: What switches the others off that would be preferred: what is left carries residuals.
WITHOUT: Mapping[str, Mapping[str, str]] = {
    "cuda_ipc": {},
    "shared_memory": {"gpu_shared": "off"},
    "redis": {"gpu_shared": "off", "shared_memory": "off"},
}


def run(context: Context) -> None:
    """See the module."""
    measure_handover(context, backends(context))  # first: it needs no fleet, and tells most in a short time
    chosen = backends(context)[:1] if context.quick else backends(context)[:-1]
    for backend in chosen:
        try:
            measure_tax(context, backend)
        except CheckFailed as error:  # another backend may work
            context.fail(f"E5: {error}")
        taxes = [context.figures.get(f"tax_1c_same_gpu_{name}") for name in chosen]
        if found := [tax for tax in taxes if tax is not None]:
            context.figure("tax_1c_same_gpu", min(found))
    if "exposed_ms_shared_memory" in context.figures and context.is_gpu:
        context.figure("exposed_ms_registered", context.figures["exposed_ms_shared_memory"])


def backends(context: Context) -> list[str]:
    """The backends of this device for payloads of any size, the preferred first."""
    return [name for name in WITHOUT if context.is_gpu or name != "cuda_ipc"]


def settings_for(backend: str) -> dict[str, Any]:
    """Settings of a fleet whose residuals travel by ``backend``."""
    return dict(WITHOUT[backend])


def measure_tax(context: Context, backend: str) -> None:
    """Images with and without a ControlNet in turn, in a fleet of this backend."""
    is_preferred = backend == backends(context)[0]  # the fleet of the other experiments
    fleet = fleet_of(context) if is_preferred else fleet_of(context, backend, **settings_for(backend))
    compare(context, fleet, backend, "tax_1c_same_gpu", carried_by=backend)


def compare(
    context: Context,
    fleet: GpuFleet,
    variant: str,
    name: str,
    *,
    carried_by: str,
    plain_ms: float | None = None,
) -> None:
    """Note the tax as ``NAME_VARIANT``: a step with a ControlNet over the sum of both, less one.

    Residuals must have come by the backend ``carried_by``. ``plain_ms`` is a step without a ControlNet where
    this fleet's own does not count.
    """
    engine = best_engine(context)
    with_controlnet, plain = list[FinishedJob](), list[FinishedJob]()
    rounds = 2 if context.quick else 3
    for i in range(-1, rounds):
        guided = fleet.generate(engine, 400 + i, controlnets=[fleet.controlnet(CONTROLNET)])
        alone = fleet.generate(engine, 400 + i)
        if i >= 0:
            with_controlnet.append(guided)
            plain.append(alone)
    if context.is_gpu:  # a toy's residuals are so small that messages carry them
        _check_backend(fleet, carried_by)
    _check(context, variant, with_controlnet[-1], seed=400 + rounds - 1)
    alone_ms = min(controlnet_ms(context, GUIDED_ROWS), controlnet_graph_ms(context, GUIDED_ROWS))
    sums = [(plain_ms or job.step_ms) + alone_ms for job in plain]
    steps = [job.step_ms for job in with_controlnet]
    context.median_of(f"step_ms_1c_{variant}", steps, limit=median(sums))
    context.median_of(f"step_ms_0c_{variant}", [job.step_ms for job in plain])
    context.figure(f"exposed_ms_{variant}", median(steps) - median(sums))
    context.median_of(
        f"{name}_{variant}", [step / whole - 1 for step, whole in zip(steps, sums, strict=True)]
    )
    latency = [a.job_s / b.job_s - 1 for a, b in zip(with_controlnet, plain, strict=True)]
    context.median_of(f"latency_1c_over_0c_{variant}", latency)


def _check(context: Context, variant: str, job: FinishedJob, *, seed: int) -> None:
    """The ControlNet worker has computed it, and the image is diffusers'."""
    spans = [span for span in job.job["timeline"] if span["name"] == f"controlnet {CONTROLNET}"]
    elsewhere = {span["worker"].partition("@")[0] for span in spans}
    if not any(name.startswith("controlnet") for name in elsewhere):
        raise CheckFailed(f"{variant}: the ControlNet worker did not compute a step: {sorted(elsewhere)}")
    theirs = peer(context).generate(seed, controlnet=CONTROLNET)
    is_equal = np.array_equal(job.pixels, theirs.pixels)
    distance = np.abs(job.pixels.astype(np.int16) - theirs.pixels).max()
    context.check(is_equal, f"{variant}: the image of 1C is {distance} of 255 from diffusers'")
    context.figure("diffusers_1c_s", theirs.seconds)


def _check_backend(fleet: GpuFleet, backend: str) -> None:
    """Workers report what they have received in the last minute, and by which backend."""
    workers: list[dict[str, Any]] = json.loads(fleet.fleet.ask("GET", "/v1/fleet"))["workers"]
    counts = Counter[str]()
    for worker in workers:
        for received in worker["received_residuals"].values():
            counts.update(received)
    if backend not in counts:
        raise CheckFailed(f"no residual came by {backend}: {dict(counts)}")
    print(f"    residuals came by {dict(counts)}", flush=True)


def best_engine(context: Context) -> str:
    """The engine that a fleet should run with where images must not differ."""
    engines = served_engines(context.device)
    return "graphs" if "graphs" in engines else "eager"
