"""Specs of accepted jobs: small, and the same everywhere."""

from typing import Any

from shared.jobs.options import LoraLoading
from shared.jobs.spec import JobSpec

PROMPT = "a penguin on a teal background"


def spec(**changes: Any) -> JobSpec:
    values: dict[str, Any] = {
        "model": "emoji-sd",
        "prompt": PROMPT,
        "negative_prompt": "",
        "width": 64,
        "height": 64,
        "num_inference_steps": 6,
        "guidance_scale": 3.0,
        "scheduler": "ddim",
        "seed": 7,
        "num_images": 1,
        "controlnets": [],
        "loras": [],
        "lora_loading": LoraLoading(),
    }
    return JobSpec.model_validate(values | changes)
