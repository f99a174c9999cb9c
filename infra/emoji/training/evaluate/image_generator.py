"""Generates with the trained model at its recommended settings."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline, StableDiffusionPipeline

from infra.emoji.training.data.canvas import SIDE_PX, to_image
from infra.emoji.training.data.emoji_sets import Floats
from infra.emoji.training.models.folder import MODEL

STEPS = 25
GUIDANCE = 3.0
BATCH = 16

#: diffusers calls it after each step with the pipeline, the step, the timestep and the loop's tensors.
OnStep = Callable[[Any, int, Any, dict[str, Any]], dict[str, Any]]


class ImageGenerator:
    """The pipeline in float32, silent."""

    def __init__(self, out: Path) -> None:
        self.pipe = StableDiffusionPipeline.from_pretrained(
            out / MODEL, dtype=torch.float32, safety_checker=None
        )
        self.pipe.unet.to(memory_format=torch.channels_last)
        self.pipe.vae.to(memory_format=torch.channels_last)
        self.pipe.set_progress_bar_config(disable=True)

    def generate(self, prompts: list[str], seed: int, on_step: OnStep | None = None) -> Floats:
        """One image a prompt, ``(n, 64, 64, 3)``; image ``i`` has seed ``seed + i``."""
        chunks = [
            _run(self.pipe, prompts[i : i + BATCH], seed + i, callback_on_step_end=on_step)
            for i in range(0, len(prompts), BATCH)
        ]
        return np.concatenate(chunks)

    def generate_with_controlnet(
        self, prompts: list[str], seed: int, controlnet: ControlNetModel, controls: list[Floats]
    ) -> Floats:
        """The same images under the control images of ``controlnet``."""
        pipe = StableDiffusionControlNetPipeline(
            **self.pipe.components, controlnet=controlnet, requires_safety_checker=False
        )
        pipe.set_progress_bar_config(disable=True)
        images = [to_image(control) for control in controls]
        chunks = [
            _run(pipe, prompts[i : i + BATCH], seed + i, image=images[i : i + BATCH])
            for i in range(0, len(prompts), BATCH)
        ]
        return np.concatenate(chunks)


def _run(pipe: Any, prompts: list[str], seed: int, **more: Any) -> Floats:
    images: Floats = pipe(
        prompts,
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        height=SIDE_PX,
        width=SIDE_PX,
        generator=[torch.Generator().manual_seed(seed + i) for i in range(len(prompts))],
        output_type="np",
        **more,
    ).images
    return images
