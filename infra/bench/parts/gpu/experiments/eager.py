"""E1: diffusers' pipeline as its users run it, and what its UNet and ControlNet take by themselves."""

import torch

from infra.bench.parts.gpu.context import Context, require
from infra.bench.parts.gpu.experiments.rates import matmul_tflops
from infra.bench.parts.gpu.flops import unet_tflop
from infra.bench.parts.gpu.models import GUIDED_ROWS
from infra.bench.parts.gpu.peer import peer, torch_defaults
from infra.bench.parts.gpu.timing import measure, record

PEER_ROUNDS = 3


def run(context: Context) -> None:
    """See the module."""
    for rows in (1, GUIDED_ROWS):
        unet_ms(context, rows)
        controlnet_ms(context, rows)
    diffusers_eager_s(context)
    _limit(context)


def unet_ms(context: Context, rows: int) -> float:
    """Milliseconds of one pass of diffusers' UNet, by events; how long its launches take is noted, too."""

    @torch.inference_mode()
    def passes() -> float:
        unet, inputs = context.models.pipe.unet, context.models.unet_inputs(rows)
        require(bool(torch.isfinite(unet(**inputs)[0]).all()), "the UNet's prediction is not finite")
        times = measure(context.device, lambda: unet(**inputs))
        context.figure(f"unet_launch_ms_rows{rows}", times.launched_ms)
        limit = 1e3 * unet_tflop(context.size, rows) / matmul_tflops(context)
        return context.figure(f"unet_ms_rows{rows}", times.ms, limit=limit)

    return float(context.kept(f"UNet, {rows} rows", passes))


def controlnet_ms(context: Context, rows: int) -> float:
    """The same of a ControlNet, its conditioning image embedded in each pass as diffusers does it."""

    @torch.inference_mode()
    def passes() -> float:
        controlnet, inputs = context.models.controlnets["edge"], context.models.unet_inputs(rows)
        image = context.models.control(rows)
        times = measure(context.device, lambda: controlnet(**inputs, controlnet_cond=image))
        return context.figure(f"controlnet_ms_rows{rows}", times.ms)

    return float(context.kept(f"ControlNet, {rows} rows", passes))


def controlnet_graph_ms(context: Context, rows: int) -> float:
    """What a ControlNet's kernels take without launches, and without the embedding of its image, which the
    fleet computes once a job."""

    @torch.inference_mode()
    def passes() -> float:
        controlnet, inputs = context.models.controlnets["edge"], context.models.unet_inputs(rows)
        image = context.models.control(rows)
        both_ms, embedding_ms = (
            measure(context.device, record(context.device, act)[0]).ms
            for act in (
                lambda: controlnet(**inputs, controlnet_cond=image)[1],
                lambda: controlnet.controlnet_cond_embedding(image),
            )
        )
        context.figure(f"controlnet_embedding_ms_rows{rows}", embedding_ms)
        return context.figure(f"controlnet_graph_ms_rows{rows}", both_ms - embedding_ms)

    return float(context.kept(f"ControlNet's graph, {rows} rows", passes))


def diffusers_eager_s(context: Context) -> float:
    """Seconds of an image, prompt to PIL, with torch's defaults; after one that does not count."""

    def images() -> float:
        theirs = peer(context)
        with torch_defaults():
            theirs.generate(0)
            times = [theirs.generate(1 + i).seconds for i in range(PEER_ROUNDS)]
        return context.median_of("diffusers_eager_s", times)

    return float(context.kept("diffusers, eager", images))


def _limit(context: Context) -> None:
    """No image can take less than its steps' operations at the rate of matrix products."""
    step_ms = 1e3 * unet_tflop(context.size, GUIDED_ROWS) / matmul_tflops(context)
    context.figure("limit_step_ms", step_ms)
    context.figure("limit_s", context.size.steps * step_ms / 1e3)
    context.figure("unet_tflop", unet_tflop(context.size, GUIDED_ROWS))
