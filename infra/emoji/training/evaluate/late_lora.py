"""What a LoRA that arrives late costs: base weights before step k, the LoRA from step k on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from infra.emoji.training.data.emoji_sets import Floats
from infra.emoji.training.evaluate.artist import STEPS, Artist, OnStep
from infra.emoji.training.evaluate.prompts import STYLED
from infra.emoji.training.evaluate.scores import psnr_db, ssim

#: First step with the LoRA; the last means never.
ARRIVALS = (0, 2, 4, 6, 8, 10, 13, 17, 21, STEPS)
SEEDS = 4
SEED = 70


@dataclass(frozen=True, kw_only=True)
class Late:
    """Likeness to the picture that had the LoRA from the start, mean of all pictures."""

    from_step: int
    ssim: float
    psnr_db: float


@dataclass(frozen=True)
class Curve:
    """One LoRA's measurements, and its first pictures: ``styled`` from step 0, ``plain`` without."""

    points: list[Late]
    styled: Floats
    plain: Floats


def measure(artist: Artist, loras: Path, name: str, scale: float) -> Curve:
    """Draw the same pictures with the LoRA arriving at each of ``ARRIVALS``."""
    seeds = max(1, round(SEEDS * scale))
    prompts = list(STYLED) * seeds
    pipe = artist.pipe
    pipe.load_lora_weights(loras, weight_name=f"{name}.safetensors", adapter_name=name)
    drawn = {step: _draw(artist, prompts, step) for step in ARRIVALS}
    pipe.enable_lora()
    pipe.unload_lora_weights()
    points = [
        Late(from_step=step, ssim=_mean(ssim, pictures, drawn[0]), psnr_db=_mean(psnr_db, pictures, drawn[0]))
        for step, pictures in drawn.items()
    ]
    return Curve(points, drawn[0][: len(STYLED)], drawn[STEPS][: len(STYLED)])


def _draw(artist: Artist, prompts: list[str], from_step: int) -> Floats:
    if from_step == 0:
        artist.pipe.enable_lora()
    else:
        artist.pipe.disable_lora()
    rows = []
    for start in range(0, len(prompts), len(STYLED)):
        some = prompts[start : start + len(STYLED)]
        rows.append(artist.draw(some, SEED + start, _arrival(some, from_step)))
        if from_step > 0:
            artist.pipe.disable_lora()
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


def _mean(score: Any, pictures: Floats, reference: Floats) -> float:
    return float(np.mean([score(*pair) for pair in zip(pictures, reference, strict=True)]))
