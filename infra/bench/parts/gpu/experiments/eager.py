"""E1: diffusers' pipeline as its users run it, and what its UNet and ControlNet take by themselves."""

import torch

from infra.bench.parts.gpu.context import Context, require
from infra.bench.parts.gpu.experiments.rates import matmul_tflops
from infra.bench.parts.gpu.flops import unet_tflop
from infra.bench.parts.gpu.models import GUIDED_ROWS
from infra.bench.parts.gpu.peer import peer, torch_defaults
from infra.bench.parts.gpu.timing import measure

PEER_ROUNDS = 3


def run(context: Context) -> None:
    """See the module."""
    for rows in (1, GUIDED_ROWS):
        unet_ms(context, rows)
        controlnet_ms(context, rows)
    diffusers_eager_s(context)
    _limit(context)
    _variants(context)


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


@torch.inference_mode()
def _variants(context: Context) -> None:
    """Another memory format, and each implementation of attention."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    unet, inputs = context.models.pipe.unet, context.models.unet_inputs(GUIDED_ROWS)
    for name in (
        ("FLASH_ATTENTION", "CUDNN_ATTENTION", "EFFICIENT_ATTENTION") if context.is_gpu else ("MATH",)
    ):
        try:
            with sdpa_kernel(getattr(SDPBackend, name)):
                ms = measure(context.device, lambda: unet(**inputs), rounds=5).ms
        except RuntimeError as error:
            context.note(f"attention by {name}: {str(error).splitlines()[0]}")
        else:
            context.figure(f"unet_ms_{name.lower()}", ms)
    unet.to(memory_format=torch.channels_last)
    inputs["sample"] = inputs["sample"].contiguous(memory_format=torch.channels_last)
    try:
        ms = measure(context.device, lambda: unet(**inputs), rounds=5).ms
        context.figure("unet_ms_channels_last", ms)
    finally:
        unet.to(memory_format=torch.contiguous_format)
