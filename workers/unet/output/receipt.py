"""Writes the receipt: everything that decided the pixels."""

from collections.abc import Sequence
from typing import Any

from shared.jobs.options import LoraLoading
from shared.jobs.receipt import ControlNetReceipt, LoraReceipt, Receipt, WorkerReceipt
from shared.jobs.spec import JobSpec
from workers.devices.platform import describe_platform
from workers.devices.selection import find_device
from workers.engines.base import Engine
from workers.engines.eager import EAGER
from workers.families.base import BaseModel
from workers.unet.output.image_files import encoder_versions


def worker_receipt(model: BaseModel, engine: Engine = EAGER) -> WorkerReceipt:
    """What this worker computes with; ``engine`` runs the model's stages."""
    platform = describe_platform(find_device(model.device))
    return WorkerReceipt(
        **dict(platform),
        dtype=str(model.dtype).removeprefix("torch."),
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
    controlnets: list[ControlNetReceipt],
    control_maps: Sequence[str],
    loras: list[LoraReceipt],
    lora_loading: LoraLoading,
    split_steps: list[int],
    cfg_follower: WorkerReceipt | None,
    continued_at: list[int],
) -> Receipt:
    """The receipt of a finished job; ``control_maps`` are by the ControlNet's position in it."""
    width, height = size
    known = {"width": width, "height": height, "lora_loading": lora_loading, "split_steps": split_steps}
    return Receipt(
        spec=spec.with_control_maps(control_maps).model_copy(update=known),
        model_sha256=model.sha256,
        configs_sha256=model.configs_sha256,
        switches=model.switches,
        scheduler_config=scheduler_config,
        controlnets=controlnets,
        loras=loras,
        worker=worker_receipt(model, engine),
        cfg_follower=cfg_follower,
        continued_at=continued_at,
        encoder=encoder_versions(spec.output_format),
    ).sealed()
