"""Writes the receipt: everything that decided the pixels."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import torch

from shared.jobs.options import LoraLoading
from shared.jobs.receipt import FORMAT, ControlNetReceipt, LoraReceipt, Receipt, WorkerReceipt
from shared.jobs.spec import JobSpec
from workers.families.base_model import BaseModel

LIBRARIES = ("swiftdiffusion", "torch", "diffusers", "transformers", "peft")


def worker_receipt(model: BaseModel) -> WorkerReceipt:
    """What this worker computes with."""
    return WorkerReceipt(
        device=model.pipe.device.type,
        threads=torch.get_num_threads(),
        dtype=str(model.pipe.unet.dtype).removeprefix("torch."),
        versions={library: version(library) for library in LIBRARIES},
    )


def write_receipt(
    spec: JobSpec,
    model: BaseModel,
    *,
    scheduler_config: dict[str, Any],
    size: tuple[int, int],
    controlnet_hashes: Mapping[int, str],
    controlnet_batches: Mapping[int, int],
    maps: Sequence[str],
    loras: list[LoraReceipt],
    lora_loading: LoraLoading,
    split_steps: list[int],
    assistant: WorkerReceipt | None,
) -> Receipt:
    """The receipt of a finished job; hashes, batches and maps are by the net's position in the job.

    What spec and receipt call by the same name is taken over, so that a field that is new to both is
    on the receipt.
    """
    told = {name: value for name, value in spec if name in Receipt.model_fields}
    controlnets = [
        ControlNetReceipt(
            **dict(controlnet) | {"map": maps[position]},
            sha256=controlnet_hashes.get(position, ""),
            batch=controlnet_batches.get(position, 1),
        )
        for position, controlnet in enumerate(spec.controlnets)
    ]
    known: dict[str, Any] = {
        "version": FORMAT,
        "model_sha256": model.sha256,
        "switches": model.switches,
        "width": size[0],
        "height": size[1],
        "scheduler_config": scheduler_config,
        "controlnets": controlnets,
        "loras": loras,
        "lora_loading": lora_loading,
        "split_steps": split_steps,
        "assistant": assistant,
        **dict(worker_receipt(model)),
    }
    return Receipt.model_validate(told | known).sealed()
