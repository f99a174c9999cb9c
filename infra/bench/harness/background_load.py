"""A process that computes on the other core while something is measured here, and reports how long it took.

The process is ``python -m infra.bench.harness.background_load KIND FOLDER SIDE ROWS``. It computes from
``go`` on its standard input until ``stop``, and answers with the median of its times.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from infra.bench.harness.processes import CONTROLNET_CORE, pin_this_process
from infra.local.environment import inherit
from workers.families.load_controlnet import load_controlnet
from workers.families.staged_forward import run_to_end
from workers.families.unet.conditioning import UNetConditioning
from workers.families.unet.forward import staged_forward
from workers.families.unet.projection_cache import cache_projections
from workers.families.unet.stages import UNetStages

TOKENS = 77
#: A ControlNet up to its first residual, or a whole UNet.
Kind = Literal["controlnet", "unet"]


class BackgroundLoad:
    """The other process, as its parent controls it."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def go(self) -> None:
        """Start computing."""
        self._tell("go")

    def stop(self) -> float:
        """Stop computing; returns the median seconds of one computation."""
        self._tell("stop")
        assert self._process.stdout is not None
        return float(self._process.stdout.readline())

    def _tell(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()


@contextmanager
def running_background_load(kind: Kind, folder: Path, side_px: int, rows: int) -> Iterator[BackgroundLoad]:
    """A process that has loaded a model, on the ControlNet's core; it ends with the block."""
    words = [
        sys.executable,
        "-m",
        "infra.bench.harness.background_load",
        kind,
        str(folder),
        str(side_px),
        str(rows),
    ]
    environment = inherit({"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TRANSFORMERS_VERBOSITY": "error"})
    with subprocess.Popen(
        words, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()  # it is loaded
            yield BackgroundLoad(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()


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


def serve(kind: str, folder: Path, side_px: int, rows: int) -> None:
    """Run in the other process."""
    torch.set_num_threads(1)
    pin_this_process(CONTROLNET_CORE)
    compute = (
        _controlnet(folder, side_px, rows)
        if kind == "controlnet"
        else unet_step(load_unet(folder), side_px, rows)
    )
    stop, times = threading.Event(), list[float]()

    @torch.inference_mode()
    def run() -> None:
        while not stop.is_set():
            start = time.perf_counter()
            compute()
            times.append(time.perf_counter() - start)

    print("ready", flush=True)
    thread = threading.Thread()
    for line in sys.stdin:
        if line.strip() == "go":
            stop.clear()
            times.clear()
            thread = threading.Thread(target=run)
            thread.start()
        else:
            stop.set()
            thread.join()
            print(median(times), flush=True)


def _controlnet(folder: Path, side_px: int, rows: int) -> Callable[[], object]:
    controlnet = load_controlnet("controlnet", str(folder), "float32", "cpu")
    x, t, conditioning = make_inputs(controlnet.model.config, side_px, rows)
    prepared = controlnet.prepare(conditioning.controlnet_inputs)
    image = controlnet.embed(torch.rand(1, 3, side_px, side_px), rows)
    return lambda: next(controlnet.forward(x, t, prepared, image))


if __name__ == "__main__":
    kind, folder, side_px, rows = sys.argv[1:]
    serve(kind, Path(folder), int(side_px), int(rows))
