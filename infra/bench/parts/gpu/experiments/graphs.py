"""E3: the UNet as one CUDA graph: the same kernels without launches, so the same bits."""

from typing import Any

import torch

from infra.bench.parts.gpu.context import Context, Skipped
from infra.bench.parts.gpu.experiments.eager import unet_ms
from infra.bench.parts.gpu.experiments.rates import matmul_tflops
from infra.bench.parts.gpu.flops import unet_tflop
from infra.bench.parts.gpu.models import GUIDED_ROWS
from infra.bench.parts.gpu.timing import measure, synchronize

WARM_UPS = 3


@torch.inference_mode()
def run(context: Context) -> None:
    """See the module."""
    if not context.is_gpu:
        raise Skipped("CUDA graphs need a GPU")
    for rows in (1, GUIDED_ROWS):
        eager_ms = unet_ms(context, rows)
        unet, inputs = context.models.pipe.unet, context.models.unet_inputs(rows)
        eager = unet(**inputs)[0].clone()
        graph, out = _capture(unet, inputs)
        graph.replay()
        synchronize(context.device)
        is_equal = context.check(
            bool(torch.equal(out, eager)), f"a graph's prediction is not eager's, {rows} rows"
        )
        context.figure(f"graph_equal_rows{rows}", float(is_equal))
        limit = 1e3 * unet_tflop(context.size, rows) / matmul_tflops(context)
        graph_ms = context.figure(
            f"graph_ms_rows{rows}", measure(context.device, graph.replay).ms, limit=limit
        )
        context.figure(f"graph_speedup_rows{rows}", eager_ms / graph_ms)
        del graph, out


def _capture(unet: Any, inputs: dict[str, Any]) -> tuple[Any, torch.Tensor]:
    """A graph of one pass, and the tensor that each replay writes."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UPS):
            unet(**inputs)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out: torch.Tensor = unet(**inputs)[0]
    return graph, out
