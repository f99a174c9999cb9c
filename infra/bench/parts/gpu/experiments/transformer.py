"""E12: a Flux-shaped transformer of a stated share of FLUX.1-dev, with a ControlNet and without, in bfloat16.

A step by diffusers' pipelines in this process, and one by the fleet, whose UNet worker and ControlNet worker
are two processes on the same GPU. These take turns, so at best a step with a ControlNet takes as long there
as in diffusers. Steps after the first count.
"""

import time
from statistics import median
from typing import Any, NamedTuple

import diffusers
import numpy as np
import torch
from numpy.typing import NDArray

from infra.bench.parts.gpu.context import Context
from infra.bench.parts.gpu.fleet.jobs import FinishedJob, GpuFleet, fleet_of, step_starts_s, vae_start_s
from infra.bench.parts.gpu.flux_models import (
    CONTROLNET,
    GUIDANCE,
    HALF,
    MODEL,
    TOY_FLUX,
    FluxModels,
    make_flux_models,
)
from infra.bench.parts.gpu.peer import PROMPT, control_image
from infra.bench.parts.gpu.timing import synchronize

#: Parameters of FLUX.1-dev's transformer.
WHOLE = 11.9e9
#: A job's kind, and whether it has the ControlNet.
CONFIGS = {"0c": False, "1c": True}


class PeerImage(NamedTuple):
    """An image of diffusers, and what a step after the first took."""

    step_ms: float
    pixels: NDArray[np.uint8]


class FluxPeer:
    """diffusers' pipelines around the models of this process."""

    def __init__(self, context: Context, models: FluxModels) -> None:
        self._device, self._size = context.device, models.size
        self._pipes: dict[bool, Any] = {
            False: models.pipe,
            True: diffusers.FluxControlNetPipeline(**models.pipe.components, controlnet=models.controlnet),
        }
        self._pipes[True].set_progress_bar_config(disable=True)

    def generate(self, seed: int, *, is_guided: bool) -> PeerImage:
        """One image; the device is waited for after its first and its last step alone."""
        size, times = self._size, list[float]()

        def note(_pipe: object, step: int, *_: object) -> dict[str, Any]:
            if step in (0, size.steps - 1):
                synchronize(self._device)
                times.append(time.perf_counter())
            return {}

        side_px = size.recipe.side_px
        image = self._pipes[is_guided](
            PROMPT,
            num_inference_steps=size.steps,
            guidance_scale=GUIDANCE,
            max_sequence_length=size.text_tokens,
            width=side_px,
            height=side_px,
            generator=torch.Generator().manual_seed(seed),
            callback_on_step_end=note,
            **({"control_image": control_image(side_px)} if is_guided else {}),
        ).images[0]
        first, last = times
        return PeerImage(1e3 * (last - first) / (size.steps - 1), np.asarray(image))


def run(context: Context) -> None:
    """See the module."""
    size = HALF if context.is_gpu else TOY_FLUX
    models: FluxModels = context.kept("Flux", lambda: make_flux_models(size, context.device))
    context.figure("flux_share_of_dev", models.parameters / WHOLE)
    catalog = context.kept("files of Flux", lambda: models.write(context.folder / "flux-models"))
    peer, fleet = FluxPeer(context, models), fleet_of(context, MODEL, catalog=catalog)
    rounds = 1 if context.quick else 4
    theirs: dict[str, list[float]] = {config: [] for config in CONFIGS}
    ours: dict[str, list[float]] = {config: [] for config in CONFIGS}
    for i in range(-1, rounds):
        for config, is_guided in CONFIGS.items():
            baseline = peer.generate(800 + i, is_guided=is_guided)
            generated = _by_fleet(fleet, size.text_tokens, 800 + i, is_guided=is_guided)
            _check(context, config, generated, baseline)
            if i >= 0:  # one of each does not count
                theirs[config].append(baseline.step_ms)
                ours[config].append(later_step_ms(generated.job))
    for config in CONFIGS:
        context.median_of(f"flux_diffusers_step_ms_{config}", theirs[config])
        context.median_of(f"flux_fleet_step_ms_{config}", ours[config], limit=median(theirs[config]))
        ratios = [fleet_ms / peer_ms for fleet_ms, peer_ms in zip(ours[config], theirs[config], strict=True)]
        context.median_of(f"flux_vs_diffusers_{config}", ratios)


def later_step_ms(job: dict[str, Any]) -> float:
    """Milliseconds of a step after the first, by the job's timeline."""
    starts = step_starts_s(job)
    return 1e3 * (vae_start_s(job) - starts[1]) / (len(starts) - 1)


def _by_fleet(fleet: GpuFleet, text_tokens: int, seed: int, *, is_guided: bool) -> FinishedJob:
    controlnets = [fleet.controlnet(CONTROLNET)] if is_guided else []
    changes = {"model": MODEL, "max_sequence_length": text_tokens, "controlnets": controlnets}
    return fleet.generate("eager", seed, **changes)


def _check(context: Context, config: str, ours: FinishedJob, theirs: PeerImage) -> None:
    """The image is diffusers', and the ControlNet was computed by the worker that is there for it."""
    distance = np.abs(ours.pixels.astype(np.int16) - theirs.pixels).max()
    context.check(distance == 0, f"{config}: the fleet's image is {distance} of 255 from diffusers'")
    spans = [span for span in ours.job["timeline"] if span["name"] == f"controlnet {CONTROLNET}"]
    workers = {str(span["worker"]) for span in spans}
    is_remote = all(worker.startswith("controlnet") for worker in workers)
    context.check(
        is_remote and bool(workers) is CONFIGS[config], f"{config}: the ControlNet was computed by {workers}"
    )
