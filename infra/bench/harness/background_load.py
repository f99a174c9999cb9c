"""A UNet or a ControlNet of a UNet that is computed on the other core while something is measured here.

The process is ``python -m infra.bench.harness.background_load KIND FOLDER SIDE ROWS``.
"""

import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from infra.bench.harness.background_process import (
    BackgroundProcess,
    Compute,
    running_background_process,
    serve,
)
from workers.families.load_controlnet import load_controlnet
from workers.families.staged_forward import run_to_end
from workers.families.unet.conditioning import UNetConditioning
from workers.families.unet.forward import staged_forward
from workers.families.unet.projection_cache import cache_projections
from workers.families.unet.stages import UNetStages

TOKENS = 77
#: A ControlNet up to its first residual, or a whole UNet.
Kind = Literal["controlnet", "unet"]


def running_background_load(
    kind: Kind, folder: Path, side_px: int, rows: int
) -> AbstractContextManager[BackgroundProcess]:
    """A process that has loaded a model, on the ControlNet's core; it ends with the block."""
    module = "infra.bench.harness.background_load"
    return running_background_process(module, kind, str(folder), str(side_px), str(rows))


def load_unet(model: Path) -> Any:
    """The UNet of a model's folder, as workers have it."""
    unet: Any = UNet2DConditionModel.from_pretrained(model / "unet", dtype=torch.float32).eval()
    cache_projections(unet)
    return unet


def make_inputs(config: Any, side_px: int, rows: int) -> tuple[Tensor, Tensor, UNetConditioning]:
    """Model input, timestep and prompt of a step; numbers from a fixed seed."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 4, side_px // 8, side_px // 8, generator=generator)
    embeddings = torch.randn(rows, TOKENS, config.cross_attention_dim, generator=generator)
    return x, torch.tensor(501), UNetConditioning(embeddings)


def unet_step(unet: Any, side_px: int, rows: int) -> Callable[[], object]:
    """What computes one step of a UNet."""
    x, t, conditioning = make_inputs(unet.config, side_px, rows)
    stages = UNetStages(unet)

    def step() -> Tensor:
        forward = staged_forward(stages, x, t, conditioning)
        return run_to_end(forward, next(forward), None)

    return step


def _controlnet(folder: Path, side_px: int, rows: int) -> Callable[[], object]:
    controlnet = load_controlnet("controlnet", str(folder), "float32", "cpu")
    x, t, conditioning = make_inputs(controlnet.model.config, side_px, rows)
    prepared = controlnet.prepare(conditioning.controlnet_inputs)
    image = controlnet.embed(torch.rand(1, 3, side_px, side_px), rows)
    return lambda: next(controlnet.forward(x, t, prepared, image))


def _timed(compute: Callable[[], object]) -> Compute:
    def timed() -> list[float]:
        start = time.perf_counter()
        compute()
        return [time.perf_counter() - start]

    return timed


def _make(kind: str, folder: str, side_px: int, rows: int) -> Compute:
    if kind == "controlnet":
        return _timed(_controlnet(Path(folder), side_px, rows))
    return _timed(unet_step(load_unet(Path(folder)), side_px, rows))


if __name__ == "__main__":
    kind, folder, side_px, rows = sys.argv[1:]
    serve(lambda: _make(kind, folder, int(side_px), int(rows)))
