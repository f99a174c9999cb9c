"""The same work in one process: the diffusers pipeline, as its users call it."""

import io
import time

import diffusers
import torch
import transformers
from diffusers import StableDiffusionPipeline
from PIL import Image

from infra.emoji_files import EMOJI
from shared.catalog.schedulers import SCHEDULERS


class DiffusersBaseline:
    """The embedded model in this process, on one thread."""

    def __init__(self, scheduler: str) -> None:
        torch.set_num_threads(1)  # as a worker's: the order of float sums depends on it
        for library in (diffusers, transformers):
            library.utils.logging.disable_progress_bar()
        source = str(EMOJI / "model")
        self._pipe = StableDiffusionPipeline.from_pretrained(
            source, safety_checker=None, requires_safety_checker=False, dtype=torch.float32
        )
        kind = SCHEDULERS[scheduler]
        made = getattr(diffusers, kind.name).from_config(self._pipe.scheduler.config, **kind.options)
        self._pipe.scheduler = made
        self._pipe.set_progress_bar_config(disable=True)

    def generate(self, *, prompt: str, seed: int, steps: int, guidance_scale: float) -> tuple[float, bytes]:
        """Seconds from prompt to PNG, and the PNG."""
        began = time.perf_counter()
        image: Image.Image = self._pipe(
            prompt,
            num_inference_steps=steps,
            guidance_scale=guidance_scale,
            generator=torch.Generator().manual_seed(seed),
        ).images[0]
        file = io.BytesIO()
        image.save(file, format="PNG")
        return time.perf_counter() - began, file.getvalue()
