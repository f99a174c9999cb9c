"""Writes the receipt: everything that decided the pixels."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import torch

from shared.jobs.options import LoraLoading
from shared.jobs.receipt import ControlNetReceipt, LoraReceipt, Receipt, WorkerReceipt
from shared.jobs.spec import JobSpec
from workers.devices.selection import find_device
from workers.engines.base import Engine
from workers.engines.eager import EAGER
from workers.families.base import BaseModel
from workers.transport.protocol import UsedControlNet

#: What is said of a ControlNet that computed no step.
UNUSED = UsedControlNet(sha256="", engine="", memory_format="")
LIBRARIES = ("swiftdiffusion", "torch", "diffusers", "transformers", "peft")


def worker_receipt(model: BaseModel, engine: Engine = EAGER) -> WorkerReceipt:
    """What this worker computes with; ``engine`` runs the model's stages."""
    return WorkerReceipt(
        device=model.device.type,
        threads=torch.get_num_threads(),
        dtype=str(model.dtype).removeprefix("torch."),
        versions={library: version(library) for library in LIBRARIES},
        accelerator=find_device(model.device).describe(),
        engine=engine.name,
        memory_format=model.memory_format,
        vae_dtype=str(model.vae_dtype).removeprefix("torch."),
    )


def write_receipt(
    spec: JobSpec,
    model: BaseModel,
    engine: Engine,
    *,
    scheduler_config: dict[str, Any],
    size: tuple[int, int],
    used_controlnets: Mapping[int, UsedControlNet],
    controlnet_batches: Mapping[int, int],
    control_maps: Sequence[str],
    loras: list[LoraReceipt],
    lora_loading: LoraLoading,
    split_steps: list[int],
    cfg_follower: WorkerReceipt | None,
) -> Receipt:
    """The receipt of a finished job; all of its ControlNets is by the ControlNet's position in it."""
    width, height = size
    known = {"width": width, "height": height, "lora_loading": lora_loading, "split_steps": split_steps}
    return Receipt(
        spec=spec.with_control_maps(control_maps).model_copy(update=known),
        model_sha256=model.sha256,
        switches=model.switches,
        scheduler_config=scheduler_config,
        controlnets=[
            ControlNetReceipt(
                name=controlnet.name,
                batch=controlnet_batches.get(position, 1),
                **dict(used_controlnets.get(position, UNUSED)),
            )
            for position, controlnet in enumerate(spec.controlnets)
        ],
        loras=loras,
        worker=worker_receipt(model, engine),
        cfg_follower=cfg_follower,
    ).sealed()
