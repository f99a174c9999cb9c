"""Jobs of a benchmark's fleet, and what their timelines say."""

import base64
import io
import time
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from infra.bench.harness.fleet import Fleet
from infra.bench.harness.report import FOLDER, CheckFailed
from infra.bench.parts.gpu.context import Context, Skipped
from infra.bench.parts.gpu.fleet.files import catalog, lora_file, model_name
from infra.bench.parts.gpu.fleet.packages import find_missing
from infra.bench.parts.gpu.fleet.running import running_fleet
from infra.bench.parts.gpu.peer import PROMPT, control_image
from infra.bench.workloads.addon_jobs import FIRST_STAGES

#: Everything that is loaded at the start, and the engines' first passes.
READY_S = 150.0
GIB = 1 << 30
#: Kept from run to run.
COMPILED = FOLDER / "compiled"


class FinishedJob(NamedTuple):
    """A finished job; seconds."""

    job_s: float  # from the submission to the stored image
    loop_s: float  # from the first step to the image's decoding
    job: dict[str, Any]
    pixels: NDArray[np.uint8]

    @property
    def step_ms(self) -> float:
        """Milliseconds of a step on average."""
        return 1e3 * self.loop_s / int(self.job["progress"]["total"])


class GpuFleet:
    """A running fleet of this run's models."""

    def __init__(self, context: Context, fleet: Fleet) -> None:
        self.context, self.fleet = context, fleet
        self._control = _png(context)

    def body(self, engine: str, seed: int, **changes: Any) -> dict[str, Any]:
        """A submission without add-ons."""
        plain = {"model": model_name(engine), "prompt": PROMPT, "seed": seed, "latent_parallelism": "off"}
        return {**plain, **changes}

    def controlnet(self, name: str) -> dict[str, Any]:
        """A ControlNet of a submission, with the control image that the peers get."""
        return {"name": name, "image": self._control}

    def generate(self, engine: str, seed: int, **changes: Any) -> FinishedJob:
        """One job from submission to its image; raises `CheckFailed` unless it succeeded."""
        _, job = self.fleet.generate(self.body(engine, seed, **changes))
        return finished(self.fleet, job)

    def put_cold_lora(self, seed: int) -> str:
        """Upload a LoRA that no worker has seen; returns its name."""
        name = f"cold-{seed}-{time.time_ns()}"
        self.fleet.put_lora(name, lora_file(self.context, seed))
        return name


def fleet_of(
    context: Context, variant: str = "plain", /, *, env: dict[str, str] | None = None, **changes: Any
) -> GpuFleet:
    """The run's fleet with these settings; one at a time, so that the last one with others is stopped."""
    if missing := find_missing():
        raise Skipped(f"a fleet needs {', '.join(missing)}")
    running = context.kept("fleets", dict)
    if variant not in running:
        stop_fleets(context)
        home = context.folder / f"fleet-{variant}-{time.time_ns()}"
        settings = {"catalog": changes.pop("catalog", None) or catalog(context)}
        settings |= {**default_settings(context), **changes}
        ready_s = min(READY_S, max(10.0, context.left_s()))
        manager = running_fleet(
            home,
            settings,
            environment=env or {},
            ready_s=ready_s,
            compiled=COMPILED if context.is_gpu else None,
        )
        began = time.monotonic()
        running[variant] = (manager, GpuFleet(context, manager.__enter__()))
        context.open.callback(stop_fleets, context)
        print(f"    fleet {variant} after {time.monotonic() - began:.1f} s", flush=True)
    found: GpuFleet = running[variant][1]
    return found


def stop_fleets(context: Context) -> None:
    """Stop what runs: its memory is needed, or its processes must not compute beside what is measured."""
    running = context.kept("fleets", dict)
    while running:
        _, (manager, _) = running.popitem()
        manager.__exit__(None, None, None)


def default_settings(context: Context) -> dict[str, Any]:
    """One UNet worker and one ControlNet worker on the same device, which computes every ControlNet.

    All but the catalog.
    """
    memory = {"model_memory_bytes": 40 * GIB, "shared_memory_bytes": 2 * GIB} if context.is_gpu else {}
    remote = {"local_controlnets": "unserved"}
    roles = {"unet_workers": 1, "controlnet_workers": 1}
    return {"device": context.device.type, **roles, **memory, **remote}


def finished(fleet: Fleet, job: dict[str, Any]) -> FinishedJob:
    """What a job's timeline says of it, and its image."""
    spans = job["timeline"]
    start = min(span["start_s"] for span in spans)
    return FinishedJob(
        job_s=max(span["end_s"] for span in spans) - start,
        loop_s=vae_start_s(job) - step_starts_s(job)[0],
        job=job,
        pixels=fleet.pixels(job),
    )


def absolute_s(job: dict[str, Any], seconds: float) -> float:
    """A moment of a job's timeline, in seconds since the epoch."""
    return datetime.fromisoformat(job["created_at"]).timestamp() + seconds


def loop_window_s(job: dict[str, Any]) -> tuple[float, float]:
    """The denoising loop of a job, in seconds since the epoch."""
    return absolute_s(job, step_starts_s(job)[0]), absolute_s(job, vae_start_s(job))


def step_starts_s(job: dict[str, Any]) -> list[float]:
    """When each step began, in seconds of the job's timeline."""
    return sorted(float(span["start_s"]) for span in job["timeline"] if span["name"] in FIRST_STAGES)


def vae_start_s(job: dict[str, Any]) -> float:
    """When the image was decoded, in seconds of the job's timeline."""
    starts = [float(span["start_s"]) for span in job["timeline"] if span["name"] == "vae"]
    if not starts:
        raise CheckFailed(f"job {job['id']}: no span of the VAE in {[s['name'] for s in job['timeline']]}")
    return starts[0]


def _png(context: Context) -> str:
    file = io.BytesIO()
    control_image(context.size.side_px).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
