"""Writes the receipt: everything that decided the pixels."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import torch

from shared.receipts import LoraReceipt, NetReceipt, Receipt
from shared.requests import SdxlOptions
from shared.specs import JobSpec
from workers.unet.models import BaseModel

LIBRARIES = ("swiftdiffusion", "torch", "diffusers", "transformers", "peft")


def write_receipt(
    spec: JobSpec,
    model: BaseModel,
    *,
    scheduler: Any,
    size: tuple[int, int],
    net_hashes: Mapping[int, str],
    net_batches: Mapping[int, int],
    loras: list[LoraReceipt],
    split_steps: list[int],
) -> Receipt:
    """The receipt of a finished job; both mappings are by the net's position in the job."""
    return Receipt(
        **spec.model_dump(include=set(SdxlOptions.model_fields)),
        model=spec.model,
        model_sha256=model.sha256,
        prompt=spec.prompt,
        negative_prompt=spec.negative_prompt,
        width=size[0],
        height=size[1],
        num_inference_steps=spec.num_inference_steps,
        guidance_scale=spec.guidance_scale,
        scheduler=spec.scheduler,
        scheduler_config=json.loads(scheduler.to_json_string()),
        seed=spec.seed,
        num_images=spec.num_images,
        controlnets=[
            NetReceipt(
                name=net.name,
                sha256=net_hashes.get(position, ""),
                image=net.image,
                conditioning_scale=net.conditioning_scale,
                guidance_start=net.guidance_start,
                guidance_end=net.guidance_end,
                batch=net_batches.get(position, 1),
            )
            for position, net in enumerate(spec.controlnets)
        ],
        loras=loras,
        lora_loading=spec.lora_loading,
        split_steps=split_steps,
        device=model.pipe.device.type,
        threads=torch.get_num_threads(),
        dtype=str(model.pipe.unet.dtype).removeprefix("torch."),
        versions={library: version(library) for library in LIBRARIES},
    )
