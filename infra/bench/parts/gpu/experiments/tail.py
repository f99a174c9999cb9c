"""E9: what comes after the last step: VAE, PNG, and how soon the next job's first work begins."""

import io
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image

from infra.bench.parts.gpu.context import Context, require
from infra.bench.parts.gpu.experiments.controlnet_jobs import best_engine
from infra.bench.parts.gpu.fleet.jobs import absolute_s, fleet_of
from infra.bench.parts.gpu.timing import measure, measure_once

#: Spans of a job before the device has anything to do.
WAITING = ("queued", "model", "lora ", "attach")
PAIRS = 3


def run(context: Context) -> None:
    """See the module."""
    measure_vae(context)
    measure_png(context)
    measure_gap(context)


@torch.no_grad()  # weights that change their dtype in inference mode work in no other
def measure_vae(context: Context) -> None:
    """Decoding one image in each dtype."""
    vae, side = context.models.pipe.vae, context.size.side_px // 8
    latents = torch.randn(1, 4, side, side, device=context.device)
    before = vae.dtype
    dtypes = (torch.float32, torch.bfloat16, torch.float16) if context.is_gpu else (torch.float32,)
    try:
        for dtype in dtypes:
            vae.to(dtype)
            times = measure(context.device, partial(vae.decode, latents.to(dtype)), rounds=5)
            context.figure(f"vae_ms_{str(dtype).removeprefix('torch.')}", times.ms)
    finally:
        vae.to(before)


def measure_png(context: Context) -> None:
    """Encoding one image: noise, which compresses worst, as random weights make it."""
    side = context.size.side_px
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    _save(image, 1)
    for level in (1, 6):
        ms = measure_once(context.device, partial(_save, image, level))
        context.figure(f"png_ms_level{level}", ms)


def measure_gap(context: Context) -> None:
    """Two jobs in the queue of one worker: from the end of the first's VAE to the second's first work."""
    fleet = fleet_of(context)
    engine = best_engine(context)
    fleet.generate(engine, 600)
    gaps = []
    for i in range(PAIRS):
        bodies = [fleet.body(engine, 610 + 2 * i + k, num_inference_steps=6) for k in range(2)]
        ids = [fleet.fleet.submit(body) for body in bodies]
        for job_id in ids:
            fleet.fleet.wait_for_status(job_id, "succeeded")
        first, second = sorted(map(fleet.fleet.job, ids), key=_first_work_s)
        ends = [span["end_s"] for span in first["timeline"] if span["name"] == "vae"]
        require(bool(ends), "a job has no span of its VAE")
        gaps.append(1e3 * (_first_work_s(second) - absolute_s(first, max(ends))))
    context.median_of("next_job_gap_ms", gaps)


def _first_work_s(job: dict[str, Any]) -> float:
    starts = [span["start_s"] for span in job["timeline"] if not span["name"].startswith(WAITING)]
    return absolute_s(job, min(starts))


def _save(image: Image.Image, level: int) -> None:
    image.save(io.BytesIO(), "PNG", compress_level=level)
