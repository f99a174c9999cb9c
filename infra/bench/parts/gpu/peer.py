"""diffusers in this process, on the same device and with the same weights, as its users call it."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from diffusers import AutoPipelineForText2Image
from numpy.typing import NDArray
from PIL import Image

from infra.bench.parts.gpu.context import Context
from infra.bench.parts.gpu.models import Models
from infra.bench.parts.gpu.timing import synchronize
from infra.emoji_files import CONTROL

PROMPT, GUIDANCE = "a penguin on a teal background", 7.0


class PeerImage(NamedTuple):
    """An image, and the seconds from the prompt to it."""

    seconds: float
    pixels: NDArray[np.uint8]


class Peer:
    """The pipelines of a `Models`."""

    def __init__(self, models: Models) -> None:
        self.models = models
        self._guided: dict[str, Any] = {}

    def generate(
        self, seed: int, *, steps: int | None = None, controlnet: str | None = None, **options: Any
    ) -> PeerImage:
        """One image, prompt to PIL."""
        size = self.models.size
        pipe: Any = self.models.pipe
        if controlnet is not None:
            pipe = self._with_controlnet(controlnet)
            options["image"] = control_image(size.side_px)
        arguments: Mapping[str, Any] = {
            "num_inference_steps": steps or size.steps,
            "guidance_scale": GUIDANCE,
            "width": size.side_px,
            "height": size.side_px,
            "generator": torch.Generator().manual_seed(seed),
            **options,
        }
        synchronize(self.models.device)
        began = time.perf_counter()
        image = pipe(PROMPT, **arguments).images[0]
        return PeerImage(time.perf_counter() - began, np.asarray(image))

    def _with_controlnet(self, name: str) -> Any:
        if name not in self._guided:
            controlnet = self.models.controlnets[name]
            pipe = AutoPipelineForText2Image.from_pipe(self.models.pipe, controlnet=controlnet)
            pipe.set_progress_bar_config(disable=True)
            self._guided[name] = pipe
        return self._guided[name]


def peer(context: Context) -> Peer:
    """The run's peer."""
    found: Peer = context.kept("diffusers pipelines", lambda: Peer(context.models))
    return found


@contextmanager
def torch_defaults() -> Iterator[None]:
    """Reductions in reduced precision, as torch allows them by default: what diffusers' users run with."""
    matmul: Any = torch.backends.cuda.matmul
    names = ("allow_fp16_reduced_precision_reduction", "allow_bf16_reduced_precision_reduction")
    before = {name: getattr(matmul, name) for name in names}
    try:
        for name in names:
            setattr(matmul, name, True)
        yield
    finally:
        for name, value in before.items():
            setattr(matmul, name, value)


def control_image(side_px: int) -> Image.Image:
    """The embedded control image at the size of the image: nobody has to resize it."""
    return Image.open(CONTROL).convert("RGB").resize((side_px, side_px), Image.Resampling.NEAREST)
