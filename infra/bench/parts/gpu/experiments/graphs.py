"""E3: the UNet as one CUDA graph: the same kernels without launches, so the same bits.

Without launches one sees what kernels take, so other forms of them are compared here, too.
"""

from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from infra.bench.parts.gpu.context import Context, Skipped
from infra.bench.parts.gpu.experiments.eager import unet_ms
from infra.bench.parts.gpu.experiments.rates import matmul_tflops
from infra.bench.parts.gpu.flops import unet_tflop
from infra.bench.parts.gpu.models import GUIDED_ROWS
from infra.bench.parts.gpu.timing import measure, record, synchronize

ATTENTION = ("FLASH_ATTENTION", "CUDNN_ATTENTION", "EFFICIENT_ATTENTION")


def run(context: Context) -> None:
    """See the module."""
    if not context.is_gpu:
        raise Skipped("CUDA graphs need a GPU")
    for rows in (1, GUIDED_ROWS):
        _compare_with_eager(context, rows)
    _measure_attention(context)
    _measure_channels_last(context)


@torch.inference_mode()
def _compare_with_eager(context: Context, rows: int) -> None:
    eager_ms = unet_ms(context, rows)
    unet, inputs = context.models.pipe.unet, context.models.unet_inputs(rows)
    eager = unet(**inputs)[0].clone()
    replay, out = record(context.device, lambda: unet(**inputs)[0])
    replay()
    synchronize(context.device)
    is_equal = context.check(
        bool(torch.equal(out, eager)), f"a graph's prediction is not eager's, {rows} rows"
    )
    context.figure(f"graph_equal_rows{rows}", float(is_equal))
    limit = 1e3 * unet_tflop(context.size, rows) / matmul_tflops(context)
    graph_ms = context.figure(f"graph_ms_rows{rows}", measure(context.device, replay).ms, limit=limit)
    context.figure(f"graph_speedup_rows{rows}", eager_ms / graph_ms)


def _measure_attention(context: Context) -> None:
    """Each implementation of attention."""
    for name in ATTENTION:
        try:
            with sdpa_kernel(getattr(SDPBackend, name)):
                _graph_ms(context, name.lower(), context.models.unet_inputs(GUIDED_ROWS))
        except RuntimeError as error:
            context.note(f"attention by {name}: {str(error).splitlines()[0]}")


def _measure_channels_last(context: Context) -> None:
    """The memory format in which convolutions need no transposition."""
    unet, inputs = context.models.pipe.unet, context.models.unet_inputs(GUIDED_ROWS)
    inputs["sample"] = inputs["sample"].contiguous(memory_format=torch.channels_last)
    unet.to(memory_format=torch.channels_last)
    try:
        _graph_ms(context, "channels_last", inputs)
    finally:
        unet.to(memory_format=torch.contiguous_format)


@torch.inference_mode()
def _graph_ms(context: Context, name: str, inputs: dict[str, Any]) -> None:
    unet = context.models.pipe.unet
    replay, _ = record(context.device, lambda: unet(**inputs)[0])
    context.figure(f"graph_ms_{name}", measure(context.device, replay, rounds=5).ms)
