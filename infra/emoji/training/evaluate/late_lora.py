"""What a LoRA that arrives late costs: base weights before step k, the LoRA from step k on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from infra.emoji.training.data.emoji_sets import Floats
from infra.emoji.training.evaluate.image_generator import STEPS, ImageGenerator, OnStep
from infra.emoji.training.evaluate.prompts import STYLED
from infra.emoji.training.evaluate.scores import psnr_db, ssim

#: First step with the LoRA; the last means never.
ARRIVALS = (0, 2, 4, 6, 8, 10, 13, 17, 21, STEPS)
SEEDS = 4
SEED = 70


@dataclass(frozen=True, kw_only=True)
class Late:
    """Likeness to the image that had the LoRA from the start, mean of all images."""

    from_step: int
    ssim: float
    psnr_db: float


@dataclass(frozen=True)
class Curve:
    """One LoRA's measurements, and its first images: ``styled`` from step 0, ``plain`` without."""

    points: list[Late]
    styled: Floats
    plain: Floats


def measure(generator: ImageGenerator, loras: Path, name: str, scale: float) -> Curve:
    """Generate the same images with the LoRA arriving at each of ``ARRIVALS``."""
    seeds = max(1, round(SEEDS * scale))
    prompts = list(STYLED) * seeds
    pipe = generator.pipe
    pipe.load_lora_weights(loras, weight_name=f"{name}.safetensors", adapter_name=name)
    generated = {step: _generate(generator, prompts, step) for step in ARRIVALS}
    pipe.enable_lora()
    pipe.unload_lora_weights()
    points = [
        Late(
            from_step=step,
            ssim=_mean(ssim, images, generated[0]),
            psnr_db=_mean(psnr_db, images, generated[0]),
        )
        for step, images in generated.items()
    ]
    return Curve(points, generated[0][: len(STYLED)], generated[STEPS][: len(STYLED)])


def _generate(generator: ImageGenerator, prompts: list[str], from_step: int) -> Floats:
    if from_step == 0:
        generator.pipe.enable_lora()
    else:
        generator.pipe.disable_lora()
    rows = []
    for start in range(0, len(prompts), len(STYLED)):
        some = prompts[start : start + len(STYLED)]
        rows.append(generator.generate(some, SEED + start, _arrival(some, from_step)))
        if from_step > 0:
            generator.pipe.disable_lora()
    return np.concatenate(rows)


def _arrival(prompts: list[str], from_step: int) -> OnStep:
    @torch.inference_mode()
    def on_step(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        if step + 1 != from_step or from_step == STEPS:
            return {}
        pipe.enable_lora()
        # A LoRA may also change the text encoder: the prompt is read again.
        wanted, unwanted = pipe.encode_prompt(prompts, "cpu", 1, do_classifier_free_guidance=True)
        return {"prompt_embeds": torch.cat([unwanted, wanted])}

    return on_step


def _mean(score: Any, images: Floats, reference: Floats) -> float:
    return float(np.mean([score(*pair) for pair in zip(images, reference, strict=True)]))
